#include "core/coverage/accounts.h"

#include <algorithm>
#include <array>
#include <set>

namespace volseal {

namespace {

constexpr int deepest_account = 128;
constexpr std::uint64_t sector = 512;

enum class State { encrypted, converting, plaintext, unknown, unused };

std::uint64_t& place(ByteCount& count, State state) {
  switch (state) {
    case State::encrypted: return count.encrypted;
    case State::converting: return count.converting;
    case State::plaintext: return count.plaintext;
    case State::unknown: return count.unknown;
    case State::unused: return count.unused;
  }
  return count.unknown;
}

ByteCount all_in(State state, std::uint64_t size) {
  ByteCount count;
  place(count, state) = size;
  return count;
}

constexpr std::array worst_first = {State::plaintext, State::unknown, State::converting,
                                    State::encrypted, State::unused};

// `size` bytes in the proportions of the worst of `candidates`, state by state.
ByteCount worst_of(std::vector<ByteCount> candidates, std::uint64_t size) {
  ByteCount result;
  std::uint64_t left = size;
  std::uint64_t* worst = &result.unknown;
  for (const State state : worst_first) {
    double most = 0;
    for (ByteCount& one : candidates) {
      if (const std::uint64_t all = one.all(); all != 0)
        most = std::max(most, static_cast<double>(place(one, state)) / static_cast<double>(all));
    }
    const auto share =
        most >= 1 ? left
                  : std::min(left, static_cast<std::uint64_t>(most * static_cast<double>(size)));
    if (left == size && share != 0) worst = &place(result, state);
    place(result, state) = share;
    left -= share;
  }
  *worst += left;  // what rounding left, or nothing was known of
  return result;
}

State state_of_content(const Device& device) {
  switch (device.content.kind) {
    case ContentKind::blank: return State::unused;
    case ContentKind::unknown:
    case ContentKind::unreadable: return State::unknown;
    case ContentKind::partition_table: return State::unused;
    case ContentKind::filesystem:
    case ContentKind::swap:
    case ContentKind::hibernation:
    case ContentKind::luks1:
    case ContentKind::luks2:
    case ContentKind::lvm_member:
    case ContentKind::md_member:
    case ContentKind::bcache_member:
    case ContentKind::other: return State::plaintext;
  }
  return State::plaintext;
}

bool locks_itself(const Device& device) {
  return device.opal == "locked" || device.opal == "unlocked";
}

bool is_remote(const Device& device) {
  return device.kind == DeviceKind::network || device.bus == "iscsi" ||
         device.bus.starts_with("nvme-");
}

bool hides(const Device& device, const Segment& segment) {
  return (segment.target == "crypt" || segment.target == "zfs") &&
         !encrypts_nothing(segment.cipher) && !is_belied(device.sample);
}

bool is_exact(const Segment& segment) {
  return segment.devices.size() == 1 && segment.offsets.size() == 1 &&
         (segment.target == "linear" || segment.target == "crypt");
}

}  // namespace

std::uint64_t ByteCount::all() const {
  return encrypted + converting + plaintext + unknown + unused;
}

ByteCount& ByteCount::operator+=(const ByteCount& other) {
  encrypted += other.encrypted;
  converting += other.converting;
  plaintext += other.plaintext;
  unknown += other.unknown;
  unused += other.unused;
  return *this;
}

Accounts::Accounts(const DeviceGraph& graph, const Stacks& stacks)
    : graph_(graph),
      stacks_(stacks),
      windows_(graph.devices.size()),
      steps_(1'000'000 + 100 * graph.devices.size()) {
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) by_name_.emplace(graph[at].name, at);
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) add_windows(at);
  for (std::vector<Window>& windows : windows_) {
    std::ranges::stable_sort(windows, {}, [](const Window& window) { return window.range.start; });
  }
}

bool Accounts::go_on(int depth) {
  if (steps_ == 0 || depth > deepest_account) return false;
  --steps_;
  return true;
}

ByteCount Accounts::of_volume(DeviceIndex at) {
  const Device& device = graph_[at];
  const std::vector<DeviceIndex>& open = stacks_.opened(at);
  ByteCount count;
  if (device.luks) {
    count = whole_written(open.empty() ? at : open.front(), 0);
    // The header belongs to it, and what is behind the mapping.
    if (const std::uint64_t all = count.all(); all < device.size)
      count.encrypted += device.size - all;
    return count;
  }
  count = whole_written(at, 0);
  const State state = state_of_content(device);
  if (state == State::unknown || state == State::unused) {
    place(count, state) += count.plaintext;
    count.plaintext = 0;
  }
  return count;
}

ByteCount Accounts::whole_written(DeviceIndex at, int depth) {
  if (const auto known = written_.find(at); known != written_.end()) return known->second;
  const ByteCount count = written(at, {.start = 0, .size = graph_[at].size}, depth + 1);
  written_.emplace(at, count);
  return count;
}

