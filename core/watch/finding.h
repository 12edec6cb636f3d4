// Finding: what the watcher says of one event.
#pragma once

#include "core/coverage/coverage.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

enum class Happening {
  present,   // there when the watch began
  attached,  // a device, or a volume on one, that was not there before
  changed,   // what is on it, what protects it, or who uses it
  removed,
  vanished,  // came and went before it could be looked at
  blind,     // events were lost: between `since_ms` and `boot_ms` nothing was seen as it happened
  repeated,  // more findings of one device, since `since_ms`, than are told one by one
};

// A disk below the volume, and where it hangs. Strings as the device says them: escape when
// printing.
struct Origin {
  std::string name;
  std::string bus;
  std::string port;  // udev's ID_PATH, else the path in sysfs
  std::string vendor;
  std::string model;
  std::string serial;
  std::string wwn;
  bool removable = false;
};

struct Finding {
  Happening what = Happening::present;
  std::string noticed_by;    // "start", "event", "mounts", "swaps", "rescan"
  std::uint64_t seqnum = 0;  // of the kernel's event; 0 where there was none
  std::uint64_t diskseq = 0;
  VolumeVerdict volume;  // as it is now; for removed as it was last
  std::string label;     // of the file system
  std::string uuid;
  bool swap_active = false;
  std::vector<Origin> from;
  std::vector<std::string> changes;  // one sentence each: "was blank, is ext4"
  std::string action = "notify";     // what was done about it
  std::string why;                   // it was, or what ought to have been done was not
  std::string watch_rule;            // of [watch] in the policy, where one decided
  std::int64_t since_ms = 0;         // blind, repeated: boot clock
  std::string time;                  // when it was said: RFC 3339 UTC, and the boot clock
  std::int64_t boot_ms = 0;
};

// Something must be done about it: it is not covered, cannot be judged, or was not seen.
bool needs_attention(const Finding& finding);

// "sdb usb Vendor Model serial 1 at usb-0:1 and ..."; escaped.
std::string to_text(const std::vector<Origin>& from);
// One line without its newline; for terminals and logs, escaped.
std::string to_text(const Finding& finding);
// One line of JSON in ASCII without its newline; "schema": "volseal-finding/1" (docs/watch.md).
std::string to_json_line(const Finding& finding);

std::string_view to_string(Happening what);

}  // namespace volseal
