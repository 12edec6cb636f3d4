#include "core/policy/separate.h"

#include "core/base/escape.h"

#include <algorithm>
#include <map>
#include <utility>

namespace volseal {

namespace {

constexpr std::size_t longest_owner = 128;
// useradd(8); what a directory service brings along may have dots and capital letters.
constexpr std::size_t longest_unix_group = 32;

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

bool is_unix_group(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && name.size() <= longest_unix_group && letter(name.front()) &&
         std::ranges::all_of(name, [&](char c) {
           return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
         });
}

// A report of "ACME" that lacks the volumes of "Acme" would look complete.
class Spellings {
 public:
  explicit Spellings(std::string_view what) : what_(what) {}

  void add(const Section& section, const Group& group, const std::string& name) {
    const auto [at, added] = seen_.emplace(lower_case(name), name);
    if (added || at->second == name) return;
    fail_policy(section.source(), section.line(group.name),
                fmt::format("{} '{}' and {} '{}' differ only in capital letters", what_,
                            escaped(at->second, 80), what_, escaped(name, 80)));
  }

 private:
  std::string_view what_;
  std::map<std::string, std::string> seen_;
};

}  // namespace

std::string read_owner(const Section& section, std::string_view key) {
  std::string name = section.text(key).value_or("");
  if (name.size() > longest_owner) section.refuse(key, "has more than 128 bytes");
  if (name.starts_with(' ') || name.ends_with(' '))
    section.refuse(key, "begins or ends with a blank");
  return name;
}

std::string read_operators(const Section& section) {
  const auto name = section.text("operators");
  if (!name || name->empty()) return "";
  if (!is_unix_group(*name)) {
    section.refuse("operators",
                   fmt::format("is '{}', must be the name of a Unix group: a letter or '_', then "
                               "letters, digits, '-', '_' and '.', 32 at most",
                               escaped(*name, 60)));
  }
  if (*name == "root")
    section.refuse("operators", "is 'root', who sees and opens all of them anyway");
  return *name;
}

void require_separate(const Section& section, const std::vector<Group>& groups) {
  Spellings names("group");
  Spellings tenants("tenant");
  Spellings environments("environment");
  std::map<Path, const Group*> directories;
  for (const Group& group : groups) {
    names.add(section, group, group.name);
    tenants.add(section, group, group.tenant);
    environments.add(section, group, group.environment);
    if (!group.escrow || group.escrow->directory.empty()) continue;
    const auto [at, added] = directories.emplace(group.escrow->directory, &group);
    if (added || at->second->tenant == group.tenant) continue;
    // Who may take away one's blobs there may take away the other's.
    fail_policy(
        section.source(), section.line(group.name),
        fmt::format("groups '{}' and '{}' are of two tenants, and their escrow has the same "
                    "directory",
                    at->second->name, group.name));
  }
}

}  // namespace volseal
