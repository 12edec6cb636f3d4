#include "cli/audit_select.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <pwd.h>

#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <vector>

namespace volseal {

namespace {

std::optional<std::chrono::seconds> parse_age(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size() - 1, number);
  if (error != std::errc{} || end != text.data() + text.size() - 1 || number < 0)
    return std::nullopt;
  switch (text.back()) {
    case 's': return std::chrono::seconds(number);
    case 'm': return std::chrono::minutes(number);
    case 'h': return std::chrono::hours(number);
    case 'd': return std::chrono::days(number);
    default: return std::nullopt;
  }
}

// A time as far as it is given: the log's times that begin later sort behind it.
bool is_time(std::string_view text) {
  if (!parse_day(text)) return false;
  static constexpr std::string_view pattern = "YYYY-MM-DDThh:mm:ss.mmmZ";
  if (text.size() > pattern.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool letter = (pattern[i] >= 'a' && pattern[i] <= 'z') || pattern[i] == 'Y' ||
                        pattern[i] == 'M' || pattern[i] == 'D';
    const bool digit = text[i] >= '0' && text[i] <= '9';
    // "12:30Z" and "12:30:15Z" are times too.
    const bool end = text[i] == 'Z' && i + 1 == text.size() && i > 10;
    if (letter ? !digit && !end : text[i] != pattern[i] && !end) return false;
  }
  return true;
}

std::string since_text(const std::string& text) {
  if (text.empty()) return "";
  if (const auto age = parse_age(text)) {
    const auto then = std::chrono::system_clock::now() - *age;
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}",
                       fmt::gmtime(std::chrono::system_clock::to_time_t(then)));
  }
  if (!is_time(text)) {
    throw Error(Code::usage,
                "read --since: '{}' is neither a time in UTC (2026-01-31, 2026-01-31T12:30) nor an "
                "age (90s, 45m, 2h, 7d)",
                escaped(text, 60));
  }
  return text.back() == 'Z' ? text.substr(0, text.size() - 1) : text;
}

// The user's number, where the name is one of this machine's.
std::optional<std::uint32_t> uid_of(const std::string& name) {
  if (name.empty()) return std::nullopt;
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), uid);
  if (error == std::errc{} && end == name.data() + name.size()) return uid;
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16384);
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return entry.pw_uid;
}

bool matches(const std::string& pattern, const std::string& text) {
  return ::fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
}

// As it was when that happened; an event of no group is of nobody.
bool has_detail(const Event& event, const char* key, const std::string& pattern) {
  if (pattern.empty()) return true;
  const auto found = event.detail.find(key);
  return found != event.detail.end() && matches(pattern, found->second);
}

}  // namespace

AuditFilter::AuditFilter(const AuditSelection& selection)
    : selection_(selection), since_(since_text(selection.since)), uid_(uid_of(selection.who)) {}

bool AuditFilter::is_by(const Actor& who) const {
  if (uid_) return who.loginuid == uid_ || (!who.loginuid && who.uid == *uid_);
  const std::string& pattern = selection_.who;
  return matches(pattern, who.unit) || matches(pattern, who.tty) || matches(pattern, who.remote) ||
         matches(pattern, who.ssh.substr(0, who.ssh.find(' ')));
}

bool AuditFilter::wants(const AuditRecord& record) const {
  const Event& event = record.event;
  if (!since_.empty() && record.time < since_) return false;
  if (!selection_.volume.empty() && !matches(selection_.volume, event.volume) &&
      !matches(selection_.volume, event.luks_uuid)) {
    return false;
  }
  if (!selection_.group.empty() && !matches(selection_.group, event.group)) return false;
  if (!has_detail(event, "tenant", selection_.tenant) ||
      !has_detail(event, "environment", selection_.environment)) {
    return false;
  }
  if (!selection_.action.empty() && !matches(selection_.action, event.action)) return false;
  return selection_.who.empty() || is_by(record.who);
}

std::string user_text(std::uint32_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(16384);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::to_string(uid);
  return escaped(entry.pw_name, 40);
}

std::string who_text(const Actor& who) {
  std::string text;
  if (who.loginuid) {
    text = user_text(*who.loginuid);
    if (who.uid != *who.loginuid) text += " as " + user_text(who.uid);
  } else {
    text = who.unit.empty() ? user_text(who.uid) : escaped(who.unit, 60);
  }
  // logind's word before the environment's.
  if (!who.remote.empty())
    text += " from " + escaped(who.remote, 60);
  else if (!who.ssh.empty())
    text += " from " + escaped(who.ssh.substr(0, who.ssh.find(' ')), 60);
  else if (!who.tty.empty())
    text += " on " + escaped(who.tty, 40);
  return text;
}

}  // namespace volseal
