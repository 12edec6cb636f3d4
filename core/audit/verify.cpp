#include "core/audit/verify.h"

#include "core/audit/chain.h"
#include "core/audit/files.h"
#include "core/audit/reader.h"
#include "core/audit/record.h"
#include "core/audit/rotation.h"
#include "core/audit/tree.h"
#include "core/base/error.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace volseal {

namespace {

using namespace audit;

constexpr std::size_t most_flaws = 100;

class Verification {
 public:
  explicit Verification(const Path& log)
      : log_(log), chain_(hasher_, [this](AuditFlaw flaw) { found(std::move(flaw)); }) {}

  AuditVerdict run() {
    const Snapshot all = snapshot(log_);
    std::uint64_t expected = 1;
    for (const Snapshot::File& file : all.files) {
      for (; expected < file.number; ++expected) missing(expected);
      ++expected;
      one(file);
    }
    if (!verdict_.torn) chain_.end();
    verdict_.lines = tree_.size();
    verdict_.root = hex(tree_.root(hasher_));
    return std::move(verdict_);
  }

 private:
  void found(AuditFlaw flaw) {
    if (verdict_.flaws.size() < most_flaws)
      verdict_.flaws.push_back(std::move(flaw));
    else
      ++verdict_.more_flaws;
  }

  void missing(std::uint64_t number) {
    found({.line = 0, .what = "the file is missing", .file = closed_file(log_, number)});
    broken_ = true;
  }

  void one(const Snapshot::File& file) {
    ++verdict_.files;
    verdict_.bytes += file.size;
    chain_.begin_file(file.path);
    try {
      for_each_line(file, [&](const LineReader::Line& line) { take(file, line); });
    } catch (const Error& error) {
      if (error.code() != Code::damaged) throw;
      found({.line = chain_.line() + 1, .what = "longer than 1 MiB", .file = file.path});
      broken_ = true;
    }
    last_size_ = file.size;
  }

  void take(const Snapshot::File& file, const LineReader::Line& line) {
    const bool first = chain_.line() == 0;
    // A closed file was ended before it was closed.
    if (!line.ended && !file.fd)
      found({.line = chain_.line() + 1, .what = "cut off", .file = file.path});
    verdict_.torn = !line.ended && file.fd;
    if (first && file.number > 1) begin_with(file, line.text);
    if (const auto record = chain_.take(line.text)) {
      ++verdict_.events;
      verdict_.last_time = record->time;
    }
    // Its newline is still to come, and whatever else with it.
    if (line.ended) tree_.add(hasher_, line.text);
  }

  // The first line of a file says what was closed before it.
  void begin_with(const Snapshot::File& file, std::string_view line) {
    const auto record = from_line(line);
    const auto closed = record ? closed_before(*record) : std::nullopt;
    const auto wrong = [&](std::string what) {
      found({.line = 1, .what = std::move(what), .file = file.path});
    };
    if (!closed) {
      wrong("the first line does not say which file it follows");
      broken_ = false;
      return;
    }
    if (closed->number != file.number - 1) {
      wrong(fmt::format("it follows {}", closed_file(log_, closed->number).filename().native()));
    }
    if (broken_) {
      // What is before it is gone; the rest is still checked.
      chain_.expect(record->seq, record->prev);
      tree_ = closed->tree;
    } else if (closed->bytes != last_size_ || closed->tree.size() != tree_.size() ||
               closed->tree.peaks() != tree_.peaks()) {
      wrong("the file before it is not as it was when it was closed");
      tree_ = closed->tree;
    }
    broken_ = false;
  }

  const Path& log_;
  Hasher hasher_;
  Chain chain_;
  Tree tree_;
  AuditVerdict verdict_;
  std::uint64_t last_size_ = 0;
  bool broken_ = false;  // lines before this one are missing, and that was said
};

}  // namespace

AuditVerdict verify_audit_log(const Path& log) {
  return Verification(log).run();
}

}  // namespace volseal
