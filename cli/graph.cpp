#include "cli/graph.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/deny/deny.h"
#include "core/discover/discover.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <system_error>

namespace volseal {
namespace {

constexpr std::chrono::minutes pass_time{5};
constexpr std::size_t largest_graph = 64U << 20U;

// Stacks that any of `wanted` belongs to.
DeviceGraph part_of(DeviceGraph graph, const std::vector<DeviceIndex>& wanted) {
  std::vector<bool> kept(graph.devices.size(), false);
  for (const DeviceIndex at : wanted) {
    for (const DeviceIndex lower : graph.closure_below(at)) kept[lower] = true;
  }
  std::vector<bool> upper(graph.devices.size(), false);
  for (const DeviceIndex at : wanted) upper[at] = true;
  for (bool more = true; more;) {
    more = false;
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
      const auto& below = graph[at].below;
      if (upper[at] || std::ranges::none_of(below, [&](DeviceIndex i) { return upper[i]; }))
        continue;
      upper[at] = true;
      more = true;
      // What stands on it may rest on other disks as well; without them it could not be judged.
      for (const DeviceIndex lower : graph.closure_below(at)) kept[lower] = true;
    }
  }
  std::vector<DeviceIndex> moved(graph.devices.size());
  std::vector<Device> devices;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    moved[at] = devices.size();
    if (kept[at]) devices.push_back(std::move(graph[at]));
  }
  for (Device& device : devices) {
    for (DeviceIndex& lower : device.below) lower = moved[lower];
  }
  graph.devices = std::move(devices);
  return graph;
}

ScanOptions scan_options(const GraphSource& source) {
  ScanOptions options{.sample = source.sample, .patience = std::chrono::seconds(source.patience)};
  if (source.sysroot.empty()) {
    // What the watch keeps from everybody is reported on all the same.
    options.before_reading = [] { pass_the_denial(pass_time); };
    return options;
  }
  options.sys = source.sysroot / "sys";
  options.proc = source.sysroot / "proc";
  options.dev = source.sysroot / "dev";
  options.etc = source.sysroot / "etc";
  options.tables = source.sysroot / "tables";
  return options;
}

DeviceGraph whole_graph(const GraphSource& source) {
  if (source.file.empty()) {
    const auto& names = source.volumes;
    if (names.empty() || !std::ranges::all_of(names, is_image)) {
      return scan(scan_options(source));
    }
    DeviceGraph graph;  // of image files alone
    graph.taken_at = utc_now();
    graph.root = ::geteuid() == 0;
    return graph;
  }
  if (source.file == "-") return graph_from_json(read_file("/dev/stdin", largest_graph));
  return graph_from_json(read_file(source.file, largest_graph));
}

}  // namespace

void add_graph_options(CLI::App& verb, GraphSource& source) {
  CLI::Option* graph = verb.add_option("--graph", source.file,
                                       "a graph saved by 'volseal scan --json' instead of this "
                                       "machine; '-' is standard input")
                           ->type_name("FILE");
  verb.add_option("--sysroot", source.sysroot,
                  "a folder with sys, proc, dev, etc and device-mapper tables of another machine")
      ->type_name("DIR")
      ->excludes(graph);
  verb.add_flag("--sample", source.sample,
                "read sectors below what claims to be encrypted, and contradict it")
      ->excludes(graph);
  verb.add_option("--device-timeout", source.patience,
                  "seconds that a device gets to answer; one that does not cannot be judged")
      ->check(CLI::Range(1, 3600))
      ->type_name("N")
      ->capture_default_str();
}

bool is_live(const GraphSource& source) {
  return source.file.empty() && source.sysroot.empty();
}

bool is_image(const std::string& name) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(name, ignored);
}

DeviceGraph get_graph(const GraphSource& source) {
  DeviceGraph graph = whole_graph(source);
  if (source.volumes.empty()) return graph;
  std::vector<DeviceIndex> wanted;
  for (const std::string& name : source.volumes) {
    std::error_code error;
    auto at = graph.find(name);
    if (!at && source.file.empty()) {
      at = graph.find(std::filesystem::canonical(name, error).native());
      if (!at && is_image(name)) {
        at = graph.devices.size();
        graph.devices.push_back(scan_image(name, source.sample));
      }
    }
    if (!at) throw Error(Code::not_found, "find {}: no such device or image", escaped(name));
    wanted.push_back(*at);
  }
  return part_of(std::move(graph), wanted);
}

}  // namespace volseal
