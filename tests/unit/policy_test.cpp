#include "core/policy/policy.h"

#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using TextAndError = std::pair<std::string, std::string>;

std::string error_of(std::string_view text) {
  try {
    parse_policy(text, "policy.toml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_policy);
    return error.what();
  }
  return "no error";
}

// One [[rule]] with `body`, on line 1, its name on line 2.
std::string error_of_rule(const std::string& body) {
  return error_of("[[rule]]\nname = \"r\"\n" + body);
}

TEST(PolicyTest, TheDefaultIsValidAndSaysWhatTheBuiltInValuesAre) {
  const Policy policy = parse_policy(default_policy_text(), "built-in");
  EXPECT_EQ(policy.source, "built-in");
  EXPECT_EQ(policy.digest.size(), 64U);
  EXPECT_EQ(policy.groups.size(), 1U);
  EXPECT_THAT(policy.group("default").recovery, ElementsAre("recovery-key"));

  // Its commented lines show the values that hold without them: uncommented, nothing changes.
  std::string shown;
  std::string_view rest = default_policy_text();
  while (!rest.empty() && !rest.starts_with("[[rule]]")) {
    const std::size_t end = rest.find('\n') + 1;
    std::string line(rest.substr(0, end));
    rest.remove_prefix(end);
    if (line.starts_with("# ") && line.find(" = ") != std::string::npos) line.erase(0, 2);
    shown += line;
  }
  const Policy explicit_values = parse_policy(shown, "shown");
  EXPECT_EQ(explicit_values.cipher, policy.cipher);
  EXPECT_EQ(explicit_values.key_bits, policy.key_bits);
  EXPECT_EQ(explicit_values.sector_size, policy.sector_size);
  EXPECT_EQ(explicit_values.blank_check, policy.blank_check);
  EXPECT_EQ(explicit_values.free_space, policy.free_space);
  EXPECT_EQ(explicit_values.blank_filesystem, policy.blank_filesystem);
  EXPECT_EQ(explicit_values.crypttab_options, policy.crypttab_options);
  EXPECT_EQ(explicit_values.discard, policy.discard);
  EXPECT_EQ(explicit_values.workqueue, policy.workqueue);
  EXPECT_EQ(explicit_values.header_backups, policy.header_backups);
  const Group& group = explicit_values.group("default");
  EXPECT_EQ(group.recovery, policy.group("default").recovery);
  EXPECT_EQ(group.tpm.enabled, policy.group("default").tpm.enabled);
  EXPECT_EQ(group.tpm.bank, policy.group("default").tpm.bank);
  EXPECT_EQ(group.tpm.pcrs, policy.group("default").tpm.pcrs);
  EXPECT_EQ(group.tpm.latch, policy.group("default").tpm.latch);
  EXPECT_EQ(group.tpm.allow_unmeasured, policy.group("default").tpm.allow_unmeasured);
}

TEST(PolicyTest, TheExamplesInTheDefaultAreValidToo) {
  std::string_view text = default_policy_text();
  text.remove_prefix(text.find("# [group.tenant-a]"));
  std::string examples;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n') + 1, text.size());
    const std::string_view line = text.substr(0, end);
    examples += line.substr(std::min<std::size_t>(2, line.size() - 1));
    text.remove_prefix(end);
  }
  const Policy policy = parse_policy(examples, "examples");
  EXPECT_EQ(policy.rules.size(), 3U);
  const WatchPolicy& watch = policy.watch;
  EXPECT_EQ(watch.otherwise, Response::quarantine);
  EXPECT_TRUE(watch.first_moment);
  EXPECT_THAT(watch.command, ElementsAre("/usr/local/sbin/alert", "--storage"));
  EXPECT_EQ(watch.timeout, 30);
  EXPECT_EQ(watch.metrics, "/var/lib/prometheus/node-exporter/volseal_watch.prom");
  ASSERT_EQ(watch.rules.size(), 2U);
  EXPECT_EQ(watch.rules[0].response, Response::allow);
  EXPECT_EQ(watch.rules[0].match.label, "backup");
  EXPECT_EQ(watch.rules[0].until, "2030-12-31");
  EXPECT_EQ(watch.rules[1].response, Response::enroll);
}

