// A line of the audit log is an event in its one spelling, or none; and whatever an event says, its
// line is read back as the same line.
#include "core/audit/record.h"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

void require(bool holds) {
  if (!holds) std::abort();
}

void require_same(const AuditRecord& record) {
  const std::string line = audit::to_line(record);
  require(line.size() <= audit::max_line);
  require(std::ranges::all_of(line, [](char c) { return c >= 0x20 && c < 0x7f; }));
  const auto back = audit::from_line(line);
  require(back.has_value() && audit::to_line(*back) == line);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto record = audit::from_line(text)) require(audit::to_line(*record) == text);
  AuditRecord record{.seq = size, .time = text, .boot_ms = -static_cast<std::int64_t>(size)};
  record.event = {.action = text.substr(size / 2), .volume = text};
  for (std::size_t at = 0; at < size && at < 200; at += 4)
    record.event.detail[text.substr(at, 70)] = text.substr(at / 2);
  require_same(record);
  return 0;
}
