#include "core/device/device.h"

#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every field of every struct differs from its default, so that one forgotten in json.cpp shows.
DeviceGraph full_graph() {
  DeviceGraph graph;
  graph.host = "server";
  graph.taken_at = "2024-05-01T12:34:56.789Z";
  graph.kernel = "6.1.0";
  graph.boot_id = "b";
  graph.root = false;
  Device disk;
  disk.name = "sda";
  disk.path = "/dev/sda";
  disk.size = std::uint64_t{1} << 40U;
  Device device;
  device.name = "dm-0";
  device.path = "/dev/vg/lv";
  device.links = {"/dev/disk/by-uuid/1", "/dev/vg/lv"};
  device.kind = DeviceKind::mapped;
  device.major = 254;
  device.minor = 1;
  device.diskseq = 7;
  device.size = UINT64_MAX;
  device.start = 1U << 20U;
  device.logical_sector = 4096;
  device.physical_sector = 8192;
  device.optimal_io = 65536;
  device.read_only = true;
  device.removable = true;
  device.rotational = true;
  device.bus = "usb";
  device.vendor = "vendor";
  device.model = "model";
  device.serial = "serial";
  device.wwn = "wwn";
  device.partition_uuid = "pu";
  device.partition_type = "pt";
  device.partition_label = "pl";
  device.dm_name = "dn";
  device.dm_uuid = "du";
  device.table = {{.start = 1,
                   .length = 2,
                   .target = "crypt",
                   .cipher = "aes-xts-plain64",
                   .key_bytes = 64,
                   .key_in_keyring = true,
                   .sector_size = 4096,
                   .integrity = "aead",
                   .flags = {"allow_discards"},
                   .devices = {"sda"},
                   .offsets = {32768}}};
  device.md_level = "raid1";
  device.backing_file = "/f";
  device.backing_device = "sda";
  device.content = {.kind = ContentKind::luks2,
                    .type = "crypto_LUKS",
                    .label = "l\"\n",
                    .uuid = "u",
                    .detail = "d"};
  device.luks = LuksHeader{
      .version = 1,
      .uuid = "u",
      .label = "l",
      .subsystem = "s",
      .key_bytes = 64,
      .segments = {{.type = "crypt",
                    .offset = 16777216,
                    .size = 5,
                    .cipher = "aes-xts-plain64",
                    .sector_size = 512,
                    .integrity = "hmac(sha256)"}},
      .keyslots =
          {{.id = 3, .type = "luks2", .pbkdf = "argon2id", .cost = 4, .memory = 5, .key_bytes = 6}},
      .tokens = {{.id = 1, .type = "volseal-tpm2", .keyslots = {3}, .group = "default"}},
      .requirements = {"online-reencrypt-v2"},
      .reencryption = "encrypt",
      .encrypted_bytes = 8,
      .data_bytes = 9,
      .plaintext = "ext4",
      .damage = "torn"};
  device.below = {0};
  device.mounts = {"/srv"};
  device.swap_active = true;
  device.in_use = "claimed";
  graph.devices = {disk, device};
  graph.crypttab = {{.name = "n", .source = "s", .key = "none", .options = "luks"}};
  graph.fstab = {{.source = "s", .target = "/t", .type = "ext4", .options = "ro"}};
  return graph;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

// What reading `text` is refused with; "" where it is read.
std::string refusal(const std::string& text) {
  try {
    static_cast<void>(graph_from_json(text));
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_graph);
    return error.what();
  }
}

std::string graph_of(const std::string& devices) {
  return R"({"schema":"volseal-graph/1","root":true,"devices":[)" + devices + "]}";
}
std::string device_on(const std::string& below) {
  return R"({"name":"a","path":"/dev/a","kind":"disk","size":1,"logical_sector":512,)"
         R"("physical_sector":512,"content":{"kind":"blank"},"below":[)" +
         below + "]}";
}