TEST(PolicyTest, AnEmptyFileIsAPolicyThatWantsEverythingEncrypted) {
  const Policy policy = parse_policy("", "empty");
  EXPECT_TRUE(policy.rules.empty());
  EXPECT_EQ(policy.group("default").name, "default");
  EXPECT_EQ(policy.digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_THROW(policy.group("other"), Error);
}

TEST(PolicyTest, ReadsEveryKey) {
  const Policy policy = parse_policy(R"(
[volumes]
cipher = "xchacha12,aes-adiantum-plain64"
sector_size = 4096
blank_check = "full"
free_space = "encrypt"
blank_filesystem = "none"
crypttab_options = "luks,discard,x-systemd.device-timeout=0"
discard = true
workqueue = "off"
header_backups = "/srv/headers"
[group.a]
tenant = "A"
environment = "production"
recovery = ["recovery-key"]
[group.a.tpm]
enabled = false
bank = "sha384"
pcrs = [7, 4]
latch = 14
allow_unmeasured = true
[[rule]]
name = "data"
group = "a"
filesystem = "ext4"
mount = "/srv/data"
mapping = "data"
cipher = "aes-xts-plain64"
sector_size = "auto"
discard = false
workqueue = "on"
match = { path = "/dev/sd?", larger_than = "1 GiB", smaller_than = 4398046511104, rotational = true, vg = "vg0", lv = "l*", md_level = "raid1" }
[[rule]]
name = "old"
action = "leave"
reason = "leaves soon"
until = 2030-06-30
match.label = "old"
)",
                                     "policy.toml");
  EXPECT_EQ(policy.cipher, "xchacha12,aes-adiantum-plain64");
  EXPECT_EQ(policy.key_bits, 256);
  EXPECT_EQ(policy.sector_size, 4096U);
  EXPECT_EQ(policy.blank_check, BlankCheck::full);
  EXPECT_EQ(policy.free_space, FreeSpace::encrypt);
  EXPECT_EQ(policy.blank_filesystem, "none");
  EXPECT_TRUE(policy.discard);
  EXPECT_EQ(policy.workqueue, Workqueue::off);
  EXPECT_EQ(policy.header_backups, "/srv/headers");
  ASSERT_EQ(policy.groups.size(), 2U);  // "default" is always there
  const Group& group = policy.group("a");
  EXPECT_EQ(group.tenant, "A");
  EXPECT_EQ(group.environment, "production");
  EXPECT_THAT(group.recovery, ElementsAre("recovery-key"));
  EXPECT_FALSE(group.tpm.enabled);
  EXPECT_EQ(group.tpm.bank, "sha384");
  EXPECT_THAT(group.tpm.pcrs, ElementsAre(4, 7));
  EXPECT_EQ(group.tpm.latch, 14);
  EXPECT_TRUE(group.tpm.allow_unmeasured);
  ASSERT_EQ(policy.rules.size(), 2U);
  const Rule& data = policy.rules[0];
  EXPECT_EQ(data.action, Action::encrypt);
  EXPECT_EQ(data.match.larger_than, 1U << 30U);
  EXPECT_EQ(data.match.smaller_than, 1ULL << 42U);
  EXPECT_EQ(data.match.rotational, true);
  EXPECT_EQ(data.match.vg, "vg0");
  EXPECT_EQ(data.match.lv, "l*");
  EXPECT_EQ(data.match.md_level, "raid1");
  EXPECT_EQ(data.mapping, "data");
  EXPECT_EQ(data.cipher, "aes-xts-plain64");
  EXPECT_EQ(data.key_bits, 512) << "its own cipher's, not the policy's";
  EXPECT_EQ(data.sector_size, 0U);
  EXPECT_EQ(data.discard, false);
  EXPECT_EQ(data.workqueue, Workqueue::on);
  EXPECT_EQ(policy.rules[1].cipher, std::nullopt);
  EXPECT_EQ(policy.rules[1].discard, std::nullopt);
  EXPECT_EQ(policy.rules[1].until, "2030-06-30");
  EXPECT_EQ(policy.rules[1].line, 33);
}

TEST(PolicyTest, NamesFileLineAndNearestKeyOfATypo) {
  EXPECT_EQ(error_of("\n\n[group.default.tpm]\npcr = [7]\n"),
            "policy.toml:4: unknown key 'pcr' in [group.default.tpm] (did you mean 'pcrs'?)");
  EXPECT_EQ(error_of("[volume]\n"),
            "policy.toml:1: unknown key 'volume' in the policy (did you mean 'volumes'?)");
  EXPECT_EQ(error_of("[[rule]]\nname = \"r\"\nmatch = { color = 1 }\n"),
            "policy.toml:3: unknown key 'color' in match of rule 'r'");
}

TEST(PolicyTest, NamesTheLineOfASyntaxError) {
  EXPECT_THAT(error_of("[volumes]\ncipher = \n"), StartsWith("policy.toml:2: "));
  EXPECT_THAT(error_of("a = 1\na = 2\n"), StartsWith("policy.toml:2: "));
  EXPECT_THAT(error_of("x = \"" + std::string(5000, 'x') + "\""),
              HasSubstr("a line of more than 4096 bytes"));
  EXPECT_THAT(error_of(std::string("a\0b", 3)), StartsWith("policy.toml:1: "));
}

