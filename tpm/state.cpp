#include "tpm/state.h"

#include "core/base/error.h"
#include "tpm/event_log.h"
#include "tpm/sealed_group.h"

#include <algorithm>
#include <charconv>
#include <chrono>

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

constexpr const char* current_key = "policy-key.pem";
constexpr const char* next_key = "policy-key.next.pem";

std::optional<Secret> read_secret_if_any(const Path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  return read_secret(path, true);
}

std::optional<PolicyKey> read_policy_key(const Path& path) {
  const auto pem = read_secret_if_any(path);
  if (!pem) return std::nullopt;
  return PolicyKey::from_pem(*pem);
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
  return read_policy_key(folder_ / current_key);
}

std::optional<PolicyKey> GroupState::policy_key(const Bytes& public_point) const {
  for (const char* name : {current_key, next_key}) {
    auto key = read_policy_key(folder_ / name);
    if (key && key->public_point() == public_point) return key;
  }
  return std::nullopt;
}

void GroupState::save_policy_key(const PolicyKey& key) const {
  make_folder(folder_);
  write_secret_file(folder_ / current_key, key.to_pem());
}

void GroupState::save_next_policy_key(const PolicyKey& key) const {
  write_secret_file(folder_ / next_key, key.to_pem());
}

void GroupState::settle_policy_key(const Bytes& public_point) const {
  const auto next = read_policy_key(folder_ / next_key);
  if (!next || next->public_point() != public_point) return;
  std::filesystem::rename(folder_ / next_key, folder_ / current_key);
  sync_folder(folder_);
}

std::optional<std::string> GroupState::event_log() const {
  return read_file_if_any(folder_ / "event-log", EventLog::max_size);
}

void GroupState::save_event_log(const std::string& log) const {
  write_file(folder_ / "event-log", log, 0600);
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

Path GroupState::set_aside() const {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const Path aside =
      folder_.parent_path() /
      fmt::format(".{}.{}", folder_.filename().native(),
                  std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  std::filesystem::rename(folder_, aside);
  sync_folder(folder_.parent_path());
  return aside;
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
