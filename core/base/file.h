// Files: bounded reads, and writes that are whole or absent after a power cut.
#pragma once

#include "core/base/handle.h"
#include "core/base/secret.h"

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

using Path = std::filesystem::path;

// open(2) with O_CLOEXEC. Throws Error by errno.
UniqueFd open_file(const Path& path, int flags, mode_t mode = 0600);

// Bytes of a file or of a block device. Throws Error by errno, naming `path`.
std::uint64_t size_of(int fd, const Path& path);
std::uint64_t size_of(const Path& path);

bool is_block_device(const Path& path);

// Throws Error{busy} when somebody has it: a mount, a mapping, another claim (O_EXCL, open(2)).
// What is no block device nobody claims.
void require_unclaimed(const Path& device);

// The whole file; throws Error{damaged} when it is larger than `limit` bytes, Error by errno else.
std::string read_file(const Path& path, std::size_t limit = 1U << 20U);
// Nothing when there is no such file.
std::optional<std::string> read_file_if_any(const Path& path, std::size_t limit = 1U << 20U);

// A secret out of a file, "-" for standard input. One trailing newline is not part of it unless
// `raw`. Throws Error{usage} when it is empty or larger than 8 MiB (the keyfile limit of LUKS).
Secret read_secret(const Path& path, bool raw = false);
Secret read_secret_from(int fd, std::string_view what, bool raw = false);

// Temporary file in the same folder, fsync, rename, fsync of the folder: after a power cut either
// the old content is there or the new. An existing file keeps its owner and mode, and where `path`
// is a symbolic link, its target is what is replaced; a new one gets `mode`.
void write_file(const Path& path, std::string_view content, mode_t mode = 0600);
// As write_file, with bytes that are a secret: never through a std::string, and for its owner alone
// whatever the mode of a file that was there.
void write_secret_file(const Path& path, const Secret& content);

// Writes all of it; throws Error by errno, naming `what`.
void write_all(int fd, std::string_view content, std::string_view what);
void sync_fd(int fd, std::string_view what);
void sync_folder(const Path& folder);

// A folder of journals: NAME.json, and beside each what belongs to it, NAME.*. What begins with a
// dot is a write that was cut off. Nothing where there is no such folder.
std::vector<Path> journals_in(const Path& folder);
// What lies there and belongs to no journal; no folders.
std::vector<Path> strays_in(const Path& folder);

// mkdir -p with mode 0700 for what it makes.
void make_folder(const Path& folder);

// An exclusive lock on a file (flock), held until destruction. Throws Error{busy} naming the
// holder's process id where somebody else has it.
class FileLock {
 public:
  explicit FileLock(const Path& path);

  // The process that holds it; nothing: none does, or it could not say.
  static std::optional<pid_t> holder(const Path& path);
  // Returns once nobody holds it.
  static void wait_until_free(const Path& path);

 private:
  UniqueFd fd_;
};

}  // namespace volseal
