// Work in a process of its own.
#include "core/base/apart.h"

#include "core/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const GoOn always = [](std::uint64_t, std::uint64_t) { return true; };

TEST(Apart, WorksElsewhereWithItsCopyOfTheSecret) {
  const pid_t here = ::getpid();
  const Secret secret = Secret::copy_of("a passphrase");
  EXPECT_TRUE(run_apart(
      secret,
      [&](const Secret& copy, const GoOn&) {
        // The parent's pages are wiped in a child.
        return ::getpid() != here && copy.view() == "a passphrase" && !secret.equal(copy);
      },
      always));
  EXPECT_FALSE(
      run_apart({}, [](const Secret& copy, const GoOn&) { return !copy.empty(); }, always));
}

TEST(Apart, AsksHereBeforeItGoesOn) {
  std::vector<std::uint64_t> seen;
  const bool finished = run_apart(
      {},
      [](const Secret&, const GoOn& go_on) {
        for (std::uint64_t done = 0; done < 10; ++done) {
          if (!go_on(done, 10)) return false;
        }
        return true;
      },
      [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_EQ(total, 10U);
        seen.push_back(done);
        return done < 3;
      });
  EXPECT_FALSE(finished);
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3));
}

TEST(Apart, HandsErrorsOnWithCodeAndText) {
  try {
    run_apart(
        {}, [](const Secret&, const GoOn&) -> bool { throw Error(Code::io, "read sector 5: bad"); },
        always);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::io);
    EXPECT_STREQ(error.what(), "read sector 5: bad");
  }
}

TEST(Apart, SaysThatItsProcessDied) {
  try {
    run_apart({}, [](const Secret&, const GoOn&) { return ::raise(SIGKILL) == 0; }, always);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::internal);
    EXPECT_THAT(error.what(), HasSubstr("without a word"));
  }
}

TEST(Apart, StopsWhenNobodyAnswers) {
  struct Gone {};
  // Without an end to the work this test would not come to its own.
  const auto endless = [](const Secret&, const GoOn& go_on) {
    while (go_on(1, 2)) {
    }
    return false;
  };
  EXPECT_THROW(run_apart({}, endless, [](std::uint64_t, std::uint64_t) -> bool { throw Gone{}; }),
               Gone);
}

}  // namespace
}  // namespace volseal
