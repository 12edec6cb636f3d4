#include "core/base/clock.h"

#include "core/base/error.h"
#include "core/base/file.h"

#include <fmt/chrono.h>

#include <ctime>

namespace volseal {

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(now)), millis);
}

std::optional<std::chrono::sys_days> parse_day(std::string_view text) {
  constexpr std::size_t day = sizeof("YYYY-MM-DD") - 1;
  if (text.size() < day || text[4] != '-' || text[7] != '-') return std::nullopt;
  if (text.size() > day && text[day] != 'T') return std::nullopt;
  bool digits = true;
  const auto number = [&](std::size_t at, std::size_t size) {
    int value = 0;
    for (const char c : text.substr(at, size)) {
      digits = digits && c >= '0' && c <= '9';
      value = value * 10 + (c - '0');
    }
    return value;
  };
  const std::chrono::year year(number(0, 4));
  const std::chrono::month month(static_cast<unsigned>(number(5, 2)));
  const std::chrono::year_month_day date(year, month,
                                         std::chrono::day(static_cast<unsigned>(number(8, 2))));
  if (!digits || !date.ok()) return std::nullopt;
  return std::chrono::sys_days(date);
}

std::optional<std::chrono::milliseconds> parse_time(std::string_view text) {
  constexpr std::string_view pattern = "0000-00-00T00:00:00.000Z";
  if (text.size() != pattern.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (pattern[i] == '0' ? !digit : text[i] != pattern[i]) return std::nullopt;
  }
  const auto day = parse_day(text);
  if (!day) return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t size) {
    int value = 0;
    for (const char c : text.substr(at, size)) value = value * 10 + (c - '0');
    return value;
  };
  return day->time_since_epoch() + std::chrono::hours(number(11, 2)) +
         std::chrono::minutes(number(14, 2)) + std::chrono::seconds(number(17, 2)) +
         std::chrono::milliseconds(number(20, 3));
}

std::optional<int> days_between(std::string_view from, std::string_view to) {
  const auto first = parse_day(from);
  const auto last = parse_day(to);
  if (!first || !last) return std::nullopt;
  return static_cast<int>((*last - *first).count());
}

std::chrono::milliseconds since_boot() {
  timespec now{};
  static_cast<void>(::clock_gettime(CLOCK_BOOTTIME, &now));
  return std::chrono::milliseconds(now.tv_sec * 1000 + now.tv_nsec / 1'000'000);
}

std::string boot_id() {
  std::string id = read_file_if_any("/proc/sys/kernel/random/boot_id", 64).value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace volseal
