#include "core/discover/mounts.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <libmount.h>
#include <sys/sysmacros.h>

#include <sstream>
#include <string_view>

namespace volseal {
namespace {

using Table = Handle<libmnt_table, mnt_unref_table>;
using Iterator = Handle<libmnt_iter, mnt_free_iter>;

std::string text_of(const char* text) {
  return text == nullptr ? "" : text;
}

// Calls `each` with every line of a table.
template <typename F>
void for_each_line(const Table& table, F each) {
  if (!table) return;
  const Iterator at(mnt_new_iter(MNT_ITER_FORWARD));
  libmnt_fs* line = nullptr;
  while (at && mnt_table_next_fs(table.get(), at.get(), &line) == 0) each(line);
}

}  // namespace

std::vector<Mount> read_mounts(const Path& proc) {
  std::vector<Mount> mounts;
  // What init sees is what the machine has mounted; a service that is kept from writing somewhere
  // has the same things mounted several times over.
  Table table(mnt_new_table_from_file((proc / "1" / "mountinfo").c_str()));
  if (!table) table.reset(mnt_new_table_from_file((proc / "self" / "mountinfo").c_str()));
  for_each_line(table, [&](libmnt_fs* line) {
    const dev_t number = mnt_fs_get_devno(line);
    mounts.push_back({.major = ::major(number),
                      .minor = ::minor(number),
                      .source = text_of(mnt_fs_get_source(line)),
                      .target = text_of(mnt_fs_get_target(line)),
                      .type = text_of(mnt_fs_get_fstype(line))});
  });
  return mounts;
}

std::vector<Swap> read_swaps(const Path& proc) {
  std::vector<Swap> swaps;
  const Table table(mnt_new_table());
  if (!table || mnt_table_parse_swaps(table.get(), (proc / "swaps").c_str()) != 0) return swaps;
  for_each_line(table, [&](libmnt_fs* line) {
    const auto kibibytes = static_cast<std::uint64_t>(mnt_fs_get_size(line));
    swaps.push_back({.path = text_of(mnt_fs_get_source(line)),
                     .is_file = text_of(mnt_fs_get_swaptype(line)) == "file",
                     .size = kibibytes * 1024});
  });
  return swaps;
}

std::vector<FstabEntry> read_fstab(const Path& etc) {
  std::vector<FstabEntry> entries;
  const Table table(mnt_new_table_from_file((etc / "fstab").c_str()));
  for_each_line(table, [&](libmnt_fs* line) {
    entries.push_back({.source = text_of(mnt_fs_get_source(line)),
                       .target = text_of(mnt_fs_get_target(line)),
                       .type = text_of(mnt_fs_get_fstype(line)),
                       .options = text_of(mnt_fs_get_options(line))});
  });
  return entries;
}

std::vector<CrypttabEntry> read_crypttab(const Path& etc) {
  std::vector<CrypttabEntry> entries;
  try {
    std::istringstream lines(read_file_if_any(etc / "crypttab").value_or(""));
    for (std::string line; std::getline(lines, line);) {
      CrypttabEntry entry;
      std::istringstream(line) >> entry.name >> entry.source >> entry.key >> entry.options;
      if (entry.name.empty() || entry.name.starts_with('#') || entry.source.empty()) continue;
      entries.push_back(std::move(entry));
    }
  } catch (const Error&) {
    // Root-only on some machines; the graph is taken without it.
    return {};
  }
  return entries;
}

}  // namespace volseal