TEST(DeviceJson, KeepsEveryField) {
  const DeviceGraph graph = full_graph();
  const std::string text = to_json(graph);
  const DeviceGraph back = graph_from_json(text);
  EXPECT_EQ(to_json(back), text);
  const Device& device = back[1];
  EXPECT_FALSE(back.root);
  EXPECT_EQ(device.size, UINT64_MAX);
  EXPECT_EQ(device.content.label, "l\"\n");
  const LuksHeader header = device.luks.value_or(LuksHeader{});
  EXPECT_EQ(header.segments.at(0).size, 5);
  EXPECT_EQ(header.tokens.at(0).group, "default");
  EXPECT_EQ(device.table.at(0).offsets.at(0), 32768);
  EXPECT_THAT(device.below, ElementsAre(0));
  // No key of any struct stays at its default above, so each must be in the text.
  for (const char* key : {"host",
                          "taken_at",
                          "kernel",
                          "boot_id",
                          "crypttab",
                          "fstab",
                          "links",
                          "major",
                          "minor",
                          "diskseq",
                          "start",
                          "optimal_io",
                          "read_only",
                          "removable",
                          "rotational",
                          "bus",
                          "vendor",
                          "model",
                          "serial",
                          "wwn",
                          "partition_uuid",
                          "partition_type",
                          "partition_label",
                          "dm_name",
                          "dm_uuid",
                          "table",
                          "md_level",
                          "backing_file",
                          "backing_device",
                          "luks",
                          "below",
                          "mounts",
                          "swap_active",
                          "in_use",
                          "key_in_keyring",
                          "integrity",
                          "flags",
                          "offsets",
                          "requirements",
                          "reencryption",
                          "encrypted_bytes",
                          "data_bytes",
                          "damage",
                          "subsystem",
                          "pbkdf",
                          "cost",
                          "memory",
                          "key_bytes",
                          "keyslots",
                          "tokens",
                          "segments",
                          "group",
                          "options"}) {
    EXPECT_THAT(text, HasSubstr('"' + std::string(key) + "\":")) << key;
  }
}

TEST(DeviceJson, KeepsEveryKind) {
  for (int i = 0; i <= static_cast<int>(DeviceKind::other); ++i) {
    DeviceGraph graph;
    graph.devices.resize(1);
    graph[0].kind = static_cast<DeviceKind>(i);
    EXPECT_EQ(graph_from_json(to_json(graph))[0].kind, graph[0].kind) << i;
  }
  for (int i = 0; i <= static_cast<int>(ContentKind::unreadable); ++i) {
    DeviceGraph graph;
    graph.devices.resize(1);
    graph[0].content.kind = static_cast<ContentKind>(i);
    EXPECT_EQ(graph_from_json(to_json(graph))[0].content.kind, graph[0].content.kind) << i;
  }
}

TEST(DeviceJson, WritesLabelsThatAreNoUtf8) {
  DeviceGraph graph;
  graph.devices.resize(1);
  graph[0].content.label = "a\xff\xc0 b";
  EXPECT_EQ(graph_from_json(to_json(graph))[0].content.label, "a\xef\xbf\xbd\xef\xbf\xbd b");
}

TEST(DeviceJson, ReadsAGraphWithTheLeastInIt) {
  EXPECT_EQ(graph_from_json(graph_of(device_on("")))[0].path, "/dev/a");
}

