#include "core/report/pseudonyms.h"

#include "core/base/base64.h"
#include "core/base/error.h"
#include "core/base/escape.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace volseal {

namespace {

constexpr std::size_t least_key = 16;
constexpr std::size_t pseudonym_digits = 16;

// Words that every machine has, and that tell nothing of this one.
constexpr std::array usual_words = {
    "dev",  "mapper",       "boot",  "efi",    "EFI",      "home",    "root", "srv",
    "var",  "usr",          "opt",   "tmp",    "mnt",      "media",   "lib",  "log",
    "etc",  "run",          "swap",  "data",   "swapfile", "default", "shm",  "lock",
    "user", "backing_file", "linux", "system", "SWAP",     "BOOT",    "ROOT", "disk"};

bool is_usual(std::string_view word) {
  return std::ranges::find(usual_words, word) != usual_words.end();
}

bool is_word_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// What a word is looked up by: its letters up to the first that is none, or that one.
std::string_view beginning_of(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size() && is_word_character(text[size])) ++size;
  return text.substr(0, std::max<std::size_t>(size, 1));
}

// The length of a UUID that `text` begins with, or 0.
std::size_t uuid_length(std::string_view text) {
  constexpr std::string_view form = "00000000-0000-0000-0000-000000000000";
  if (text.size() < form.size()) return 0;
  for (std::size_t i = 0; i < form.size(); ++i) {
    if (form[i] == '0' ? !is_hex_digit(text[i]) : text[i] != '-') return 0;
  }
  return form.size();
}

class Pseudonyms {
 public:
  explicit Pseudonyms(const Secret& key) : key_(key) {}

  void add(std::string_view kind, const std::string& word) {
    if (word.empty() || is_usual(word)) return;
    insert(kind, word);
    // Reasons have it escaped, and JSON where it is no UTF-8 with replacement characters.
    if (const std::string shown = escaped(word); shown != word) insert(kind, shown, word);
    if (const std::string valid = to_valid_utf8(word); valid != word) insert(kind, valid, word);
  }

  // Folders and names of a path, but those that every machine has.
  void add_path(std::string_view kind, std::string_view path) {
    while (!path.empty()) {
      const auto end = std::min(path.find_first_of("/:"), path.size());
      add(kind, std::string(path.substr(0, end)));
      path.remove_prefix(std::min(end + 1, path.size()));
    }
  }

  void replace(std::string& text) const {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
      const bool starts =
          at == 0 || !is_word_character(text[at]) || !is_word_character(text[at - 1]);
      const std::size_t length = starts ? replace_at(std::string_view(text).substr(at), out) : 0;
      if (length == 0) out += text[at];
      at += std::max<std::size_t>(length, 1);
    }
    text = std::move(out);
  }

  void replace(std::vector<std::string>& list) const {
    for (std::string& text : list) replace(text);
  }

 private:
  struct Word {
    std::string text;
    std::string pseudonym;
  };

  void insert(std::string_view kind, const std::string& text, const std::string& meant = {}) {
    std::vector<Word>& words = words_[std::string(beginning_of(text))];
    if (std::ranges::find(words, text, &Word::text) != words.end()) return;
    words.push_back({.text = text, .pseudonym = pseudonym(kind, meant.empty() ? text : meant)});
    // "acme-db" before "acme".
    std::ranges::sort(words, std::ranges::greater{},
                      [](const Word& word) { return word.text.size(); });
  }

  // How much of `rest` was replaced.
  std::size_t replace_at(std::string_view rest, std::string& out) const {
    const auto whole = [&](std::size_t length) {
      return length == rest.size() || !is_word_character(rest[length]) ||
             !is_word_character(rest[length - 1]);
    };
    if (const auto found = words_.find(std::string(beginning_of(rest))); found != words_.end()) {
      for (const Word& word : found->second) {
        if (!rest.starts_with(word.text) || !whole(word.text.size())) continue;
        out += word.pseudonym;
        return word.text.size();
      }
    }
    const std::size_t uuid = uuid_length(rest);
    if (uuid != 0) out += pseudonym("uuid", std::string(rest.substr(0, uuid)));
    return uuid;
  }

  std::string pseudonym(std::string_view kind, const std::string& word) const {
    std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (HMAC(EVP_sha256(), key_.bytes().data(), static_cast<int>(key_.size()),
             reinterpret_cast<const unsigned char*>(word.data()), word.size(), digest.data(),
             &size) == nullptr) {
      throw Error(Code::internal, "make a pseudonym: libcrypto refused");
    }
    return std::string(kind) + "-" + to_hex(std::span(digest).first(pseudonym_digits / 2));
  }

  const Secret& key_;
  std::unordered_map<std::string, std::vector<Word>> words_;
};

