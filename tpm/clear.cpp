#include "tpm/clear.h"

#include "core/base/destroy.h"
#include "tpm/counter.h"
#include "tpm/state.h"

#include <algorithm>
#include <vector>

namespace volseal::tpm {

namespace {

constexpr std::string_view counter_file = "counter";

void destroy_folder(const Path& folder) {
  std::vector<Path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && !entry.is_symlink()) files.push_back(entry.path());
  }
  // The counter's index is no secret, and stays readable to the last: overwritten, and not removed
  // because of a cut, it would name no index.
  std::erase_if(files, [](const Path& file) { return file.filename() == counter_file; });
  for (const Path& file : files) destroy_file(file);
  std::filesystem::remove_all(folder);
  sync_folder(folder.parent_path());
}

// ".NAME.MILLISECONDS", as GroupState::set_aside() names them.
std::vector<Path> set_aside_folders(const Path& groups, const std::string& group) {
  std::vector<Path> folders;
  const std::string begin = "." + group + ".";
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(groups, absent)) {
    const std::string name = entry.path().filename().native();
    const bool aside = name.starts_with(begin) && name.size() > begin.size() &&
                       name.find_first_not_of("0123456789", begin.size()) == std::string::npos;
    if (aside && entry.is_directory()) folders.push_back(entry.path());
  }
  std::ranges::sort(folders);
  return folders;
}

}  // namespace

CounterEnd end_counter(Connection& tpm, const Path& state, const std::string& group) {
  CounterEnd end = unreachable_counter(state, group);
  end.what = "none";
  if (!end.index) return end;
  switch (look_at_counter(tpm, *end.index)) {
    case CounterState::none: return end;
    case CounterState::foreign: end.what = "left"; return end;
    case CounterState::ours: break;
  }
  increment_counter(tpm, *end.index);
  remove_counter(tpm, *end.index);
  end.what = "removed";
  return end;
}

CounterEnd unreachable_counter(const Path& state, const std::string& group) {
  return {.index = GroupState(state, group).counter(), .what = "left"};
}

std::vector<std::string> destroy_group_files(const Path& state, const std::string& group) {
  const Path folder = GroupState(state, group).folder();
  std::vector<std::string> destroyed;
  for (const Path& aside : set_aside_folders(folder.parent_path(), group)) {
    destroy_folder(aside);
    destroyed.push_back(aside.native());
  }
  if (std::filesystem::exists(folder)) destroy_folder(folder);
  destroyed.push_back(folder.native());
  return destroyed;
}

}  // namespace volseal::tpm
