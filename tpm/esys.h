// What the files of tpm/ share of tpm2-tss: the context, commands that are tried again where that
// helps, result codes with a meaning, and objects that flush themselves.
#pragma once

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/handle.h"
#include "tpm/connection.h"

#include <tss2/tss2_esys.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace volseal::tpm {

// Part 2, 6.6: what a result code comes down to, once the bits that say which handle, session or
// parameter it was about are stripped.
enum class Meaning {
  good,
  busy,         // try the same again
  not_started,  // TPM2_Startup is missing
  failure_mode,
  gone,        // the connection broke
  no_handle,   // nothing at that handle
  wrong_auth,  // counted by the dictionary-attack protection
  bad_auth,    // not counted
  locked_out,
  value,        // a value that does not fit: PCRs, policy branches, approvals
  policy,       // a comparison in a policy is false
  policy_fail,  // the session's policy is not the object's
  pcr_changed,  // between PolicyPCR and use
  ticket,
  signature,
  integrity,  // a blob that this parent did not make
  full,       // no room for objects, sessions, NV
  defined,    // NV index or persistent handle already there
  unwritten,  // NV index never written
  forged,     // the response does not authenticate
  other,
};

Meaning meaning_of(TSS2_RC code);

class TpmError : public Error {
 public:
  TpmError(Meaning meaning, Code code, const std::string& message)
      : Error(code, message), meaning_(meaning) {}

  Meaning meaning() const { return meaning_; }

 private:
  Meaning meaning_;
};

// "WHAT: what the TPM said", with the code a person can act on.
[[noreturn]] void throw_tpm(TSS2_RC code, std::string_view what);

struct Connection::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  Impl(Impl&&) = delete;
  Impl& operator=(Impl&&) = delete;
  ~Impl();

  // `call` runs one ESYS function. Again while the TPM is busy (bounded by `patience`); after
  // TPM2_Startup where that was missing.
  template <typename Call>
  TSS2_RC attempt(Call call) {
    TSS2_RC code = call();
    for (auto retry = Retry{patience}; retry.worthwhile(*this, code);) code = call();
    return code;
  }

  // As attempt(), and throws TpmError.
  template <typename Call>
  void command(std::string_view what, Call call) {
    if (const TSS2_RC code = attempt(call); code != TSS2_RC_SUCCESS) throw_tpm(code, what);
  }

  class Retry {
   public:
    explicit Retry(std::chrono::milliseconds patience);
    bool worthwhile(Impl& tpm, TSS2_RC code);

   private:
    std::chrono::steady_clock::time_point deadline_;
    std::chrono::milliseconds pause_{1};
    bool started_ = false;
  };

  TSS2_TCTI_CONTEXT* tcti = nullptr;
  ESYS_CONTEXT* esys = nullptr;
  std::chrono::milliseconds patience{0};
  std::string event_log;
};

// What ESYS allocates. Secret results are wiped by who asked for them.
template <typename T>
using EsysPtr = Handle<T, std::free>;

// Reads into an EsysPtr: Esys_X(..., out(pointer)).
template <typename T>
class Out {
 public:
  explicit Out(EsysPtr<T>& target) : target_(target) {}
  Out(const Out&) = delete;
  Out& operator=(const Out&) = delete;
  Out(Out&&) = delete;
  Out& operator=(Out&&) = delete;
  ~Out() { target_.reset(raw_); }
  operator T**() { return &raw_; }  // NOLINT(*-explicit-constructor): that is its purpose

 private:
  EsysPtr<T>& target_;
  T* raw_ = nullptr;
};

template <typename T>
Out<T> out(EsysPtr<T>& target) {
  return Out<T>(target);
}

// A transient object or a session: flushed on every way out. A persistent object or an NV index:
// only forgotten.
class TpmHandle {
 public:
  enum class Kind { transient, persistent };

  TpmHandle() = default;
  TpmHandle(Connection::Impl& tpm, ESYS_TR handle, Kind kind)
      : tpm_(&tpm), handle_(handle), kind_(kind) {}
  TpmHandle(TpmHandle&& other) noexcept
      : tpm_(other.tpm_), handle_(std::exchange(other.handle_, ESYS_TR_NONE)), kind_(other.kind_) {}
  TpmHandle& operator=(TpmHandle&& other) noexcept;
  TpmHandle(const TpmHandle&) = delete;
  TpmHandle& operator=(const TpmHandle&) = delete;
  ~TpmHandle() { reset(); }

  ESYS_TR get() const { return handle_; }
  explicit operator bool() const { return handle_ != ESYS_TR_NONE; }
  void reset();
  // The TPM itself has flushed it: a session whose last command said so. ESYS is told, or else it
  // would keep what it knows of it, the auth value among it, as long as the connection lives.
  void release();

 private:
  Connection::Impl* tpm_ = nullptr;
  ESYS_TR handle_ = ESYS_TR_NONE;
  Kind kind_ = Kind::transient;
};

// TPM2B structures from bytes; throws Error{damaged} when they do not fit.
template <typename T>
T sized(std::span<const std::uint8_t> bytes, std::string_view what) {
  T result{};
  auto& buffer = [&]() -> auto& {
    if constexpr (requires { result.buffer; }) {
      return result.buffer;
    } else {
      return result.name;
    }
  }();
  if (bytes.size() > sizeof buffer) throw Error(Code::damaged, "{}: too long", what);
  result.size = static_cast<UINT16>(bytes.size());
  if (!bytes.empty()) std::memcpy(&buffer[0], bytes.data(), bytes.size());
  return result;
}

template <typename T>
Bytes bytes_of(const T& sized_structure) {
  if constexpr (requires { sized_structure.buffer; }) {
    return {sized_structure.buffer, sized_structure.buffer + sized_structure.size};
  } else {
    return {sized_structure.name, sized_structure.name + sized_structure.size};
  }
}

}  // namespace volseal::tpm
