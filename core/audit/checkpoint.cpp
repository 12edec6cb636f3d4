#include "core/audit/checkpoint.h"

#include "core/audit/lines.h"
#include "core/audit/locked_log.h"
#include "core/base/error.h"
#include "core/base/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>

namespace volseal::audit {

namespace {

// A checkpoint of ours, five lines, takes less than half of it.
constexpr std::size_t last_note_size = 2048;
constexpr std::size_t lines_of_note = 5;

Path key_of(const Path& log) {
  return folder_of(log) / "key.pem";
}

// How much of the file is whole checkpoints: a cut may have torn the last one.
std::uint64_t whole_size(int fd, std::uint64_t size, const Path& path) {
  const std::uint64_t begin = size - std::min<std::uint64_t>(size, last_note_size);
  const std::string tail = read_at(fd, begin, static_cast<std::size_t>(size - begin), path);
  for (std::size_t end = tail.size(); end > 0; --end) {
    if (tail[end - 1] != '\n') continue;
    const auto newline = end < 2 ? std::string::npos : tail.rfind('\n', end - 2);
    const std::size_t line = newline == std::string::npos ? 0 : newline + 1;
    if (tail.compare(line, 3, "\xe2\x80\x94") == 0) return begin + end;
    end = line + 1;
  }
  if (begin == 0) return 0;
  throw Error(Code::damaged, "read {}: its end is no checkpoint", path.native());
}

void append_checkpoint(const Path& log, const std::string& note) {
  const Path path = checkpoints_of(log);
  const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NOCTTY, 0600);
  const std::uint64_t size = size_of(fd.get(), path);
  const std::uint64_t whole = whole_size(fd.get(), size, path);
  if (whole < size && ::ftruncate(fd.get(), static_cast<off_t>(whole)) != 0)
    throw_errno(errno, "cut {}", path.native());
  if (::lseek(fd.get(), static_cast<off_t>(whole), SEEK_SET) < 0)
    throw_errno(errno, "write {}", path.native());
  write_all(fd.get(), note, path.native());
  sync_fd(fd.get(), path.native());
  if (size == 0) sync_folder(path.parent_path());
}

CheckpointKey key_for(const Path& log, bool signed_before) {
  if (auto key = load_key(log)) return *std::move(key);
  if (signed_before) {
    throw Error(Code::bad_key, "open {}: the key that signed the log's checkpoints is gone",
                key_of(log).native());
  }
  CheckpointKey key = CheckpointKey::generate();
  write_secret_file(key_of(log), key.to_pem());
  return key;
}

}  // namespace

Path checkpoints_of(const Path& log) {
  return folder_of(log) / "checkpoints";
}

std::optional<CheckpointKey> load_key(const Path& log) {
  std::error_code ignored;
  if (!std::filesystem::exists(key_of(log), ignored)) return std::nullopt;
  return CheckpointKey::from_pem(read_secret(key_of(log), true));
}

std::optional<std::string> last_note(const Path& log) {
  std::optional<std::string> last;
  const Path path = checkpoints_of(log);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return last;
  const UniqueFd fd = open_file(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY);
  const std::uint64_t whole = whole_size(fd.get(), size_of(fd.get(), path), path);
  if (whole == 0) return last;
  const std::uint64_t begin = whole - std::min<std::uint64_t>(whole, last_note_size);
  const std::string text = read_at(fd.get(), begin, static_cast<std::size_t>(whole - begin), path);
  std::size_t at = text.size();
  for (std::size_t lines = 0; lines < lines_of_note; ++lines) {
    const auto newline = at < 2 ? std::string::npos : text.rfind('\n', at - 2);
    at = newline == std::string::npos ? 0 : newline + 1;
  }
  return text.substr(at);
}

std::optional<Checkpoint> last_checkpoint(const Path& log) {
  const auto text = last_note(log);
  if (!text) return std::nullopt;
  auto note = parse_note(*text);
  if (!note) {
    throw Error(Code::damaged, "read {}: its end is no checkpoint", checkpoints_of(log).native());
  }
  return std::move(note->checkpoint);
}

void for_each_checkpoint(const Path& log,
                         const std::function<void(const Note&, std::size_t)>& visit) {
  const Path path = checkpoints_of(log);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return;
  const UniqueFd fd = open_file(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY);
  LineReader reader(fd.get(), path, 0, whole_size(fd.get(), size_of(fd.get(), path), path));
  std::string text;
  std::size_t number = 0;
  while (const auto line = reader.next()) {
    (text += line->text) += '\n';
    if (++number % lines_of_note != 0) continue;
    const auto note = parse_note(text);
    if (!note)
      throw Error(Code::damaged, "read {}: no checkpoint in line {}", path.native(),
                  number - lines_of_note + 1);
    visit(*note, number - lines_of_note + 1);
    text.clear();
  }
  if (!text.empty()) throw Error(Code::damaged, "read {}: its end is no checkpoint", path.native());
}

std::optional<Checkpoint> write_checkpoint(const Path& log, const Snapshot& files) {
  make_folder(folder_of(log));
  const auto last = last_checkpoint(log);
  const Position position = tree_over(log, files);
  if (position.tree.size() == 0 || (last && last->size == position.tree.size()))
    return std::nullopt;
  // What is signed must not be gone after a power cut: then the log would look cut off.
  if (!files.files.empty()) {
    if (const auto& open = files.files.back().fd) sync_fd(open->get(), log.native());
  }
  Hasher hasher;
  Checkpoint checkpoint{.origin = origin_of(this_machine(), position.log),
                        .size = position.tree.size(),
                        .root = position.tree.root(hasher)};
  append_checkpoint(log, key_for(log, last.has_value()).sign(checkpoint));
  return checkpoint;
}

bool make_checkpoint(const AuditPlace& place) {
  std::error_code ignored;
  if (!std::filesystem::exists(place.log, ignored) && closed_files(place.log).empty()) return false;
  const LockedLog lock = LockedLog::open(place);
  return write_checkpoint(place.log, list_files(place.log)).has_value();
}

}  // namespace volseal::audit
