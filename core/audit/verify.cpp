#include "core/audit/verify.h"

#include "core/audit/chain.h"
#include "core/audit/checkpoint.h"
#include "core/audit/files.h"
#include "core/audit/reader.h"
#include "core/audit/record.h"
#include "core/audit/rotation.h"
#include "core/audit/tree.h"
#include "core/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace volseal {

namespace {

using namespace audit;

constexpr std::size_t most_flaws = 100;

class Verification {
 public:
  Verification(const Path& log, const AuditVerifyOptions& options)
      : log_(log),
        options_(options),
        chain_(hasher_, [this](AuditFlaw flaw) { found(std::move(flaw)); }) {}

  AuditVerdict run() {
    // Before the lines: each of them speaks of lines that are there by then.
    load_checkpoints();
    const Snapshot all = files();
    std::uint64_t expected = 1;
    for (const Snapshot::File& file : all.files) {
      for (; expected < file.number; ++expected) missing(expected);
      ++expected;
      one(file);
    }
    if (!verdict_.torn) chain_.end();
    // Not one line is left, and something was signed.
    if (verdict_.log.empty() && !notes_.empty())
      begin_log(parse_origin(notes_.front().first.checkpoint.origin).value_or(Origin{}).log);
    look_at_end();
    for (AuditFlaw& flaw : late_) found(std::move(flaw));
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
    begins_.emplace_back(tree_.size(), file.path);
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
    if (!line.ended) return;
    if (verdict_.log.empty()) begin_log(id_of(hasher_.of(line.text)));
    tree_.add(hasher_, line.text);
    if (const auto bad = expected_.look(tree_, hasher_)) not_as_signed(*bad);
  }

  // The log's id is known: now what was signed of it can be told from what was signed of others.
  void begin_log(std::string id) {
    verdict_.log = std::move(id);
    judge_checkpoints();
    for (const auto& [name, note] : options_.elsewhere) {
      const std::string source = "the checkpoint " + name;
      if (is_good(note, source, name, 0))
        expected_.add(note.checkpoint.size, note.checkpoint.root, source);
    }
    if (const auto& anchored = options_.anchored) {
      if (anchored->log == verdict_.log)
        expected_.add(anchored->size, anchored->root, "the TPM");
      else
        late({.line = 0,
              .what = fmt::format("the TPM holds that of another log ({} lines)", anchored->size),
              .file = log_});
    }
    expected_.sort();
  }

  void load_checkpoints() {
    try {
      for_each_checkpoint(
          log_, [&](const Note& note, std::size_t line) { notes_.emplace_back(note, line); });
    } catch (const Error& error) {
      late({.line = 0, .what = error.what(), .file = checkpoints_of(log_)});
    }
  }

  // A log of which everything is gone but its checkpoints is not one that never was.
  Snapshot files() {
    if (notes_.empty()) return snapshot(log_);
    try {
      return snapshot(log_);
    } catch (const Error& error) {
      if (error.code() != Code::not_found) throw;
      found({.line = 0, .what = "the file is missing", .file = log_});
      return {};
    }
  }

  void judge_checkpoints() {
    const Path path = checkpoints_of(log_);
    for (const auto& [note, line] : notes_) {
      ++verdict_.checkpoints;
      const Checkpoint& checkpoint = note.checkpoint;
      if (!is_good(note, "the checkpoint", path, line)) continue;
      if (checkpoint.size <= verdict_.signed_lines)
        late({.line = line, .what = "of no more lines than the one before it", .file = path});
      verdict_.signed_lines = std::max(verdict_.signed_lines, checkpoint.size);
      expected_.add(checkpoint.size, checkpoint.root, "a checkpoint");
    }
    notes_.clear();
  }

  bool is_good(const Note& note, const std::string& what, const Path& file, std::size_t line) {
    const auto bad = [&](std::string why) {
      late({.line = line, .what = std::move(why), .file = file});
      return false;
    };
    const auto origin = parse_origin(note.checkpoint.origin);
    if (!origin || origin->machine != options_.machine)
      return bad(what + " is of another machine's log");
    if (origin->log != verdict_.log) return bad(what + " is of another log");
    if (!key_) key_ = key_for(note.checkpoint.origin);
    if (!*key_) return bad("the key that signed " + what + " is missing");
    if (!(*key_)->signed_this(note)) return bad(what + " is not signed by this log's key");
    return true;
  }

  std::optional<VerifierKey> key_for(const std::string& origin) const {
    if (options_.key) return options_.key->named(origin);
    const auto key = load_key(log_);
    return key ? std::optional(key->verifier(origin)) : std::nullopt;
  }

  // Line numbers are those of the whole log; where in which file is that?
  AuditFlaw place_of(std::uint64_t line) const {
    auto begin = begins_.rbegin();
    while (begin != begins_.rend() - 1 && begin->first >= line) ++begin;
    return {
        .line = static_cast<std::size_t>(line - begin->first), .what = "", .file = begin->second};
  }

  void not_as_signed(const Expected::Mismatch& bad) {
    AuditFlaw flaw = place_of(bad.after + 1);
    flaw.what = fmt::format("this line, or one of the {} from it on, is not what it was for {}",
                            bad.upto - bad.after, bad.source);
    // A line that the chain named is the better answer.
    late(std::move(flaw));
  }

  void look_at_end() {
    const auto cut = expected_.beyond(tree_.size());
    if (!cut) return;
    AuditFlaw flaw = tree_.size() == 0 ? AuditFlaw{.file = log_} : place_of(tree_.size());
    flaw.what = fmt::format("the log ends here, with {} lines, and by {} it has had {}",
                            tree_.size(), cut->source, cut->size);
    late(std::move(flaw));
  }

  void late(AuditFlaw flaw) {
    if (late_.size() < most_flaws) late_.push_back(std::move(flaw));
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
    if (verdict_.log.empty()) begin_log(closed->log);
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
  const AuditVerifyOptions& options_;
  Hasher hasher_;
  Chain chain_;
  Tree tree_;
  Expected expected_;
  std::optional<std::optional<VerifierKey>> key_;       // looked for once
  std::vector<std::pair<std::uint64_t, Path>> begins_;  // lines before each file
  std::vector<std::pair<Note, std::size_t>> notes_;     // the checkpoints, and their lines
  std::vector<AuditFlaw> late_;                         // told after those of the lines
  AuditVerdict verdict_;
  std::uint64_t last_size_ = 0;
  bool broken_ = false;  // lines before this one are missing, and that was said
};

}  // namespace

AuditVerdict verify_audit_log(const Path& log, const AuditVerifyOptions& options) {
  return Verification(log, options).run();
}

}  // namespace volseal
