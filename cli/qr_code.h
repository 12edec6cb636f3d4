// A recovery key as a QR code. What it is made of is as secret as the key, and kept so.
#pragma once

#include "core/base/secret.h"

namespace volseal {

class QrCode {
 public:
  explicit QrCode(const Secret& text);

  static constexpr int border = 4;  // light modules around it: ISO/IEC 18004 section 6.3.8
  int size() const;                 // modules a side, without the border
  bool dark(int x, int y) const;    // false outside

 private:
  Secret code_;
};

}  // namespace volseal
