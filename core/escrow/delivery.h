// Blobs → where they are kept. Each function returns only once all of them are acknowledged.
#pragma once

#include "core/base/file.h"

#include <chrono>
#include <span>
#include <string>
#include <vector>

namespace volseal::escrow {

struct SealedBlob {
  std::string name;  // of a file, without its folder
  std::string pem;
};

// Into files, durably. The folder must be there: one that is made may be the empty mount point of a
// share that is not mounted. A failure takes back what was written. Throws Error{escrow_refused}.
void deliver_to_directory(const Path& folder, std::span<const SealedBlob> blobs);

// One after the other. Throws Error{escrow_refused} where not all of it is taken.
void deliver_to_descriptor(int fd, std::span<const SealedBlob> blobs);

struct CommandContext {
  std::string luks_uuid;
  std::string group;
};

// Runs it once for each blob, without a shell: the blob on its standard input; VOLSEAL_NAME,
// VOLSEAL_LUKS_UUID and VOLSEAL_GROUP in an environment that has only PATH and LC_ALL beside. Exit
// status 0 acknowledges. After `timeout` it is killed with its process group. Throws
// Error{escrow_refused} for everything else, and where others than root can write the program.
void deliver_to_command(const std::vector<std::string>& argv, std::chrono::seconds timeout,
                        const CommandContext& context, std::span<const SealedBlob> blobs);

// What can be seen of it beforehand: the folder is there and can be written, the program is there
// and is root's own. Throws as above.
void require_directory(const Path& folder);
void require_command(const std::vector<std::string>& argv);

}  // namespace volseal::escrow
