// Graph and policy → verdicts. Pure.
//
// Judged by device-mapper tables and LUKS headers on every path down to every disk, never by names,
// UUID prefixes or signatures alone; the worst path counts.
#pragma once

#include "core/coverage/filter.h"
#include "core/device/device.h"
#include "core/drill/drill.h"
#include "core/policy/policy.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// From best to worst, but for exempt. Suspended: it would be covered, or covered-weak, and nothing
// can be read from or written to it until somebody resumes it.
enum class Verdict {
  covered,
  exempt,
  covered_weak,
  suspended,
  converting,
  unknown,
  not_covered,
};

// What a verdict is about. Only a device is what plans and other verbs can work on.
enum class Subject {
  device,
  gap,        // space of a disk outside of its partitions, with something on it
  swap_file,  // a file that the kernel swaps to
  mount,      // a file system on no device of this machine: tmpfs, NFS ...
  dataset,    // of a ZFS pool
};

// Bytes, by what lies on them; each is counted once.
struct ByteCount {
  std::uint64_t encrypted = 0;
  std::uint64_t converting = 0;  // in clear still, of a volume that is being en- or decrypted
  std::uint64_t plaintext = 0;
  std::uint64_t unknown = 0;
  std::uint64_t unused = 0;  // blank, or part of nothing: no volume's data lies there

  std::uint64_t all() const;
  ByteCount& operator+=(const ByteCount& other);
  bool operator==(const ByteCount&) const = default;
};

struct ByteShare {
  std::string name;         // a disk's path, or a tenant
  std::string environment;  // of a tenant
  ByteCount bytes;
};

// What the header says of a recovery key that others keep: a record, no proof.
struct EscrowRecord {
  int keyslot = 0;
  std::vector<std::string> certificates;  // SHA-256, hexadecimal
  std::uint32_t threshold = 0;            // how many of them open it together
  std::string acknowledged;               // RFC 3339, UTC
  std::string to;                         // "directory", "command", "descriptor"
};

// When a way in was last shown to open the volume.
struct DrillAge {
  int keyslot = 0;
  std::string kind;
  std::string opened;  // RFC 3339, UTC; "": never
  std::string person;
  std::optional<int> days;  // since then
  bool overdue = false;     // by the policy's drill_days
};

struct VolumeVerdict {
  std::string path;  // "/dev/sda@BYTE" for a gap, the file for a swap file, "tank/home" ...
  std::string name;
  Subject subject = Subject::device;
  DeviceIndex device = 0;  // of the graph that was judged; for other subjects none of it
  Verdict verdict = Verdict::unknown;
  std::vector<std::string> reasons;  // why it is not plainly covered; one sentence each
  std::string content;               // "ext4", "swap", "blank", "luks2 (locked)" ...
  std::vector<std::string> mounts;
  std::uint64_t size = 0;  // bytes
  double percent = 0;      // converting only
  std::string cipher;
  std::uint32_t key_bits = 0;
  std::uint32_t sector_size = 0;
  std::string integrity;  // "hmac(sha256)", "aead"; "": none
  ByteCount bytes;        // of its size, by the tables of every path
  // LUKS only: "locked", "open", or what opened it in this boot: "tpm", "passphrase" ...
  std::string opened;
  std::string header_backup;    // when it was made, RFC 3339; "": there is none
  std::string recovery_proven;  // when what opens it without the TPM was last tried, RFC 3339; ""
  std::vector<std::string>
      protectors;  // "tpm", "recovery-key", "fido2", "passphrase", "clevis" ...
  std::vector<EscrowRecord> escrows;
  std::vector<DrillAge> drills;  // empty where it is not known when anything was drilled
  std::string group;             // that has a keyslot, else the policy's
  std::string policy_group;  // which it belongs to, whatever is on it; tenant, environment: of this
  std::string tenant;
  std::string environment;
  std::string rule;   // the policy's, where one decided
  std::string until;  // exempt only: "YYYY-MM-DD", the last day; "" for ever
  std::string luks_uuid;
};

struct Coverage {
  std::string host;
  std::string taken_at;
  std::string policy;
  Filter filter;  // which volumes these are; the others were judged and left out
  std::vector<VolumeVerdict> volumes;
  ByteCount bytes;               // of all disks; filtered: of its volumes
  std::vector<ByteShare> disks;  // of each, in the graph's order; filtered: those of nobody else
  std::vector<std::string> shared_disks;  // filtered: those that have other volumes, too
  std::vector<ByteShare> tenants;         // of the volumes of each in each environment; "": of none

  // 0 covered, 1 covered with warnings (weak, suspended), 2 not covered (or converting), 3 could
  // not decide. Not covered beats undecided: a known hole is known.
  int exit_status() const;
};

// The devices that verdicts and plans speak of: what holds or can hold data at the top of each
// stack. An opened LUKS volume counts once, as the LUKS volume with what is in it above; members of
// LVM, md and the like count through what is made of them, and by themselves where nothing is.
std::vector<DeviceIndex> volumes_of(const DeviceGraph& graph);

// Anew, from the volumes.
void count_tenants(Coverage& coverage);

// What is known beside the graph, by other parts of volseal.
struct Records {
  std::map<std::string, std::string> header_backups;   // LUKS UUID → when, RFC 3339
  std::map<std::string, std::string> opened_by;        // LUKS UUID → what opened it in this boot
  std::map<std::string, std::string> recovery_proven;  // LUKS UUID → when, RFC 3339
  // Nothing where they are not known, as those of another machine; then nothing is said of them.
  std::optional<std::vector<Drill>> drills;
};

Coverage judge(const DeviceGraph& graph, const Policy& policy, std::string_view today,
               const Records& records = {});

// One device of the graph alone, whether it is a volume or part of one.
VolumeVerdict judge_one(const DeviceGraph& graph, const Policy& policy, std::string_view today,
                        DeviceIndex at, const Records& records = {});

struct TextOptions {
  std::size_t columns = 80;
  bool colour = false;
};
std::string to_text(const Coverage& coverage, const TextOptions& options);
std::string to_json(const Coverage& coverage, int indent = 1);  // "schema": "volseal-coverage/1"

std::string_view to_string(Verdict verdict);
std::string_view to_string(Subject subject);

}  // namespace volseal
