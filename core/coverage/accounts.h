// How many bytes are encrypted: of a volume, walking down from it; of a disk, walking up from it.
//
// Extents of partitions, linear and crypt segments are exact. Where a layer spreads its data over
// several devices (arrays, caches, thin pools, snapshots), each byte counts as the worst of them.
#pragma once

#include "core/coverage/coverage.h"
#include "core/coverage/layers.h"

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace volseal {

class Accounts {
 public:
  // `stacks` is of the same graph; both must outlive this.
  Accounts(const DeviceGraph& graph, const Stacks& stacks);

  // Of the bytes that the volume offers: those that reach every disk encrypted ...
  ByteCount of_volume(DeviceIndex at);
  // Of the bytes that the disk has: what lies on them.
  ByteCount of_disk(DeviceIndex at);

 private:
  struct Range {
    std::uint64_t start = 0;  // bytes
    std::uint64_t size = 0;
    std::uint64_t end() const { return start + size; }
  };
  // A part of a device that another one stands on.
  struct Window {
    Range range;
    DeviceIndex upper = 0;
    std::uint64_t upper_start = 0;
    enum class Kind {
      exact,      // byte for byte, from upper_start on
      spread,     // somewhere in all of the upper device
      encrypted,  // through a layer that encrypts
      converting,
      plain,
    } kind = Kind::exact;
  };

  // Down: what is written to `at`.
  ByteCount written(DeviceIndex at, Range range, int depth);
  ByteCount handed_down(DeviceIndex at, Range range, int depth);
  ByteCount written_to_mapping(DeviceIndex at, Range range, int depth);
  ByteCount through(DeviceIndex at, const Segment& segment, Range part, int depth);
  ByteCount worst_below(const std::vector<std::string>& names, std::uint64_t size, int depth);
  ByteCount whole_written(DeviceIndex at, int depth);
  static ByteCount of_header(const Device& device, std::uint64_t size);

  // Up: what lies on `at`.
  ByteCount lying(DeviceIndex at, Range range, int depth);
  ByteCount lying_in(const Window& window, Range part, int depth);
  ByteCount own(DeviceIndex at, std::uint64_t size) const;
  ByteCount whole_lying(DeviceIndex at, int depth);

  void add_windows(DeviceIndex upper);
  void add_segment_windows(DeviceIndex upper, const Segment& segment);
  void add_window(const std::string& lower, Window window);
  void spread_over(DeviceIndex upper, DeviceIndex lower);
  bool go_on(int depth);

  const DeviceGraph& graph_;
  const Stacks& stacks_;
  std::unordered_map<std::string, DeviceIndex> by_name_;
  std::vector<std::vector<Window>> windows_;  // on each device, by their start
  std::map<DeviceIndex, ByteCount> written_;
  std::map<DeviceIndex, ByteCount> lying_;
  // Stacks of real machines need some steps a device; a made-up graph may branch at every level.
  std::size_t steps_;
};

}  // namespace volseal
