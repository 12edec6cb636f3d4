#include "core/tables/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <optional>

namespace volseal {

namespace {

constexpr std::string_view blanks = " \t";

// A line and where its fields are in it.
struct Line {
  std::string_view text;  // without its newline
  std::vector<std::string_view> fields;
};

Line split(std::string_view text) {
  Line line{.text = text, .fields = {}};
  if (const auto first = text.find_first_not_of(blanks);
      first == std::string_view::npos || text[first] == '#') {
    return line;
  }
  std::size_t at = 0;
  while ((at = text.find_first_not_of(blanks, at)) != std::string_view::npos) {
    const auto end = std::min(text.find_first_of(blanks, at), text.size());
    line.fields.push_back(text.substr(at, end - at));
    at = end;
  }
  return line;
}

// Applies `change` to every line; a line that it answers for is replaced by the answer.
std::string map_lines(std::string_view text,
                      const std::function<std::optional<std::string>(const Line&)>& change) {
  std::string out;
  while (!text.empty()) {
    const auto newline = text.find('\n');
    const Line line = split(text.substr(0, newline));
    if (auto changed = change(line)) {
      out += *changed;
    } else {
      out += line.text;
    }
    if (newline == std::string_view::npos) break;
    out += '\n';
    text.remove_prefix(newline + 1);
  }
  return out;
}

// Blanks and backslashes as \NNN, as getmntent(3) reads them.
std::string encode(std::string_view field) {
  std::string out;
  for (const char c : field) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\' || c == '#') {
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string decode(std::string_view field) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) &&
        octal(field[i + 3])) {
      out += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
                               (field[i + 3] - '0'));
      i += 3;
    } else {
      out += field[i];
    }
  }
  return out;
}

std::string with_line(std::string text, const std::string& line) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text + line + "\n";
}

std::string line_of(const CrypttabEntry& entry) {
  return fmt::format("{} {} {} {}", encode(entry.name), encode(entry.source),
                     entry.key.empty() ? "none" : encode(entry.key),
                     entry.options.empty() ? "luks" : encode(entry.options));
}

// Puts `to` in the place of one field and leaves the rest of the line as it stands.
std::string with_field(const Line& line, std::size_t index, std::string_view to) {
  const std::string_view field = line.fields[index];
  const auto offset = static_cast<std::size_t>(field.data() - line.text.data());
  std::string out(line.text);
  out.replace(offset, field.size(), encode(to));
  return out;
}

// "PARTUUID=x" and its like as the link that udev makes for it.
std::string as_path(const std::string& source) {
  static constexpr std::array tags = {std::pair{"PARTUUID=", "/dev/disk/by-partuuid/"},
                                      std::pair{"PARTLABEL=", "/dev/disk/by-partlabel/"},
                                      std::pair{"ID=", "/dev/disk/by-id/"}};
  for (const auto& [tag, folder] : tags) {
    if (!source.starts_with(tag)) continue;
    std::string value = source.substr(std::string_view(tag).size());
    std::erase(value, '"');
    // udev writes these UUIDs small; whoever copied one from a firmware menu did not.
    if (std::string_view(tag) == "PARTUUID=") {
      std::ranges::transform(value, value.begin(), [](unsigned char c) { return std::tolower(c); });
    }
    return folder + value;
  }
  return source;
}

// Without the lines of two fields and more that `goes` is true for.
std::string without_lines(std::string_view text, const std::function<bool(const Line&)>& goes) {
  std::string out;
  while (!text.empty()) {
    const auto newline = text.find('\n');
    const std::size_t length = newline == std::string_view::npos ? text.size() : newline + 1;
    const Line line = split(text.substr(0, newline));
    if (line.fields.size() < 2 || !goes(line)) out += text.substr(0, length);
    text.remove_prefix(length);
  }
  return out;
}

// mount(8) and systemd pass over options that begin with "x-".
constexpr std::string_view hold = ",noauto,x-volseal.decrypting";

}  // namespace

std::vector<CrypttabEntry> parse_crypttab(std::string_view text) {
  std::vector<CrypttabEntry> entries;
  map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    if (line.fields.size() < 2) return std::nullopt;
    const auto field = [&](std::size_t i) {
      return i < line.fields.size() ? decode(line.fields[i]) : std::string();
    };
    entries.push_back({.name = field(0), .source = field(1), .key = field(2), .options = field(3)});
    return std::nullopt;
  });
  return entries;
}

