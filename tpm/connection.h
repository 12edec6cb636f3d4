// The way to a TPM 2.0. Everything else in tpm/ takes a Connection.
//
// No type of tpm2-tss shows in the headers that other folders may use; tpm/esys.h is for tpm/*.cpp.
#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace volseal::tpm {

struct ConnectOptions {
  // How long a device node may take to appear; early in boot the driver may still be probing.
  std::chrono::milliseconds appear{0};
  // How long a TPM may say "try again" or "testing myself" to one command.
  std::chrono::milliseconds patience{20'000};
  // Where the firmware's log of its measurements is, for what explains a refusal.
  std::string event_log = "/sys/kernel/security/tpm0/binary_bios_measurements";
};

class Connection {
 public:
  // `tcti`: as tpm2-tss writes it, "device:/dev/tpm0", "swtpm:path=SOCKET"; empty: /dev/tpmrm0, or
  // /dev/tpm0 where the kernel has no resource manager. Sends no command yet.
  // Throws Error{no_tpm} when there is none, Error{denied} when we may not, Error{busy} when
  // somebody else holds it.
  static Connection connect(const std::string& tcti, const ConnectOptions& options = {});

  Connection(Connection&&) noexcept;
  Connection& operator=(Connection&&) noexcept;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  const std::string& event_log() const;

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  explicit Connection(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace volseal::tpm
