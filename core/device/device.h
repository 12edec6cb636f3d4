// Device and DeviceGraph: the noun that every stage shares. Plain values; nothing here asks the
// world.
//
// The graph says what the kernel and the sectors say, not what it means: verdicts are
// core/coverage's. Every string that came from a device is kept as it is; escape it where it is
// printed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

using DeviceIndex = std::size_t;

enum class DeviceKind {
  disk,  // a whole disk of any bus
  partition,
  mapped,  // device-mapper
  md,
  loop,
  zram,
  optical,  // sr*
  network,  // nbd, rbd, drbd, iSCSI is a disk with bus "iscsi"
  file,     // an image file, named on the command line
  other,
};

enum class ContentKind {
  blank,       // no signature, and every sector that was looked at is zero
  filesystem,  // type says which
  swap,
  hibernation,  // a swap area that holds a suspended system
  luks1,
  luks2,
  lvm_member,
  md_member,
  bcache_member,
  partition_table,  // type says which: gpt, dos
  other,            // a signature that none of the above covers; type says which
  unknown,          // no signature, but not blank: may be data
  unreadable,       // could not be read: may be data
};

struct Content {
  ContentKind kind = ContentKind::unknown;
  std::string type;  // as libblkid names it: "ext4", "xfs", "crypto_LUKS", "gpt"
  std::string label;
  std::string uuid;
  std::string detail;            // why it is unreadable, which signatures contradict each other
  std::uint32_t block_size = 0;  // the smallest unit that the file system reads; 0: not known
  std::uint64_t size = 0;        // bytes that the file system spans; 0: not known
  std::uint64_t used = 0;        // of those, as its superblock has it
  bool fscrypt = false;          // its superblock says that directories may be encrypted one by one
};

// One keyslot or token of a LUKS header.
struct Keyslot {
  int id = 0;
  std::string type;          // "luks2", "reencrypt"
  std::string pbkdf;         // "argon2id", "pbkdf2"; empty for none
  std::uint64_t cost = 0;    // iterations
  std::uint32_t memory = 0;  // KiB, Argon2 only
  std::uint32_t key_bytes = 0;
  // Of all that the header says of it, 16 hexadecimal digits: no other keyslot, now or later, has
  // the same.
  std::string fingerprint;
};

struct Token {
  int id = 0;
  std::string type;  // "systemd-recovery", "volseal-tpm2", "systemd-fido2", "clevis" ...
  std::vector<int> keyslots;
  std::string group;               // volseal-tpm2, and volseal-all-of where the TPM has a part
  bool two_factors = false;        // of its FIDO2 key: it wants a touch, and a PIN or a finger
  std::vector<std::string> parts;  // volseal-all-of only: "fido2", "passphrase" ..., all needed
  // volseal-escrow only: the keyslot whose key was escrowed, where that keyslot still is the same;
  // SHA-256 of the certificates, how many of them open it, and when it was acknowledged.
  std::optional<int> escrowed_keyslot;
  std::vector<std::string> certificates;
  std::uint32_t threshold = 0;
  std::string acknowledged;
  std::string escrowed_to;  // "directory", "command", "descriptor"
  std::string blob;         // what the names of its blobs begin with
};

struct LuksSegment {
  std::string type;                   // "crypt", "linear"
  std::uint64_t offset = 0;           // bytes
  std::optional<std::uint64_t> size;  // bytes; nothing: to the end ("dynamic")
  std::string cipher;  // "aes-xts-plain64"; "cipher_null-ecb" and "null" are no encryption
  std::uint32_t sector_size = 0;
  std::string integrity;  // "hmac(sha256)", "aead"; empty: none

  bool operator==(const LuksSegment&) const = default;
};

struct LuksHeader {
  int version = 2;
  std::string uuid;
  std::string label;
  std::string subsystem;
  std::uint32_t key_bytes = 0;  // of the volume key; 0: not known
  std::vector<LuksSegment> segments;
  std::vector<Keyslot> keyslots;
  std::vector<Token> tokens;
  std::vector<std::string> requirements;  // "online-reencrypt-v2" ...
  std::string reencryption;               // "", "encrypt", "decrypt", "reencrypt"
  std::uint64_t encrypted_bytes = 0;      // of the data, while reencryption == "encrypt"
  std::uint64_t data_bytes = 0;           // the whole, while reencryption == "encrypt"
  std::string plaintext;  // the signature that lies in the clear where ciphertext should begin
  std::string damage;     // why the header could not be read, where the signature is there
};

// One line of a device-mapper table. Keys are never kept.
struct Segment {
  std::uint64_t start = 0;   // 512-byte sectors
  std::uint64_t length = 0;  // 512-byte sectors
  std::string target;        // "crypt", "linear", "striped", "thin", "cache" ...
  std::string cipher;        // crypt only, as in the table: "aes-xts-plain64", "capi:..."
  std::uint32_t key_bytes = 0;
  bool key_in_keyring = false;
  std::uint32_t sector_size = 0;       // crypt only, bytes
  std::string integrity;               // crypt only
  std::vector<std::string> flags;      // crypt only: "allow_discards", "no_read_workqueue" ...
  std::vector<std::string> devices;    // kernel names, in the table's order
  std::vector<std::uint64_t> offsets;  // where in each of `devices` it starts, 512-byte sectors
};

