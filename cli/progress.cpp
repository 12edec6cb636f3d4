#include "cli/progress.h"

#include "cli/output.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace volseal {

using namespace std::chrono_literals;

namespace {

unsigned percent_of(std::uint64_t done, std::uint64_t total) {
  if (total == 0) return 100;
  return static_cast<unsigned>(static_cast<double>(done) * 100.0 / static_cast<double>(total));
}

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)),
      terminal_(is_terminal(STDERR_FILENO)),
      colour_(may_colour(STDERR_FILENO)) {}

Progress::~Progress() {
  if (drawn_) tell_err("\n");
}

std::string Progress::line(std::uint64_t done, std::uint64_t total) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const auto moved = static_cast<double>(done - first_done_);
  std::string text =
      fmt::format("{:3} %  {} of {}", percent_of(done, total), human_size(done), human_size(total));
  // The first moments say nothing about the speed.
  if (seconds < 0.2 || moved <= 0) return text;
  const double rate = moved / seconds;
  text += fmt::format(", {}/s", human_size(static_cast<std::uint64_t>(rate)));
  if (done < total) {
    const auto left = static_cast<std::int64_t>(static_cast<double>(total - done) / rate);
    text += fmt::format(", {} left", human_duration(std::chrono::seconds(left)));
  } else {
    text += fmt::format(", {:.1f} s", seconds);
  }
  return text;
}

void Progress::draw(std::uint64_t done, std::uint64_t total) {
  const std::string text = line(done, total);
  const std::size_t width = columns(STDERR_FILENO) - 1;
  const std::size_t fixed = columns_of(what_) + columns_of(text) + 6;
  std::string bar;
  if (width > fixed + 10) {
    const std::size_t length = std::min<std::size_t>(30, width - fixed);
    const std::size_t full = total == 0 ? length
                                        : static_cast<std::size_t>(static_cast<double>(length) *
                                                                   static_cast<double>(done) /
                                                                   static_cast<double>(total));
    for (std::size_t i = 0; i < length; ++i) bar += i < full ? "█" : "░";
    bar = colour_ ? fmt::format(" \x1b[32m{}\x1b[0m", bar) : " " + bar;
  }
  // The rest of an older, longer line is cleared (ECMA-48 EL).
  print_err("\r  {}{} {}\x1b[K", what_, bar, text);
  drawn_ = true;
}

void Progress::update(std::uint64_t done, std::uint64_t total) {
  if (!began_) {
    began_ = true;
    first_done_ = done;
    start_ = Clock::now();
    last_tenth_ = percent_of(done, total) / 10;
  }
  done_ = done;
  total_ = total;
  if (log::level() == log::Level::quiet) return;
  const auto now = Clock::now();
  if (terminal_) {
    if (now - last_ < 100ms && done < total) return;
    draw(done, total);
  } else {
    const unsigned tenth = percent_of(done, total) / 10;
    if (tenth == last_tenth_ && now - last_ < 60s) return;
    last_tenth_ = tenth;
    print_err("volseal: {}: {}\n", what_, line(done, total));
  }
  last_ = now;
}

void Progress::finish() {
  if (terminal_ && began_ && log::level() != log::Level::quiet) draw(done_, total_);
  if (drawn_) tell_err("\n");
  drawn_ = false;
}

}  // namespace volseal
