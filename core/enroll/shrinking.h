// Shrinking an ext file system as one step that a power cut cannot tear.
//
// resize2fs is not safe against a cut, and its own undo files are not to be trusted
// (e2fsprogs 1.47.0 breaks some file systems of 1 KiB blocks with -z). So it works on a
// device-mapper snapshot: what it writes goes to a store, a file beside the journal, or to where
// the file system as it is has nothing, and that stays as it is. Once all of it is there, checked
// and synced, the store is merged into the device, its superblock last. The kernel notes in the
// store what has been merged (Documentation/admin-guide/device-mapper/snapshot.rst), so a merge
// that was cut off goes on.
//
// Image files have no snapshots; they are shrunk where they are.
#pragma once

#include "core/base/file.h"

#include <cstdint>
#include <string>

namespace volseal {

class Shrinking {
 public:
  // `name`: for the mapping, not in use by anybody else.
  Shrinking(Path device, Path store, std::string name);

  // To `bytes`, of which `moved` lie further back now. On a new snapshot; of the device, only what
  // its file system does not use is written.
  // Repeatable until mask(). Throws Error{unsafe, program_failed, no_space}.
  void on_snapshot(std::uint64_t bytes, std::uint64_t moved) const;
  // Clears the device's old superblock: a half-merged file system must not be mounted by anybody.
  // Repeatable until merge().
  void mask() const;
  // Repeatable. The file system is whole again when it returns.
  void merge() const;
  // Overwrites and removes the store: it holds plaintext, and may lie on a disk that is not
  // encrypted. Only after merge(). Repeatable.
  void forget() const;

 private:
  bool is_image() const;
  std::string attach() const;
  void detach() const;

  Path device_;
  Path store_;
  std::string name_;
};

}  // namespace volseal
