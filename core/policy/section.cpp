#include "core/policy/section.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace volseal {

namespace {

// Levenshtein's distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

bool has_control_characters(std::string_view text) {
  return std::ranges::any_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

std::string_view type_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "a list";
    case toml::node_type::string: return "a string";
    case toml::node_type::integer: return "a whole number";
    case toml::node_type::floating_point: return "a fraction";
    case toml::node_type::boolean: return "true or false";
    case toml::node_type::date: return "a date without quotes";
    case toml::node_type::time:
    case toml::node_type::date_time: return "a time";
    case toml::node_type::none: break;
  }
  return "nothing";
}

}  // namespace

std::string did_you_mean(std::string_view word, const Words& known) {
  if (word.size() > 40 || known.empty()) return "";
  const auto nearest = std::ranges::min_element(
      known, {}, [&](std::string_view candidate) { return distance(word, candidate); });
  const std::size_t allowed = word.size() < 4 ? 1 : 2;
  if (distance(word, *nearest) > allowed) return "";
  return fmt::format(" (did you mean '{}'?)", *nearest);
}

void fail_policy(std::string_view source, std::size_t line, std::string_view what) {
  throw Error(Code::bad_policy, "{}:{}: {}", source, line, what);
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

bool is_clean_absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.size() > 4000 || has_control_characters(text)) return false;
  return Path(text).lexically_normal() == Path(text) && !text.ends_with('/');
}

std::size_t line_of(const toml::node& node) {
  return node.source().begin.line;
}

template <typename T>
const toml::value<T>* Section::get(std::string_view key, std::string_view wanted) const {
  const toml::node* node = table_.get(key);
  if (node == nullptr) return nullptr;
  const auto* value = node->as<T>();
  if (value == nullptr) {
    refuse(key, fmt::format("must be {}, is {}", wanted, type_of(*node)));
  }
  return value;
}

const Section& Section::only(const Words& known) const {
  for (const auto& [key, node] : table_) {
    if (std::ranges::find(known, key.str()) != known.end()) continue;
    fail_policy(source_, key.source().begin.line,
                fmt::format("unknown key '{}' in {}{}", escaped(key.str(), 60), name_,
                            did_you_mean(key.str(), known)));
  }
  return *this;
}

std::size_t Section::line(std::string_view key) const {
  const toml::node* node = table_.get(key);
  return node != nullptr ? line_of(*node) : line();
}

void Section::refuse(std::string_view key, std::string_view why) const {
  fail_policy(source_, line(key), fmt::format("'{}' in {} {}", key, name_, why));
}

std::optional<std::string> Section::text(std::string_view key) const {
  const auto* value = get<std::string>(key, "a string");
  if (value == nullptr) return std::nullopt;
  if (value->get().size() > 4000) refuse(key, "is too long");
  if (has_control_characters(value->get())) refuse(key, "contains a control character");
  return value->get();
}

std::optional<std::string> Section::one_of(std::string_view key, const Words& allowed) const {
  const std::optional<std::string> value = text(key);
  if (value && std::ranges::find(allowed, *value) == allowed.end()) {
    refuse(key, fmt::format("is '{}', must be one of: {}{}", escaped(*value, 60),
                            fmt::join(allowed, ", "), did_you_mean(*value, allowed)));
  }
  return value;
}

std::optional<bool> Section::truth(std::string_view key) const {
  const auto* value = get<bool>(key, "true or false");
  return value == nullptr ? std::nullopt : std::optional(value->get());
}

std::optional<int> Section::integer(std::string_view key, int least, int most) const {
  const auto* value = get<std::int64_t>(key, "a whole number");
  if (value == nullptr) return std::nullopt;
  if (value->get() < least || value->get() > most) {
    refuse(key, fmt::format("is {}, must be from {} to {}", value->get(), least, most));
  }
  return static_cast<int>(value->get());
}

std::optional<std::uint64_t> Section::size(std::string_view key) const {
  const toml::node* node = table_.get(key);
  if (node == nullptr) return std::nullopt;
  if (const auto* bytes = node->as_integer(); bytes != nullptr && bytes->get() >= 0) {
    return static_cast<std::uint64_t>(bytes->get());
  }
  if (node->is_string()) {
    if (const auto bytes = parse_size(text(key).value_or(""))) return bytes;
  }
  refuse(key, "must be a size, such as \"64 MiB\" or 4096");
}

const toml::array* Section::list(std::string_view key) const {
  const toml::node* node = table_.get(key);
  if (node == nullptr) return nullptr;
  if (!node->is_array()) refuse(key, fmt::format("must be a list, is {}", type_of(*node)));
  return node->as_array();
}

std::optional<Section> Section::table(std::string_view key, std::string name) const {
  const toml::node* node = table_.get(key);
  if (node == nullptr) return std::nullopt;
  if (!node->is_table()) refuse(key, fmt::format("must be a table, is {}", type_of(*node)));
  return Section(*node->as_table(), std::move(name), source_);
}

std::vector<std::string> Section::texts(std::string_view key, std::size_t most) const {
  std::vector<std::string> found;
  const toml::array* nodes = list(key);
  if (nodes == nullptr) return found;
  for (const toml::node& node : *nodes) {
    const auto* text = node.as_string();
    if (text == nullptr || text->get().empty() || has_control_characters(text->get())) {
      fail_policy(source_, line_of(node),
                  fmt::format("'{}' in {} must be a list of texts", key, name_));
    }
    if (found.size() == most) {
      fail_policy(source_, line_of(node),
                  fmt::format("'{}' in {} has more than {} of them", key, name_, most));
    }
    found.push_back(text->get());
  }
  if (found.empty()) refuse(key, "is empty");
  return found;
}

std::vector<std::string> Section::command(std::string_view key) const {
  constexpr std::size_t most_arguments = 64;
  std::vector<std::string> words = texts(key, most_arguments);
  if (!words.empty() && !is_clean_absolute_path(words.front())) {
    refuse(key, "must begin with the absolute path of a program; no shell reads it");
  }
  return words;
}

}  // namespace volseal
