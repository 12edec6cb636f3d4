#include "cli/qr_code.h"

#include "core/base/error.h"

#include <qrcodegen/qrcodegen.h>

#include <algorithm>

namespace volseal {

// The C library works in buffers that we own, so nothing of the key is left in its memory.
QrCode::QrCode(const Secret& text) : code_(qrcodegen_BUFFER_LEN_MAX) {
  Secret work(qrcodegen_BUFFER_LEN_MAX);
  std::ranges::copy(text.bytes(), work.bytes().begin());
  if (!qrcodegen_encodeBinary(work.bytes().data(), text.size(), code_.bytes().data(),
                              qrcodegen_Ecc_MEDIUM, qrcodegen_VERSION_MIN, qrcodegen_VERSION_MAX,
                              qrcodegen_Mask_AUTO, true)) {
    throw Error(Code::internal, "make a QR code: the key is too long");
  }
}

int QrCode::size() const {
  return qrcodegen_getSize(code_.bytes().data());
}

bool QrCode::dark(int x, int y) const {
  return qrcodegen_getModule(code_.bytes().data(), x, y);
}

}  // namespace volseal