TEST(DeviceJson, RefusesWhatIsNoGraph) {
  EXPECT_THAT(refusal(""), HasSubstr("is no JSON"));
  EXPECT_THAT(refusal("4e4444"), HasSubstr("a number is too large"));
  EXPECT_THAT(refusal("[]"), HasSubstr("is no object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("schema: is missing"));
  EXPECT_THAT(refusal(R"({"schema":"volseal-graph/2"})"), HasSubstr("volseal-graph/2"));
  EXPECT_THAT(refusal(R"({"schema":"volseal-graph/1","root":true})"),
              HasSubstr("devices: is missing"));
  EXPECT_THAT(refusal(std::string(1'000'000, '[')), HasSubstr("nested too deeply"));
}

TEST(DeviceJson, SaysWhereItIsWrong) {
  const std::string text = to_json(full_graph());
  EXPECT_THAT(refusal(replaced(text, "\"pbkdf\": \"argon2id\"", "\"pbkdf\": 5")),
              HasSubstr("devices[1].luks.keyslots[0].pbkdf: is no text"));
  EXPECT_THAT(refusal(replaced(text, "\"memory\": 5", "\"memory\": 4294967296")),
              HasSubstr("memory: is no whole number in range"));
  EXPECT_THAT(refusal(replaced(text, "\"memory\": 5", "\"memory\": -1")), HasSubstr("in range"));
  EXPECT_THAT(refusal(replaced(text, "\"memory\": 5", "\"memory\": 5.0")), HasSubstr("in range"));
  EXPECT_THAT(refusal(replaced(text, "\"removable\": true", "\"removable\": 1")),
              HasSubstr("neither true nor false"));
  EXPECT_THAT(refusal(replaced(text, "\"memory\": 5", "\"memry\": 5")),
              HasSubstr("devices[1].luks.keyslots[0]: unknown key \"memry\""));
  EXPECT_THAT(refusal(replaced(text, "\"memory\": 5", "\"cost\": 5")),
              HasSubstr("\"cost\" stands twice"));
  EXPECT_THAT(refusal(replaced(text, "\"kind\": \"mapped\"", "\"kind\": \"magic\"")),
              HasSubstr("unknown kind \"magic\""));
  EXPECT_THAT(refusal(replaced(text, "\"host\"", "\"\\u001b]0;\"")), HasSubstr("\\x1b]0;"));
}

TEST(DeviceJson, RefusesIndicesOutOfRangeAndCycles) {
  EXPECT_THAT(refusal(graph_of(device_on("1"))), HasSubstr("no device has the index 1"));
  EXPECT_THAT(refusal(graph_of(device_on("0"))), HasSubstr("rests on itself"));
  EXPECT_THAT(refusal(graph_of(device_on("") + "," + device_on("2,0") + "," + device_on("1"))),
              HasSubstr("devices[1]: rests on itself"));
  EXPECT_EQ(refusal(graph_of(device_on("1,2") + "," + device_on("2") + "," + device_on(""))), "");
}

TEST(DeviceJson, RefusesTooManyDevices) {
  std::string many;
  for (int i = 0; i < 100'001; ++i) many += "0,";
  EXPECT_THAT(refusal(graph_of(many + "0")), HasSubstr("too many"));
}

TEST(DeviceGraph, FindsByAnyNameAndWalksDown) {
  const DeviceGraph graph = full_graph();
  EXPECT_EQ(graph.find("dm-0"), 1);
  EXPECT_EQ(graph.find("/dev/dm-0"), 1);
  EXPECT_EQ(graph.find("/dev/disk/by-uuid/1"), 1);
  EXPECT_EQ(graph.find("/dev/sdb"), std::nullopt);
  EXPECT_THAT(graph.disks_below(1), ElementsAre(0));
  EXPECT_TRUE(graph.is_leaf(1));
  EXPECT_FALSE(graph.is_leaf(0));
}

// sda rotates, sdb does not; a mirror lies on both; a file on the mirror is a loop device.
TEST(DeviceGraph, KnowsTheSpindlesThatTurnForAVolume) {
  DeviceGraph graph;
  const auto add = [&](const std::string& name, bool rotational, std::vector<DeviceIndex> below) {
    Device device;
    device.name = name;
    device.path = "/dev/" + name;
    device.rotational = rotational;
    device.below = std::move(below);
    graph.devices.push_back(device);
    return graph.devices.size() - 1;
  };
  const DeviceIndex turning = add("sda", true, {});
  const DeviceIndex solid = add("sdb", false, {});
  const DeviceIndex part = add("sda1", true, {turning});
  const DeviceIndex mirror = add("md0", true, {part, solid});
  const DeviceIndex loop = add("loop0", false, {});
  graph[loop].backing_device = "md0";
  EXPECT_THAT(graph.spindles_below(part), ElementsAre("sda"));
  EXPECT_THAT(graph.spindles_below(solid), ElementsAre());
  EXPECT_THAT(graph.spindles_below(mirror), ElementsAre("sda"));
  EXPECT_THAT(graph.spindles_below(loop), ElementsAre("sda"));
  graph[loop].backing_device = "loop0";  // torn: it must still end
  EXPECT_THAT(graph.spindles_below(loop), ElementsAre());
}

}  // namespace
}  // namespace volseal