TEST(PolicyTest, RefusesWrongTypes) {
  EXPECT_EQ(error_of("[volumes]\nkey_bits = \"512\"\n"),
            "policy.toml:2: 'key_bits' in [volumes] must be a whole number, is a string");
  EXPECT_THAT(error_of("volumes = 1\n"), HasSubstr("must be a table, is a whole number"));
  EXPECT_THAT(error_of("[group.default]\nrecovery = \"recovery-key\"\n"),
              HasSubstr("must be a list, is a string"));
  EXPECT_THAT(error_of("[rule]\nname = \"r\"\n"), HasSubstr("must be a list, is a table"));
  EXPECT_THAT(error_of("rule = [1]\n"), HasSubstr("[[rule]] tables"));
}

TEST(PolicyTest, RefusesValuesThatWouldNotProtect) {
  for (const auto& [text, expected] : std::vector<TextAndError>{
           {"[volumes]\ncipher = \"cipher_null-ecb\"\n", "does not protect data"},
           {"[volumes]\ncipher = \"aes-ecb\"\n", "does not protect data"},
           {"[volumes]\ncipher = \"des-xts-plain64\"\n", "must be one of: aes-xts-plain64; "},
           {"[volumes]\nkey_bits = 128\n", "is 128, must be 256 or 512 for aes-xts-plain64"},
           {"[volumes]\ncipher = \"xchacha12,aes-adiantum-plain64\"\nkey_bits = 512\n",
            "policy.toml:3: 'key_bits' in [volumes] is 512, must be 256"},
           {"[volumes]\nsector_size = 1000\n", "must be 512, 4096 or \"auto\""},
           {"[volumes]\ncrypttab_options = \"luks,swap\"\n", "contains 'swap'"},
           {"[volumes]\ncrypttab_options = \"luks,tmp=ext4\"\n", "contains 'tmp'"},
           {"[volumes]\ncrypttab_options = \"discard\"\n", "must contain 'luks'"},
           {"[volumes]\ncrypttab_options = \"luks,x #\"\n", "must not contain blanks"},
           {"[volumes]\nworkqueue = \"none\"\n", "must be one of: auto, on, off"},
           {"[volumes]\ndiscard = \"no\"\n", "must be true or false"},
           {"[volumes]\ncrypttab_options = \"luks,discard\"\ndiscard = false\n",
            "policy.toml:3: 'discard' in [volumes] contradicts crypttab_options"},
           {"[volumes]\nworkqueue = \"on\"\ncrypttab_options = \"no-write-workqueue,luks\"\n",
            "policy.toml:2: 'workqueue' in [volumes] contradicts crypttab_options"},
           {"[volumes]\nheader_backups = \"headers\"\n", "must be an absolute path"},
           {"[volumes]\nheader_backups = \"/a/../b\"\n", "must be an absolute path"},
           {"[volumes]\nheader_backups = \"/a\\u0007\"\n", "contains a control character"},
           {"[group.\"a b\"]\n", "group name 'a b' must be"},
           {"[group.default]\nrecovery = []\n", "is empty"},
           {"[group.default]\nrecovery = [\"fido\"]\n", "must be a list of"},
           {"[group.default]\nrecovery = [\"fido2\", \"fido2\"]\n", "contains 'fido2' twice"},
           {"[group.default]\nrecovery = [\"fido2+passphrase\", \"passphrase+fido2\"]\n",
            "contains 'fido2+passphrase' twice"},
           {"[group.default]\nrecovery = [\"tpm+fido2\"]\n", "must be a list of"},
           {"[group.default]\nrecovery = [\"fido2+fido2\"]\n", "must be a list of"},
           {"[group.default]\nfactors = 5\n", "must be from 1 to 4"},
           {"[group.default]\nrecovery = [\"recovery-key\", \"recovery-key\"]\n", "twice"},
           {"[group.default.tpm]\npcrs = []\n", "is empty"},
           {"[group.default.tpm]\npcrs = [24]\n", "numbers from 0 to 23"},
           {"[group.default.tpm]\npcrs = [7, 7]\n", "contains 7 twice"},
           {"[group.default.tpm]\npcrs = [16]\n", "any program can reset"},
           {"[group.default.tpm]\npcrs = [15]\n", "names PCR 15 as latch"},
           {"[group.default.tpm]\nlatch = 23\n", "must be from 8 to 15"},
           {"[group.default.tpm]\nbank = \"sha1\"\n", "must be one of: sha256"},
       }) {
    EXPECT_THAT(error_of(text), HasSubstr(expected)) << text;
  }
}

