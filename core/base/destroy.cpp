#include "core/base/destroy.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace volseal {

void destroy_file(const Path& path) {
  if (!std::filesystem::exists(path)) return;
  {
    const UniqueFd fd = open_file(path, O_WRONLY);
    const std::string zeros(1U << 20U, '\0');
    const std::uint64_t size = size_of(fd.get(), path);
    for (std::uint64_t at = 0; at < size; at += zeros.size()) {
      const std::string_view piece =
          std::string_view(zeros).substr(0, std::min<std::uint64_t>(size - at, zeros.size()));
      // size_of() has moved the file's own position.
      if (::pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(at)) !=
          static_cast<ssize_t>(piece.size())) {
        throw_errno(errno, "overwrite {}", path.native());
      }
    }
    sync_fd(fd.get(), path.native());
  }
  std::filesystem::remove(path);
}

}  // namespace volseal
