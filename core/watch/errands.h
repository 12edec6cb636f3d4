// Errands: programs that are started because of a finding, and that nobody waits for.
#pragma once

#include "core/base/handle.h"
#include "core/base/spawn.h"

#include <chrono>
#include <cstddef>
#include <deque>
#include <string>
#include <vector>

namespace volseal {

struct Errand {
  std::vector<std::string> argv;
  std::string input;
  std::chrono::seconds timeout{30};  // then it is killed, with its process group
  std::string about;                 // for is_about()
};

class Errands {
 public:
  // Throws Error by errno.
  explicit Errands(std::size_t most_at_once);
  Errands(const Errands&) = delete;
  Errands& operator=(const Errands&) = delete;
  Errands(Errands&&) = delete;
  Errands& operator=(Errands&&) = delete;
  // What runs is killed.
  ~Errands();

  // After those before it. False: too many wait, and it is not done.
  bool add(Errand errand);

  // Readable when see_to() is to be called.
  int fd() const { return epoll_.get(); }
  // One line for each that failed, was too slow or could not be started.
  std::vector<std::string> see_to();

  // One of that name waits or runs.
  bool is_about(const std::string& what) const;
  std::size_t waiting() const { return queue_.size() + running_.size(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    std::string program;
    Spawned process;
    Clock::time_point due;
    bool late = false;
    std::string about;
  };

  void start_next(std::vector<std::string>& said);
  void set_alarm() const;

  std::size_t most_at_once_;
  UniqueFd epoll_;
  UniqueFd alarm_;
  std::deque<Errand> queue_;
  std::vector<Running> running_;
  std::vector<std::string> not_started_;
};

}  // namespace volseal
