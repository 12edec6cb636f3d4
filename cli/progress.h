// A bar on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace volseal {

// How far one long piece of work is, in bytes.
class Meter {
 public:
  void note(std::uint64_t done, std::uint64_t total);

  std::uint64_t done() const { return done_; }
  std::uint64_t total() const { return total_; }
  unsigned percent() const;
  std::string full_text() const;   // " 41 %  1.2 GiB of 3 GiB, 200 MiB/s, 9 s left"
  std::string brief_text() const;  // "41 %, 9 s left"

 private:
  using Clock = std::chrono::steady_clock;
  std::string left(std::uint64_t rate) const;
  std::uint64_t rate() const;  // bytes a second; 0: too early to say

  Clock::time_point start_;
  Clock::time_point now_;
  std::uint64_t first_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  bool began_ = false;
};

// The long work that goes on, one or several pieces. Written to standard error; silent under
// --quiet. Names are already escaped.
class Progress {
 public:
  Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  Progress(Progress&&) = delete;
  Progress& operator=(Progress&&) = delete;
  ~Progress();

  // On a terminal at most ten times a second; elsewhere a line every ten percent or minute.
  void update(const std::string& what, std::uint64_t done, std::uint64_t total);
  // It is over, or another piece of it begins.
  void finish(const std::string& what);
  // Before other words are written.
  void interrupt();

 private:
  using Clock = std::chrono::steady_clock;
  struct Piece {
    Meter meter;
    Clock::time_point told;
    unsigned told_tenth = 0;
  };
  std::string one(const std::string& what, const Meter& meter, std::size_t width) const;
  std::string all(std::size_t width) const;
  void draw();

  bool terminal_;
  bool colour_;
  bool drawn_ = false;
  Clock::time_point drawn_at_;
  std::map<std::string, Piece> pieces_;
};

}  // namespace volseal