TEST(PolicyTest, ReadsTheEscrowOfAGroup) {
  const Policy policy = parse_policy(
      "[group.default.escrow]\ncertificates = ['/a.pem', '/b.pem']\nthreshold = 2\n"
      "command = ['/bin/put', '-v']\ntimeout = 5\nshow = true\n"
      "[group.plain]\n[group.folder.escrow]\ncertificates = ['/a.pem']\ndirectory = '/srv'\n",
      "test");
  const auto& escrow = policy.group("default").escrow;
  ASSERT_TRUE(escrow);
  EXPECT_THAT(escrow->certificates, ElementsAre("/a.pem", "/b.pem"));
  EXPECT_EQ(escrow->threshold, 2);
  EXPECT_THAT(escrow->command, ElementsAre("/bin/put", "-v"));
  EXPECT_EQ(escrow->timeout, 5);
  EXPECT_TRUE(escrow->show);
  EXPECT_FALSE(policy.group("plain").escrow);
  const auto& folder = policy.group("folder").escrow;
  ASSERT_TRUE(folder);
  EXPECT_EQ(folder->threshold, 1);
  EXPECT_EQ(folder->directory, "/srv");
  EXPECT_EQ(folder->timeout, 30);
  EXPECT_FALSE(folder->show);
}

TEST(PolicyTest, RefusesAnEscrowThatMakesNoSense) {
  const auto refusal = [](const std::string& keys) {
    return error_of("[group.default.escrow]\n" + keys);
  };
  const std::string one = "certificates = ['/a.pem']\n";
  const std::string to = "directory = '/srv'\n";
  EXPECT_THAT(refusal(to), HasSubstr("needs certificates"));
  EXPECT_THAT(refusal("certificates = []\n" + to), HasSubstr("is empty"));
  EXPECT_THAT(refusal("certificates = ['a.pem']\n" + to), HasSubstr("no absolute path"));
  EXPECT_THAT(refusal("certificates = ['/a.pem', '/a.pem']\n" + to), HasSubstr("twice"));
  EXPECT_THAT(refusal("certificates = [7]\n" + to), HasSubstr("list of texts"));
  std::string many = "certificates = [";
  for (int i = 0; i < 17; ++i) many += "'/" + std::to_string(i) + ".pem', ";
  EXPECT_THAT(refusal(many + "]\n" + to), HasSubstr("more than 16"));
  EXPECT_THAT(refusal(one + to + "threshold = 2"), HasSubstr("must be from 1 to 1"));
  EXPECT_THAT(refusal(one + to + "threshold = 0"), HasSubstr("must be from 1 to 1"));
  EXPECT_THAT(refusal(one), HasSubstr("needs either directory"));
  EXPECT_THAT(refusal(one + to + "command = ['/bin/put']"), HasSubstr("needs either directory"));
  EXPECT_THAT(refusal(one + "directory = 'srv'"), HasSubstr("absolute path"));
  EXPECT_THAT(refusal(one + "command = ['put']"), HasSubstr("no shell reads it"));
  EXPECT_THAT(refusal(one + "command = '/bin/put'"), HasSubstr("must be a list"));
  EXPECT_THAT(refusal(one + to + "timeout = 5"), HasSubstr("only for a command"));
  EXPECT_THAT(refusal(one + "command = ['/bin/put']\ntimeout = 0"), HasSubstr("from 1 to 3600"));
  EXPECT_THAT(refusal(one + to + "treshold = 1"), HasSubstr("did you mean 'threshold'?"));
}

