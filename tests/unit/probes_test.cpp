// Devices that hang, crash what reads them, or answer: none holds up the others.
#include "core/discover/probes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

namespace volseal {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

std::vector<ProbeJob> jobs(std::size_t count, const std::string& test) {
  std::vector<ProbeJob> all;
  for (std::size_t i = 0; i < count; ++i)
    all.push_back(
        {.node = "/dev/" + std::to_string(i), .identity = test + std::to_string(i), .options = {}});
  return all;
}

Probe answer(const ProbeJob& job) {
  Probe probe;
  probe.content = {.kind = ContentKind::filesystem, .type = "ext4", .label = job.node.native()};
  return probe;
}

TEST(Probes, AnswersComeInTheOrderOfTheJobs) {
  const auto found = probe_apart(jobs(100, "order"), 10s, answer);
  ASSERT_EQ(found.size(), 100U);
  for (std::size_t i = 0; i < found.size(); ++i)
    EXPECT_EQ(found[i].content.label, "/dev/" + std::to_string(i));
}

// More of them than are read at once: all threads hang, and the rest is read all the same.
TEST(Probes, HungDevicesAreGivenUpAndTheOthersRead) {
  const auto all = jobs(40, "hung");
  const auto hangs = [](const ProbeJob& job) { return std::stoi(job.node.filename()) < 18; };
  const auto function = [&](const ProbeJob& job) {
    while (hangs(job)) ::pause();
    return answer(job);
  };
  const auto before = Clock::now();
  const auto found = probe_apart(all, 300ms, function);
  EXPECT_LT(Clock::now() - before, 5s);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].content.kind,
              hangs(all[i]) ? ContentKind::unreadable : ContentKind::filesystem);
  }
  EXPECT_EQ(found[0].content.detail, "it did not answer within 0.3 s");
}

// It let the others wait once.
TEST(Probes, WhatWasSlowBeforeIsNotWaitedForAsLong) {
  auto all = jobs(3, "slow");
  all[1].slow = true;
  const auto before = Clock::now();
  const auto found = probe_apart(all, 10s, [](const ProbeJob& job) {
    while (job.slow) ::pause();
    return answer(job);
  });
  EXPECT_LT(Clock::now() - before, 8s);
  EXPECT_EQ(found[1].content.detail, "it did not answer within 2 s");
  EXPECT_EQ(found[2].content.kind, ContentKind::filesystem);
}

TEST(Probes, WhatIsTooLongToSayIsUnreadable) {
  const auto found = probe_apart(jobs(2, "long"), 10s, [](const ProbeJob& job) {
    Probe probe = answer(job);
    if (job.node.filename() == "1") probe.partitions.resize(400'000);
    return probe;
  });
  EXPECT_EQ(found[0].content.kind, ContentKind::filesystem);
  EXPECT_EQ(found[1].content.detail, "there is too much to say of it");
}

TEST(Probes, WhatCrashesItsReaderIsUnreadableAlone) {
  const auto found = probe_apart(jobs(20, "crash"), 10s, [](const ProbeJob& job) {
    if (job.node.filename() == "7") ::raise(SIGKILL);
    return answer(job);
  });
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].content.kind, i == 7 ? ContentKind::unreadable : ContentKind::filesystem)
        << i;
  }
}

TEST(Probes, AMessageCarriesAllThatWasFound) {
  Probe probe = answer({.node = "x", .identity = "", .options = {}});
  probe.luks = LuksHeader{.uuid = "u", .plaintext = "xfs"};
  probe.partitions = {{.start = 1, .size = 2, .uuid = "p", .type = "t", .label = "l"}};
  probe.gaps = {{.start = 3, .size = 4, .type = "ext4", .random = true}};
  probe.sample = Sample{.places = 5, .random = 1, .empty = 2, .clear = 2, .signature = "btrfs"};
  probe.opal = "locked";
  probe.in_use = "by somebody";
  probe.no_medium = true;
  probe.file_system = {.major = 7, .minor = 8};
  const Probe back = from_message(to_message(probe));
  EXPECT_EQ(to_message(back), to_message(probe));
  EXPECT_EQ(back.partitions.at(0).label, "l");
  EXPECT_EQ(back.gaps.at(0).type, "ext4");
  EXPECT_EQ(back.sample->signature, "btrfs");
  EXPECT_EQ(back.luks->plaintext, "xfs");
  EXPECT_EQ(back.file_system->minor, 8U);
  EXPECT_EQ(back.opal, "locked");
  EXPECT_TRUE(back.no_medium);
}

}  // namespace
}  // namespace volseal
