#include "initramfs-hook/latch.h"

#include "core/base/error.h"
#include "tpm/connection.h"
#include "tpm/pcr.h"

#include <unistd.h>

namespace volseal {

namespace {

constexpr const char* mark = "/run/volseal/latched";
constexpr std::chrono::seconds hidden_tpm_wait{10};

LatchResult result_of(const Error& error, const BootSettings& settings) {
  // A TPM in failure mode answers nothing else before the next reset.
  if (error.code() == Code::tpm_failed) return LatchResult::absent;
  if (error.code() != Code::no_tpm) return LatchResult::failed;
  return settings.tcti.empty() && firmware_has_tpm() ? LatchResult::hidden : LatchResult::absent;
}

}  // namespace

std::string tcti_of(const BootSettings& settings) {
  // Not /dev/tpmrm0, which saves and loads every object around each command.
  return settings.tcti.empty() ? "device:/dev/tpm0" : settings.tcti;
}

bool firmware_has_tpm() {
  return ::access("/sys/firmware/acpi/tables/TPM2", F_OK) == 0;
}

Latch close_latch(const BootSettings& settings, const std::vector<int>& pcrs) {
  if (pcrs.empty()) return {.result = LatchResult::none, .reason = {}};
  if (::access(mark, F_OK) == 0) return {.result = LatchResult::closed, .reason = {}};
  try {
    const auto appear = firmware_has_tpm() ? hidden_tpm_wait : std::chrono::seconds(0);
    auto connection = tpm::Connection::connect(tcti_of(settings), {.appear = appear});
    for (const int pcr : pcrs) tpm::extend_latch(connection, pcr);
  } catch (const Error& error) {
    return {.result = result_of(error, settings), .reason = error.what()};
  }
  try {
    make_folder(Path(mark).parent_path());
    write_file(mark, "");
  } catch (const Error&) {
    // Then it is closed twice, which is as good.
    return {.result = LatchResult::closed, .reason = {}};
  }
  return {.result = LatchResult::closed, .reason = {}};
}

}  // namespace volseal
