// A checkpoint is read in its one spelling, or not at all; a file of them ends in an error or in
// whole checkpoints; a key that is read is written as it was.
#include "core/audit/checkpoint.h"
#include "core/audit/verify.h"
#include "core/base/error.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

void require(bool holds) {
  if (!holds) std::abort();
}

// One folder a process; its files are written anew for each input.
const Path& folder() {
  static const Path made = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "volseal-fuzz.XXXXXX").native();
    return Path(::mkdtemp(pattern.data()));
  }();
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto note = audit::parse_note(text)) {
    require(text.starts_with(audit::text_of(note->checkpoint)));
    require(!note->signatures.empty());
  }
  if (const auto key = audit::VerifierKey::parse(text)) require(text.starts_with(key->text()));
  // The same as a log, and as the checkpoints beside it.
  const Path log = folder() / "audit.log";
  make_folder(audit::folder_of(log));
  for (const Path& path : {log, audit::checkpoints_of(log), audit::folder_of(log) / "tree.json"}) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
  }
  try {
    const AuditVerdict verdict = verify_audit_log(log, {.machine = "m"});
    require(verdict.events <= verdict.lines + 1);
    require(verdict.bytes == size);
  } catch (const Error& error) {
    require(error.code() != Code::internal);
  }
  try {
    audit::tree_over(log, audit::list_files(log));
  } catch (const Error& error) {
    require(error.code() == Code::tampered || error.code() == Code::damaged);
  }
  return 0;
}
