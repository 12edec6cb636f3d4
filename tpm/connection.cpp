#include "tpm/connection.h"

#include "core/base/file.h"
#include "tpm/esys.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <tss2/tss2_tctildr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <mutex>
#include <thread>

namespace volseal::tpm {

namespace {

constexpr std::string_view device_prefix = "device:";

// tpm2-tss writes what went wrong to standard error by itself; we say it in our own words.
void silence_tss() {
  static std::once_flag once;
  std::call_once(once, [] { ::setenv("TSS2_LOG", "all+NONE", 0); });
}

// A driver may still be probing: returns once one of `paths` is there, or the time is over.
void wait_for(const std::vector<Path>& paths, std::chrono::milliseconds limit) {
  const auto there = [&] {
    return std::ranges::any_of(paths,
                               [](const Path& path) { return ::access(path.c_str(), F_OK) == 0; });
  };
  if (limit.count() == 0 || there()) return;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch) throw_errno(errno, "watch for the TPM to appear");
  for (const Path& path : paths) {
    ::inotify_add_watch(watch.get(), path.parent_path().c_str(),
                        IN_CREATE | IN_MOVED_TO | IN_ATTRIB);
  }
  // Looked at again after the watch is set: nothing that appears in between is missed.
  while (!there()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    pollfd polled{.fd = watch.get(), .events = POLLIN, .revents = 0};
    ::poll(&polled, 1, static_cast<int>(left.count()));
    std::array<char, 4096> events{};
    while (::read(watch.get(), events.data(), events.size()) > 0) {
    }
  }
}

std::string resolve(const std::string& tcti, std::chrono::milliseconds appear) {
  if (tcti.empty()) {
    wait_for({"/dev/tpmrm0", "/dev/tpm0"}, appear);
    const bool managed = ::access("/dev/tpmrm0", F_OK) == 0;
    return managed ? "device:/dev/tpmrm0" : "device:/dev/tpm0";
  }
  if (tcti.starts_with(device_prefix)) wait_for({tcti.substr(device_prefix.size())}, appear);
  return tcti;
}

[[noreturn]] void throw_unreachable(const std::string& tcti) {
  // tctildr says "general failure" for everything; the device node itself says more.
  if (tcti.starts_with(device_prefix)) {
    const std::string path = tcti.substr(device_prefix.size());
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd && (errno == EBUSY || errno == EACCES || errno == EPERM)) {
      throw_errno(errno, "open the TPM {}", path);
    }
    if (!fd) throw Error(Code::no_tpm, "open the TPM {}: {}", path, std::strerror(errno));
  }
  throw Error(Code::no_tpm, "connect to the TPM {}: it does not answer", tcti);
}

}  // namespace

Connection::Impl::~Impl() {
  Esys_Finalize(&esys);
  Tss2_TctiLdr_Finalize(&tcti);
}

Connection::Connection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Connection::Connection(Connection&&) noexcept = default;
Connection& Connection::operator=(Connection&&) noexcept = default;
Connection::~Connection() = default;

const std::string& Connection::event_log() const {
  return impl_->event_log;
}

Connection Connection::connect(const std::string& tcti, const ConnectOptions& options) {
  silence_tss();
  const std::string name = resolve(tcti, options.appear);
  auto impl = std::make_unique<Impl>();
  impl->patience = options.patience;
  impl->event_log = options.event_log;
  if (Tss2_TctiLdr_Initialize(name.c_str(), &impl->tcti) != TSS2_RC_SUCCESS)
    throw_unreachable(name);
  if (const TSS2_RC code = Esys_Initialize(&impl->esys, impl->tcti, nullptr);
      code != TSS2_RC_SUCCESS) {
    throw_tpm(code, "connect to the TPM " + name);
  }
  return Connection(std::move(impl));
}

Connection::Impl::Retry::Retry(std::chrono::milliseconds patience)
    : deadline_(std::chrono::steady_clock::now() + patience) {}

bool Connection::Impl::Retry::worthwhile(Impl& tpm, TSS2_RC code) {
  switch (meaning_of(code)) {
    case Meaning::not_started:
      if (std::exchange(started_, true)) return false;
      // Where another program started it in between, the TPM answers TPM_RC_INITIALIZE: as good.
      Esys_Startup(tpm.esys, TPM2_SU_CLEAR);
      return true;
    case Meaning::busy:
      if (std::chrono::steady_clock::now() + pause_ > deadline_) return false;
      std::this_thread::sleep_for(pause_);
      pause_ = std::min(pause_ * 2, std::chrono::milliseconds(200));
      return true;
    case Meaning::good:
    case Meaning::failure_mode:
    case Meaning::gone:
    case Meaning::no_handle:
    case Meaning::wrong_auth:
    case Meaning::bad_auth:
    case Meaning::locked_out:
    case Meaning::value:
    case Meaning::policy:
    case Meaning::policy_fail:
    case Meaning::pcr_changed:
    case Meaning::ticket:
    case Meaning::signature:
    case Meaning::integrity:
    case Meaning::full:
    case Meaning::defined:
    case Meaning::unwritten:
    case Meaning::forged:
    case Meaning::other: return false;
  }
  return false;
}

TpmHandle& TpmHandle::operator=(TpmHandle&& other) noexcept {
  if (this != &other) {
    reset();
    tpm_ = other.tpm_;
    handle_ = std::exchange(other.handle_, ESYS_TR_NONE);
    kind_ = other.kind_;
  }
  return *this;
}

void TpmHandle::release() {
  if (handle_ != ESYS_TR_NONE) Esys_TR_Close(tpm_->esys, &handle_);
  handle_ = ESYS_TR_NONE;
}

void TpmHandle::reset() {
  if (handle_ == ESYS_TR_NONE) return;
  if (kind_ == Kind::transient) {
    // Twice, since what stays in the TPM is in everybody's way; more cannot be done about a failure
    // here. ESYS forgets the handle only when the TPM did.
    const auto flush = [&] {
      return tpm_->attempt([&] { return Esys_FlushContext(tpm_->esys, handle_); });
    };
    const bool flushed = flush() == TSS2_RC_SUCCESS;
    if (!flushed && flush() != TSS2_RC_SUCCESS) {
      Esys_TR_Close(tpm_->esys, &handle_);
    }
  } else {
    Esys_TR_Close(tpm_->esys, &handle_);
  }
  handle_ = ESYS_TR_NONE;
}

}  // namespace volseal::tpm