// Space of a disk outside of its partitions that is not empty.
struct Gap {
  std::uint64_t start = 0;  // bytes
  std::uint64_t size = 0;   // bytes
  std::string type;         // of what was found at its start: "ext4"; "" where nothing is known
  bool random = false;      // no type, and it looks as ciphertext does
};

// What lies below something that claims to be encrypted, read from the disk itself.
struct Sample {
  std::uint32_t places = 0;  // that were read, of 4 KiB each
  std::uint32_t random = 0;  // of those: as ciphertext looks
  std::uint32_t empty = 0;   // one byte over and over: never written, or discarded
  std::uint32_t clear = 0;   // anything else
  std::string signature;     // of a file system that can be read there
};

struct Device {
  std::string name;  // the kernel's: "sda1", "dm-3"; for files the path
  std::string path;  // the node that people use: /dev/sda1, /dev/mapper/NAME, /dev/VG/LV
  std::vector<std::string> links;  // /dev/disk/by-*, /dev/VG/LV; sorted
  DeviceKind kind = DeviceKind::other;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint64_t diskseq = 0;  // 0: the kernel has none
  std::uint64_t size = 0;     // bytes
  std::uint64_t start = 0;    // partition: bytes from the start of the disk
  std::uint32_t logical_sector = 512;
  std::uint32_t physical_sector = 512;
  std::uint64_t optimal_io = 0;  // bytes, 0: not said
  bool read_only = false;
  bool removable = false;
  bool rotational = false;
  std::string bus;  // "ata", "scsi", "nvme", "usb", "virtio", "mmc", "" ...
  std::string vendor;
  std::string model;
  std::string serial;
  std::string wwn;
  std::string partition_uuid;  // of this partition
  std::string partition_type;  // GUID or hexadecimal MBR type
  std::string partition_label;
  std::string dm_name;
  std::string dm_uuid;         // what somebody said, not what it is
  bool suspended = false;      // mapped only: reads and writes wait until somebody resumes it
  std::vector<Segment> table;  // mapped only
  std::string md_level;        // md only: "raid1" ...
  std::string backing_file;    // loop only
  std::string backing_device;  // kernel name of the device below a loop file or zram; "" for none
  // A self-encrypting drive (TCG Opal): "off": nothing is locked, "unlocked", "locked"; "" where it
  // is none or the kernel cannot tell.
  std::string opal;
  Content content;
  std::optional<LuksHeader> luks;
  std::vector<Gap> gaps;           // of a disk with partitions
  std::optional<Sample> sample;    // where it was asked for
  std::vector<DeviceIndex> below;  // what it is made of: whole disk of a partition, slaves, members
  std::vector<std::string> mounts;  // mount points of the file system in it
  bool swap_active = false;
  std::string in_use;  // claimed by somebody else: why an exclusive open fails; "" for no
};

// A line of crypttab or fstab, as far as the graph needs it.
struct CrypttabEntry {
  std::string name, source, key, options;
};
struct FstabEntry {
  std::string source, target, type, options;
};

struct SwapFile {
  std::string path;
  std::string device;      // kernel name of what holds it; "" where that is not known
  std::uint64_t size = 0;  // bytes
};
// A file system that lies on no block device of this machine: tmpfs, NFS ...
struct Deviceless {
  std::string source, target, type;
};
// A file system or volume of a ZFS pool.
struct Dataset {
  std::string name;        // its pool is what stands before the first slash
  std::string encryption;  // as `zfs get encryption`: "off", "aes-256-gcm"
  std::string mount;       // "" where it is not mounted
};

struct DeviceGraph {
  std::string host;
  std::string taken_at;  // RFC 3339, UTC
  std::string kernel;    // uname -r
  std::string boot_id;
  bool root = true;  // taken with root's rights; without, content is unreadable
  std::vector<Device> devices;
  std::vector<CrypttabEntry> crypttab;
  std::vector<FstabEntry> fstab;
  std::vector<SwapFile> swap_files;
  std::vector<Deviceless> deviceless;
  std::vector<Dataset> datasets;
  std::string resume;  // kernel name of where a suspended system is written to; "" for nowhere

  const Device& operator[](DeviceIndex at) const { return devices.at(at); }
  Device& operator[](DeviceIndex at) { return devices.at(at); }

  // By kernel name, path or link; nothing where there is none.
  std::optional<DeviceIndex> find(const std::string& name) const;
  // Who stands directly on it.
  std::vector<DeviceIndex> above(DeviceIndex at) const;
  // Nothing stands on it: what mounts, swaps and raw users consume.
  bool is_leaf(DeviceIndex at) const;
  // Every device that `at` rests on, itself included, bottom last. Ends on cyclic graphs too.
  std::vector<DeviceIndex> closure_below(DeviceIndex at) const;
  // The bottoms of closure_below: whole disks, files, network devices.
  std::vector<DeviceIndex> disks_below(DeviceIndex at) const;
  // The rotating ones of those, by name; below a loop device or file those that hold the file.
  std::set<std::string> spindles_below(DeviceIndex at) const;
};

// Those of its links that stay with the device while its content changes.
std::vector<std::string> lasting_links(const Device& device);

// JSON with a "schema" of "volseal-graph/1". from_json throws Error{bad_graph} for text that is no
// such graph: unknown keys, indices out of range, cycles, more than 100000 devices.
std::string to_json(const DeviceGraph& graph, int indent = 1);
DeviceGraph graph_from_json(std::string_view text);

std::string_view to_string(DeviceKind kind);
std::string_view to_string(ContentKind kind);

}  // namespace volseal
