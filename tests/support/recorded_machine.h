// A machine as files: sysfs, proc, dev and device-mapper tables in a folder, for scan(). What
// stands in for a device node is an image file of the same size, if the test makes one.
#pragma once

#include "core/discover/discover.h"

#include <fstream>
#include <string>
#include <vector>

namespace volseal {

class RecordedMachine {
 public:
  explicit RecordedMachine(Path folder) : root_(std::move(folder)) {
    std::filesystem::create_directories(root_ / "sys/class/block");
    std::filesystem::create_directories(root_ / "dev/mapper");
    write("proc/sys/kernel/hostname", "recorded");
    write("proc/self/mountinfo", "");
  }

  ScanOptions options() const {
    return {.sys = root_ / "sys",
            .proc = root_ / "proc",
            .dev = root_ / "dev",
            .etc = root_ / "etc",
            .tables = root_ / "tables"};
  }
  DeviceGraph scan() const { return volseal::scan(options()); }

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }

  // A whole disk at a place such as "pci0/ata1/host0/block"; its size in MiB.
  void disk(const std::string& name, std::uint64_t mebibytes,
            const std::string& place = "pci0/ata1/host0/block") {
    block(name, "devices/" + place + "/" + name, mebibytes);
    write("sys/class/block/" + name + "/device/model", "model of " + name + "\n");
  }

  void partition(const std::string& disk, const std::string& name, std::uint64_t start,
                 std::uint64_t mebibytes) {
    const Path place = std::filesystem::read_symlink(root_ / "sys/class/block" / disk);
    block(name, (place / name).lexically_normal().native().substr(sizeof("../../") - 1), mebibytes);
    write("sys/class/block/" + name + "/partition", "1\n");
    write("sys/class/block/" + name + "/start", std::to_string(start * 2048) + "\n");
  }

  // With its table as `dmsetup table` prints it.
  void mapping(const std::string& name, const std::string& dm_name, const std::string& uuid,
               std::uint64_t mebibytes, const std::vector<std::string>& slaves,
               const std::string& table) {
    block(name, "devices/virtual/block/" + name, mebibytes);
    write("sys/class/block/" + name + "/dm/name", dm_name + "\n");
    write("sys/class/block/" + name + "/dm/uuid", uuid + "\n");
    const Path folder = Path("sys/class/block") / name / "slaves";
    for (const std::string& slave : slaves) write((folder / slave / "dev").native(), "");
    write("tables/" + dm_name, table);
    link("dev/mapper/" + dm_name, "../" + name);
  }

  void link(const std::string& name, const std::string& target) const {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::filesystem::create_symlink(target, root_ / name);
  }

  // major:minor of a device made above.
  std::string number(const std::string& name) const {
    const std::string text = read_file(root_ / "sys/class/block" / name / "dev");
    return text.substr(0, text.find('\n'));
  }

  Path node(const std::string& name) const { return root_ / "dev" / name; }

 private:
  void block(const std::string& name, const std::string& place, std::uint64_t mebibytes) {
    std::filesystem::create_directories(root_ / "sys" / place);
    link("sys/class/block/" + name, "../../" + place);
    write("sys/class/block/" + name + "/size", std::to_string(mebibytes * 2048) + "\n");
    write("sys/class/block/" + name + "/dev", "8:" + std::to_string(next_minor_++) + "\n");
    // The node, empty of data.
    std::ofstream(node(name)).close();
    std::filesystem::resize_file(node(name), mebibytes << 20U);
  }

  Path root_;
  int next_minor_ = 0;
};

}  // namespace volseal
