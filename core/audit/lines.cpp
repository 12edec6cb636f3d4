#include "core/audit/lines.h"

#include "core/base/error.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace volseal::audit {

namespace {

constexpr std::size_t chunk = 256U << 10U;

void read_into(int fd, std::uint64_t offset, char* to, std::size_t size, const Path& path) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::pread(fd, to + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", path.native());
    if (got == 0) throw Error(Code::io, "read {}: it became shorter", path.native());
    done += static_cast<std::size_t>(got);
  }
}

}  // namespace

std::string read_at(int fd, std::uint64_t offset, std::size_t size, const Path& path) {
  std::string text(size, '\0');
  read_into(fd, offset, text.data(), size, path);
  return text;
}

LineReader::LineReader(int fd, Path path, std::uint64_t begin, std::uint64_t end)
    : fd_(fd), path_(std::move(path)), read_(begin), end_(end) {}

void LineReader::fill() {
  buffer_.erase(0, at_);
  at_ = 0;
  const std::size_t old = buffer_.size();
  const auto more = static_cast<std::size_t>(std::min<std::uint64_t>(chunk, end_ - read_));
  buffer_.resize(old + more);
  read_into(fd_, read_, buffer_.data() + old, more, path_);
  read_ += more;
}

std::optional<LineReader::Line> LineReader::next() {
  for (std::size_t searched = at_;;) {
    const auto newline = buffer_.find('\n', searched);
    if (newline != std::string::npos) {
      const Line line{.text = std::string_view(buffer_).substr(at_, newline - at_)};
      at_ = newline + 1;
      return line;
    }
    if (buffer_.size() - at_ > longest_line) {
      throw Error(Code::damaged, "read {}: a line is longer than 1 MiB", path_.native());
    }
    searched = buffer_.size() - at_;
    if (read_ == end_) break;
    fill();
  }
  if (at_ == buffer_.size()) return std::nullopt;
  const Line line{.text = std::string_view(buffer_).substr(at_), .ended = false};
  at_ = buffer_.size();
  return line;
}

}  // namespace volseal::audit
