#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/policy/audit.h"
#include "core/policy/conditions.h"
#include "core/policy/lock.h"
#include "core/policy/policy.h"
#include "core/policy/section.h"
#include "core/policy/separate.h"
#include "core/policy/watch.h"
#include "core/protect/all_of_token.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <set>

namespace volseal {
namespace {

constexpr std::size_t max_text = 1U << 20U;
constexpr std::size_t max_line = 4096;  // bounds the depth that dotted keys can nest tables to
constexpr std::size_t max_rules = 1000;
constexpr std::size_t max_groups = 1000;
const Path default_place = "/etc/volseal/policy.toml";

// Sectors that libcryptsetup can re-encrypt and that dm-crypt of Debian 12 knows, without
// integrity. Adiantum is for processors without AES instructions; its key has one size.
struct Cipher {
  std::string_view name;
  std::array<int, 2> key_bits;
};
constexpr std::array ciphers = {
    Cipher{.name = "aes-xts-plain64", .key_bits = {256, 512}},
    Cipher{.name = "serpent-xts-plain64", .key_bits = {256, 512}},
    Cipher{.name = "twofish-xts-plain64", .key_bits = {256, 512}},
    Cipher{.name = "camellia-xts-plain64", .key_bits = {256, 512}},
    Cipher{.name = "xchacha12,aes-adiantum-plain64", .key_bits = {256, 256}},
    Cipher{.name = "xchacha20,aes-adiantum-plain64", .key_bits = {256, 256}},
};

struct CipherChoice {
  std::string cipher;
  int key_bits = 0;
};

// What the section says of it, on top of `choice`.
CipherChoice read_cipher(const Section& section, CipherChoice choice) {
  const auto name = section.text("cipher");
  if (name) {
    if (name->find("null") != std::string::npos || name->find("ecb") != std::string::npos) {
      section.refuse("cipher",
                     fmt::format("is '{}', which does not protect data", escaped(*name, 60)));
    }
    choice.cipher = *name;
  }
  const auto known = std::ranges::find(ciphers, choice.cipher, &Cipher::name);
  if (known == ciphers.end()) {
    Words names;
    for (const Cipher& cipher : ciphers) names.push_back(cipher.name);
    section.refuse("cipher", fmt::format("is '{}', must be one of: {}", escaped(choice.cipher, 60),
                                         fmt::join(names, "; ")));
  }
  // Where only the cipher is given, its longest key is meant.
  if (name) choice.key_bits = known->key_bits[1];
  choice.key_bits = section.integer("key_bits", 0, 4096).value_or(choice.key_bits);
  if (std::ranges::find(known->key_bits, choice.key_bits) == known->key_bits.end()) {
    section.refuse("key_bits",
                   fmt::format("is {}, must be {} for {}", choice.key_bits,
                               known->key_bits[0] == known->key_bits[1] ? "256" : "256 or 512",
                               choice.cipher));
  }
  return choice;
}

// Some of crypttab's options make a new file system, and so an empty one, at each boot.
void read_crypttab_options(const Section& section, Policy& policy) {
  const auto options = section.text("crypttab_options");
  if (!options) return;
  if (options->find_first_of(" \t#") != std::string::npos) {
    section.refuse("crypttab_options", "must not contain blanks or '#'");
  }
  bool luks = false;
  std::string_view rest = *options;
  while (true) {
    const std::size_t comma = rest.find(',');
    const std::string_view option = rest.substr(0, comma);
    const std::string_view key = option.substr(0, option.find('='));
    static constexpr std::array<std::string_view, 8> harmful = {
        "swap", "tmp", "plain", "tcrypt", "bitlk", "loop", "header", "offset"};
    if (std::ranges::find(harmful, key) != harmful.end()) {
      section.refuse("crypttab_options",
                     fmt::format("contains '{}', which would not open a LUKS2 volume as it is",
                                 escaped(key, 60)));
    }
    luks = luks || option == "luks";
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (!luks) section.refuse("crypttab_options", "must contain 'luks'");
  policy.crypttab_options = *options;
}

// 0: "auto". Nothing: not said.
std::optional<std::uint32_t> read_sector_size(const Section& section) {
  const toml::node* node = section.raw().get("sector_size");
  if (node == nullptr) return std::nullopt;
  if (const auto* bytes = node->as_integer();
      bytes != nullptr && (bytes->get() == 512 || bytes->get() == 4096)) {
    return static_cast<std::uint32_t>(bytes->get());
  }
  if (const auto* word = node->as_string(); word == nullptr || word->get() != "auto") {
    section.refuse("sector_size", "must be 512, 4096 or \"auto\"");
  }
  return 0;
}

std::optional<Workqueue> read_workqueue(const Section& section) {
  const auto word = section.one_of("workqueue", {"auto", "on", "off"});
  if (!word) return std::nullopt;
  if (*word == "on") return Workqueue::on;
  return *word == "off" ? Workqueue::off : Workqueue::automatic;
}

// Two keys that say the opposite of each other are a mistake, whichever was meant.
void refuse_contradictions(const Section& section, const Policy& policy) {
  const std::string options = "," + policy.crypttab_options + ",";
  const auto contradicts = [&](std::string_view key, bool says_no, std::string_view option) {
    if (!section.has(key) || !says_no || !options.contains(fmt::format(",{},", option))) return;
    section.refuse(key, fmt::format("contradicts crypttab_options, which has '{}'", option));
  };
  contradicts("discard", !policy.discard, "discard");
  contradicts("workqueue", policy.workqueue == Workqueue::on, "no-read-workqueue");
  contradicts("workqueue", policy.workqueue == Workqueue::on, "no-write-workqueue");
}

void read_volumes(const Section& section, Policy& policy) {
  section.only({"cipher", "key_bits", "sector_size", "blank_check", "blank_filesystem",
                "crypttab_options", "discard", "free_space", "header_backups", "workqueue"});
  const CipherChoice choice =
      read_cipher(section, {.cipher = policy.cipher, .key_bits = policy.key_bits});
  policy.cipher = choice.cipher;
  policy.key_bits = choice.key_bits;
  // 0: as the device has it.
  if (const std::uint32_t bytes = read_sector_size(section).value_or(0); bytes != 0) {
    policy.sector_size = bytes;
  }
  if (section.one_of("blank_check", {"sampled", "full"}) == "full") {
    policy.blank_check = BlankCheck::full;
  }
  if (section.one_of("free_space", {"zero", "encrypt"}) == "encrypt") {
    policy.free_space = FreeSpace::encrypt;
  }
  policy.blank_filesystem =
      section.one_of("blank_filesystem", {"ext4", "none"}).value_or(policy.blank_filesystem);
  read_crypttab_options(section, policy);
  policy.discard = section.truth("discard").value_or(policy.discard);
  policy.workqueue = read_workqueue(section).value_or(policy.workqueue);
  refuse_contradictions(section, policy);
  if (const auto folder = section.text("header_backups")) {
    if (!is_clean_absolute_path(*folder)) {
      section.refuse("header_backups", "must be an absolute path without '..'");
    }
    policy.header_backups = *folder;
  }
}

void read_pcrs(const Section& section, TpmProtection& tpm) {
  const toml::array* pcrs = section.list("pcrs");
  if (pcrs == nullptr) return;
  tpm.pcrs.clear();
  for (const toml::node& node : *pcrs) {
    const auto* value = node.as_integer();
    if (value == nullptr || value->get() < 0 || value->get() > 23) {
      fail_policy(
          section.source(), line_of(node),
          fmt::format("'pcrs' in {} must be a list of numbers from 0 to 23", section.name()));
    }
    // PC Client PTP §4.6: the debug and the application PCR.
    if (value->get() == 16 || value->get() == 23) {
      fail_policy(section.source(), line_of(node),
                  fmt::format("'pcrs' in {} contains {}, which any program can reset",
                              section.name(), value->get()));
    }
    const int pcr = static_cast<int>(value->get());
    if (std::ranges::find(tpm.pcrs, pcr) != tpm.pcrs.end()) {
      fail_policy(section.source(), line_of(node),
                  fmt::format("'pcrs' in {} contains {} twice", section.name(), pcr));
    }
    tpm.pcrs.push_back(pcr);
  }
  if (tpm.pcrs.empty()) {
    section.refuse("pcrs", "is empty: whoever has the machine could unseal in any system");
  }
  std::ranges::sort(tpm.pcrs);
}

TpmProtection read_tpm(const Section& section) {
  section.only({"enabled", "bank", "pcrs", "latch", "allow_unmeasured"});
  TpmProtection tpm;
  tpm.enabled = section.truth("enabled").value_or(tpm.enabled);
  tpm.bank = section.one_of("bank", {"sha256", "sha384", "sha512"}).value_or(tpm.bank);
  read_pcrs(section, tpm);
  // 0 to 7 are the firmware's, and 16 and up can be reset without a restart.
  tpm.latch = section.integer("latch", 8, 15).value_or(tpm.latch);
  tpm.allow_unmeasured = section.truth("allow_unmeasured").value_or(tpm.allow_unmeasured);
  if (std::ranges::find(tpm.pcrs, tpm.latch) != tpm.pcrs.end()) {
    section.refuse(section.has("latch") ? "latch" : "pcrs",
                   fmt::format("names PCR {} as latch and as measured PCR", tpm.latch));
  }
  return tpm;
}

std::vector<Path> read_escrow_certificates(const Section& section) {
  constexpr std::size_t most = 16;
  std::vector<Path> files;
  for (const std::string& file : section.texts("certificates", most)) {
    if (!is_clean_absolute_path(file)) {
      section.refuse("certificates", fmt::format("has '{}', which is no absolute path without '..'",
                                                 escaped(file, 80)));
    }
    if (std::ranges::find(files, Path(file)) != files.end()) {
      section.refuse("certificates", fmt::format("has '{}' twice", escaped(file, 80)));
    }
    files.emplace_back(file);
  }
  if (files.empty()) {
    fail_policy(section.source(), section.line(),
                fmt::format("{} needs certificates = [\"/path/to/one.pem\", ...]", section.name()));
  }
  return files;
}

EscrowPolicy read_escrow(const Section& section) {
  section.only({"certificates", "threshold", "directory", "command", "timeout", "show"});
  EscrowPolicy escrow;
  escrow.certificates = read_escrow_certificates(section);
  escrow.threshold =
      section.integer("threshold", 1, static_cast<int>(escrow.certificates.size())).value_or(1);
  if (section.has("directory") == section.has("command")) {
    fail_policy(
        section.source(), section.line(),
        fmt::format(R"({} needs either directory = "/path" or command = ["/path/to/program"])",
                    section.name()));
  }
  if (const auto directory = section.text("directory")) {
    if (!is_clean_absolute_path(*directory)) {
      section.refuse("directory", "must be an absolute path without '..'");
    }
    escrow.directory = *directory;
  }
  escrow.command = section.command("command");
  if (section.has("timeout") && escrow.command.empty()) {
    section.refuse("timeout", "is only for a command");
  }
  constexpr int longest_timeout = 3600;
  escrow.timeout = section.integer("timeout", 1, longest_timeout).value_or(escrow.timeout);
  escrow.show = section.truth("show").value_or(escrow.show);
  return escrow;
}

// What enroll makes and proves by itself, and what 'volseal protector add' adds with a person.
std::optional<std::string> recovery_kind(const toml::node& node) {
  const auto* text = node.as_string();
  if (text == nullptr) return std::nullopt;
  if (text->get() == "recovery-key" || text->get() == "fido2") return text->get();
  const auto parts = parse_parts(text->get());
  // The TPM's part is no help on the day it is gone.
  if (!parts || parts->front() == Part::tpm) return std::nullopt;
  return to_string(*parts);
}

std::vector<std::string> read_recovery(const Section& section, const toml::array& list) {
  std::vector<std::string> kinds;
  for (const toml::node& node : list) {
    const auto kind = recovery_kind(node);
    if (!kind) {
      fail_policy(
          section.source(), line_of(node),
          fmt::format("'recovery' in {} must be a list of: recovery-key, fido2, and several parts "
                      "such as fido2+passphrase",
                      section.name()));
    }
    if (std::ranges::find(kinds, *kind) != kinds.end()) {
      fail_policy(section.source(), line_of(node),
                  fmt::format("'recovery' in {} contains '{}' twice", section.name(), *kind));
    }
    kinds.push_back(*kind);
  }
  if (kinds.empty()) {
    section.refuse("recovery", "is empty: a volume that only a TPM opens is lost with it");
  }
  return kinds;
}

constexpr int most_factors = 4;

Group read_group(const Section& section, std::string_view name) {
  section.only({"tenant", "environment", "operators", "recovery", "factors", "drill_days", "tpm",
                "escrow", "on_tamper", "lock_after"});
  Group group;
  group.name = name;
  group.tenant = read_owner(section, "tenant");
  group.environment = read_owner(section, "environment");
  group.operators = read_operators(section);
  if (const toml::array* kinds = section.list("recovery")) {
    group.recovery = read_recovery(section, *kinds);
  }
  group.factors = section.integer("factors", 1, most_factors).value_or(group.factors);
  constexpr int ten_years = 3650;
  group.drill_days = section.integer("drill_days", 0, ten_years).value_or(group.drill_days);
  if (const auto tpm = section.table("tpm", fmt::format("[group.{}.tpm]", name))) {
    group.tpm = read_tpm(*tpm);
  }
  if (const auto escrow = section.table("escrow", fmt::format("[group.{}.escrow]", name))) {
    group.escrow = read_escrow(*escrow);
  }
  // Kept by load_lock_rules(); read here so that a mistake shows as any other one does.
  read_lock_rules(section);
  return group;
}

void read_groups(const Section& section, Policy& policy) {
  for (const auto& [key, node] : section.raw()) {
    const std::size_t line = key.source().begin.line;
    if (!is_name(key.str())) {
      fail_policy(section.source(), line,
                  fmt::format("group name '{}' must be 1 to 64 letters, digits, '-' and '_'",
                              escaped(key.str(), 80)));
    }
    if (policy.groups.size() >= max_groups)
      fail_policy(section.source(), line, "more than 1000 groups");
    if (const auto group = section.table(key.str(), fmt::format("[group.{}]", key.str()))) {
      policy.groups.push_back(read_group(*group, key.str()));
    }
  }
  require_separate(section, policy.groups);
}

// What only makes sense together.
void check_rule(const Section& section, const Rule& rule, const Policy& policy) {
  if (rule.action != Action::encrypt) {
    const std::string_view action = rule.action == Action::leave ? "leave" : "forbid";
    if (rule.reason.find_first_not_of(' ') == std::string::npos) {
      fail_policy(section.source(), section.line("action"),
                  fmt::format("{} has action '{}' and must say why: reason = \"...\"",
                              section.name(), action));
    }
    if (matches_everything(rule.match)) {
      fail_policy(section.source(), section.line("action"),
                  fmt::format("{} has action '{}' and no match: it would cover every volume",
                              section.name(), action));
    }
    for (const std::string_view key : {"group", "filesystem", "mount", "mapping", "cipher",
                                       "key_bits", "sector_size", "discard", "workqueue"}) {
      if (section.has(key)) {
        section.refuse(key, fmt::format("has no meaning with action '{}'", action));
      }
    }
  }
  if (!rule.until.empty() && rule.action != Action::leave) {
    section.refuse("until", "is only for action 'leave'");
  }
  if (std::ranges::find(policy.groups, rule.group, &Group::name) == policy.groups.end()) {
    Words names;
    for (const Group& group : policy.groups) names.push_back(group.name);
    section.refuse("group",
                   fmt::format("names '{}', and there is no [group.{}]{}", escaped(rule.group, 80),
                               escaped(rule.group, 80), did_you_mean(rule.group, names)));
  }
  if (rule.mount && rule.filesystem.value_or(policy.blank_filesystem) == "none") {
    section.refuse("mount", "needs a file system, and this rule makes none");
  }
}

Rule read_rule(const Section& outer, const Policy& policy) {
  const std::string name = outer.text("name").value_or("");
  if (!is_name(name)) {
    fail_policy(outer.source(), outer.line("name"),
                "a [[rule]] needs a name of 1 to 64 letters, digits, '-' and '_'");
  }
  const Section section(outer.raw(), fmt::format("rule '{}'", name), outer.source());
  section.only({"name", "match", "action", "group", "reason", "until", "filesystem", "mount",
                "mapping", "cipher", "key_bits", "sector_size", "discard", "workqueue"});
  Rule rule;
  rule.name = name;
  rule.line = static_cast<int>(section.line());
  if (const auto match = section.table("match", fmt::format("match of rule '{}'", name))) {
    rule.match = read_match(*match);
  }
  const auto action = section.one_of("action", {"encrypt", "leave", "forbid"}).value_or("encrypt");
  rule.action = action == "leave"    ? Action::leave
                : action == "forbid" ? Action::forbid
                                     : Action::encrypt;
  rule.group = section.text("group").value_or(rule.group);
  rule.reason = section.text("reason").value_or("");
  rule.until = read_until(section);
  rule.filesystem = section.one_of("filesystem", {"ext4", "none"});
  rule.mount = section.text("mount");
  if (rule.mount && (!is_clean_absolute_path(*rule.mount) || *rule.mount == "/")) {
    section.refuse("mount", "must be an absolute path below '/', without '..' or a last '/'");
  }
  rule.mapping = section.text("mapping");
  if (rule.mapping && (!is_name(*rule.mapping) || *rule.mapping == "control")) {
    section.refuse("mapping", "must be 1 to 64 letters, digits, '-' and '_', and not 'control'");
  }
  if (section.has("cipher") || section.has("key_bits")) {
    const CipherChoice choice =
        read_cipher(section, {.cipher = policy.cipher, .key_bits = policy.key_bits});
    rule.cipher = choice.cipher;
    rule.key_bits = choice.key_bits;
  }
  rule.sector_size = read_sector_size(section);
  rule.discard = section.truth("discard");
  rule.workqueue = read_workqueue(section);
  check_rule(section, rule, policy);
  return rule;
}

void read_rules(const Section& root, Policy& policy) {
  const toml::array* rules = root.list("rule");
  if (rules == nullptr) return;
  std::set<std::string> names;
  std::set<std::string> mappings;
  std::set<std::string> mounts;
  for (const toml::node& node : *rules) {
    if (!node.is_table()) {
      fail_policy(root.source(), line_of(node), "rules are written as [[rule]] tables");
    }
    if (policy.rules.size() >= max_rules)
      fail_policy(root.source(), line_of(node), "more than 1000 rules");
    const Section section(*node.as_table(), "[[rule]]", root.source());
    Rule rule = read_rule(section, policy);
    if (!names.insert(rule.name).second) {
      section.refuse("name", fmt::format("'{}' is used twice", rule.name));
    }
    if (rule.mapping && !mappings.insert(*rule.mapping).second) {
      section.refuse("mapping", fmt::format("'{}' is used twice", *rule.mapping));
    }
    if (rule.mount && !mounts.insert(*rule.mount).second) {
      section.refuse("mount", fmt::format("'{}' is used twice", *rule.mount));
    }
    policy.rules.push_back(std::move(rule));
  }
}

toml::table parse_toml(std::string_view text, std::string_view source) {
  std::size_t line = 1;
  std::size_t length = 0;
  for (const char c : text) {
    length = c == '\n' ? 0 : length + 1;
    if (length > max_line) fail_policy(source, line, "a line of more than 4096 bytes");
    if (c == '\n') ++line;
  }
  try {
    return toml::parse(text, source);
  } catch (const toml::parse_error& error) {
    fail_policy(source, error.source().begin.line, escaped(error.description()));
  }
}

}  // namespace

const Group& Policy::group(const std::string& name) const {
  const auto found = std::ranges::find(groups, name, &Group::name);
  if (found == groups.end()) {
    throw Error(Code::bad_policy, "{}: there is no [group.{}]", source, escaped(name));
  }
  return *found;
}

Policy parse_policy(std::string_view text, std::string_view source) {
  if (text.size() > max_text) throw Error(Code::bad_policy, "{}: larger than 1 MiB", source);
  const toml::table document = parse_toml(text, source);
  const Section root(document, "the policy", source);
  root.only({"volumes", "group", "rule", "watch", "audit"});

  Policy policy;
  policy.source = source;
  policy.digest = sha256_hex(text);
  if (const auto volumes = root.table("volumes", "[volumes]")) read_volumes(*volumes, policy);
  if (const auto groups = root.table("group", "[group]")) read_groups(*groups, policy);
  if (std::ranges::find(policy.groups, "default", &Group::name) == policy.groups.end()) {
    policy.groups.insert(policy.groups.begin(), Group{.name = "default"});
  }
  read_rules(root, policy);
  if (const auto watch = root.table("watch", "[watch]")) policy.watch = read_watch(*watch);
  if (const auto audit = root.table("audit", "[audit]")) policy.audit = read_audit(*audit);
  return policy;
}

Policy load_policy(const Path& path) {
  const std::optional<std::string> text = read_file_if_any(path, max_text);
  if (text) return parse_policy(*text, path.native());
  if (path == default_place) return parse_policy(default_policy_text(), "built-in");
  throw Error(Code::not_found, "reading the policy {}: no such file", path.native());
}

namespace {

// Both are YYYY-MM-DD: the order of the alphabet is that of the calendar.
bool is_over(std::string_view until, std::string_view today) {
  return !until.empty() && until < today;
}

}  // namespace

bool expired(const Rule& rule, std::string_view today) {
  return is_over(rule.until, today);
}

bool expired(const WatchRule& rule, std::string_view today) {
  return is_over(rule.until, today);
}

}  // namespace volseal
