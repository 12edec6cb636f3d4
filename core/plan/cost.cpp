#include "core/plan/cost.h"

#include "core/base/escape.h"
#include "core/base/human.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace volseal {
namespace {

constexpr std::uint64_t mib = 1ULL << 20U;

std::uint64_t bytes_of(const VolumePlan& plan, const Device& device, const Policy& policy) {
  switch (plan.task) {
    case Task::encrypt_in_place:
      // Read once, written once; what lies too far back is moved first, about a quarter.
      return plan.used_only ? device.content.used * 5 / 2 : plan.size * 2;
    case Task::resume:
      if (!device.luks) return 0;
      return 2 * (device.luks->data_bytes -
                  std::min(device.luks->encrypted_bytes, device.luks->data_bytes));
    case Task::format:
      // The check for blankness (both ends and samples, or all of it), the header, the file
      // system's first structures: mkfs.ext4 leaves the rest to the kernel.
      return (policy.blank_check == BlankCheck::full ? plan.size : 40 * mib) + 16 * mib +
             (plan.filesystem == "none" ? 0 : 64 * mib);
    // The header, and all of it once: what was swapped out is overwritten.
    case Task::encrypt_swap: return 16 * mib + plan.size;
    case Task::adopt:
    case Task::convert: return 4 * mib;
    case Task::nothing:
    case Task::leave:
    case Task::forbid:
    case Task::refuse: break;
  }
  return 0;
}

// Read or written until an encryption in place is mounted again: the file system is checked before
// and after it is shrunk (mke2fs lays out a 64th of a device as inodes), the head is moved and the
// header written.
std::uint64_t bytes_out_of_use(const VolumePlan& plan, const Device& device) {
  const std::uint64_t moved = plan.used_only ? device.content.used / 2 : 0;
  return (plan.room == Room::shrink ? 3 * (plan.size / 64) + moved : 0) + 64 * mib;
}

std::chrono::seconds time_for(std::uint64_t bytes, const PlanOptions& options) {
  if (options.bytes_per_second <= 0) return std::chrono::seconds(0);
  const double seconds = static_cast<double>(bytes) / options.bytes_per_second;
  return std::chrono::seconds(std::max(1LL, std::llround(seconds)));
}

std::string risk_of(Task task) {
  switch (task) {
    case Task::encrypt_in_place:
      return "the data is rewritten in place: safe against a power cut, not against a failing "
             "disk; have a backup";
    case Task::resume: return "the data is rewritten in place, from where it stopped";
    case Task::format: return "none: it is blank, and is looked at again before it is written";
    case Task::encrypt_swap: return "none: what lies in swap is of no use after swapoff";
    case Task::adopt: return "none: keyslots and tokens are added, what is there stays";
    case Task::convert:
      return "its header is written anew, from a copy that was proven to open; its data is not "
             "touched";
    case Task::nothing:
    case Task::leave:
    case Task::forbid:
    case Task::refuse: break;
  }
  return "none: it is not touched";
}

// Until every way to open the volume is proven, the volume itself is not written.
void add_protector_steps(VolumePlan& plan, bool tpm) {
  plan.steps.emplace_back(
      "make a LUKS2 header beside the volume, with a recovery key; prove that it opens; hand it "
      "over");
  if (tpm) {
    plan.steps.push_back(fmt::format(
        "add a keyslot for the TPM secret of group '{}'; prove that it opens", plan.group));
  }
}

void add_missing_steps(VolumePlan& plan, const Device& device, const Policy& policy) {
  const auto has = [&](std::string_view type) {
    return device.luks && has_token(*device.luks, type);
  };
  const auto& recovery = policy.group(plan.group).recovery;
  if (!has("systemd-recovery") && std::ranges::find(recovery, "recovery-key") != recovery.end()) {
    plan.steps.emplace_back("add a recovery key; prove that it opens; hand it over");
  }
  if (!has("volseal-tpm2") && policy.group(plan.group).tpm.enabled) {
    plan.steps.push_back(fmt::format(
        "add a keyslot for the TPM secret of group '{}'; prove that it opens", plan.group));
  }
}

void add_release_steps(VolumePlan& plan) {
  for (const std::string& mount : plan.mounts) {
    plan.steps.push_back(fmt::format("unmount {}", escaped(mount)));
  }
  if (plan.swap_active) plan.steps.emplace_back("turn this swap off");
}

void add_table_step(VolumePlan& plan, std::string_view fstab) {
  plan.steps.push_back(fmt::format("write its line into /etc/crypttab as '{}' ({}){}", plan.mapping,
                                   plan.crypttab_options, fstab));
}

void add_last_steps(VolumePlan& plan, std::string_view back_in_use) {
  plan.steps.emplace_back("back up the header");
  plan.steps.push_back(fmt::format("open it as /dev/mapper/{}{}", plan.mapping, back_in_use));
}

void add_check_step(VolumePlan& plan) {
  switch (plan.room) {
    case Room::shrink:
      plan.steps.emplace_back("check the file system; see that it can give up 32 MiB");
      return;
    case Room::tail:
      plan.steps.emplace_back("see that the 32 MiB behind the file system are blank");
      return;
    case Room::extend:
      plan.steps.emplace_back("see that the volume group has 32 MiB to give");
      return;
  }
}

void add_room_steps(VolumePlan& plan, const Device& device, const PlanOptions& options) {
  if (plan.room == Room::extend) {
    plan.steps.emplace_back("extend the logical volume by 32 MiB, to make room for the header");
  }
  if (plan.room != Room::shrink) return;
  if (!plan.used_only) {
    plan.steps.emplace_back("shrink the file system by 32 MiB, to make room for the header");
    return;
  }
  plan.steps.push_back(
      fmt::format("shrink the file system towards the {} that it uses, and zero what is free then: "
                  "only the rest is encrypted, which saves about {}",
                  human_size(device.content.used),
                  human_duration(time_for(plan.size * 2 - plan.bytes, options))));
}

void add_steps(VolumePlan& plan, const Device& device, const Policy& policy,
               const PlanOptions& options) {
  const bool tpm = policy.group(plan.group).tpm.enabled;
  const std::string cipher =
      fmt::format("{}, {} bits, sectors of {} bytes", plan.cipher, plan.key_bits, plan.sector_size);
  switch (plan.task) {
    case Task::encrypt_in_place:
      add_release_steps(plan);
      add_check_step(plan);
      add_protector_steps(plan, tpm);
      add_room_steps(plan, device, options);
      plan.steps.emplace_back("move the first 16 MiB to the end; write the header to the head");
      add_table_step(plan, "; lines of /etc/fstab that name the device get the mapping instead");
      if (plan.online) {
        plan.steps.push_back(
            fmt::format("open it as /dev/mapper/{} and mount it again", plan.mapping));
      }
      plan.steps.push_back(
          fmt::format("encrypt the data{} ({})", plan.online ? " while it is in use" : "", cipher));
      if (plan.room == Room::shrink) {
        plan.steps.emplace_back("let the file system grow to all of the volume");
      }
      if (plan.online) {
        plan.steps.emplace_back("back up the header");
      } else {
        add_last_steps(plan, plan.mounts.empty() ? "" : " and mount it again");
      }
      return;
    case Task::resume:
      plan.steps.emplace_back("repair what the cut left, by the header's own journal");
      plan.steps.emplace_back("encrypt the rest of the data");
      add_table_step(plan, "");
      add_last_steps(plan, "");
      return;
    case Task::format:
      plan.steps.emplace_back("look again whether it is blank");
      add_protector_steps(plan, tpm);
      plan.steps.push_back(fmt::format("write the header to the head ({})", cipher));
      if (plan.filesystem != "none") {
        plan.steps.push_back(fmt::format("make an {} file system in it", plan.filesystem));
      }
      add_table_step(plan, plan.mount.empty()
                               ? std::string()
                               : fmt::format(", and into /etc/fstab at {}", escaped(plan.mount)));
      add_last_steps(plan, plan.mount.empty() ? "" : " and mount it");
      return;
    case Task::encrypt_swap:
      add_release_steps(plan);
      add_protector_steps(plan, tpm);
      plan.steps.push_back(fmt::format("write the header to the head ({})", cipher));
      plan.steps.emplace_back(
          "overwrite what was swapped out; make swap in it, with the same UUID and label");
      add_table_step(plan, "; lines of /etc/fstab that name the device get the mapping instead");
      add_last_steps(plan, plan.swap_active ? " and turn the swap on" : "");
      return;
    case Task::adopt:
      plan.steps.emplace_back(
          "open it with what opens it now (--key-file, its key file in "
          "crypttab, or asked for); back up its header");
      add_missing_steps(plan, device, policy);
      add_table_step(plan, ", unless it has one");
      plan.steps.emplace_back("back up the header again");
      return;
    case Task::convert:
      plan.steps.emplace_back(
          "back up the LUKS1 header; convert a copy of it to LUKS2; open that "
          "with what opens it now (--key-file, its key file in crypttab, or "
          "asked for)");
      add_missing_steps(plan, device, policy);
      plan.steps.emplace_back("write the converted header to the head");
      add_table_step(plan, ", unless it has one");
      plan.steps.emplace_back("back up the header again");
      return;
    case Task::nothing:
    case Task::leave:
    case Task::forbid:
    case Task::refuse: return;
  }
}

}  // namespace

