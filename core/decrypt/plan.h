// Graph and policy → what decrypting one volume in place would do, and what is in its way. Pure;
// decryption.h carries it out.
#pragma once

#include "core/device/device.h"
#include "core/plan/plan.h"
#include "core/policy/policy.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

struct DecryptionOptions {
  std::string volume;          // a name of the device, or of its mapping
  std::string despite_policy;  // why it is done although no rule exempts the volume; "" for no
  std::string today;           // "YYYY-MM-DD"
  bool unmount = false;
  double bytes_per_second = 200e6;  // of reading and writing in turn, for the estimate
  // As in PlanOptions, with the folders of journals and header backups.
  std::vector<std::string> needed = PlanOptions{}.needed;
};

struct DecryptionPlan {
  std::string path;                // as Device::path
  std::string name;                // as Device::name
  std::vector<std::string> links;  // that stay with the device while its content changes
  std::string luks_uuid;
  std::uint64_t diskseq = 0;
  std::uint64_t size = 0;                 // bytes, of the device
  std::uint64_t data_offset = 0;          // bytes
  std::string open_as;                    // name of its mapping; "" where it is closed
  std::optional<CrypttabEntry> crypttab;  // its line
  std::vector<std::string> opened_names;  // of what is opened from it, as fstab may name it
  // What is inside, as far as it can be seen: nothing of a closed volume.
  std::string content_type, content_uuid, content_label;
  std::vector<std::string> mounts;
  bool swap_active = false;
  std::string rule;    // that decided; "" for none
  std::string why;     // it may be decrypted: one sentence, safe to print
  std::string reason;  // as --despite-policy has it
  std::vector<Obstacle> obstacles;
  std::vector<std::string> steps;     // one line each, in order
  std::vector<std::string> for_ever;  // what cannot be undone
  std::string risk;
  std::uint64_t bytes = 0;  // to read and write
  std::chrono::seconds estimate{0};
};

// Throws Error{not_found} where no device has that name, Error{not_luks} where it is no LUKS
// volume.
DecryptionPlan plan_decryption(const DeviceGraph& graph, const Policy& policy,
                               const DecryptionOptions& options);

// Names by which fstab may mean what is opened as `mapping`, with that UUID and label.
std::vector<std::string> fstab_names(const DecryptionPlan& plan);

std::string to_text(const DecryptionPlan& plan, std::size_t columns);
std::string to_json(const DecryptionPlan& plan, int indent = 1);  // "volseal-decrypt-plan/1"

}  // namespace volseal
