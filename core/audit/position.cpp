// How far the tree over the log's lines was computed.
#include "core/audit/checkpoint.h"
#include "core/audit/lines.h"
#include "core/audit/reader.h"
#include "core/audit/record.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/strict_json.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <ranges>
#include <utility>

namespace volseal::audit {

namespace {

constexpr std::string_view tree_schema = "volseal-audit-tree/1";

Path tree_note_of(const Path& log) {
  return folder_of(log) / "tree.json";
}

UniqueFd open_again(const Snapshot::File& file) {
  return open_file(file.path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
}

std::optional<Position> parse_position(const std::string& text) {
  constexpr std::size_t limit = 64U << 10U;
  constexpr std::size_t most_peaks = std::size_t{64} * 64;
  const nlohmann::json json = StrictJson::parse(text, limit, "the audit log's tree");
  StrictJson reader(json, "the audit log's tree");
  if (reader.text("schema", 64) != tree_schema) return std::nullopt;
  Position position{.file = reader.number("file", 1, UINT64_MAX),
                    .offset = reader.number("offset", 0, UINT64_MAX),
                    .log = reader.text("log", 64),
                    .last_size = reader.number("last_size", 0, longest_line),
                    .last_hash = reader.text("last_hash", 64)};
  auto tree = Tree::from(reader.number("lines", 0, UINT64_MAX), reader.text("peaks", most_peaks));
  reader.finish();
  if (!tree) return std::nullopt;
  position.tree = *std::move(tree);
  return position;
}

void save_position(const Path& log, const Position& position) {
  const nlohmann::ordered_json json = {
      {"schema", tree_schema},           {"file", position.file},
      {"offset", position.offset},       {"log", position.log},
      {"last_size", position.last_size}, {"last_hash", position.last_hash},
      {"lines", position.tree.size()},   {"peaks", position.tree.peaks()}};
  try {
    make_folder(folder_of(log));
    write_file(tree_note_of(log), json.dump() + "\n");
  } catch (const Error& error) {
    // It is computed again then, which takes longer.
    log::detail("where the audit log's tree stands is not kept: {}", error.what());
  }
}

// Whether the file still has the last line that the tree was computed from, where it was.
bool still_fits(const Position& position, const Snapshot& files) {
  const auto file = std::ranges::find(files.files, position.file, &Snapshot::File::number);
  if (file == files.files.end() || position.offset > file->size) return false;
  if (position.last_size + 1 > position.offset) return false;
  const UniqueFd fd = open_again(*file);
  const std::string line = read_at(fd.get(), position.offset - position.last_size - 1,
                                   static_cast<std::size_t>(position.last_size) + 1, file->path);
  return line.back() == '\n' &&
         hex(Hasher().of(std::string_view(line).substr(0, line.size() - 1))) == position.last_hash;
}

std::optional<Position> load_position(const Path& log, const Snapshot& files) {
  try {
    const auto text = read_file_if_any(tree_note_of(log));
    auto position = text ? parse_position(*text) : std::nullopt;
    if (position && still_fits(*position, files)) return position;
  } catch (const Error& error) {
    log::detail("the audit log's tree is computed again: {}", error.what());
  }
  return std::nullopt;
}

// Where the newest file begins, by what its first line says of those before it.
std::optional<Position> beginning_of(const Snapshot::File& file) {
  if (file.number == 1) return Position{};
  const UniqueFd fd = open_again(file);
  LineReader reader(fd.get(), file.path, 0, file.size);
  const auto line = reader.next();
  const auto record = line ? from_line(line->text) : std::nullopt;
  auto closed = record ? closed_before(*record) : std::nullopt;
  if (!closed || closed->number + 1 != file.number) return std::nullopt;
  return Position{
      .file = file.number, .tree = std::move(closed->tree), .log = std::move(closed->log)};
}

Position start_of(const Path& log, const Snapshot& files, std::uint64_t signed_size) {
  if (auto position = load_position(log, files)) return *std::move(position);
  for (const Snapshot::File& file : files.files | std::views::reverse) {
    auto position = beginning_of(file);
    // From before the last checkpoint, so that what was signed is seen again on the way.
    if (position && position->tree.size() <= signed_size) return *std::move(position);
  }
  return {};
}

}  // namespace

Position tree_over(const Path& log, const Snapshot& files) {
  const auto last = last_checkpoint(log);
  const std::uint64_t signed_size = last ? last->size : 0;
  Position position = start_of(log, files, last ? last->size : UINT64_MAX);
  Hasher hasher;
  const auto compare = [&] {
    if (!last || position.tree.size() != signed_size || signed_size == 0) return;
    if (position.tree.root(hasher) != last->root)
      throw Error(Code::tampered, "read {}: its first {} lines are not those that were signed",
                  log.native(), signed_size);
  };
  compare();
  const std::uint64_t from = position.tree.size();
  std::string last_line;
  for (const Snapshot::File& file : files.files) {
    if (file.number < position.file || file.size == 0) continue;
    if (file.number > position.file) position.offset = 0;
    position.file = file.number;
    const UniqueFd fd = open_again(file);
    LineReader reader(fd.get(), file.path, position.offset, file.size);
    while (const auto line = reader.next()) {
      if (!line->ended) break;
      if (position.log.empty()) position.log = id_of(hasher.of(line->text));
      position.tree.add(hasher, line->text);
      position.offset = reader.offset();
      last_line = line->text;
      if (position.tree.size() == signed_size) compare();
    }
  }
  if (position.tree.size() < signed_size)
    throw Error(Code::tampered, "read {}: it has {} lines, and {} were signed", log.native(),
                position.tree.size(), signed_size);
  if (position.tree.size() != from) {
    position.last_size = last_line.size();
    position.last_hash = hex(hasher.of(last_line));
    save_position(log, position);
  }
  return position;
}

}  // namespace volseal::audit
