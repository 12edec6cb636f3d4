// Signed checkpoints of the log, and where the tree over its lines stands.
//
// Beside the log, root-only: audit/key.pem signs; audit/checkpoints has every checkpoint, one
// behind the other; audit/tree.json is a note of how far the tree was computed, made anew where it
// is missing or does not fit.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/files.h"
#include "core/audit/note.h"
#include "core/audit/rotation.h"
#include "core/audit/tree.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace volseal::audit {

struct Position {
  std::uint64_t file = 1;  // its number
  std::uint64_t offset = 0;
  Tree tree;
  std::string log;  // the log's id; "" before its first line
  // Of the last line: what tells that the file still is the one that the tree was computed from.
  std::uint64_t last_size = 0;
  std::string last_hash;
};

Path checkpoints_of(const Path& log);
std::optional<Checkpoint> last_checkpoint(const Path& log);
// The same with its signature, as it is handed out.
std::optional<std::string> last_note(const Path& log);
// Every checkpoint, in order. One that a cut tore at the end is passed over. Throws Error{damaged},
// with the number of the line, for anything else that is none.
void for_each_checkpoint(const Path& log,
                         const std::function<void(const Note&, std::size_t)>& visit);

// The tree over all lines of these files. Throws Error{tampered} where they are not those that the
// last checkpoint signed. Keeps what it found in tree.json, where that can be written.
Position tree_over(const Path& log, const Snapshot& files);

// With the log's lock held: signs and keeps a checkpoint of what is in `files`, which is on disk
// then. Nothing where there are no lines since the last one. Throws Error{tampered} as tree_over,
// and Error{bad_key} where the key is gone that signed the others.
std::optional<Checkpoint> write_checkpoint(const Path& log, const Snapshot& files);

// The same, taking the lock. False where there is no log, or nothing new in it.
bool make_checkpoint(const AuditPlace& place);

// Nothing where there is none.
std::optional<CheckpointKey> load_key(const Path& log);

}  // namespace volseal::audit
