// The way of data from a volume down to every disk, segment by segment, and where it leaks.
#pragma once

#include "core/coverage/coverage.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

struct ByteRange {
  std::uint64_t start = 0;
  std::uint64_t size = 0;
};

// One device on the way, and the bytes of it that the data passes through.
struct Step {
  std::string path;
  std::string what;  // "crypt aes-xts-plain64, 512 bit", "linear", "partition", "array raid1" ...
  ByteRange bytes;   // of this device
  enum class State {
    open,       // not encrypted so far
    encrypted,  // from here on down
    sealed,     // below something that encrypts
    leak,       // a disk, and it gets plaintext
    unknown,    // what becomes of it cannot be seen
    nothing,    // nothing is stored
  } state = State::open;
  std::vector<Step> below;
};

struct Leaf {
  std::string path;
  ByteRange bytes;
  bool unknown = false;
};

struct Explanation {
  VolumeVerdict verdict;
  Step top;
  std::vector<Leaf> leaks;  // each stretch of a disk that gets plaintext, or may
  bool cut = false;         // there were more steps than anybody would read
};

// `name`: a device's name, path or link, a swap file, a mount point, a dataset. `parts`: the bytes
// of it that matter; empty: all. Throws Error{not_found}.
Explanation explain(const DeviceGraph& graph, const Policy& policy, std::string_view today,
                    const std::string& name, const std::vector<ByteRange>& parts = {},
                    const Records& records = {});

std::string to_text(const Explanation& explanation, const TextOptions& options);
std::string to_json(const Explanation& explanation);  // "schema": "volseal-explain/1"

std::string_view to_string(Step::State state);

}  // namespace volseal
