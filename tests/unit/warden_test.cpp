#include "core/watch/warden.h"

#include "core/base/error.h"
#include "core/watch/book.h"
#include "core/watch/errands.h"
#include "core/watch/learn.h"
#include "core/watch/metrics.h"
#include "core/watch/ruling.h"
#include "core/watch/sysfs_acts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class Folder {
 public:
  Folder() : path_(::mkdtemp(name_.data())) {}
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Folder(Folder&&) = delete;
  Folder& operator=(Folder&&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  Path operator/(const Path& name) const { return path_ / name; }
  const Path& path() const { return path_; }

 private:
  std::string name_ = "/tmp/volseal-warden-XXXXXX";
  Path path_;
};

std::string content_of(const Path& file) {
  return read_file_if_any(file).value_or("(none)");
}

void write(const Path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << text;
}

constexpr std::string_view deny_last = "[watch]\n";

// A machine with three disks: one with two partitions, one blank, one that carries a mapping.
Sighting three_disks() {
  Sighting seen;
  const auto add = [&](const Device& device, Verdict verdict, bool is_volume) {
    seen.graph.devices.push_back(device);
    const DeviceIndex at = seen.graph.devices.size() - 1;
    if (is_volume)
      seen.coverage.volumes.push_back(
          {.path = device.path, .name = device.name, .device = at, .verdict = verdict});
  };
  const auto holds = [](const std::string& type) {
    return Content{.kind = ContentKind::filesystem, .type = type};
  };
  add({.name = "sda",
       .path = "/dev/sda",
       .links = {"/dev/disk/by-id/usb-Stick_[1]\\x2f"},
       .kind = DeviceKind::disk,
       .diskseq = 1,
       .removable = true,
       .bus = "usb"},
      Verdict::unknown, false);
  add({.name = "sda1",
       .path = "/dev/sda1",
       .kind = DeviceKind::partition,
       .content = holds("ext4"),
       .below = {0}},
      Verdict::not_covered, true);
  add({.name = "sda2",
       .path = "/dev/sda2",
       .kind = DeviceKind::partition,
       .content = holds("vfat"),
       .below = {0}},
      Verdict::not_covered, true);
  add({.name = "sdb",
       .path = "/dev/sdb",
       .links = {"/dev/disk/by-id/wwn-2"},
       .kind = DeviceKind::disk,
       .diskseq = 2,
       .content = {.kind = ContentKind::blank}},
      Verdict::unknown, true);
  add({.name = "sdc",
       .path = "/dev/sdc",
       .links = {"/dev/disk/by-path/pci-3"},
       .kind = DeviceKind::disk,
       .diskseq = 3},
      Verdict::unknown, false);
  add({.name = "dm-0",
       .path = "/dev/mapper/data",
       .kind = DeviceKind::mapped,
       .diskseq = 4,
       .content = holds("ext4"),
       .below = {4}},
      Verdict::not_covered, true);
  return seen;
}

std::vector<Ruling> decide_all(const Sighting& seen, const std::string& policy) {
  const Policy parsed = parse_policy(policy, "policy.toml");
  std::vector<Ruling> decisions;
  for (const VolumeVerdict& volume : seen.coverage.volumes)
    decisions.push_back(decide(parsed, seen.graph, volume, "2030-01-01"));
  return decisions;
}

std::vector<std::string> responses(const Sighting& seen, const std::string& policy) {
  std::vector<std::string> words;
  for (const Ruling& decision : decide_all(seen, policy))
    words.emplace_back(to_string(decision.response));
  return words;
}

std::string rule(const std::string& match, const std::string& rest) {
  return std::string(deny_last) + "[[watch.rule]]\nname = \"r\"\nmatch = { " + match + " }\n" +
         rest;
}

TEST(DecisionTest, WithoutAWatchTableNothingIsDone) {
  EXPECT_THAT(responses(three_disks(), ""), ElementsAre("notify", "notify", "notify", "notify"));
}

TEST(DecisionTest, DenyIsTheLastWord) {
  EXPECT_THAT(responses(three_disks(), std::string(deny_last)),
              ElementsAre("quarantine", "quarantine", "quarantine", "quarantine"));
  Sighting seen = three_disks();
  seen.coverage.volumes[0].verdict = Verdict::covered_weak;
  seen.coverage.volumes[1].verdict = Verdict::exempt;
  seen.coverage.volumes[2].verdict = Verdict::converting;
  EXPECT_THAT(responses(seen, std::string(deny_last)),
              ElementsAre("allow", "allow", "allow", "quarantine"));
}

