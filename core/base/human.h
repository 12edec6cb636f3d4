// Numbers as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace volseal {

// Binary units with at most one decimal: "512 B", "1.5 GiB".
std::string human_size(std::uint64_t bytes);
// "16 MiB", "1.5 GiB", "4096", "64M", "2TiB" to bytes (all binary); nothing where it is none or
// overflows.
std::optional<std::uint64_t> parse_size(std::string_view text);
// "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
std::string human_duration(std::chrono::seconds duration);

}  // namespace volseal
