#include "core/base/error.h"

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace volseal {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::usage: return "usage";
    case Code::bad_policy: return "bad-policy";
    case Code::bad_graph: return "bad-graph";
    case Code::bad_report: return "bad-report";
    case Code::bad_evidence: return "bad-evidence";
    case Code::not_found: return "not-found";
    case Code::not_luks: return "not-luks";
    case Code::damaged: return "damaged";
    case Code::unsafe: return "unsafe";
    case Code::tampered: return "tampered";
    case Code::busy: return "busy";
    case Code::too_small: return "too-small";
    case Code::cannot_shrink: return "cannot-shrink";
    case Code::no_space: return "no-space";
    case Code::denied: return "denied";
    case Code::io: return "io";
    case Code::wrong_secret: return "wrong-secret";
    case Code::no_tpm: return "no-tpm";
    case Code::tpm_failed: return "tpm-failed";
    case Code::tpm_refused: return "tpm-refused";
    case Code::no_key: return "no-key";
    case Code::key_refused: return "key-refused";
    case Code::program_failed: return "program-failed";
    case Code::escrow_refused: return "escrow-refused";
    case Code::bad_blob: return "bad-blob";
    case Code::bad_key: return "bad-key";
    case Code::interrupted: return "interrupted";
    case Code::internal: return "internal";
  }
  return "internal";
}

Code code_of_errno(int error) {
  switch (std::abs(error)) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ENOTDIR:
    case ENOMEDIUM: return Code::not_found;
    case EBUSY: return Code::busy;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return Code::no_space;
    case EPERM:
    case EACCES:
    case EROFS: return Code::denied;
    case EINTR: return Code::interrupted;
    case EINVAL: return Code::internal;
    default: return Code::io;
  }
}

void throw_errno_text(int error, const std::string& what) {
  const int value = std::abs(error);
  throw Error(code_of_errno(value), what + ": " + std::generic_category().message(value));
}

}  // namespace volseal
