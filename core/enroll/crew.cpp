#include "core/enroll/crew.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <list>
#include <thread>

namespace volseal {

namespace {

class Crew {
 public:
  Crew(const std::vector<Job>& jobs, unsigned limit, std::mutex& turn)
      : limit_(limit), turn_(turn) {
    for (const Job& job : jobs) waiting_.push_back(&job);
  }

  void run() {
    std::vector<std::jthread> threads;
    {
      std::unique_lock turn(turn_);
      while (!waiting_.empty() || at_work_ != 0) {
        if (const Job* job = next()) {
          begin(*job);
          threads.emplace_back([this, job] { work(*job); });
        } else {
          ended_.wait(turn);
        }
      }
    }
    threads.clear();  // joins
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  const Job* next() {
    if (at_work_ >= std::max(limit_, 1U)) return nullptr;
    const auto free = [&](const Job* job) {
      return std::ranges::none_of(job->spindles,
                                  [&](const std::string& disk) { return turning_.contains(disk); });
    };
    const auto found = std::ranges::find_if(waiting_, free);
    if (found == waiting_.end()) return nullptr;
    const Job* job = *found;
    waiting_.erase(found);
    return job;
  }

  void begin(const Job& job) {
    ++at_work_;
    turning_.insert(job.spindles.begin(), job.spindles.end());
  }

  void work(const Job& job) {
    const std::unique_lock turn(turn_);
    try {
      // What waited for its turn while another failed has not begun.
      if (!failure_) job.work();
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
      waiting_.clear();
    }
    --at_work_;
    for (const std::string& disk : job.spindles) turning_.erase(disk);
    ended_.notify_one();
  }

  unsigned limit_;
  std::mutex& turn_;
  std::condition_variable ended_;
  std::list<const Job*> waiting_;
  std::set<std::string> turning_;
  std::size_t at_work_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

void run_jobs(const std::vector<Job>& jobs, unsigned limit, std::mutex& turn) {
  Crew(jobs, limit, turn).run();
}

}  // namespace volseal
