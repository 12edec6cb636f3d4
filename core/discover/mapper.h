// Device-mapper tables. A crypt line carries its key in the clear: it is measured where it lies, in
// memory that libdevmapper wipes, and never copied.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <functional>
#include <string_view>
#include <vector>

namespace volseal {

// Kernel name of a device number; "" for none.
using NameOf = std::function<std::string(std::uint32_t major, std::uint32_t minor)>;

// One line; start and length in 512-byte sectors. What it does not know it leaves out: never
// throws.
Segment parse_segment(std::uint64_t start, std::uint64_t length, std::string_view target,
                      std::string_view parameters, const NameOf& name_of);

// The live table; empty where there is none or the kernel does not tell.
std::vector<Segment> read_table(std::uint32_t major, std::uint32_t minor, const NameOf& name_of);
// The same by the mapping's name, whether udev has made its node or not.
std::vector<Segment> read_table(const std::string& mapping, const NameOf& name_of);

// A table as `dmsetup table NAME` prints it; empty where the file is not there.
std::vector<Segment> recorded_table(const Path& file, const NameOf& name_of);

}  // namespace volseal
