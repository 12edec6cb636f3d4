#include "core/unlock/boot_list.h"

#include "core/base/error.h"
#include "core/base/escape.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace volseal {

namespace {

constexpr std::array<std::pair<Wanted, std::string_view>, 4> names = {
    {{Wanted::root, "root"}, {Wanted::usr, "usr"}, {Wanted::boot, "boot"}, {Wanted::data, "data"}}};
constexpr int last_pcr = 23;

std::string encoded(std::string_view word) {
  if (word.empty()) return "-";
  std::string out;
  for (const char c : word) {
    const bool plain = c > ' ' && c < 127 && c != '\\';
    if (plain && word != "-") {
      out += c;
    } else {
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::optional<std::string> decoded(std::string_view word) {
  if (word == "-") return "";
  std::string out;
  while (!word.empty()) {
    if (word.front() != '\\') {
      out += word.front();
      word.remove_prefix(1);
      continue;
    }
    unsigned value = 0;
    const auto digits = word.substr(1, 3);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
    if (digits.size() != 3 || error != std::errc{} || end != digits.data() + 3 || value > 255)
      return std::nullopt;
    out += static_cast<char>(value);
    word.remove_prefix(4);
  }
  return out;
}

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const auto blank = std::min(line.find(' '), line.size());
    const auto word = decoded(line.substr(0, blank));
    if (!word || blank == 0) return {};
    words.push_back(*word);
    line.remove_prefix(std::min(blank + 1, line.size()));
  }
  return words;
}

[[noreturn]] void throw_line(std::string_view line) {
  throw Error(Code::damaged, "read the list of volumes to open: no line of it looks like '{}'",
              escaped(line));
}

int latch_of(const std::vector<std::string>& words, std::string_view line) {
  int pcr = -1;
  if (words.size() != 2) throw_line(line);
  const char* const end = words[1].data() + words[1].size();
  if (std::from_chars(words[1].data(), end, pcr).ptr != end || pcr < 0 || pcr > last_pcr)
    throw_line(line);
  return pcr;
}

BootVolume volume_of(const std::vector<std::string>& words, std::string_view line) {
  if (words.size() != 6 || words[1].empty() || words[2].empty()) throw_line(line);
  // It becomes a name under /dev/mapper.
  if (words[1].find('/') != std::string::npos || words[1].front() == '.') throw_line(line);
  const auto* const wanted =
      std::ranges::find(names, words[3], [](const auto& name) { return name.second; });
  if (wanted == names.end()) throw_line(line);
  return {.mapping = words[1],
          .luks_uuid = words[2],
          .wanted = wanted->first,
          .cipher = words[4],
          .options = words[5]};
}

}  // namespace

std::string_view to_string(Wanted wanted) {
  return std::ranges::find(names, wanted, &std::pair<Wanted, std::string_view>::first)->second;
}

std::string to_text(const BootList& list) {
  std::string out = "# What volseal-unlock opens; written by update-initramfs. No secrets.\n";
  for (const int pcr : list.latches) out += fmt::format("latch {}\n", pcr);
  if (list.fido2) out += "fido2\n";
  for (const BootVolume& volume : list.volumes) {
    out +=
        fmt::format("volume {} {} {} {} {}\n", encoded(volume.mapping), encoded(volume.luks_uuid),
                    to_string(volume.wanted), encoded(volume.cipher), encoded(volume.options));
  }
  return out;
}

BootList parse_boot_list(std::string_view text) {
  BootList list;
  while (!text.empty()) {
    const auto newline = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(std::min(newline + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> words = words_of(line);
    if (words.empty()) throw_line(line);
    if (words[0] == "latch") {
      list.latches.push_back(latch_of(words, line));
    } else if (words[0] == "fido2") {
      if (words.size() != 1) throw_line(line);
      list.fido2 = true;
    } else if (words[0] == "volume") {
      list.volumes.push_back(volume_of(words, line));
    } else {
      throw_line(line);
    }
  }
  return list;
}

bool has_option(std::string_view options, std::string_view flag) {
  while (!options.empty()) {
    const auto comma = options.find(',');
    if (options.substr(0, comma) == flag) return true;
    if (comma == std::string_view::npos) break;
    options.remove_prefix(comma + 1);
  }
  return false;
}

ActivateOptions activate_options(std::string_view options) {
  return {.read_only = has_option(options, "readonly") || has_option(options, "read-only"),
          .discard = has_option(options, "discard"),
          .no_read_workqueue = has_option(options, "no-read-workqueue"),
          .no_write_workqueue = has_option(options, "no-write-workqueue")};
}

}  // namespace volseal
