// What the journal and the certificate both say of a volume.
#pragma once

#include "core/erase/journal.h"

#include <nlohmann/json.hpp>

namespace volseal {

using ErasureJson = nlohmann::ordered_json;

// `printable`: for the certificate, in valid UTF-8 and without the seed. Else for the journal,
// to the byte.
ErasureJson json_of(const ErasedVolume& volume, bool printable);
ErasureJson json_of(const ClearedGroup& group);

}  // namespace volseal