std::vector<CrypttabEntry> load_crypttab(const Path& path) {
  return parse_crypttab(read_file_if_any(path).value_or(""));
}

std::string with_crypttab_entry(std::string_view text, const CrypttabEntry& entry) {
  bool found = false;
  std::string out = map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    if (line.fields.size() < 2 || decode(line.fields[0]) != entry.name) return std::nullopt;
    found = true;
    return line_of(entry);
  });
  return found ? out : with_line(std::move(out), line_of(entry));
}

std::string without_crypttab_entry(std::string_view text, std::string_view name) {
  return without_lines(text, [&](const Line& line) { return decode(line.fields[0]) == name; });
}

std::string without_fstab_source(std::string_view text, const std::vector<std::string>& names) {
  return without_lines(text, [&](const Line& line) {
    return std::ranges::find(names, as_path(decode(line.fields[0]))) != names.end();
  });
}

std::string with_fstab_entry(std::string_view text, const FstabEntry& entry) {
  bool found = false;
  std::string out = map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    // "none" is where every swap area goes: no place that is taken.
    if (line.fields.size() < 3 || decode(line.fields[1]) != entry.target ||
        !entry.target.starts_with('/')) {
      return std::nullopt;
    }
    found = true;
    // The type first: it stands behind the source, whose place stays the same then.
    const std::string typed = with_field(line, 2, entry.type);
    return with_field(split(typed), 0, entry.source);
  });
  if (found) return out;
  // Looked at by fsck after the root file system; swap is not.
  const int pass = entry.target.starts_with('/') ? 2 : 0;
  return with_line(std::move(out),
                   fmt::format("{} {} {} {} 0 {}", encode(entry.source), encode(entry.target),
                               encode(entry.type),
                               entry.options.empty() ? "defaults" : encode(entry.options), pass));
}

std::string with_fstab_source(std::string_view text, const std::vector<std::string>& names,
                              std::string_view to) {
  return map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    if (line.fields.size() < 2) return std::nullopt;
    const std::string source = as_path(decode(line.fields[0]));
    if (std::ranges::find(names, source) == names.end()) return std::nullopt;
    return with_field(line, 0, to);
  });
}

std::string with_fstab_hold(std::string_view text, const std::vector<std::string>& sources) {
  return map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    if (line.fields.size() < 3) return std::nullopt;
    std::string source = as_path(decode(line.fields[0]));
    std::erase(source, '"');
    if (std::ranges::find(sources, source) == sources.end()) return std::nullopt;
    if (line.fields.size() == 3) return fmt::format("{} defaults{}", line.text, hold);
    if (line.fields[3].find(hold) != std::string_view::npos) return std::nullopt;
    return with_field(line, 3, decode(line.fields[3]).append(hold));
  });
}

std::string without_fstab_hold(std::string_view text) {
  return map_lines(text, [&](const Line& line) -> std::optional<std::string> {
    if (line.fields.size() < 4) return std::nullopt;
    std::string options = decode(line.fields[3]);
    const auto at = options.find(hold);
    if (at == std::string::npos) return std::nullopt;
    return with_field(line, 3, options.erase(at, hold.size()));
  });
}

void save_table(const Path& path, std::string_view content) {
  // A table that is a link stays one: what it points to is replaced.
  const Path file = std::filesystem::weakly_canonical(path);
  const auto old = read_file_if_any(file);
  if (old == content) return;
  if (old) {
    const Path aside = Path(path) += ".volseal-old";
    // As readable as the table itself, and no more.
    const auto mode = static_cast<mode_t>(std::filesystem::status(file).permissions());
    std::filesystem::remove(aside);
    write_file(aside, *old, mode);
  }
  write_file(file, content, 0644);
}

void add_to_crypttab(const Path& path, const CrypttabEntry& entry) {
  save_table(path, with_crypttab_entry(read_file_if_any(path).value_or(""), entry));
}

void add_to_fstab(const Path& path, const FstabEntry& entry) {
  save_table(path, with_fstab_entry(read_file_if_any(path).value_or(""), entry));
}

void repoint_fstab(const Path& path, const std::vector<std::string>& names, std::string_view to) {
  if (const auto text = read_file_if_any(path))
    save_table(path, with_fstab_source(*text, names, to));
}

}  // namespace volseal