TEST(PolicyTest, RefusesRulesThatMakeNoSense) {
  for (const auto& [text, expected] : std::vector<TextAndError>{
           {"action = \"leave\"\nmatch.mount = \"/boot\"\n",
            "policy.toml:3: rule 'r' has action 'leave' and must say why"},
           {"action = \"forbid\"\nreason = \" \"\nmatch.bus = \"usb\"\n", "must say why"},
           {"action = \"leave\"\nreason = \"x\"\n", "it would cover every volume"},
           {"action = \"leave\"\nreason = \"x\"\nmatch = {}\n", "it would cover every volume"},
           {"action = \"leave\"\nreason = \"x\"\nmatch.bus = \"usb\"\nmapping = \"m\"\n",
            "'mapping' in rule 'r' has no meaning with action 'leave'"},
           {"action = \"keep\"\n", "must be one of: encrypt, leave, forbid"},
           {"group = \"defualt\"\n", "there is no [group.defualt] (did you mean 'default'?)"},
           {"until = \"2030-01-01\"\n", "is only for action 'leave'"},
           {"action = \"leave\"\nreason = \"x\"\nmatch.bus = \"usb\"\nuntil = \"2030-02-30\"\n",
            "policy.toml:6: 'until' in rule 'r' must be a date of the calendar"},
           {"action = \"leave\"\nreason = \"x\"\nmatch.bus = \"usb\"\nuntil = \"30-2-3\"\n",
            "must be a date"},
           {"match.path = \"sda1\"\n", "must begin with '/' or '*'"},
           {"match.path = \"\"\n", "is empty"},
           {"match.removable = 1\n", "must be true or false"},
           {"match.rotational = \"yes\"\n", "must be true or false"},
           {"match.vg = \"\"\n", "is empty"},
           {"cipher = \"cipher_null-ecb\"\n", "does not protect data"},
           {"cipher = \"des-xts-plain64\"\n", "must be one of: aes-xts-plain64; "},
           {"key_bits = 128\n", "is 128, must be 256 or 512 for aes-xts-plain64"},
           {"sector_size = 1000\n", "must be 512, 4096 or \"auto\""},
           {"workqueue = true\n", "must be a string"},
           {"action = \"leave\"\nreason = \"x\"\nmatch.bus = \"usb\"\ndiscard = true\n",
            "'discard' in rule 'r' has no meaning with action 'leave'"},
           {"action = \"forbid\"\nreason = \"x\"\nmatch.bus = \"usb\"\nkey_bits = 256\n",
            "'key_bits' in rule 'r' has no meaning with action 'forbid'"},
           {"match.smaller_than = \"many\"\n", "must be a size"},
           {"match.smaller_than = -1\n", "must be a size"},
           {"mount = \"srv\"\n", "must be an absolute path"},
           {"mount = \"/\"\n", "must be an absolute path"},
           {"mount = \"/srv/\"\n", "must be an absolute path"},
           {"mount = \"/srv\"\nfilesystem = \"none\"\n", "needs a file system"},
           {"mapping = \"../x\"\n", "must be 1 to 64 letters"},
           {"mapping = \"control\"\n", "not 'control'"},
           {"[[rule]]\nname = \"r\"\n", "policy.toml:4: 'name' in [[rule]] 'r' is used twice"},
           {"[[rule]]\n", "policy.toml:3: a [[rule]] needs a name"},
       }) {
    EXPECT_THAT(error_of_rule(text), HasSubstr(expected)) << text;
  }
}

TEST(PolicyTest, RefusesMoreThanAThousandRules) {
  std::string text;
  for (int i = 0; i <= 1000; ++i) text += "[[rule]]\nname = \"r" + std::to_string(i) + "\"\n";
  EXPECT_THAT(error_of(text), HasSubstr("more than 1000 rules"));
}

TEST(PolicyTest, ALeaveRuleEndsAfterItsLastDay) {
  const Rule rule{.until = "2030-06-30"};
  EXPECT_FALSE(expired(rule, "2030-06-30"));
  EXPECT_TRUE(expired(rule, "2030-07-01"));
  EXPECT_FALSE(expired(Rule{}, "9999-12-31"));
}

TEST(PolicyTest, AMissingFileIsTheDefaultOnlyAtTheDefaultPlace) {
  EXPECT_THROW(load_policy("/nonexistent/policy.toml"), Error);
}

// A disk with a partition for each name, and nothing else.
class RuleTest : public ::testing::Test {
 protected:
  RuleTest() {
    graph.devices.push_back({.name = "sda", .path = "/dev/sda", .kind = DeviceKind::disk});
    graph.devices.back().bus = "ata";
  }

  Device& add(const std::string& name, DeviceKind kind, std::vector<DeviceIndex> below) {
    Device device{.name = name, .path = "/dev/" + name, .kind = kind};
    device.size = 1ULL << 30U;
    device.below = std::move(below);
    graph.devices.push_back(device);
    return graph.devices.back();
  }
  Device& partition(const std::string& name) { return add(name, DeviceKind::partition, {0}); }

  std::string decides(const std::string& match, DeviceIndex at) {
    policy = parse_policy("[[rule]]\nname = \"it\"\nmatch = { " + match + " }\n", "test");
    return deciding_rule(policy, graph, at) == nullptr ? "none" : "it";
  }
  std::string forbids(const std::string& match, DeviceIndex at) {
    policy = parse_policy(
        "[[rule]]\nname = \"it\"\naction = \"forbid\"\nreason = \"x\"\nmatch = { " + match + " }\n",
        "test");
    return deciding_rule(policy, graph, at) == nullptr ? "none" : "it";
  }
  std::string by_default(DeviceIndex at) {
    policy = parse_policy(default_policy_text(), "built-in");
    const Rule* rule = deciding_rule(policy, graph, at);
    return rule == nullptr ? "none" : rule->name;
  }

  DeviceGraph graph;
  Policy policy;
};

