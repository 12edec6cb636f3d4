// A bar on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace volseal {

// One long piece of work. Written to standard error; silent under --quiet.
class Progress {
 public:
  // `what`: already escaped.
  explicit Progress(std::string what);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  Progress(Progress&&) = delete;
  Progress& operator=(Progress&&) = delete;
  ~Progress();

  // Bytes. On a terminal at most ten times a second; elsewhere a line every ten percent or minute.
  void update(std::uint64_t done, std::uint64_t total);
  // The last state, and its own line.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(std::uint64_t done, std::uint64_t total) const;
  void draw(std::uint64_t done, std::uint64_t total);

  std::string what_;
  bool terminal_;
  bool colour_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
  std::uint64_t first_done_ = 0;
  bool began_ = false;
  unsigned last_tenth_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace volseal
