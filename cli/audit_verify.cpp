#include "cli/audit_verify.h"

#include "cli/audit_anchor.h"
#include "cli/exit_status.h"
#include "cli/output.h"
#include "cli/world.h"
#include "core/audit/files.h"
#include "core/audit/verify.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

std::string place_of(const AuditFlaw& flaw) {
  const std::string file = escaped(flaw.file.native());
  return flaw.line == 0 ? file : fmt::format("{} line {}", file, flaw.line);
}

std::string text_of(const TpmWord& word) {
  if (word.anchored) return fmt::format("the TPM holds {} lines\n", word.anchored->size);
  if (word.state == "unreachable")
    return fmt::format("the TPM could not be asked: {}\n", escaped(word.why, 512));
  return word.state == "none" ? "no TPM holds a checkpoint\n" : "";
}

std::string text_of(const AuditVerdict& verdict, const TpmWord& word,
                    std::chrono::duration<double> took) {
  std::string text =
      fmt::format("{} events in {} lines of {} {}, {}; {:.1f} s, {:.0f} lines a second\n",
                  verdict.events, verdict.lines, verdict.files,
                  verdict.files == 1 ? "file" : "files", human_size(verdict.bytes), took.count(),
                  static_cast<double>(verdict.lines) / std::max(took.count(), 1e-6));
  for (const AuditFlaw& flaw : verdict.flaws)
    text += fmt::format("{}: {}\n", place_of(flaw), escaped(flaw.what, 512));
  if (verdict.more_flaws != 0) text += fmt::format("and {} more\n", verdict.more_flaws);
  if (verdict.torn) text += "the last line was cut off; the next event closes it\n";
  if (verdict.checkpoints != 0) {
    text += fmt::format("{} checkpoints; {} lines are signed, {} came since\n", verdict.checkpoints,
                        verdict.signed_lines,
                        verdict.lines - std::min(verdict.lines, verdict.signed_lines));
  } else {
    text +=
        "no checkpoint: a cut at the end would not be noticed; see 'volseal audit checkpoint'\n";
  }
  text += text_of(word);
  if (verdict.sound())
    text += "it is what was written\n";
  else
    text += fmt::format("NOT what was written; the first bad place: {}\n",
                        place_of(verdict.flaws.front()));
  return text;
}

Json json_of(const AuditFlaw& flaw) {
  return {{"file", to_valid_utf8(flaw.file.native())},
          {"line", flaw.line == 0 ? Json() : Json(flaw.line)},
          {"what", to_valid_utf8(flaw.what)}};
}

Json json_of(const AuditVerdict& verdict, const TpmWord& word) {
  Json flaws = Json::array();
  for (const AuditFlaw& flaw : verdict.flaws) flaws.push_back(json_of(flaw));
  return {{"schema", "volseal-audit-verdict/1"},
          {"sound", verdict.sound()},
          {"first_bad", verdict.sound() ? Json() : json_of(verdict.flaws.front())},
          {"flaws", std::move(flaws)},
          {"more_flaws", verdict.more_flaws},
          {"files", verdict.files},
          {"lines", verdict.lines},
          {"events", verdict.events},
          {"bytes", verdict.bytes},
          {"last_time", to_valid_utf8(verdict.last_time)},
          {"log", verdict.log},
          {"root", verdict.root},
          {"checkpoints", verdict.checkpoints},
          {"signed_lines", verdict.signed_lines},
          {"tpm",
           {{"state", word.state},
            {"why", to_valid_utf8(word.why)},
            {"lines", word.anchored ? Json(word.anchored->size) : Json()}}},
          {"torn", verdict.torn}};
}

AuditVerifyOptions read_options(const AuditVerify& verify) {
  AuditVerifyOptions options;
  if (verify.key) {
    options.key = audit::VerifierKey::parse(read_file(*verify.key));
    const auto origin = options.key ? audit::parse_origin(options.key->name()) : std::nullopt;
    if (!origin)
      throw Error(Code::bad_key, "read {}: no key of an audit log", verify.key->native());
    options.machine = origin->machine;
  }
  for (const Path& path : verify.checkpoints) {
    auto note = audit::parse_note(read_file(path));
    if (!note) throw Error(Code::bad_evidence, "read {}: no checkpoint", path.native());
    options.elsewhere.emplace_back(path.native(), *std::move(note));
  }
  return options;
}

}  // namespace

int verify_audit(const AuditVerify& verify, const Options& options) {
  const Path log = verify.log.value_or(audit_log_of(options).log);
  AuditVerifyOptions how = read_options(verify);
  // Before the lines are looked at: what it speaks of is there by then. A copy is not this TPM's.
  const TpmWord word = verify.log ? TpmWord{} : tpm_word(options);
  how.anchored = word.anchored;
  const auto begun = std::chrono::steady_clock::now();
  AuditVerdict verdict = verify_audit_log(log, how);
  if (word.state == "gone" || word.state == "replaced") {
    verdict.flaws.push_back(
        {.line = 0,
         .what = word.state == "gone"
                     ? "the TPM no longer has the NV index that held the checkpoint"
                     : "another NV index is in the place of the one that held the checkpoint",
         .file = audit::folder_of(log) / "anchor.json"});
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  print_out(verify.json ? json_of(verdict, word).dump(1) + "\n" : text_of(verdict, word, took));
  if (!verdict.sound()) return exit_status::refused;
  const bool untold = verdict.signed_lines == 0 || word.state == "unreachable";
  return untold ? exit_status::warnings : exit_status::good;
}

}  // namespace volseal
