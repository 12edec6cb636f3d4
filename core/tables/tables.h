// crypttab(5) and fstab(5): read, and edited so that comments, order and other lines stay as they
// are.
//
// The functions over text are pure. Those over files are atomic: after a power cut the old table is
// there or the new one; the old one is kept beside it as FILE.volseal-old.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// Lines that are no entry (comments, too few fields) are passed over. Octal escapes are decoded.
std::vector<CrypttabEntry> parse_crypttab(std::string_view text);
// Nothing where there is no file. Throws Error by errno.
std::vector<CrypttabEntry> load_crypttab(const Path& path);

// The entry of that name replaced where it stands, or put at the end.
std::string with_crypttab_entry(std::string_view text, const CrypttabEntry& entry);
std::string without_crypttab_entry(std::string_view text, std::string_view name);

// Put at the end, unless the target has a line already: that one gets source and type, and keeps
// the rest.
std::string with_fstab_entry(std::string_view text, const FstabEntry& entry);

// Lines whose source is one of `names` (paths; PARTUUID=, PARTLABEL= and ID= stand for their links
// under /dev/disk) get the source `to`. UUID= and LABEL= stay: a file system keeps those when it is
// encrypted in place.
std::string with_fstab_source(std::string_view text, const std::vector<std::string>& names,
                              std::string_view to);

// Without the lines whose source is one of `names`, as above.
std::string without_fstab_source(std::string_view text, const std::vector<std::string>& names);

// Lines whose source is one of `sources` (as above, or "UUID=..." as it stands) are not mounted at
// boot, and bear a mark; without_fstab_hold() makes every marked line again what it was.
std::string with_fstab_hold(std::string_view text, const std::vector<std::string>& sources);
std::string without_fstab_hold(std::string_view text);

// Does nothing when the content is the same.
void save_table(const Path& path, std::string_view content);

void add_to_crypttab(const Path& path, const CrypttabEntry& entry);
void add_to_fstab(const Path& path, const FstabEntry& entry);
void repoint_fstab(const Path& path, const std::vector<std::string>& names, std::string_view to);

}  // namespace volseal
