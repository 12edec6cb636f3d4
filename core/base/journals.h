// The journals of a folder (journals_in), read. A header file of its own: it needs JSON.
#pragma once

#include "core/base/error.h"
#include "core/base/file.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <vector>

namespace volseal {

// Oldest first, by `started_at`. `entry_of` makes an entry of the JSON. Throws Error{damaged} where
// one is not what it wants, and what it throws itself.
template <typename Json, typename Entry>
std::vector<Entry> read_journals(const Path& folder, Entry (*entry_of)(const Json&)) {
  std::vector<Entry> entries;
  for (const Path& file : journals_in(folder)) {
    try {
      entries.push_back(entry_of(Json::parse(read_file(file))));
    } catch (const typename Json::exception&) {
      throw Error(Code::damaged, "read the journal {}: it is not what volseal writes",
                  file.native());
    }
  }
  std::ranges::sort(entries, {}, &Entry::started_at);
  return entries;
}

}  // namespace volseal