void add_device(Pseudonyms& words, const Device& device) {
  words.add("serial", device.serial);
  words.add("wwn", device.wwn);
  words.add("uuid", device.content.uuid);
  words.add("uuid", device.partition_uuid);
  words.add("label", device.content.label);
  words.add("label", device.partition_label);
  words.add("name", device.dm_name);
  words.add("uuid", device.dm_uuid);
  if (device.luks) {
    words.add("uuid", device.luks->uuid);
    words.add("label", device.luks->label);
    words.add("label", device.luks->subsystem);
  }
  // /dev/mapper/NAME, /dev/VG/LV, image files; the kernel's own names say nothing.
  const bool named_by_people = device.kind == DeviceKind::mapped || device.kind == DeviceKind::file;
  if (named_by_people) words.add_path("name", device.path);
  if (device.kind == DeviceKind::md && device.path.starts_with("/dev/md/"))
    words.add_path("name", device.path.substr(sizeof("/dev/md/") - 1));
  words.add_path("name", device.backing_file);
  for (const std::string& link : device.links) {
    const auto slash = link.rfind('/');
    if (link.starts_with("/dev/disk/") && !link.starts_with("/dev/disk/by-path/"))
      words.add("name", link.substr(slash + 1));
  }
  for (const std::string& mount : device.mounts) words.add_path("folder", mount);
}

void add_volume(Pseudonyms& words, const VolumeVerdict& volume, const std::string& id) {
  for (const std::string& mount : volume.mounts) words.add_path("folder", mount);
  if (!volume.path.starts_with("/dev/")) words.add_path("folder", volume.path);
  words.add("uuid", volume.luks_uuid);
  words.add("tenant", volume.tenant);
  words.add("environment", volume.environment);
  words.add("group", volume.group);
  words.add("group", volume.policy_group);
  words.add("rule", volume.rule);
  // "serial:MODEL_SERIAL": behind the colon it is one word.
  const auto colon = id.find(':');
  if (colon != std::string::npos && !id.starts_with("path:"))
    words.add("place",
              id.substr(colon + 1, id.rfind('#') == std::string::npos ? std::string::npos
                                                                      : id.rfind('#') - colon - 1));
  for (const EscrowRecord& escrow : volume.escrows) {
    for (const std::string& certificate : escrow.certificates) words.add("person", certificate);
  }
}

void add_policy_words(Pseudonyms& words, const Policy& policy) {
  for (const Rule& rule : policy.rules) {
    words.add("rule", rule.name);
    words.add("reason", rule.reason);
  }
  for (const Group& group : policy.groups) {
    words.add("group", group.name);
    words.add("tenant", group.tenant);
    words.add("environment", group.environment);
  }
}

void replace_volume(const Pseudonyms& words, VolumeVerdict& volume) {
  words.replace(volume.path);
  words.replace(volume.name);
  words.replace(volume.reasons);
  words.replace(volume.mounts);
  words.replace(volume.group);
  words.replace(volume.policy_group);
  words.replace(volume.tenant);
  words.replace(volume.environment);
  words.replace(volume.rule);
  words.replace(volume.luks_uuid);
  for (EscrowRecord& escrow : volume.escrows) words.replace(escrow.certificates);
}

void replace_device(const Pseudonyms& words, ReportDevice& device) {
  words.replace(device.path);
  words.replace(device.name);
  words.replace(device.label);
  words.replace(device.uuid);
  words.replace(device.serial);
  words.replace(device.mounts);
}

}  // namespace

Report pseudonymized(Report report, const DeviceGraph& graph, const Policy& policy,
                     const Secret& key) {
  if (key.size() < least_key)
    throw Error(Code::usage, "make pseudonyms: the key has less than {} bytes", least_key);
  Pseudonyms words(key);
  words.add("host", report.coverage.host);
  words.add("boot", report.boot_id);
  for (const Device& device : graph.devices) add_device(words, device);
  for (const CrypttabEntry& entry : graph.crypttab) {
    words.add("name", entry.name);
    words.add_path("name", entry.key);
    if (const auto header = entry.options.find("header="); header != std::string::npos) {
      const std::string_view path = std::string_view(entry.options).substr(header + 7);
      words.add_path("name", path.substr(0, path.find(',')));
    }
  }
  for (std::size_t at = 0; at < report.ids.size(); ++at)
    add_volume(words, report.coverage.volumes[at], report.ids[at]);
  add_policy_words(words, policy);

  words.replace(report.coverage.host);
  words.replace(report.coverage.policy);
  words.replace(report.boot_id);
  words.replace(report.ids);
  for (VolumeVerdict& volume : report.coverage.volumes) replace_volume(words, volume);
  for (ByteShare& share : report.coverage.disks) words.replace(share.name);
  for (ByteShare& share : report.coverage.tenants) {
    words.replace(share.name);
    words.replace(share.environment);
  }
  words.replace(report.coverage.shared_disks);
  words.replace(report.coverage.filter.tenants);
  words.replace(report.coverage.filter.environments);
  words.replace(report.coverage.filter.groups);
  for (ReportDevice& device : report.devices) replace_device(words, device);
  return report;
}

}  // namespace volseal
