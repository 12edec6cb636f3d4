#include "cli/report_shelf.h"

#include <algorithm>
#include <utility>

namespace volseal {

namespace {

constexpr std::string_view shelf_prefix = "coverage-";
constexpr std::string_view shelf_form = "coverage-00000000T000000.000Z.json";

// "coverage-20300501T080000.000Z.json" sorts by time.
std::string shelf_name(const std::string& made_at) {
  std::string name(shelf_prefix);
  for (const char c : made_at) {
    if (c != '-' && c != ':') name += c;
  }
  return name + ".json";
}

bool is_shelf_name(std::string_view name) {
  if (name.size() != shelf_form.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (shelf_form[i] == '0' ? !digit : name[i] != shelf_form[i]) return false;
  }
  return true;
}

}  // namespace

ReportShelf::ReportShelf(Path folder) : folder_(std::move(folder)) {
  make_folder(folder_);
}

std::vector<Path> ReportShelf::reports() const {
  std::vector<Path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    if (is_shelf_name(entry.path().filename().native())) found.push_back(entry.path());
  }
  std::ranges::sort(found);
  return found;
}

void ReportShelf::add(std::string_view json, const std::string& made_at, std::size_t most) const {
  write_file(folder_ / shelf_name(made_at), json);
  const std::vector<Path> all = reports();
  for (std::size_t at = 0; at + most < all.size(); ++at) {
    std::error_code gone_already;
    std::filesystem::remove(all[at], gone_already);
  }
}

}  // namespace volseal
