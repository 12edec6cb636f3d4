#include "tpm/lock_down.h"

#include "core/base/digest.h"
#include "tpm/approval.h"
#include "tpm/counter.h"
#include "tpm/esys.h"
#include "tpm/sealed_group.h"

#include <fcntl.h>

namespace volseal::tpm {

namespace {

void destroy(const Path& path) {
  if (!std::filesystem::exists(path)) return;
  {
    const std::string zeros(size_of(path), '\0');
    const UniqueFd fd = open_file(path, O_WRONLY);
    write_all(fd.get(), zeros, path.native());
    sync_fd(fd.get(), path.native());
  }
  std::filesystem::remove(path);
  sync_folder(path.parent_path());
}

}  // namespace

void destroy_keys(const GroupState& state) {
  for (const char* name : {"late.key", "policy-key.pem", "policy-key.next.pem", "late.json"})
    destroy(state.folder() / name);
  // Writes that were cut off have other names.
  for (const Path& stray : strays_in(state.folder())) {
    if (stray.filename().native().starts_with('.')) destroy(stray);
  }
}

int void_approvals(Connection& tpm, const GroupState& state) {
  const SealedGroup sealed = load_group(state);
  const std::uint64_t counter = read_counter(tpm, sealed.counter);
  // A revocation that was begun has signed for the next value.
  if (sealed.sequence > counter + 1) {
    throw Error(Code::damaged,
                "void the approvals of group {}: the counter is at {}, they hold to {}",
                sealed.group, counter, sealed.sequence);
  }
  int counted = 0;
  for (std::uint64_t at = counter; at <= sealed.sequence; ++at) {
    increment_counter(tpm, sealed.counter);
    ++counted;
  }
  return counted;
}

Path begin_anew(Connection& tpm, const GroupState& state, std::string_view sealed_sha256) {
  const auto sealed = state.sealed();
  if (!sealed || sha256_hex(*sealed) != sealed_sha256) return {};
  try {
    // An index that is defined anew counts on from the highest value that any counter had.
    remove_counter(tpm, parse_sealed(*sealed).counter);
  } catch (const TpmError& error) {
    if (error.meaning() != Meaning::no_handle) throw;
  }
  return state.set_aside();
}

}  // namespace volseal::tpm
