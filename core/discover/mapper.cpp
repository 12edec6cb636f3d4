#include "core/discover/mapper.h"

#include "core/base/handle.h"

#include <libdevmapper.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace volseal {
namespace {

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view take_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(" \t\n"));
  text.remove_prefix(word.size());
  return word;
}

std::string device_name(std::string_view word, const NameOf& name_of) {
  const std::size_t colon = word.find(':');
  if (colon == std::string_view::npos) return "";
  const auto major = whole_number(word.substr(0, colon));
  const auto minor = whole_number(word.substr(colon + 1));
  if (!major || !minor || *major > UINT32_MAX || *minor > UINT32_MAX) return "";
  return name_of(static_cast<std::uint32_t>(*major), static_cast<std::uint32_t>(*minor));
}

// The key as the table has it: hexadecimal digits, "-" for none, or ":SIZE:TYPE:DESCRIPTION" of one
// in the kernel's keyring. Only its length leaves this function.
void measure_key(std::string_view key, Segment& segment) {
  if (!key.starts_with(':')) {
    segment.key_bytes = key == "-" ? 0 : static_cast<std::uint32_t>(key.size() / 2);
    return;
  }
  segment.key_in_keyring = true;
  const std::string_view size = key.substr(1, key.find(':', 1) - 1);
  segment.key_bytes = static_cast<std::uint32_t>(whole_number(size).value_or(0));
}

// CIPHER KEY IV-OFFSET DEVICE OFFSET [COUNT OPTION...] (the kernel's dm-crypt.rst)
void parse_crypt(std::string_view parameters, const NameOf& name_of, Segment& segment) {
  segment.cipher = take_word(parameters);
  measure_key(take_word(parameters), segment);
  take_word(parameters);
  segment.devices.push_back(device_name(take_word(parameters), name_of));
  segment.offsets.push_back(whole_number(take_word(parameters)).value_or(0));
  segment.sector_size = 512;
  take_word(parameters);
  for (std::string_view option = take_word(parameters); !option.empty();
       option = take_word(parameters)) {
    if (option.starts_with("sector_size:")) {
      segment.sector_size = static_cast<std::uint32_t>(whole_number(option.substr(12)).value_or(0));
    } else if (option.starts_with("integrity:")) {
      // integrity:TAG-BYTES:TYPE
      segment.integrity = option.substr(std::min(option.find(':', 10), option.size() - 1) + 1);
    } else {
      segment.flags.emplace_back(option);
    }
  }
}

// Every device that a line names. `offsets_follow`: each is followed by where in it the data begin.
void parse_devices(std::string_view parameters, bool offsets_follow, const NameOf& name_of,
                   Segment& segment) {
  for (std::string_view word = take_word(parameters); !word.empty(); word = take_word(parameters)) {
    std::string name = device_name(word, name_of);
    if (name.empty()) continue;
    segment.devices.push_back(std::move(name));
    segment.offsets.push_back(offsets_follow ? whole_number(take_word(parameters)).value_or(0) : 0);
  }
}

// NOLINTNEXTLINE(cert-dcl50-cpp): the signature is libdevmapper's.
void say_nothing(int, const char*, int, int, const char*, ...) {}

using Task = Handle<dm_task, dm_task_destroy>;

Task table_task() {
  // What libdevmapper has to say goes to standard error; a scan has no place for it.
  dm_log_with_errno_init(say_nothing);
  Task task(dm_task_create(DM_DEVICE_TABLE));
  if (task && dm_task_secure_data(task.get()) == 0) task.reset();
  return task;
}

std::vector<Segment> run_for_table(const Task& task, const NameOf& name_of) {
  if (dm_task_run(task.get()) == 0) return {};
  std::vector<Segment> table;
  void* next = nullptr;
  do {
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    char* target = nullptr;
    char* parameters = nullptr;
    next = dm_get_next_target(task.get(), next, &start, &length, &target, &parameters);
    if (target == nullptr) continue;
    table.push_back(parse_segment(
        start, length, target, parameters == nullptr ? std::string_view() : parameters, name_of));
  } while (next != nullptr);
  return table;
}

}  // namespace

Segment parse_segment(std::uint64_t start, std::uint64_t length, std::string_view target,
                      std::string_view parameters, const NameOf& name_of) {
  Segment segment{.start = start, .length = length, .target = std::string(target)};
  if (target == "crypt") {
    parse_crypt(parameters, name_of, segment);
  } else {
    const bool offsets_follow = target == "linear" || target == "striped" || target == "flakey" ||
                                target == "delay" || target == "dust" || target == "unstriped";
    parse_devices(parameters, offsets_follow, name_of, segment);
  }
  return segment;
}

std::vector<Segment> read_table(std::uint32_t major, std::uint32_t minor, const NameOf& name_of) {
  const Task task = table_task();
  if (!task || dm_task_set_major(task.get(), static_cast<int>(major)) == 0 ||
      dm_task_set_minor(task.get(), static_cast<int>(minor)) == 0) {
    return {};
  }
  return run_for_table(task, name_of);
}

std::vector<Segment> read_table(const std::string& mapping, const NameOf& name_of) {
  const Task task = table_task();
  if (!task || dm_task_set_name(task.get(), mapping.c_str()) == 0) return {};
  return run_for_table(task, name_of);
}

std::vector<Segment> recorded_table(const Path& file, const NameOf& name_of) {
  std::vector<Segment> table;
  const std::string text = read_file_if_any(file).value_or("");
  std::string_view rest(text);
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto start = whole_number(take_word(line));
    const auto length = whole_number(take_word(line));
    const std::string_view target = take_word(line);
    if (start && length) table.push_back(parse_segment(*start, *length, target, line, name_of));
  }
  return table;
}

}  // namespace volseal
