// volseal explain: the way of one volume's or file's data down to every disk, and where it leaks.
#include "core/coverage/explain.h"

#include "cli/graph.h"
#include "cli/output.h"
#include "cli/records.h"
#include "cli/verb.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/policy/policy.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace volseal {
namespace {

struct ExplainRequest {
  GraphSource source;
  std::string name;
  bool json = false;
};

// What is named in the graph: a device, or a mount point of one.
struct Place {
  std::string name;
  std::vector<ByteRange> parts;  // of the device, for a file
};

bool is_inside(const std::string& path, const std::string& folder) {
  return folder == "/" || path == folder ||
         (path.starts_with(folder) && path[folder.size()] == '/');
}

// The mount point that `path` lies below; "" where nothing in the graph is mounted there.
std::string mount_of(const DeviceGraph& graph, const std::string& path) {
  std::string longest;
  const auto consider = [&](const std::string& target) {
    if (is_inside(path, target) && target.size() >= longest.size()) longest = target;
  };
  for (const Device& device : graph.devices) {
    for (const std::string& mount : device.mounts) consider(mount);
  }
  for (const Deviceless& mounted : graph.deviceless) consider(mounted.target);
  return longest;
}

// fiemap.rst: where the file's bytes are on the device of its file system. Empty where the file
// system does not say, or says addresses of its own, as btrfs does.
std::vector<ByteRange> extents_of(const Path& file, const std::string& type) {
  if (type != "ext2" && type != "ext3" && type != "ext4" && type != "xfs") return {};
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return {};
  constexpr std::size_t at_once = 256;
  constexpr std::size_t most = 4096;
  std::vector<ByteRange> extents;
  std::vector<std::uint8_t> memory(sizeof(fiemap) + at_once * sizeof(fiemap_extent));
  std::uint64_t from = 0;
  while (extents.size() < most) {
    fiemap request{};
    request.fm_start = from;
    request.fm_length = FIEMAP_MAX_OFFSET - from;
    request.fm_extent_count = at_once;
    std::memcpy(memory.data(), &request, sizeof request);
    if (::ioctl(fd.get(), FS_IOC_FIEMAP, memory.data()) != 0) return {};
    std::memcpy(&request, memory.data(), sizeof request);
    for (std::uint32_t i = 0; i < request.fm_mapped_extents; ++i) {
      fiemap_extent extent{};
      std::memcpy(&extent, memory.data() + sizeof request + i * sizeof extent, sizeof extent);
      from = extent.fe_logical + extent.fe_length;
      // Not written yet, or inside of the file system's own structures.
      if ((extent.fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_NOT_ALIGNED)) == 0)
        extents.push_back({.start = extent.fe_physical, .size = extent.fe_length});
      if ((extent.fe_flags & FIEMAP_EXTENT_LAST) != 0) return extents;
    }
    if (request.fm_mapped_extents == 0) return extents;
  }
  return {};  // in that many pieces, all of the device it is
}

Place place_of(const DeviceGraph& graph, const std::string& name, bool live) {
  if (graph.find(name)) return {.name = name, .parts = {}};
  for (const SwapFile& file : graph.swap_files) {
    if (file.path == name) return {.name = name, .parts = {}};
  }
  for (const Dataset& dataset : graph.datasets) {
    if (dataset.name == name) return {.name = name, .parts = {}};
  }
  std::error_code error;
  const std::string path = live ? std::filesystem::canonical(name, error).native() : name;
  if (error) throw Error(Code::not_found, "explain {}: no such device or file", escaped(name));
  if (const auto at = graph.find(path)) return {.name = graph[*at].path, .parts = {}};
  struct stat info{};
  if (live && ::stat(path.c_str(), &info) == 0 && ::major(info.st_dev) != 0) {
    for (const Device& device : graph.devices) {
      if (device.kind == DeviceKind::file || device.major != ::major(info.st_dev) ||
          device.minor != ::minor(info.st_dev))
        continue;
      return {.name = device.path,
              .parts = S_ISREG(info.st_mode) ? extents_of(path, device.content.type)
                                             : std::vector<ByteRange>()};
    }
  }
  std::string mount = mount_of(graph, path);
  if (mount.empty())
    throw Error(Code::not_found, "explain {}: no file system of the graph has it", escaped(name));
  return {.name = std::move(mount), .parts = {}};
}

int print_explanation(const ExplainRequest& request, const Options& options) {
  const bool live = is_live(request.source);
  const DeviceGraph graph = get_graph(request.source);
  const Policy policy = load_policy(options.policy);
  const Place place = place_of(graph, request.name, live);
  const Explanation explanation =
      explain(graph, policy, utc_now().substr(0, sizeof("YYYY-MM-DD") - 1), place.name, place.parts,
              live ? read_records(graph, policy, options) : Records{});
  if (request.json) {
    print_out(to_json(explanation));
  } else {
    print_out(to_text(explanation,
                      {.columns = columns(STDOUT_FILENO), .colour = may_colour(STDOUT_FILENO)}));
  }
  Coverage one;
  one.volumes.push_back(explanation.verdict);
  return one.exit_status();
}

}  // namespace

void add_explain(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "explain", "the way of data down to every disk, and where it leaks; exit status as check");
  const auto request = std::make_shared<ExplainRequest>();
  verb->add_option("WHAT", request->name,
                   "a file, a mount point, a device, a swap file, a ZFS dataset")
      ->required();
  add_graph_options(*verb, request->source);
  verb->add_flag("--json", request->json, "as JSON");
  verb->callback(
      [&session, request] { session.status = print_explanation(*request, session.options); });
}

}  // namespace volseal
