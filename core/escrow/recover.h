// Opened blobs → the recovery key, or which of them is wrong and why.
#pragma once

#include "core/escrow/content.h"

#include <string>
#include <vector>

namespace volseal::escrow {

struct OpenedBlob {
  std::string name;  // of its file, for messages
  Content content;
};

struct Recovered {
  std::string luks_uuid;
  std::string host;
  std::string group;
  std::string date;
  Secret key;
};

// One blob with the whole key, or shares. Throws Error{wrong_secret} where there are too few
// shares, Error{bad_blob} naming the blob that is of another volume or another key, or that was
// changed. That the key opens the volume is for the caller to see.
Recovered recover(const std::vector<OpenedBlob>& blobs);

}  // namespace volseal::escrow