TEST_F(RuleTest, MatchesAnyOfTheNames) {
  Device& device = partition("sda1");
  device.links = {"/dev/disk/by-id/ata-DISK-part1", "/dev/disk/by-uuid/1234"};
  EXPECT_EQ(decides(R"(path = "/dev/sda1")", 1), "it");
  EXPECT_EQ(decides(R"(path = "/dev/disk/by-id/ata-*")", 1), "it");
  EXPECT_EQ(decides(R"(path = "/dev/*/1234")", 1), "it");
  EXPECT_EQ(decides(R"(path = "/dev/sda")", 1), "none");
}

TEST_F(RuleTest, TheFirstRuleThatMatchesDecides) {
  partition("sda1");
  policy = parse_policy(
      "[group.b]\n[[rule]]\nname = \"a\"\nmatch.path = \"/dev/sdb*\"\n"
      "[[rule]]\nname = \"b\"\ngroup = \"b\"\nmatch.path = \"/dev/sda*\"\n"
      "[[rule]]\nname = \"c\"\n",
      "test");
  EXPECT_EQ(deciding_rule(policy, graph, 1)->name, "b");
}

TEST_F(RuleTest, EveryConditionMustHold) {
  Device& device = partition("sda1");
  device.content = {.kind = ContentKind::filesystem, .type = "ext4", .label = "data"};
  EXPECT_EQ(decides(R"(filesystem = "ext[34]", label = "d*", bus = "ata")", 1), "it");
  EXPECT_EQ(decides(R"(filesystem = "ext[34]", label = "d*", bus = "usb")", 1), "none");
  EXPECT_EQ(decides(R"(smaller_than = "1 GiB")", 1), "none");
  EXPECT_EQ(decides(R"(larger_than = "1 GiB")", 1), "none");
  EXPECT_EQ(decides(R"(larger_than = "1 MiB", smaller_than = "2 GiB")", 1), "it");
}

TEST_F(RuleTest, BlankIsAFileSystemOfItsOwnAndUnknownIsNone) {
  Device& device = partition("sda1");
  device.content.kind = ContentKind::blank;
  EXPECT_EQ(decides(R"(filesystem = "blank")", 1), "it");
  graph[1].content.kind = ContentKind::unknown;
  EXPECT_EQ(decides(R"(filesystem = "*")", 1), "none");
}

TEST_F(RuleTest, SeesThroughWhatWasOpened) {
  Device& luks = partition("sda1");
  luks.content = {.kind = ContentKind::luks2, .type = "crypto_LUKS"};
  Device& open = add("dm-0", DeviceKind::mapped, {1});
  open.path = "/dev/mapper/data";
  open.content = {.kind = ContentKind::filesystem, .type = "ext4"};
  open.mounts = {"/srv/data"};
  EXPECT_EQ(decides(R"(mount = "/srv/*")", 1), "it");
  EXPECT_EQ(decides(R"(filesystem = "ext4")", 1), "it");
  EXPECT_EQ(decides(R"(filesystem = "crypto_LUKS")", 1), "it");
  EXPECT_EQ(decides(R"(path = "/dev/mapper/data")", 1), "it");
}

TEST_F(RuleTest, DoesNotSeeThroughAVolumeGroup) {
  partition("sda1").content = {.kind = ContentKind::lvm_member, .type = "LVM2_member"};
  add("dm-0", DeviceKind::mapped, {1}).mounts = {"/boot"};
  add("dm-1", DeviceKind::mapped, {1}).mounts = {"/srv"};
  EXPECT_EQ(decides(R"(mount = "/boot")", 1), "none");
  EXPECT_EQ(decides(R"(mount = "/boot")", 2), "it");
}

TEST_F(RuleTest, LogicalVolumesGoByTheNamesThatLvmGaveThem) {
  const auto lv = [&](const std::string& dm_name, const std::string& dm_uuid) {
    Device& device = add("dm-" + std::to_string(graph.devices.size()), DeviceKind::mapped, {0});
    device.dm_name = dm_name;
    device.dm_uuid = dm_uuid;
    return graph.devices.size() - 1;
  };
  const DeviceIndex plain = lv("vg0-data", "LVM-0123");
  EXPECT_EQ(decides(R"(vg = "vg0")", plain), "it");
  EXPECT_EQ(decides(R"(vg = "vg0", lv = "data")", plain), "it");
  EXPECT_EQ(decides(R"(vg = "vg*", lv = "root")", plain), "none");
  EXPECT_EQ(decides(R"(lv = "vg0-data")", plain), "none");
  // Every '-' inside of a name is doubled.
  const DeviceIndex dashes = lv("tenant--a-db--1--log", "LVM-0123");
  EXPECT_EQ(decides(R"(vg = "tenant-a", lv = "db-1-log")", dashes), "it");
  EXPECT_EQ(decides(R"(vg = "tenant")", dashes), "none");
  // What LVM keeps for itself.
  EXPECT_EQ(decides(R"(lv = "pool")", lv("vg0-pool-tpool", "LVM-0123-tpool")), "it");
  // A mapping over it is opened from it; others only look alike.
  const DeviceIndex opened = lv("data", "CRYPT-PLAIN-data");
  graph[opened].below = {plain};
  EXPECT_EQ(decides(R"(vg = "vg0")", opened), "it");
  EXPECT_EQ(decides(R"(vg = "vg0")", lv("vg0-data", "CRYPT-LUKS2-0123")), "none");
  EXPECT_EQ(decides(R"(vg = "*")", lv("vg0", "LVM-0123")), "none");
  EXPECT_EQ(decides(R"(vg = "*")", 0), "none");
}

TEST_F(RuleTest, ArraysGoByTheirLevelAndDisksByWhetherTheySpin) {
  graph.devices.push_back({.name = "sdb", .path = "/dev/sdb", .kind = DeviceKind::disk});
  Device& array = add("md127", DeviceKind::md, {0, 1});
  array.md_level = "raid1";
  add("dm-0", DeviceKind::mapped, {2});
  EXPECT_EQ(decides(R"(md_level = "raid1")", 2), "it");
  EXPECT_EQ(decides(R"(md_level = "raid1")", 3), "it") << "it rests on the array";
  EXPECT_EQ(decides(R"(md_level = "raid[56]")", 2), "none");
  EXPECT_EQ(decides(R"(md_level = "*")", 0), "none");

  graph[0].rotational = true;
  EXPECT_EQ(decides("rotational = true", 2), "none") << "one of its disks does not";
  EXPECT_EQ(decides("rotational = false", 2), "none");
  graph[1].rotational = true;
  EXPECT_EQ(decides("rotational = true", 2), "it");
}

TEST_F(RuleTest, FstabCountsWhereNothingIsMounted) {
  partition("sda1").content = {.kind = ContentKind::filesystem, .type = "ext4", .uuid = "abc"};
  graph.fstab = {{.source = "UUID=abc", .target = "/boot", .type = "ext4", .options = "defaults"}};
  EXPECT_EQ(decides(R"(mount = "/boot")", 1), "it");
  graph.fstab[0].source = "/dev/sda1";
  EXPECT_EQ(decides(R"(mount = "/boot")", 1), "it");
  graph.fstab[0].source = "LABEL=";
  EXPECT_EQ(decides(R"(mount = "/boot")", 1), "none");
}

TEST_F(RuleTest, AStickWithTheUuidOfBootIsNotBoot) {
  partition("sda1").content = {.kind = ContentKind::filesystem, .type = "ext4", .uuid = "abc"};
  graph[1].mounts = {"/boot"};
  partition("sda2").content = {.kind = ContentKind::filesystem, .type = "ext4", .uuid = "abc"};
  graph.fstab = {{.source = "UUID=abc", .target = "/boot"}};
  EXPECT_EQ(by_default(1), "boot");
  EXPECT_EQ(by_default(2), "none");
  // With neither mounted there is no telling which one it is: neither is exempt.
  graph[1].mounts.clear();
  EXPECT_EQ(by_default(1), "none");
  EXPECT_EQ(by_default(2), "none");
}

TEST_F(RuleTest, OneForbiddenLegTaintsTheVolumeOneHarmlessLegExcusesNone) {
  graph.devices.push_back({.name = "sdb", .path = "/dev/sdb", .kind = DeviceKind::disk});
  graph[1].bus = "usb";
  add("md0", DeviceKind::md, {0, 1});
  EXPECT_EQ(forbids(R"(bus = "usb")", 2), "it");
  EXPECT_EQ(decides(R"(bus = "usb")", 2), "none");
  EXPECT_EQ(decides(R"(bus = "*")", 2), "it");
}

TEST_F(RuleTest, TheDefaultForbidsPlainSticksAndWelcomesEncryptedOnes) {
  graph[0].removable = true;
  partition("sda1").content = {.kind = ContentKind::filesystem, .type = "vfat"};
  EXPECT_EQ(by_default(1), "removable");
  graph[1].content = {.kind = ContentKind::luks2, .type = "crypto_LUKS"};
  EXPECT_EQ(by_default(1), "encrypted-removable");
  graph[0].removable = false;
  graph[0].bus = "usb";
  EXPECT_EQ(by_default(1), "encrypted-usb");
  // The type of an ESP does not make a USB disk one.
  graph[1].content = {.kind = ContentKind::filesystem, .type = "vfat"};
  graph[1].partition_type = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
  EXPECT_EQ(by_default(1), "usb");
  graph[0].bus = "nvme";
  EXPECT_EQ(by_default(1), "esp-unmounted");
}

TEST(AuditPolicyTest, SaysHowTheLogIsKept) {
  const AuditPolicy none = parse_policy("", "p").audit;
  EXPECT_TRUE(none.sync_always);
  EXPECT_TRUE(none.refuse_when_full);
  EXPECT_TRUE(none.tpm);
  EXPECT_EQ(none.rotate, 64U << 20U);
  EXPECT_EQ(none.checkpoint_events, 1000);
  const AuditPolicy all = parse_policy(
                              "[audit]\nsync = \"checkpoint\"\non_full = \"continue\"\nrotate = "
                              "\"1 MiB\"\ncheckpoint_events = 5\ntpm = false\nanchor = "
                              "[\"/bin/put\", \"-x\"]\ntimeout = 7\n",
                              "p")
                              .audit;
  EXPECT_FALSE(all.sync_always);
  EXPECT_FALSE(all.refuse_when_full);
  EXPECT_FALSE(all.tpm);
  EXPECT_EQ(all.rotate, 1U << 20U);
  EXPECT_EQ(all.checkpoint_events, 5);
  EXPECT_EQ(all.anchor, (std::vector<std::string>{"/bin/put", "-x"}));
  EXPECT_EQ(all.timeout, 7);
}

TEST(AuditPolicyTest, NonsenseIsRefusedWithItsLine) {
  for (const char* line :
       {"sync = \"never\"", "on_full = true", "rotate = \"4 KiB\"", "rotate = -1",
        "checkpoint_events = -1", "tpm = 1", "anchor = \"cmd\"", "timeout = 5", "colour = 1"}) {
    try {
      parse_policy(std::string("[audit]\n") + line + "\n", "p");
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_policy) << line;
      EXPECT_THAT(error.what(), ::testing::StartsWith("p:2: ")) << line;
    }
  }
}

TEST(PolicyTest, AGroupSaysWhoSeesAndOpensIt) {
  const Policy policy = parse_policy(
      "[group.a]\ntenant = \"Tenant A\"\nenvironment = \"production\"\noperators = \"dba-a\"\n",
      "p");
  EXPECT_EQ(policy.group("a").operators, "dba-a");
  EXPECT_EQ(policy.group("default").operators, "");
  for (const std::string name :
       {"1a", "a b", "a/b", "-a", "a\\nb", "ä", "a:b", "a23456789012345678901234567890123"}) {
    EXPECT_THAT(error_of("[group.a]\noperators = \"" + name + "\"\n"),
                StartsWith("policy.toml:2: 'operators' in [group.a] "))
        << name;
  }
  EXPECT_THAT(error_of("[group.a]\noperators = \"root\"\n"), HasSubstr("is 'root'"));
  EXPECT_THAT(error_of("[group.a]\noperators = [\"a\"]\n"), HasSubstr("must be a string"));
}

TEST(PolicyTest, WhatWouldBeTakenForSomethingElseIsRefused) {
  EXPECT_THAT(error_of("[group.a]\ntenant = \"ACME\"\n[group.b]\ntenant = \"Acme\"\n"),
              HasSubstr("tenant 'ACME' and tenant 'Acme' differ only in capital letters"));
  EXPECT_THAT(error_of("[group.a]\nenvironment = \"Test\"\n[group.b]\nenvironment = \"test\"\n"),
              HasSubstr("environment 'Test' and environment 'test'"));
  EXPECT_THAT(error_of("[group.a]\n[group.A]\n"), HasSubstr("differ only in capital letters"));
  EXPECT_THAT(error_of("[group.a]\ntenant = \" A\"\n"), HasSubstr("begins or ends with a blank"));
  EXPECT_THAT(error_of("[group.a]\ntenant = \"" + std::string(129, 'x') + "\"\n"),
              HasSubstr("more than 128 bytes"));
  EXPECT_THAT(error_of("[group.a]\n[group.a]\n"), HasSubstr("policy.toml:2"));
}

TEST(PolicyTest, TwoTenantsHaveNoEscrowDirectoryInCommon) {
  const auto text = [](const std::string& second_tenant) {
    return fmt::format(
        "[group.a]\ntenant = \"A\"\n[group.a.escrow]\ncertificates = [\"/c.pem\"]\n"
        "directory = \"/srv/escrow\"\n"
        "[group.b]\ntenant = \"{}\"\n[group.b.escrow]\ncertificates = [\"/c.pem\"]\n"
        "directory = \"/srv/escrow\"\n",
        second_tenant);
  };
  EXPECT_THAT(error_of(text("B")), HasSubstr("are of two tenants, and their escrow has the same"));
  EXPECT_EQ(error_of(text("A")), "no error");
}

TEST(PolicyTest, AGroupIsCalledByTenantAndEnvironment) {
  EXPECT_EQ(group_words({.name = "a", .tenant = "Tenant A", .environment = "production"}),
            "Tenant A/production group a");
  EXPECT_EQ(group_words({.name = "a", .tenant = "Tenant A"}), "Tenant A group a");
  EXPECT_EQ(group_words({.name = "a", .environment = "test"}), "test group a");
  EXPECT_EQ(group_words({.name = "default"}), "group default");
  EXPECT_EQ(owner_words("\x1b[31m", ""), "\\x1b[31m");
}

}  // namespace
}  // namespace volseal
