// A TPM 2.0 of one's own for a test: swtpm in a folder of its own, gone when the test ends.
//
//   Swtpm swtpm;
//   Connection tpm = connect_tpm(swtpm.tcti());
//   swtpm.extend(7, "another boot loader");
//   swtpm.restart();
#pragma once

#include "core/base/base64.h"
#include "core/base/file.h"
#include "core/base/handle.h"
#include "tests/support/tpm_proxy.h"

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>

namespace volseal::test {

class Swtpm {
 public:
  // A new TPM, started (TPM2_Startup(CLEAR) is done).
  Swtpm();
  // A TPM as it once was: goes on from a copy of swtpm's state in that folder.
  explicit Swtpm(const Path& saved_state);
  Swtpm(const Swtpm&) = delete;
  Swtpm& operator=(const Swtpm&) = delete;
  Swtpm(Swtpm&&) = delete;
  Swtpm& operator=(Swtpm&&) = delete;
  ~Swtpm();

  // "swtpm:path=/tmp/.../tpm"; stays the same over restart().
  const std::string& tcti() const { return tcti_; }

  // Measures `text` into a PCR, in every bank (TPM2_PCR_Event).
  void extend(int pcr, std::string_view text);
  // Off and on again, in order: PCRs are zero, transient objects and sessions are gone.
  void restart();
  // Off without TPM2_Shutdown, and on again: the TPM may count it as a failed attempt.
  void cut_power();
  // Off and on, without TPM2_Startup: the next command gets TPM_RC_INITIALIZE.
  void restart_without_startup();
  // The process ends; whoever is connected sees the end of the connection.
  void stop();

  // One raw command past all clients, for what a test wants the TPM to be.
  Bytes command(const Bytes& bytes) { return proxy_->transact(bytes); }
  // Sees, counts, alters, refuses commands; a new one after each restart.
  TpmProxy& proxy() { return *proxy_; }

 private:
  void start(std::string_view startup);
  void end(bool in_order);

  Path folder_;
  std::string tcti_;
  pid_t pid_ = -1;
  UniqueFd commands_;
  UniqueFd control_;
  std::unique_ptr<TpmProxy> proxy_;
};

// Transient objects and loaded sessions in the TPM: what somebody did not flush.
std::size_t handles_in(Swtpm& swtpm);

}  // namespace volseal::test
