// Any earlier report can be compared with, or is refused with Error{bad_report}; what is printed of
// it cannot play with a terminal.
#include "core/base/error.h"
#include "core/report/changes.h"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

void require(bool holds) {
  if (!holds) std::abort();
}

bool safe_to_print(const std::string& text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n') || byte == 0x7f;
  });
}

// The one volume of the seed, as it is by now.
Report report_of_today(const std::string& host) {
  Report report{.coverage = {.host = host}};
  report.coverage.volumes.push_back({.path = "/dev/sda1",
                                     .verdict = Verdict::covered,
                                     .key_bits = 512,
                                     .protectors = {"tpm"},
                                     .luks_uuid = "l"});
  report.ids.emplace_back("partuuid:p");
  return report;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const EarlierReport earlier =
        parse_earlier_report({reinterpret_cast<const char*>(data), size}, "seed");
    const Comparison comparison = compare(earlier, report_of_today(earlier.host));
    // Each volume of then and now is in at most a few lines, and none comes from nowhere.
    for (const Change& change : comparison.changes) require(!change.what.empty());
    require(safe_to_print(changes_text(comparison, {.columns = 80})));
  } catch (const Error& error) {
    require(error.code() == Code::bad_report);
  }
  return 0;
}
