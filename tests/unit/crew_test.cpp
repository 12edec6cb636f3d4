// Several jobs at once, never two on one spindle.
#include "core/enroll/crew.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <latch>
#include <map>
#include <stdexcept>
#include <thread>

namespace volseal {
namespace {

using ::testing::ElementsAre;

class CrewTest : public ::testing::Test {
 protected:
  // Long work on `disks`: notes what goes on beside it.
  Job job(std::set<std::string> disks) {
    return {disks, [this, disks] {
              {
                const Interlude interlude(&turn);
                begin(disks);
                std::this_thread::sleep_for(std::chrono::milliseconds(30));
                end(disks);
              }
              ++finished;
            }};
  }

  void begin(const std::set<std::string>& disks) {
    const std::scoped_lock lock(mutex);
    most_at_once = std::max(most_at_once, ++at_once);
    for (const std::string& disk : disks) shared = shared || ++turning[disk] > 1;
  }

  void end(const std::set<std::string>& disks) {
    const std::scoped_lock lock(mutex);
    --at_once;
    for (const std::string& disk : disks) --turning[disk];
  }

  std::mutex turn;
  int finished = 0;  // under the turn
  std::mutex mutex;
  int at_once = 0;
  int most_at_once = 0;
  std::map<std::string, int> turning;
  bool shared = false;
};

TEST_F(CrewTest, WorksOnSeveralUpToTheLimit) {
  std::vector<Job> jobs;
  for (int i = 0; i < 8; ++i) jobs.push_back(job({}));
  run_jobs(jobs, 3, turn);
  EXPECT_EQ(finished, 8);
  EXPECT_EQ(most_at_once, 3);
}

TEST_F(CrewTest, NeverTwoOnOneSpindle) {
  std::vector<Job> jobs;
  for (int i = 0; i < 4; ++i) {
    jobs.push_back(job({"sda"}));
    jobs.push_back(job({"sdb", "sdc"}));
    jobs.push_back(job({"sda", "sdc"}));
  }
  run_jobs(jobs, 8, turn);
  EXPECT_EQ(finished, 12);
  EXPECT_FALSE(shared);
  EXPECT_EQ(most_at_once, 2);
}

TEST_F(CrewTest, OneAtATimeInTheirOrder) {
  std::vector<int> order;
  std::vector<Job> jobs;
  for (int i = 0; i < 4; ++i) jobs.push_back({{}, [&order, i] { order.push_back(i); }});
  run_jobs(jobs, 1, turn);
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

TEST_F(CrewTest, BeginsNothingAfterAFailureAndLetsTheOthersEnd) {
  std::vector<Job> jobs;
  // Whichever thread is quicker, one fails while the other is in the middle of its work.
  std::latch at_work(1);
  std::latch fails(1);
  jobs.push_back({{"sda"}, [&] {
                    {
                      const Interlude interlude(&turn);
                      at_work.count_down();
                      fails.wait();
                    }
                    ++finished;
                  }});
  jobs.push_back({{"sdb"}, [&] {
                    {
                      const Interlude interlude(&turn);
                      at_work.wait();
                    }
                    fails.count_down();
                    throw std::runtime_error("no TPM");
                  }});
  jobs.push_back(job({"sdb"}));
  jobs.push_back(job({"sda"}));
  EXPECT_THROW(run_jobs(jobs, 2, turn), std::runtime_error);
  EXPECT_EQ(finished, 1);
}

TEST_F(CrewTest, EndsWhenTheOnlyOneAtWorkFails) {
  std::vector<Job> jobs;
  jobs.push_back({{"sda"}, [] { throw std::runtime_error("stopped"); }});
  jobs.push_back(job({"sda"}));
  EXPECT_THROW(run_jobs(jobs, 4, turn), std::runtime_error);
  EXPECT_EQ(finished, 0);
}

TEST_F(CrewTest, NothingToDoIsDone) {
  run_jobs({}, 4, turn);
  EXPECT_EQ(finished, 0);
}

}  // namespace
}  // namespace volseal
