#include "tpm/state.h"

#include "core/base/error.h"
#include "tpm/sealed_group.h"

#include <algorithm>
#include <charconv>

namespace volseal::tpm {

namespace {

constexpr std::size_t max_name = 64;

bool plain_name(std::string_view name) {
  return !name.empty() && name.size() <= max_name && !name.starts_with('.') &&
         std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::optional<Secret> read_secret_if_any(const Path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_secret(path, true);
}

}  // namespace

GroupState::GroupState(const Path& state, const std::string& group)
    : folder_(state / "groups" / group) {
  if (!plain_name(group)) {
    throw Error(
        Code::bad_policy,
        "group \"{}\": a name has 1 to 64 letters, digits, '-', '_' or '.', and no dot in front",
        group);
  }
}

std::optional<std::string> GroupState::sealed() const {
  return read_file_if_any(folder_ / "sealed.json", SealedGroup::max_text);
}

void GroupState::save_sealed(const std::string& text) const {
  make_folder(folder_);
  write_file(folder_ / "sealed.json", text, 0600);
}

std::optional<PolicyKey> GroupState::policy_key() const {
  const auto pem = read_secret_if_any(folder_ / "policy-key.pem");
  if (!pem) return std::nullopt;
  return PolicyKey::from_pem(*pem);
}

void GroupState::save_policy_key(const PolicyKey& key) const {
  make_folder(folder_);
  write_secret_file(folder_ / "policy-key.pem", key.to_pem());
}

std::optional<std::uint32_t> GroupState::counter() const {
  const auto text = read_file_if_any(folder_ / "counter", 16);
  if (!text) return std::nullopt;
  std::uint32_t index = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), index, 16);
  if (error != std::errc{} || end + 1 != text->data() + text->size()) {
    throw Error(Code::damaged, "read {}: not an NV index", (folder_ / "counter").native());
  }
  return index;
}

void GroupState::save_counter(std::uint32_t index) const {
  make_folder(folder_);
  write_file(folder_ / "counter", fmt::format("{:08x}\n", index), 0600);
}

std::optional<std::string> GroupState::late() const {
  return read_file_if_any(folder_ / "late.json", SealedGroup::max_text);
}

std::optional<Secret> GroupState::late_auth() const {
  return read_secret_if_any(folder_ / "late.key");
}

void GroupState::save_late(const std::string& text, const Secret& auth) const {
  make_folder(folder_);
  write_secret_file(folder_ / "late.key", auth);
  // Last: where this file is, the other one is too.
  write_file(folder_ / "late.json", text, 0600);
}

std::vector<std::string> groups_in(const Path& state) {
  std::vector<std::string> names;
  std::error_code absent;
  for (const auto& entry : std::filesystem::directory_iterator(state / "groups", absent)) {
    if (entry.is_directory() && plain_name(entry.path().filename().native())) {
      names.push_back(entry.path().filename().native());
    }
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace volseal::tpm
