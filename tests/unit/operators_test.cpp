// Who may ask for what.
#include "core/operators/request.h"
#include "tests/support/machine.h"

#include <gtest/gtest.h>

namespace volseal {
namespace {

using test::Machine;

TEST(OperatorRequestTest, ReadsOnlyWhatItWrites) {
  for (const std::string volume : {"/dev/sda", "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4",
                                   "/dev/vg0/tenant-a", "01234567-89ab-cdef-0123-456789abcdef"}) {
    const auto request = parse_operator_request(to_text({.volume = volume}));
    ASSERT_TRUE(request) << volume;
    EXPECT_EQ(request->volume, volume);
  }
}

TEST(OperatorRequestTest, RefusesAllElse) {
  const std::string head = "volseal-operator/1 unlock ";
  for (const std::string& text : {std::string(),
                                  std::string("\n"),
                                  head,
                                  head + "\n",
                                  head + "/dev/sda",
                                  head + "/dev/sda\n\n",
                                  head + " /dev/sda\n",
                                  head + "/dev/sda /dev/sdb\n",
                                  head + "/dev/\n",
                                  head + "/dev/sda/\n",
                                  head + "/dev/../etc/shadow\n",
                                  head + "/dev/mapper/..\n",
                                  head + "/dev//sda\n",
                                  head + "/etc/shadow\n",
                                  head + "sda\n",
                                  head + "/dev/s\x1b[31m\n",
                                  head + "/dev/s\xc3\xa4\n",
                                  head + std::string("/dev/s\0a\n", 9),
                                  std::string("volseal-operator/2 unlock /dev/sda\n"),
                                  std::string("volseal-operator/1 lock /dev/sda\n"),
                                  head + "01234567-89AB-cdef-0123-456789abcdef\n",
                                  head + "01234567-89ab-cdef-0123-456789abcde\n",
                                  head + "/dev/" + std::string(300, 'a') + "\n"})
    EXPECT_FALSE(parse_operator_request(text)) << text;
}

class PermittedVolumeTest : public ::testing::Test, public Machine {
 protected:
  PermittedVolumeTest() {
    policy = parse_policy(
        "[group.a]\noperators = \"dba-a\"\n[group.a-test]\noperators = \"dba-a\"\n"
        "[group.b]\noperators = \"dba-b\"\n[group.c]\n"
        "[[rule]]\nname = \"a\"\nmatch = { path = \"/dev/sda\" }\ngroup = \"a\"\n"
        "[[rule]]\nname = \"b\"\nmatch = { path = \"/dev/sdb\" }\ngroup = \"b\"\n"
        "[[rule]]\nname = \"c\"\nmatch = { path = \"/dev/sdc\" }\ngroup = \"c\"\n"
        "[[rule]]\nname = \"e\"\nmatch = { path = \"/dev/sde\" }\naction = \"leave\"\nreason = "
        "\"r\"\n",
        "test");
    const std::pair<const char*, const char*> all[] = {
        {"sda", "a"}, {"sdb", "b"}, {"sdc", "c"}, {"sdd", "default"}, {"sde", "a"}};
    for (const auto& [name, group] : all) {
      const At at = luks(disk(name));
      graph[at].luks->tokens[1].group = group;
      graph[at].links = {std::string("/dev/disk/by-id/") + name};
    }
  }

  std::optional<PermittedVolume> ask(const std::set<std::string>& unix_groups,
                                     const std::string& volume) const {
    return permitted_volume(graph, policy, groups_operated_by(policy, unix_groups), volume);
  }
};

TEST_F(PermittedVolumeTest, AnOperatorHasTheVolumesOfTheirGroupsByAnyName) {
  for (const char* name : {"/dev/sda", "/dev/disk/by-id/sda", "uuid-sda"}) {
    const auto permitted = ask({"dba-a", "users"}, name);
    ASSERT_TRUE(permitted) << name;
    EXPECT_EQ(permitted->group, "a");
    EXPECT_EQ(graph[permitted->device].path, "/dev/sda");
  }
  EXPECT_EQ(groups_operated_by(policy, {"dba-a"}), (std::set<std::string>{"a", "a-test"}));
}

TEST_F(PermittedVolumeTest, WhatIsOthersIsNotThere) {
  EXPECT_FALSE(ask({"dba-a"}, "/dev/sdb"));
  EXPECT_FALSE(ask({"dba-b"}, "/dev/sda"));
  EXPECT_FALSE(ask({"users"}, "/dev/sda"));
  EXPECT_FALSE(ask({}, "/dev/sda"));
  EXPECT_FALSE(ask({""}, "/dev/sdc"));  // a group without operators is root's alone
  EXPECT_FALSE(ask({"dba-a", "dba-b"}, "/dev/sdc"));
  EXPECT_FALSE(ask({"dba-a", "dba-b"}, "/dev/sdd"));
  EXPECT_FALSE(ask({"dba-a"}, "/dev/sde"));
  EXPECT_FALSE(ask({"dba-a"}, "/dev/nothing"));
}

TEST_F(PermittedVolumeTest, WhatIsEnrolledElsewhereOrTwiceIsForRoot) {
  graph[*graph.find("/dev/sda")].luks->tokens[1].group = "b";
  EXPECT_FALSE(ask({"dba-a", "dba-b"}, "/dev/sda"));
  graph[*graph.find("/dev/sda")].luks->tokens[1].group = "a";
  LuksHeader& header = *graph[*graph.find("/dev/sda")].luks;
  header.keyslots.push_back({.id = 2, .type = "luks2"});
  header.tokens.push_back({.id = 2, .type = "volseal-all-of", .keyslots = {2}, .group = "b"});
  EXPECT_FALSE(ask({"dba-a", "dba-b"}, "/dev/sda"));
}

// Whoever plugs in a copy, or writes the UUID of somebody's volume into a header of their own.
TEST_F(PermittedVolumeTest, WhatTwoDevicesClaimToBeIsForRoot) {
  graph[*graph.find("/dev/sdb")].luks->uuid = "uuid-sda";
  EXPECT_FALSE(ask({"dba-a"}, "uuid-sda"));
  EXPECT_FALSE(ask({"dba-a"}, "/dev/sda"));
}

}  // namespace
}  // namespace volseal