TEST(DecisionTest, ADiskThatIsAllowedAllowsWhatIsOnItUntilItsLastDay) {
  const std::string allowed = "action = \"allow\"\nreason = \"x\"\nuntil = ";
  EXPECT_THAT(responses(three_disks(),
                        rule("path = '/dev/disk/by-id/usb-Stick*'", allowed + "2030-01-01\n")),
              ElementsAre("allow", "allow", "quarantine", "quarantine"));
  EXPECT_THAT(
      responses(three_disks(), rule("path = '/dev/disk/by-path/pci-3'", allowed + "2029-12-31\n")),
      ElementsAre("quarantine", "quarantine", "quarantine", "quarantine"));
}

TEST(DecisionTest, OnlyBlankDisksAreEnrolledAndOnlyOursUnlocked) {
  EXPECT_THAT(responses(three_disks(), rule("path = '*'", "action = \"enroll\"\n")),
              ElementsAre("quarantine", "quarantine", "enroll", "quarantine"));
  Sighting seen = three_disks();
  EXPECT_THAT(responses(seen, rule("path = '*'", "action = \"unlock\"\n")),
              Not(::testing::Contains("unlock")));
  seen.graph[3].luks = LuksHeader{.tokens = {{.type = "volseal-tpm2"}}};
  EXPECT_EQ(responses(seen, rule("path = '*'", "action = \"unlock\"\n"))[2], "unlock");
}

TEST(DecisionTest, OneLegOnUsbIsEnoughToDenyAndNotToAllow) {
  Sighting seen = three_disks();
  seen.graph[5].below = {0, 4};
  EXPECT_EQ(responses(seen, rule("bus = 'usb'", "action = \"deauthorize\"\n"))[3], "deauthorize");
  EXPECT_EQ(responses(seen, rule("bus = 'usb'", "action = \"allow\"\nreason = \"x\"\n"))[3],
            "quarantine");
}