ByteCount Accounts::of_header(const Device& device, std::uint64_t size) {
  const LuksHeader header = device.luks.value_or(LuksHeader{});
  if (header.segments.empty()) return all_in(State::unknown, size);
  if (header.reencryption == "encrypt" || header.reencryption == "decrypt") {
    const std::uint64_t clear =
        header.data_bytes > header.encrypted_bytes ? header.data_bytes - header.encrypted_bytes : 0;
    ByteCount count = all_in(State::converting, std::min(clear, size));
    count.encrypted = size - count.converting;
    return count;
  }
  const bool clear = std::ranges::any_of(header.segments, [](const LuksSegment& segment) {
    return segment.type != "crypt" || encrypts_nothing(segment.cipher);
  });
  return all_in(clear || !header.plaintext.empty() || is_belied(device.sample) ? State::plaintext
                                                                               : State::encrypted,
                size);
}

ByteCount Accounts::written(DeviceIndex at, Range range, int depth) {
  if (!go_on(depth)) return all_in(State::unknown, range.size);
  const Device& device = graph_[at];
  const ByteCount given = handed_down(at, range, depth);
  if (!device.luks || !stacks_.opened(at).empty() || given.encrypted == range.size) return given;
  // A volume that is locked is what its header says, unless what is below encrypts anyhow.
  return of_header(device, range.size);
}

ByteCount Accounts::handed_down(DeviceIndex at, Range range, int depth) {
  const Device& device = graph_[at];
  switch (device.kind) {
    case DeviceKind::mapped: return written_to_mapping(at, range, depth);
    case DeviceKind::partition:
      if (device.below.size() == 1)
        return written(device.below[0], {.start = device.start + range.start, .size = range.size},
                       depth + 1);
      break;
    case DeviceKind::zram:
    case DeviceKind::loop:
      if (!device.backing_device.empty())
        return worst_below({device.backing_device}, range.size, depth);
      if (device.kind == DeviceKind::loop) return all_in(State::unknown, range.size);
      if (device.below.empty()) return all_in(State::encrypted, range.size);
      break;
    case DeviceKind::disk:
    case DeviceKind::md:
    case DeviceKind::optical:
    case DeviceKind::network:
    case DeviceKind::file:
    case DeviceKind::other: break;
  }
  if (device.below.empty()) {
    if (locks_itself(device)) return all_in(State::encrypted, range.size);
    return all_in(is_remote(device) ? State::unknown : State::plaintext, range.size);
  }
  std::vector<std::string> names;
  names.reserve(device.below.size());
  for (const DeviceIndex lower : device.below) names.push_back(graph_[lower].name);
  return worst_below(names, range.size, depth);
}

ByteCount Accounts::worst_below(const std::vector<std::string>& names, std::uint64_t size,
                                int depth) {
  std::vector<ByteCount> all;
  for (const std::string& name : names) {
    const auto lower = by_name_.find(name);
    all.push_back(lower == by_name_.end() || !go_on(depth) ? all_in(State::unknown, 1)
                                                           : whole_written(lower->second, depth));
  }
  return worst_of(std::move(all), size);
}

ByteCount Accounts::written_to_mapping(DeviceIndex at, Range range, int depth) {
  const Device& device = graph_[at];
  if (device.table.empty()) return all_in(State::unknown, range.size);
  ByteCount count;
  for (const Segment& segment : device.table) {
    const std::uint64_t from = std::max(range.start, segment.start * sector);
    const std::uint64_t to = std::min(range.end(), (segment.start + segment.length) * sector);
    if (from >= to) continue;
    count += through(at, segment, {.start = from, .size = to - from}, depth);
  }
  return count;
}

// `part` of the mapping lies in that segment.
ByteCount Accounts::through(DeviceIndex at, const Segment& segment, Range part, int depth) {
  if (segment.target == "zero" || segment.target == "error")
    return all_in(State::unused, part.size);
  if (hides(graph_[at], segment)) return all_in(State::encrypted, part.size);
  if (!is_exact(segment)) {
    std::vector<std::string> names = segment.devices;
    if (segment.target == "snapshot-origin") {
      for (const std::string& store : stacks_.stores_of(segment.devices)) names.push_back(store);
    }
    if (names.empty()) {
      for (const DeviceIndex lower : graph_[at].below) names.push_back(graph_[lower].name);
    }
    return names.empty() ? all_in(State::plaintext, part.size)
                         : worst_below(names, part.size, depth);
  }
  const auto lower = by_name_.find(segment.devices[0]);
  if (lower == by_name_.end()) return all_in(State::unknown, part.size);
  if (segment.target == "linear" && is_half_encrypted(graph_[lower->second]))
    return all_in(State::converting, part.size);
  return written(lower->second,
                 {.start = segment.offsets[0] * sector + part.start - segment.start * sector,
                  .size = part.size},
                 depth + 1);
}

void Accounts::add_window(const std::string& lower, Window window) {
  const auto at = by_name_.find(lower);
  if (at == by_name_.end()) return;
  const std::uint64_t size = graph_[at->second].size;
  if (window.range.start >= size) return;
  window.range.size = std::min(window.range.size, size - window.range.start);
  if (window.range.size != 0) windows_[at->second].push_back(window);
}

