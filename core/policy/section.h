// One table of policy.toml, read strictly: every complaint names the file, the line and the table.
#pragma once

#include "core/base/file.h"

#include <toml++/toml.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

using Words = std::vector<std::string_view>;

// Throws Error{bad_policy}, "SOURCE:LINE: WHAT".
[[noreturn]] void fail_policy(std::string_view source, std::size_t line, std::string_view what);

// " (did you mean 'WORD'?)", or "".
std::string did_you_mean(std::string_view word, const Words& known);
bool is_name(std::string_view text);
bool is_clean_absolute_path(std::string_view text);
std::size_t line_of(const toml::node& node);

class Section {
 public:
  Section(const toml::table& table, std::string name, std::string_view source)
      : table_(table), name_(std::move(name)), source_(source) {}

  // Refuses every key that is not among `known`.
  const Section& only(const Words& known) const;

  std::size_t line() const { return line_of(table_); }
  std::size_t line(std::string_view key) const;
  const std::string& name() const { return name_; }
  bool has(std::string_view key) const { return table_.contains(key); }
  const toml::table& raw() const { return table_; }
  std::string_view source() const { return source_; }

  [[noreturn]] void refuse(std::string_view key, std::string_view why) const;

  // Each is nothing where the key is not there.
  std::optional<std::string> text(std::string_view key) const;
  std::optional<std::string> one_of(std::string_view key, const Words& allowed) const;
  std::optional<bool> truth(std::string_view key) const;
  std::optional<int> integer(std::string_view key, int least, int most) const;
  // Bytes: a number, or text such as "16 MiB".
  std::optional<std::uint64_t> size(std::string_view key) const;
  std::optional<Section> table(std::string_view key, std::string name) const;
  const toml::array* list(std::string_view key) const;
  // A list of texts; empty where it is not there.
  std::vector<std::string> texts(std::string_view key, std::size_t most) const;
  // A program and its arguments; empty where it is not there.
  std::vector<std::string> command(std::string_view key) const;

 private:
  template <typename T>
  const toml::value<T>* get(std::string_view key, std::string_view wanted) const;

  const toml::table& table_;
  std::string name_;
  std::string_view source_;
};

}  // namespace volseal
