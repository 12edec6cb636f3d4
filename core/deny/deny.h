// Deny: the kernel lets nobody open what is in quarantine, nor use what was opened before. The only
// user of libbpf; device.bpf.c and file.bpf.c are what runs in the kernel.
//
// It needs a kernel with BPF, control groups of version 2 or the BPF LSM, and a mounted bpffs. What
// it has put into the kernel is pinned there: it holds until it is taken away or the machine
// restarts, whatever becomes of this process.
#pragma once

#include "core/base/file.h"
#include "core/base/handle.h"

#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <set>
#include <string>

namespace volseal {

struct DeviceNumber {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;

  auto operator<=>(const DeviceNumber&) const = default;
};

struct DenyPlaces {
  Path pins = "/sys/fs/bpf/volseal";
  Path groups = "/sys/fs/cgroup";
  Path udevd = "/sys/fs/cgroup/system.slice/systemd-udevd.service";
};

// The one that keeps the list. Nothing here throws: a kernel without it is an ordinary thing.
class Deny {
 public:
  explicit Deny(DenyPlaces places = {});
  Deny(const Deny&) = delete;
  Deny& operator=(const Deny&) = delete;
  Deny(Deny&&) = delete;
  Deny& operator=(Deny&&) = delete;
  // What is denied stays so.
  ~Deny();

  // Why this kernel cannot; "" where it can.
  const std::string& problem() const { return problem_; }

  struct Change {
    std::set<DeviceNumber> freed;   // were denied until now
    std::set<DeviceNumber> broken;  // had been denied by this object, and were free: now no more
  };
  // These numbers and no others, from now on. With none the kernel has nothing of it any more.
  Change set(const std::set<DeviceNumber>& numbers);

 private:
  struct Loaded;
  void load();
  bool attach();
  void detach();
  bool is_attached() const;
  void name_udevd() const;

  DenyPlaces places_;
  std::string problem_;
  std::unique_ptr<Loaded> loaded_;
  std::set<DeviceNumber> last_;
};

// What the kernel denies, as anybody with root can see it.
struct Denied {
  std::set<DeviceNumber> numbers;
  // "bpf-lsm": also to who had it open before; "bpf-cgroup": every open, mounts included.
  std::set<std::string> by;
};
Denied what_is_denied(const DenyPlaces& places = {});

// Where nobody keeps the list: these no longer, and the rest as before. Throws Error by errno.
void allow_again(const std::set<DeviceNumber>& numbers, const DenyPlaces& places = {});

// This process may open what is denied, for so long at most. Nothing happens where nothing is.
void pass_the_denial(std::chrono::seconds time, const DenyPlaces& places = {});

}  // namespace volseal