TEST(DecisionTest, RefusesAWatchThatMakesNoSense) {
  const auto error_of = [](const std::string& text) {
    try {
      parse_policy(text, "p");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_THAT(error_of(rule("bus = 'usb'", "action = \"allow\"\n")), HasSubstr("must say why"));
  EXPECT_THAT(error_of(rule("", "action = \"allow\"\nreason = \"x\"\n")),
              HasSubstr("it would allow every device"));
  EXPECT_THAT(error_of(rule("bus = 'usb'", "")), HasSubstr("needs an action"));
  EXPECT_THAT(error_of(rule("bus = 'usb'", "action = \"notify\"\nuntil = 2030-01-01\n")),
              HasSubstr("only for action 'allow'"));
  EXPECT_THAT(error_of("[watch]\notherwise = \"allow\"\n"), HasSubstr("must be one of"));
  EXPECT_THAT(error_of("[watch]\nmetric = \"/x\"\n"), HasSubstr("did you mean 'metrics'?"));
  EXPECT_THAT(error_of("[watch]\ncommand = [\"logger\"]\n"), HasSubstr("absolute path"));
  EXPECT_THAT(error_of("[watch]\ntimeout = 3\n"), HasSubstr("only for a command"));
  EXPECT_THAT(error_of("[watch]\nrule = [1]\n"), HasSubstr("[[watch.rule]] tables"));
}

std::vector<std::string> names(const Sighting& seen, const std::vector<Custody>& custodies) {
  std::vector<std::string> result;
  for (const Custody& custody : custodies)
    result.push_back(seen.graph[custody.device].name + (custody.in_use ? " in use" : ""));
  return result;
}

TEST(CustodyTest, ADiskIsTakenAsAWholeWhereNothingOfItMustStay) {
  Sighting seen = three_disks();
  const std::string policy(deny_last);
  // A mapping holds its disk already: it is taken by itself.
  EXPECT_THAT(names(seen, custodies(seen, decide_all(seen, policy))),
              ElementsAre("sda", "sdb", "dm-0"));
  seen.coverage.volumes[1].verdict = Verdict::covered;
  EXPECT_THAT(names(seen, custodies(seen, decide_all(seen, policy))),
              ElementsAre("sda1", "sdb", "dm-0"));
}

TEST(CustodyTest, WhatIsInUseIsNotTakenAway) {
  Sighting seen = three_disks();
  seen.graph[1].mounts = {"/srv"};
  seen.graph[5].swap_active = true;
  EXPECT_THAT(names(seen, custodies(seen, decide_all(seen, std::string(deny_last)))),
              ElementsAre("sda1 in use", "sda2", "sdb", "dm-0 in use"));
}

TEST(LearnTest, WhatWasLearnedAllowsWhatIsThere) {
  const Sighting seen = three_disks();
  const std::string text = learned_rules(seen, parse_policy("", "p"), "2030-01-01", "2030-03-01");
  EXPECT_THAT(responses(seen, text), ElementsAre("allow", "allow", "allow", "allow")) << text;
  Sighting other = three_disks();
  other.graph[0].links = {"/dev/disk/by-id/usb-Stick_1\\x2f"};
  EXPECT_EQ(responses(other, text)[0], "quarantine");
  other.graph[0].links.clear();
  EXPECT_THAT(learned_rules(other, parse_policy("", "p"), "2030-01-01", "2030-03-01"),
              HasSubstr("write a rule by hand"));
}

TEST(BookTest, KeepsWhatIsHeldReleasedAndCleared) {
  const Folder folder;
  const Book book(folder / "run");
  book.prepare();
  const DeviceId id{.name = "sdb", .diskseq = 7};
  book.hold({.id = id, .path = "/dev/sdb", .rule = "r", .reason = "\xff", .since = "now"});
  write(folder / "run/quarantine/sdc.1", "{\"schema\":\"volseal-quarantine/1\",\"name\":\"../x\"");
  write(folder / "run/quarantine/sdd.1",
        R"({"schema":"volseal-quarantine/1","name":"../x","diskseq":1})");
  ASSERT_THAT(book.held(), SizeIs(1));
  EXPECT_EQ(book.held()[0].id, id);
  EXPECT_TRUE(book.is_held(id));
  book.forget(id);
  EXPECT_THAT(book.held(), IsEmpty());
  EXPECT_FALSE(book.released(id));
  book.release(id, {.reason = "why", .who = "who", .when = "when"});
  EXPECT_EQ(book.released(id)->reason, "why");
  EXPECT_FALSE(book.released({.name = "sdb", .diskseq = 8}));
  book.clear(id);
  EXPECT_THAT(book.cleared(), ElementsAre(id));
  book.forget_cleared(id);
  EXPECT_THAT(book.cleared(), IsEmpty());
}

TEST(SysfsTest, AUsbDiskIsLetGoOfByItsDevice) {
  const Folder folder;
  const Path port = folder / "sys/devices/pci0/usb1/1-4";
  const Path disk = port / "1-4:1.0/host0/block/sdb";
  write(disk / "uevent", "");
  write(port / "authorized", "1");
  write(port / "bDeviceClass", "00");
  write(port / "1-4:1.0/authorized", "1");  // the interface's
  std::filesystem::create_directories(folder / "sys/class/block");
  std::filesystem::create_directory_symlink(disk, folder / "sys/class/block/sdb");
  const Path usb = usb_device_of(folder / "sys", "sdb");
  EXPECT_EQ(usb, std::filesystem::canonical(port));
  deauthorize(usb);
  EXPECT_EQ(content_of(port / "authorized"), "0");
  announce(folder / "sys", "sdb", "change");
  EXPECT_EQ(content_of(disk / "uevent"), "change");
  EXPECT_EQ(usb_device_of(folder / "sys", "sdx"), Path());
  announce(folder / "sys", "sdx", "change");
}

TEST(SysfsTest, KnowsWhatUdevdsRuleDid) {
  const Folder folder;
  EXPECT_EQ(first_moment_of(folder.path(), 8, 0), FirstMoment::undecided);
  write(folder / "b8:0", "S:disk/by-id/x\nE:ID_MODEL=x E:VOLSEAL_HELD=1\n");
  EXPECT_EQ(first_moment_of(folder.path(), 8, 0), FirstMoment::free);
  write(folder / "b8:0", "S:disk/by-id/x\nE:VOLSEAL_HELD=1\nE:X=1\n");
  EXPECT_EQ(first_moment_of(folder.path(), 8, 0), FirstMoment::held);
}

WardenOptions options_in(const Folder& folder) {
  WardenOptions options;
  options.run = folder / "run";
  options.sys = folder / "sys";
  options.dev = folder / "dev";
  options.udev_data = folder / "udev";
  return options;
}

std::vector<Finding> findings_of(const Sighting& seen) {
  std::vector<Finding> findings;
  for (const VolumeVerdict& volume : seen.coverage.volumes)
    findings.push_back(finding_of(Happening::attached, seen, volume));
  return findings;
}

TEST(WardenTest, APreviewSaysWhatItWouldDoAndTouchesNothing) {
  const Folder folder;
  WardenOptions options = options_in(folder);
  options.preview = true;
  Warden warden(options);
  Sighting seen = three_disks();
  seen.graph[1].mounts = {"/srv"};
  std::vector<Finding> findings = findings_of(seen);
  warden.act(seen, parse_policy(deny_last, "p"), "2030-01-01", findings);
  ASSERT_THAT(findings, SizeIs(4));
  EXPECT_EQ(findings[0].action, "would quarantine");
  EXPECT_EQ(findings[0].why, "but it is in use");
  EXPECT_EQ(findings[2].action, "would quarantine");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(WardenTest, TheEscapeOnlyTells) {
  const Folder folder;
  WardenOptions options = options_in(folder);
  options.escape = "volseal.watch=notify on the kernel's command line";
  Warden warden(options);
  const Sighting seen = three_disks();
  std::vector<Finding> findings = findings_of(seen);
  warden.act(seen, parse_policy(deny_last, "p"), "2030-01-01", findings);
  for (const Finding& finding : findings) {
    EXPECT_EQ(finding.action, "notify");
    EXPECT_THAT(finding.why, HasSubstr("volseal.watch=notify"));
  }
}

TEST(WardenTest, WhatCannotBeHeldIsSaidAndWhatChangesLaterIsAFindingOfItsOwn) {
  const Folder folder;
  Warden warden(options_in(folder));
  const Sighting seen = three_disks();
  std::vector<Finding> findings = findings_of(seen);
  warden.act(seen, parse_policy(deny_last, "p"), "2030-01-01", findings);
  EXPECT_EQ(findings[2].action, "notify");
  EXPECT_THAT(findings[2].why, HasSubstr("quarantine is not possible: it cannot be claimed"));
  EXPECT_EQ(warden.held(), 0U);
  const Book book(folder / "run");
  book.release({.name = "sdb", .diskseq = 2}, {.reason = "mine", .who = "me", .when = ""});
  pollfd wait{.fd = warden.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&wait, 1, 1'000), 1);
  findings.clear();
  warden.act(seen, parse_policy(deny_last, "p"), "2030-01-01", findings);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].volume.name, "sdb");
  EXPECT_EQ(findings[0].action, "allow");
  EXPECT_EQ(findings[0].why, "released by me: mine");
  EXPECT_FALSE(needs_attention(findings[0]));
}

// Held by an earlier watch, and not claimed anew: the node is none here.
TEST(WardenTest, TheKernelDeniesWhatIsHeldAndNothingElse) {
  const Folder folder;
  Sighting seen = three_disks();
  seen.graph.devices[1].major = seen.graph.devices[3].major = 8;
  seen.graph.devices[1].minor = 1;
  seen.graph.devices[3].minor = 16;
  const Book book(folder / "run");
  book.prepare();
  book.hold({.id = {.name = "sda", .diskseq = 1}});
  book.hold({.id = {.name = "sdb", .diskseq = 2}});
  WardenOptions options = options_in(folder);
  std::vector<std::set<DeviceNumber>> wanted;
  Deny::Change change;
  options.deny = [&](const std::set<DeviceNumber>& numbers) {
    wanted.push_back(numbers);
    return std::exchange(change, {});
  };
  Warden warden(options);
  std::vector<Finding> findings;
  const Policy policy = parse_policy(deny_last, "p");
  warden.act(seen, policy, "2030-01-01", findings);
  // The first disk with both of its partitions; the second of them has no number of its own here.
  EXPECT_EQ(wanted.back(), (std::set<DeviceNumber>{{0, 0}, {8, 1}, {8, 16}}));

  change.broken = {{8, 16}};
  findings.clear();
  warden.act(seen, policy, "2030-01-01", findings);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].volume.name, "sdb");
  EXPECT_THAT(findings[0].changes, ElementsAre(HasSubstr("broken by hand: the kernel no longer")));
  EXPECT_EQ(warden.broken(), 1U);

  // It is free before anything is given back.
  book.release({.name = "sdb", .diskseq = 2}, {.reason = "mine", .who = "me", .when = ""});
  wanted.clear();
  warden.act(seen, policy, "2030-01-01", findings);
  EXPECT_EQ(wanted.front(), (std::set<DeviceNumber>{{0, 0}, {8, 1}}));
}

