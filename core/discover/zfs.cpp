#include "core/discover/zfs.h"

#include "core/base/error.h"
#include "core/base/process.h"

#include <algorithm>
#include <string>
#include <system_error>

namespace volseal {

std::vector<Dataset> parse_datasets(std::string_view text) {
  constexpr std::size_t most = 10'000;
  std::vector<Dataset> datasets;
  while (!text.empty() && datasets.size() < most) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    std::vector<std::string> fields(1);
    for (const char c : line) {
      if (c == '\t') {
        fields.emplace_back();
      } else {
        fields.back() += c;
      }
    }
    if (fields.size() != 4 || fields[0].empty() || fields[1].empty() || fields[1] == "-") continue;
    datasets.push_back(
        {.name = fields[0], .encryption = fields[1], .mount = fields[2] == "yes" ? fields[3] : ""});
  }
  return datasets;
}

std::vector<Dataset> read_datasets(const Path& sys) {
  std::error_code ignored;
  if (!std::filesystem::exists(sys / "module" / "zfs", ignored)) return {};
  try {
    const ProcessResult listed = run({"zfs", "list", "-H", "-t", "filesystem,volume", "-o",
                                      "name,encryption,mounted,mountpoint"},
                                     {}, {.variables = {}, .timeout = std::chrono::seconds(10)});
    return listed.status == 0 ? parse_datasets(listed.output) : std::vector<Dataset>();
  } catch (const Error&) {
    return {};  // no zfs(8)
  }
}

}  // namespace volseal
