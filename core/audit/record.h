// AuditRecord ↔ its line, and the line's hash.
#pragma once

#include "core/audit/audit.h"

namespace volseal::audit {

inline constexpr std::string_view schema = "volseal-audit/1";
inline constexpr std::string_view no_prev =
    "0000000000000000000000000000000000000000000000000000000000000000";
// Events about the log itself.
inline constexpr std::string_view recovered = "audit.recovered";
inline constexpr std::string_view rotated = "audit.rotated";
inline constexpr std::string_view clock_set_back = "audit.clock";
inline constexpr std::string_view gap = "audit.gap";
// After the cut, in bytes of UTF-8.
inline constexpr std::size_t max_text = 1024;
inline constexpr std::size_t max_key = 64;
inline constexpr std::size_t max_details = 32;
// 32 details of 1 KiB, each byte at most six in JSON, leave no line longer.
inline constexpr std::size_t max_line = 256U << 10U;

// ASCII only, so that no label can play with the terminal of who reads the log; no newline.
std::string to_line(const AuditRecord& record);
// Nothing where it is not exactly what to_line writes.
std::optional<AuditRecord> from_line(std::string_view line);

}  // namespace volseal::audit
