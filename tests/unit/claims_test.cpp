// Claims in a process apart: one that does not answer holds up neither the others nor the end.
#include "core/watch/claims.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>

namespace volseal {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using ::testing::SizeIs;

ClaimJob job(const std::string& name) {
  return {.id = {.name = name, .diskseq = 7}, .node = "/dev/" + name, .parts = {}};
}

Claimed held() {
  return {.fd = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), .done = true};
}

Claimed hang() {
  for (;;) ::pause();
}

TEST(Claims, EachComesWithItsOwnDescriptor) {
  Claims claims([](const ClaimJob& one) {
    if (one.id.name == "busy")
      return Claimed{.done = true, .in_use = true, .problem = "it is in use"};
    return held();
  });
  std::vector<ClaimJob> jobs;
  for (int i = 0; i < 70; ++i) jobs.push_back(job(std::to_string(i)));
  jobs.push_back(job("busy"));
  const auto taken = claims.take(jobs, 10s);
  ASSERT_THAT(taken, SizeIs(71));
  for (const auto& [id, claimed] : taken) {
    struct stat info{};
    EXPECT_TRUE(claimed.done);
    EXPECT_EQ(claimed.in_use, id.name == "busy");
    EXPECT_EQ(::fstat(claimed.fd.get(), &info) == 0 && S_ISCHR(info.st_mode), id.name != "busy");
  }
  EXPECT_EQ(taken.at({.name = "busy", .diskseq = 7}).problem, "it is in use");
}

TEST(Claims, OneThatHangsHoldsUpNeitherTheOthersNorTheEnd) {
  const auto before = Clock::now();
  {
    Claims claims([](const ClaimJob& one) { return one.id.name == "hangs" ? hang() : held(); });
    const std::vector<ClaimJob> jobs = {job("one"), job("hangs"), job("two")};
    const auto taken = claims.take(jobs, 300ms);
    ASSERT_THAT(taken, SizeIs(3));
    EXPECT_TRUE(taken.at(jobs[0].id).fd);
    EXPECT_TRUE(taken.at(jobs[2].id).fd);
    EXPECT_EQ(taken.at(jobs[1].id).problem, "it does not answer");
    // It is not waited for again, while others are.
    const auto again = Clock::now();
    const auto later = claims.take({jobs[1], job("three")}, 10s);
    EXPECT_LT(Clock::now() - again, 5s);
    EXPECT_TRUE(later.at({.name = "three", .diskseq = 7}).fd);
    EXPECT_EQ(later.at(jobs[1].id).problem, "it does not answer");
  }
  EXPECT_LT(Clock::now() - before, 8s);
}

TEST(Claims, WhatAnswersLateIsHandedOutByALaterCall) {
  std::string name = "/tmp/volseal-claims-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(name.data());
  const std::filesystem::path gate = folder / "gate";
  ASSERT_EQ(::mkfifo(gate.c_str(), 0600), 0);
  Claims claims([&](const ClaimJob&) {
    const UniqueFd waits(::open(gate.c_str(), O_RDONLY | O_CLOEXEC));
    return held();
  });
  const std::vector<ClaimJob> jobs = {job("late")};
  EXPECT_FALSE(claims.take(jobs, 50ms).at(jobs[0].id).fd);
  const UniqueFd opens(::open(gate.c_str(), O_WRONLY | O_CLOEXEC));
  const auto end = Clock::now() + 10s;
  bool held_at_last = false;
  while (!held_at_last && Clock::now() < end)
    held_at_last = static_cast<bool>(claims.take(jobs, 50ms).at(jobs[0].id).fd);
  EXPECT_TRUE(held_at_last);
  std::filesystem::remove_all(folder);
}

TEST(Claims, AProcessThatDiesCostsOnlyATry) {
  Claims claims([](const ClaimJob&) -> Claimed { ::_exit(1); });
  const std::vector<ClaimJob> jobs = {job("one")};
  const auto before = Clock::now();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(claims.take(jobs, 10s).at(jobs[0].id).problem, "it does not answer");
  EXPECT_LT(Clock::now() - before, 5s);
}

}  // namespace
}  // namespace volseal
