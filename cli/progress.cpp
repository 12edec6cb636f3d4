#include "cli/progress.h"

#include "cli/output.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace volseal {

using namespace std::chrono_literals;

unsigned Meter::percent() const {
  if (total_ == 0) return 100;
  return static_cast<unsigned>(static_cast<double>(done_) * 100.0 / static_cast<double>(total_));
}

void Meter::note(std::uint64_t done, std::uint64_t total) {
  now_ = Clock::now();
  if (!began_) {
    began_ = true;
    first_ = done;
    start_ = now_;
  }
  done_ = done;
  total_ = total;
}

std::uint64_t Meter::rate() const {
  const double seconds = std::chrono::duration<double>(now_ - start_).count();
  // The first moments say nothing about the speed.
  if (seconds < 0.2 || done_ <= first_) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(done_ - first_) / seconds);
}

std::string Meter::left(std::uint64_t rate) const {
  const auto seconds = static_cast<std::int64_t>((total_ - std::min(done_, total_)) / rate);
  return human_duration(std::chrono::seconds(seconds));
}

std::string Meter::full_text() const {
  std::string text =
      fmt::format("{:3} %  {} of {}", percent(), human_size(done_), human_size(total_));
  const std::uint64_t speed = rate();
  if (speed == 0) return text;
  text += fmt::format(", {}/s", human_size(speed));
  if (done_ < total_) return text + fmt::format(", {} left", left(speed));
  return text + fmt::format(", {:.1f} s", std::chrono::duration<double>(now_ - start_).count());
}

std::string Meter::brief_text() const {
  const std::uint64_t speed = rate();
  if (speed == 0 || done_ >= total_) return fmt::format("{} %", percent());
  return fmt::format("{} %, {} left", percent(), left(speed));
}

Progress::Progress() : terminal_(is_terminal(STDERR_FILENO)), colour_(may_colour(STDERR_FILENO)) {}

Progress::~Progress() {
  interrupt();
}

std::string Progress::one(const std::string& what, const Meter& meter, std::size_t width) const {
  const std::string text = meter.full_text();
  const std::size_t fixed = columns_of(what) + columns_of(text) + 6;
  std::string bar;
  if (width > fixed + 10) {
    const std::size_t length = std::min<std::size_t>(30, width - fixed);
    const std::size_t full = length * meter.percent() / 100;
    for (std::size_t i = 0; i < length; ++i) bar += i < full ? "█" : "░";
    bar = colour_ ? fmt::format(" \x1b[32m{}\x1b[0m", bar) : " " + bar;
  }
  return fmt::format("{}{} {}", what, bar, text);
}

// As many as fit.
std::string Progress::all(std::size_t width) const {
  std::string line;
  std::size_t unsaid = pieces_.size();
  for (const auto& [what, piece] : pieces_) {
    const std::string next =
        fmt::format("{}{}: {}", line.empty() ? "" : "; ", what, piece.meter.brief_text());
    const std::size_t rest = unsaid > 1 ? 12 : 0;  // for "; 12 others"
    if (!line.empty() && columns_of(line) + columns_of(next) + rest > width) break;
    line += next;
    --unsaid;
  }
  return unsaid == 0 ? line : line + fmt::format("; {} others", unsaid);
}

void Progress::draw() {
  const std::size_t width = columns(STDERR_FILENO) - 3;
  const auto& [what, piece] = *pieces_.begin();
  // The rest of an older, longer line is cleared (ECMA-48 EL).
  print_err("\r  {}\x1b[K", pieces_.size() == 1 ? one(what, piece.meter, width) : all(width));
  drawn_ = true;
  drawn_at_ = Clock::now();
}

void Progress::update(const std::string& what, std::uint64_t done, std::uint64_t total) {
  const auto [at, is_new] = pieces_.try_emplace(what);
  Piece& piece = at->second;
  piece.meter.note(done, total);
  const unsigned tenth = piece.meter.percent() / 10;
  if (is_new) piece.told_tenth = tenth;
  if (log::level() == log::Level::quiet) return;
  const auto now = Clock::now();
  if (terminal_) {
    if (now - drawn_at_ >= 100ms || done >= total) draw();
    return;
  }
  if (tenth == piece.told_tenth && now - piece.told < 60s) return;
  piece.told_tenth = tenth;
  piece.told = now;
  print_err("volseal: {}: {}\n", what, piece.meter.full_text());
}

void Progress::finish(const std::string& what) {
  if (!pieces_.contains(what)) return;
  // The last state of the only one stays to be read; that of one of several would be the others',
  // too.
  if (terminal_ && pieces_.size() == 1 && log::level() != log::Level::quiet) draw();
  interrupt();
  pieces_.erase(what);
}

void Progress::interrupt() {
  if (!drawn_) return;
  tell_err(pieces_.size() > 1 ? "\r\x1b[K" : "\n");
  drawn_ = false;
}

}  // namespace volseal