TEST(WardenTest, ABlankDiskIsEnrolledOnceAndDeniedWhereThatFails) {
  const Folder folder;
  WardenOptions options = options_in(folder);
  std::vector<std::string> started;
  bool busy = true;
  options.start = [&](Response response, const std::string& node) {
    started.push_back(std::string(to_string(response)) + " " + Path(node).filename().native());
  };
  options.is_busy = [&](const std::string& node) { return busy && Path(node).filename() == "sdb"; };
  Warden warden(options);
  const Policy policy = parse_policy(rule("filesystem = 'blank'", "action = \"enroll\"\n"), "p");
  std::vector<Finding> findings;
  warden.act(three_disks(), policy, "2030-01-01", findings);
  warden.act(three_disks(), policy, "2030-01-01", findings);
  EXPECT_THAT(started, ElementsAre("enroll sdb"));
  EXPECT_THAT(findings, IsEmpty());
  busy = false;
  warden.act(three_disks(), policy, "2030-01-01", findings);
  EXPECT_THAT(started, SizeIs(1));
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].why, HasSubstr("quarantine is not possible: it cannot be claimed"));
}

std::vector<std::string> said_by(Errands& errands) {
  std::vector<std::string> said;
  while (errands.waiting() != 0) {
    pollfd wait{.fd = errands.fd(), .events = POLLIN, .revents = 0};
    ::poll(&wait, 1, 10'000);
    for (std::string& line : errands.see_to()) said.push_back(std::move(line));
  }
  return said;
}

TEST(ErrandsTest, RunOneAfterTheOtherAndSayWhatFailed) {
  const Folder folder;
  Errands errands(1);
  const std::string out = (folder / "out").native();
  for (const char* word : {"a\n", "b\n"})
    errands.add({.argv = {"/bin/sh", "-c", "cat >>" + out}, .input = word});
  errands.add({.argv = {"/bin/false"}});
  errands.add({.argv = {"/nonexistent"}});
  EXPECT_THAT(said_by(errands),
              ElementsAre("/bin/false failed with status 1", HasSubstr("/nonexistent")));
  EXPECT_EQ(content_of(out), "a\nb\n");
}

TEST(ErrandsTest, KillsWhatTakesTooLongAndHoldsUpNothing) {
  Errands errands(4);
  errands.add(
      {.argv = {"/bin/sh", "-c", "sleep 100 & sleep 100"}, .timeout = std::chrono::seconds(1)});
  const auto begun = std::chrono::steady_clock::now();
  errands.add({.argv = {"/bin/true"}});
  EXPECT_THAT(said_by(errands), ElementsAre("/bin/sh took too long and was killed"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(8));
}

TEST(ErrandsTest, TakeNoMoreThanAThousand) {
  Errands errands(0);
  for (int i = 0; i < 1'000; ++i) EXPECT_TRUE(errands.add({.argv = {"/bin/true"}}));
  EXPECT_FALSE(errands.add({.argv = {"/bin/true"}}));
}

TEST(WatchMetricsTest, AreOpenMetrics) {
  WatchFigures figures{.summary = {.events = 12, .blinds = 1, .blind_ms = 1500},
                       .findings = {{Happening::attached, 3}},
                       .volumes = {{Verdict::not_covered, 2}},
                       .quarantined = 2,
                       .now = 1'900'000'000};
  const std::string text = openmetrics(figures);
  EXPECT_THAT(text, HasSubstr("\nvolseal_watch_events_total 12\n"));
  EXPECT_THAT(text, HasSubstr("\nvolseal_watch_blind_seconds_total 1.500\n"));
  EXPECT_THAT(text, HasSubstr("\nvolseal_watch_findings_total{what=\"attached\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("\nvolseal_watch_volumes{verdict=\"not-covered\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("\nvolseal_watch_quarantined 2\n"));
  EXPECT_TRUE(text.ends_with("# EOF\n"));
}

}  // namespace
}  // namespace volseal