void Accounts::spread_over(DeviceIndex upper, DeviceIndex lower) {
  add_window(graph_[lower].name, {.range = {.start = 0, .size = graph_[lower].size},
                                  .upper = upper,
                                  .kind = Window::Kind::spread});
}

void Accounts::add_windows(DeviceIndex upper) {
  const Device& device = graph_[upper];
  if (device.kind == DeviceKind::zram) return;
  if (device.kind == DeviceKind::partition && device.below.size() == 1) {
    add_window(graph_[device.below[0]].name,
               {.range = {.start = device.start, .size = device.size}, .upper = upper});
    return;
  }
  std::set<std::string> named;
  for (const Segment& segment : device.table) {
    add_segment_windows(upper, segment);
    named.insert(segment.devices.begin(), segment.devices.end());
  }
  for (const DeviceIndex lower : device.below) {
    if (lower < graph_.devices.size() && !named.contains(graph_[lower].name))
      spread_over(upper, lower);
  }
}

void Accounts::add_segment_windows(DeviceIndex upper, const Segment& segment) {
  if (segment.target == "zfs") {
    for (const std::string& lower : segment.devices) {
      add_window(lower,
                 {.range = {.start = 0, .size = UINT64_MAX},
                  .upper = upper,
                  .kind = segment.cipher.empty() ? Window::Kind::plain : Window::Kind::encrypted});
    }
    return;
  }
  if (!is_exact(segment)) {
    for (const std::string& lower : segment.devices) {
      if (const auto at = by_name_.find(lower); at != by_name_.end())
        spread_over(upper, at->second);
    }
    return;
  }
  const auto lower = by_name_.find(segment.devices[0]);
  if (lower == by_name_.end()) return;
  Window window{.range = {.start = segment.offsets[0] * sector, .size = segment.length * sector},
                .upper = upper,
                .upper_start = segment.start * sector};
  if (segment.target == "crypt") {
    if (hides(graph_[upper], segment)) window.kind = Window::Kind::encrypted;
  } else if (is_half_encrypted(graph_[lower->second])) {
    window.kind = Window::Kind::converting;
  }
  add_window(segment.devices[0], window);
}

ByteCount Accounts::of_disk(DeviceIndex at) {
  return whole_lying(at, 0);
}

ByteCount Accounts::whole_lying(DeviceIndex at, int depth) {
  if (const auto known = lying_.find(at); known != lying_.end()) return known->second;
  const ByteCount count = lying(at, {.start = 0, .size = graph_[at].size}, depth + 1);
  lying_.emplace(at, count);
  return count;
}

// Of what nothing stands on.
ByteCount Accounts::own(DeviceIndex at, std::uint64_t size) const {
  const Device& device = graph_[at];
  if (device.luks) return of_header(device, size);
  if (!windows_[at].empty())
    return all_in(device.mounts.empty() && !device.swap_active ? State::unused : State::plaintext,
                  size);
  return all_in(state_of_content(device), size);
}

ByteCount Accounts::lying(DeviceIndex at, Range range, int depth) {
  if (!go_on(depth)) return all_in(State::unknown, range.size);
  const Device& device = graph_[at];
  if (device.below.empty() && (locks_itself(device) || is_remote(device))) {
    return all_in(is_remote(device) ? State::unknown : State::encrypted, range.size);
  }
  // Between any two of these, the same windows are open.
  std::set<std::uint64_t> borders{range.start, range.end()};
  for (const Window& window : windows_[at]) {
    for (const std::uint64_t border : {window.range.start, window.range.end()}) {
      if (border > range.start && border < range.end()) borders.insert(border);
    }
  }
  ByteCount count;
  std::vector<const Window*> open;
  auto next = windows_[at].begin();
  for (auto from = borders.begin(); std::next(from) != borders.end(); ++from) {
    const Range part{.start = *from, .size = *std::next(from) - *from};
    for (; next != windows_[at].end() && next->range.start <= part.start; ++next)
      open.push_back(&*next);
    std::erase_if(open, [&](const Window* window) { return window->range.end() <= part.start; });
    std::vector<ByteCount> candidates;
    candidates.reserve(open.size());
    for (const Window* window : open) candidates.push_back(lying_in(*window, part, depth));
    if (candidates.empty()) {
      count += own(at, part.size);
    } else {
      count += candidates.size() == 1 ? candidates[0] : worst_of(std::move(candidates), part.size);
    }
  }
  return count;
}

ByteCount Accounts::lying_in(const Window& window, Range part, int depth) {
  switch (window.kind) {
    case Window::Kind::encrypted: return all_in(State::encrypted, part.size);
    case Window::Kind::converting: return all_in(State::converting, part.size);
    case Window::Kind::plain: return all_in(State::plaintext, part.size);
    case Window::Kind::spread: return worst_of({whole_lying(window.upper, depth)}, part.size);
    case Window::Kind::exact: break;
  }
  return lying(window.upper,
               {.start = window.upper_start + part.start - window.range.start, .size = part.size},
               depth + 1);
}

}  // namespace volseal
