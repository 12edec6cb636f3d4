// Any sequence of events and sightings, with any text in them, makes findings that are one line
// each and safe for a terminal, and ASCII as JSON; what is in use is never taken away; no crash.
#include "core/base/escape.h"
#include "core/watch/book.h"
#include "core/watch/ledger.h"
#include "core/watch/quota.h"
#include "core/watch/ruling.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace volseal;

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size)
      : left_(reinterpret_cast<const char*>(data), size) {}
  bool empty() const { return left_.empty(); }
  std::uint8_t byte() {
    if (left_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    return value;
  }
  std::string text() {
    const std::size_t wanted = byte() % 24;  // first of all: it takes one away
    const std::size_t size = std::min(wanted, left_.size());
    std::string value(left_.substr(0, size));
    left_.remove_prefix(size);
    return value;
  }

 private:
  std::string_view left_;
};

// Names from a few, so that events and devices meet.
std::string name_from(Bytes& bytes) {
  static constexpr std::array<std::string_view, 5> names = {"sda", "sda1", "sdb", "dm-0", "loop0"};
  const std::uint8_t which = bytes.byte();
  return which < 200 ? std::string(names.at(which % names.size())) : bytes.text();
}

DeviceEvent event_from(Bytes& bytes) {
  static constexpr std::array<std::string_view, 4> actions = {"add", "change", "remove", "\x1b"};
  DeviceEvent event;
  event.action = actions.at(bytes.byte() % actions.size());
  event.name = name_from(bytes);
  event.type = bytes.byte() % 4 == 0 ? bytes.text() : "disk";
  event.seqnum = bytes.byte();
  event.diskseq = bytes.byte() % 4U;
  event.from_udevd = bytes.byte() % 2 == 0;
  if (event.from_udevd) {
    event.port = bytes.text();
    event.serial = bytes.text();
  }
  return event;
}

Sighting sighting_from(Bytes& bytes) {
  Sighting seen;
  const int count = bytes.byte() % 6;
  for (DeviceIndex at = 0; at < static_cast<DeviceIndex>(count); ++at) {
    Device device;
    device.name = name_from(bytes);
    device.path = "/dev/" + device.name;
    device.diskseq = bytes.byte() % 4U;
    device.kind = static_cast<DeviceKind>(bytes.byte() % 4);
    device.content.label = bytes.text();
    device.content.kind = static_cast<ContentKind>(bytes.byte() % 8);
    device.serial = bytes.text();
    device.links = {"/dev/disk/by-path/" + bytes.text()};
    if (bytes.byte() % 3 == 0) device.mounts = {bytes.text()};
    if (at != 0 && bytes.byte() % 2 == 0) device.below = {bytes.byte() % at};
    const auto verdict = static_cast<Verdict>(bytes.byte() % 7);
    seen.graph.devices.push_back(device);
    seen.coverage.volumes.push_back({.path = device.path,
                                     .name = device.name,
                                     .device = at,
                                     .verdict = verdict,
                                     .reasons = {bytes.text()},
                                     .content = bytes.text(),
                                     .mounts = device.mounts});
  }
  return seen;
}

void check(const std::vector<Finding>& findings) {
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  for (const Finding& finding : findings) {
    const std::string text = to_text(finding);
    if (on_one_line(text) != text) std::abort();
    if (!std::ranges::all_of(to_json_line(finding), printable)) std::abort();
  }
}

void decide_everything(const Sighting& seen) {
  static const Policy policy = parse_policy(
      "[[watch.rule]]\nname = 'r'\nmatch = { label = '*a*' }\naction = 'allow'\nreason = 'x'\n",
      "fuzz");
  std::vector<Ruling> decisions;
  for (const VolumeVerdict& volume : seen.coverage.volumes)
    decisions.push_back(decide(policy, seen.graph, volume, "2030-01-01"));
  for (const Custody& custody : custodies(seen, decisions)) {
    if (custody.device >= seen.graph.devices.size()) std::abort();
    // What is used is never taken away.
    if (!custody.in_use && is_used(seen.graph, custody.device) &&
        seen.graph.is_leaf(custody.device))
      std::abort();
  }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (const auto held = held_from_json({reinterpret_cast<const char*>(data), size})) {
    if (held->id.name.empty() || held->id.name.contains('/')) std::abort();
  }
  Bytes bytes(data, size);
  Ledger ledger;
  Quota quota;
  SequenceGaps gaps;
  ledger.start({});
  for (int looks = 0; looks < 20 && !bytes.empty(); ++looks) {
    Burst burst;
    for (int events = bytes.byte() % 8; events > 0; --events) {
      DeviceEvent event = event_from(bytes);
      gaps.saw(event.seqnum, looks);
      burst.add(std::move(event));
    }
    burst.mounts = bytes.byte() % 2 == 0;
    Sighting seen = sighting_from(bytes);
    decide_everything(seen);
    std::vector<Finding> findings = ledger.take(std::move(seen), burst);
    check(findings);
    check(quota.admit(std::move(findings), looks));
  }
  return 0;
}
