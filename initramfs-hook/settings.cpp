#include "initramfs-hook/settings.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace volseal {

namespace {

constexpr int most_tries = 100;
constexpr int longest_wait = 600;

std::optional<int> number(std::string_view text, int most) {
  int value = 0;
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [at, error] = std::from_chars(begin, end, value);
  if (error != std::errc{} || at != end || value < 0 || value > most) return std::nullopt;
  return value;
}

void set(BootSettings& settings, std::string_view key, std::string_view value) {
  if (key == "ON_REFUSAL") {
    for (const Stop stop : {Stop::shell, Stop::poweroff, Stop::reboot}) {
      if (value == to_string(stop)) settings.on_refusal = stop;
    }
  } else if (key == "TRIES") {
    settings.tries = std::max(1, number(value, most_tries).value_or(settings.tries));
  } else if (key == "WAIT") {
    settings.wait = std::chrono::seconds(
        number(value, longest_wait).value_or(static_cast<int>(settings.wait.count())));
  } else if (key == "TCTI") {
    settings.tcti = value;
  }
}

}  // namespace

std::string_view to_string(Stop stop) {
  switch (stop) {
    case Stop::shell: return "shell";
    case Stop::poweroff: return "poweroff";
    case Stop::reboot: return "reboot";
  }
  return "shell";
}

BootSettings parse_boot_settings(std::string_view text) {
  BootSettings settings;
  while (!text.empty()) {
    const auto newline = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(std::min(newline + 1, text.size()));
    const auto equals = line.find('=');
    if (line.empty() || line.front() == '#' || equals == std::string_view::npos) continue;
    std::string_view value = line.substr(equals + 1);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
        value.back() == value.front()) {
      value = value.substr(1, value.size() - 2);
    }
    set(settings, line.substr(0, equals), value);
  }
  return settings;
}

}  // namespace volseal
