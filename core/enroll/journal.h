// The journal of one enrollment: where it stands, so that it goes on after a power cut.
//
// One file a volume in STATE/enroll, replaced atomically before each phase begins. A phase that a
// cut interrupted is done again from its start; each is written so that this is safe (executor.cpp
// says why, phase by phase). No secret is in it.
#pragma once

#include "core/base/file.h"
#include "core/plan/plan.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// In the order in which they are passed; a task skips those that it does not need.
enum class Phase {
  prepared,    // the header file has proven keyslots, the recovery key was handed over; device
               // untouched
  extending,   // in place: the logical volume gets 32 MiB more
  shrinking,   // in place: on a snapshot, the file system gives up its last 32 MiB, or what is free
  masking,     // in place: the old superblock is cleared, so that nothing mounts what comes next
  merging,     // in place: the snapshot's changes go to the device
  wiping,      // in place: what the file system has given up beyond 32 MiB is zeroed
  moving,      // in place: the first 16 MiB are copied to the end
  installing,  // the header goes to the head of the device
  tables,      // crypttab and fstab
  encrypting,  // in place: the data is rewritten
  growing,     // in place: the file system gets all of the volume
  filling,     // blank and swap: mkfs, mkswap
  binding,     // the token gets its full binding, the header its backup
};

struct JournalEntry {
  std::string id;   // of the journal and its header files
  VolumePlan plan;  // what was to be done (task, path, name, mapping ... as planned)
  Phase phase = Phase::prepared;
  std::vector<std::string>
      links;  // names of the device that survive a reboot, without by-uuid and by-label
  std::string luks_uuid;
  std::string started_at;
  // In place, ext: what the file system shrinks to, and how much of it moves, bytes.
  std::uint64_t shrunk = 0;
  std::uint64_t moved = 0;
  // In place: how much of the device is encrypted, bytes; 0: all of it.
  std::uint64_t window = 0;
  // In place, of what the last phase read and this one replaces (masking: the superblock,
  // installing: the head): its SHA-256, hexadecimal. Whether somebody has used the volume since.
  std::string replaced;
};

class Journal {
 public:
  explicit Journal(const Path& state) : folder_(state / "enroll") {}

  // Durable when it returns.
  void write(const JournalEntry& entry) const;
  // The last step of an enrollment; the header files go too.
  void remove(const JournalEntry& entry) const;
  // Everything unfinished, oldest first. Throws Error{damaged} for a file that is no journal.
  std::vector<JournalEntry> unfinished() const;
  // Header files without a journal: enrollments that were cut off before anything was done.
  void remove_strays() const;

  Path file(const std::string& id) const { return folder_ / (id + ".json"); }
  // The header as it was when its keyslots were proven; never changed after that.
  Path pristine_header(const std::string& id) const { return folder_ / (id + ".header"); }
  // The copy that learns of the moved segment.
  Path working_header(const std::string& id) const { return folder_ / (id + ".working"); }
  // What shrinking changes, until it is merged.
  Path snapshot_store(const std::string& id) const { return folder_ / (id + ".cow"); }
  const Path& folder() const { return folder_; }

 private:
  Path folder_;
};

std::string_view to_string(Phase phase);

}  // namespace volseal
