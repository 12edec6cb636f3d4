#include "core/luks/argon2_turn.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

namespace volseal {

namespace {

constexpr const char* turn_folder = "/run/cryptsetup";
constexpr const char* turn_file = "/run/cryptsetup/LN_memory-hard-access";

// Who lets go of it removes it: what was locked may be a file that is gone.
bool is_still(int fd) {
  struct stat held{};
  struct stat named{};
  return ::fstat(fd, &held) == 0 && ::stat(turn_file, &named) == 0 && held.st_dev == named.st_dev &&
         held.st_ino == named.st_ino;
}

}  // namespace

Argon2Turn::Argon2Turn() {
  static_cast<void>(::mkdir(turn_folder, 0700));
  do {
    lock_ = UniqueFd(::open(turn_file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock_) return;
    while (::flock(lock_.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return;
    }
  } while (!is_still(lock_.get()));
}

}  // namespace volseal
