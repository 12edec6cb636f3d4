// Graph and policy → verdicts. Pure.
//
// Judged by device-mapper tables and LUKS headers on every path down to every disk, never by names,
// UUID prefixes or signatures alone; the worst path counts.
#pragma once

#include "core/device/device.h"
#include "core/policy/policy.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// From best to worst, but for exempt.
enum class Verdict { covered, exempt, covered_weak, converting, unknown, not_covered };

// What the header says of a recovery key that others keep: a record, no proof.
struct EscrowRecord {
  int keyslot = 0;
  std::vector<std::string> certificates;  // SHA-256, hexadecimal
  std::uint32_t threshold = 0;            // how many of them open it together
  std::string acknowledged;               // RFC 3339, UTC
  std::string to;                         // "directory", "command", "descriptor"
};

struct VolumeVerdict {
  std::string path;
  std::string name;
  DeviceIndex device = 0;
  Verdict verdict = Verdict::unknown;
  std::vector<std::string> reasons;  // why it is not plainly covered; one sentence each
  std::string content;               // "ext4", "swap", "blank", "luks2 (locked)" ...
  std::vector<std::string> mounts;
  std::uint64_t size = 0;  // bytes
  double percent = 0;      // converting only
  std::string cipher;
  std::uint32_t key_bits = 0;
  std::uint32_t sector_size = 0;
  std::vector<std::string>
      protectors;  // "tpm", "recovery-key", "fido2", "passphrase", "clevis" ...
  std::vector<EscrowRecord> escrows;
  std::string group;
  std::string tenant;
  std::string environment;
  std::string rule;  // the policy's, where one decided
  std::string luks_uuid;
};

struct Coverage {
  std::string host;
  std::string taken_at;
  std::string policy;
  std::vector<VolumeVerdict> volumes;

  // 0 covered, 1 covered with warnings (weak), 2 not covered (or converting), 3 could not decide.
  // Not covered beats undecided: a known hole is known.
  int exit_status() const;
};

// The devices that verdicts and plans speak of: what holds or can hold data at the top of each
// stack. An opened LUKS volume counts once, as the LUKS volume with what is in it above; members of
// LVM, md and the like count through what is made of them, and by themselves where nothing is.
std::vector<DeviceIndex> volumes_of(const DeviceGraph& graph);

Coverage judge(const DeviceGraph& graph, const Policy& policy, std::string_view today);

struct TextOptions {
  std::size_t columns = 80;
  bool colour = false;
};
std::string to_text(const Coverage& coverage, const TextOptions& options);
std::string to_json(const Coverage& coverage, int indent = 1);  // "schema": "volseal-coverage/1"

std::string_view to_string(Verdict verdict);

}  // namespace volseal
