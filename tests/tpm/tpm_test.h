// A machine for a test: a TPM whose PCR 7 was measured, a state folder, and a group.
#pragma once

#include "core/base/error.h"
#include "core/policy/policy.h"
#include "core/protect/group_protector.h"
#include "tests/support/swtpm.h"
#include "tpm/connection.h"
#include "tpm/group.h"
#include "tpm/pcr.h"
#include "tpm/protector.h"
#include "tpm/sealed_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace volseal::tpm {

class TpmTest : public ::testing::Test {
 protected:
  TpmTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-state.XXXXXX").native();
    state = ::mkdtemp(pattern.data());
    group.name = "default";
    boot();
  }
  ~TpmTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(state, ignored);
  }

  // What firmware measures in every boot.
  void boot() { swtpm.extend(7, "secure boot policy"); }
  void reboot() {
    swtpm.restart();
    boot();
  }

  Connection connect() { return Connection::connect(swtpm.tcti()); }

  OpenedGroup open_group(const OpenOptions& options = {}) {
    Connection tpm = connect();
    return open_or_create_group(tpm, group, state, options);
  }

  GroupKey recover(const std::string& sealed, const AskPin& ask_pin = {}) {
    return TpmGroupProtector(swtpm.tcti()).recover(sealed, ask_pin);
  }

  // The error of a call that must fail; Code::internal where it did not.
  template <typename Call>
  static Error error_of(Call call) {
    try {
      call();
    } catch (const Error& error) {
      return error;
    }
    return {Code::internal, "nothing was thrown"};
  }

  // What is left in the TPM: transient objects and loaded sessions.
  std::size_t leaked_handles() { return test::handles_in(swtpm); }

  test::Swtpm swtpm;
  Path state;
  Group group;
};

inline AskPin pin_is(std::string_view pin) {
  return [text = std::string(pin)](const std::string&) {
    return std::optional(Secret::copy_of(text));
  };
}

}  // namespace volseal::tpm