void add_cost(VolumePlan& plan, const Device& device, const Policy& policy,
              const PlanOptions& options) {
  plan.bytes = bytes_of(plan, device, policy);
  if (plan.bytes > 0) plan.estimate = time_for(plan.bytes, options);
  if (plan.online) plan.out_of_use = time_for(bytes_out_of_use(plan, device), options);
  plan.risk = risk_of(plan.task);
  add_steps(plan, device, policy, options);
}

bool has_token(const LuksHeader& header, std::string_view type) {
  return std::ranges::any_of(header.tokens, [&](const Token& token) {
    return token.type == type && !token.keyslots.empty();
  });
}

bool is_ext(const Content& content) {
  return content.type == "ext4" || content.type == "ext3" || content.type == "ext2";
}

bool spares_free_space(const Device& device, const Policy& policy) {
  // Growing again is safe only as the kernel does it, in a journal; ext2 has none. An image file
  // cannot be mapped.
  const bool grows = device.content.type == "ext4" || device.content.type == "ext3";
  return policy.free_space == FreeSpace::zero && grows && device.kind != DeviceKind::file &&
         device.content.size + 65536 >= device.size && device.content.used != 0 &&
         device.content.used <= device.size / 2 && device.size >= 256 * mib;
}

std::uint32_t sector_size_for(const Device& device, Task task,
                              std::optional<std::uint32_t> wanted) {
  constexpr std::uint32_t large = 4096;
  constexpr std::uint32_t small = 512;
  // The kernel refuses encryption sectors that are smaller than the device's.
  if (device.logical_sector > small) return large;
  const bool aligned = device.size % large == 0 && device.start % large == 0;
  // dm-crypt shows its sector as the logical one: a file system with smaller blocks would not mount
  // again. 0, not known, counts as smaller.
  const bool blocks_allow = task != Task::encrypt_in_place || device.content.block_size >= large;
  if (!aligned || !blocks_allow) return small;
  return wanted.value_or(large);
}

}  // namespace volseal
