#include "core/discover/links.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>

namespace volseal {
namespace {

namespace fs = std::filesystem;

// Folders of /dev that name every device once more, or none.
const std::set<std::string>& dull_folders() {
  static const std::set<std::string> names = {"block",     "bus",    "char", "cpu", "dri",
                                              "hugepages", "input",  "net",  "pts", "shm",
                                              "snd",       "mqueue", "vfio"};
  return names;
}

class Names {
 public:
  Names(std::vector<Device>& devices, Path dev) : devices_(devices), dev_(std::move(dev)) {
    for (std::size_t i = 0; i < devices.size(); ++i) {
      by_node_[kernel_node(devices[i].name)] = i;
      by_number_[{devices[i].major, devices[i].minor}] = i;
    }
  }

  // Links in a folder and, while `depth` lasts, in its folders.
  void walk(const Path& folder, int depth) {
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      std::error_code ignored;
      const fs::file_status status = at->symlink_status(ignored);
      if (fs::is_symlink(status)) {
        link(at->path());
      } else if (fs::is_directory(status)) {
        if (depth > 0 && !dull_folders().contains(at->path().filename().native())) {
          walk(at->path(), depth - 1);
        }
      } else if (fs::is_block_file(status)) {
        node(at->path());
      }
    }
  }

 private:
  // The kernel writes a slash in a name as '!'.
  static std::string kernel_node(std::string name) {
    std::ranges::replace(name, '!', '/');
    return "/dev/" + name;
  }

  std::string as_dev(const Path& path) const {
    return (Path("/dev") / path.lexically_relative(dev_)).native();
  }

  void link(const Path& path) {
    std::error_code error;
    const Path target = fs::read_symlink(path, error);
    if (error) return;
    const Path lands = target.is_absolute() ? target : path.parent_path() / target;
    const auto at = by_node_.find(as_dev(lands.lexically_normal()));
    if (at != by_node_.end()) devices_[at->second].links.push_back(as_dev(path));
  }

  // Without udev, device-mapper makes nodes and no links.
  void node(const Path& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return;
    const std::pair number(::major(info.st_rdev), ::minor(info.st_rdev));
    const auto at = by_number_.find(number);
    if (at == by_number_.end()) return;
    const std::string name = as_dev(path);
    if (name != kernel_node(devices_[at->second].name)) {
      devices_[at->second].links.push_back(name);
    }
  }

  std::vector<Device>& devices_;
  Path dev_;
  std::map<std::string, std::size_t> by_node_;
  std::map<std::pair<unsigned, unsigned>, std::size_t> by_number_;
};

// /dev/VG/LV: two levels, and none of the folders that others fill.
bool is_volume_group_link(const std::string& link) {
  const Path path(link);
  const std::string folder = path.parent_path().filename().native();
  return path.parent_path().parent_path() == "/dev" && folder != "mapper" && folder != "disk" &&
         folder != "md";
}

}  // namespace

void name_devices(std::vector<Device>& devices, const Path& dev) {
  Names(devices, dev.lexically_normal()).walk(dev.lexically_normal(), 2);
  for (Device& device : devices) {
    std::ranges::sort(device.links);
    std::string name = device.name;
    std::ranges::replace(name, '!', '/');
    device.path = "/dev/" + name;
    if (device.kind != DeviceKind::mapped) continue;
    // What people type: the logical volume's name, else the mapping's, else what there is.
    const auto volume = std::ranges::find_if(device.links, is_volume_group_link);
    const std::string mapping = "/dev/mapper/" + device.dm_name;
    if (volume != device.links.end()) {
      device.path = *volume;
    } else if (std::ranges::find(device.links, mapping) != device.links.end()) {
      device.path = mapping;
    }
  }
}

Path node_of(const Device& device, const Path& dev) {
  std::string name = device.name;
  std::ranges::replace(name, '!', '/');
  return dev / name;
}

}  // namespace volseal
