// A program at a terminal of its own, and somebody who reads and types there.
//
//   Terminal terminal({"/usr/sbin/volseal", "unlock", "/dev/sda"});
//   terminal.answer("PIN", "1234\n");
//   EXPECT_EQ(terminal.wait(), 0);
#pragma once

#include "core/base/handle.h"

#include <sys/types.h>

#include <string>
#include <vector>

namespace volseal::test {

class Terminal {
 public:
  // argv[0] is a path; the environment is inherited.
  explicit Terminal(const std::vector<std::string>& argv);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  Terminal(Terminal&&) = delete;
  Terminal& operator=(Terminal&&) = delete;
  ~Terminal();

  // Waits until `prompt` is shown behind what was answered before, and types. Throws after 20 s, or
  // when the program ends before.
  void answer(const std::string& prompt, const std::string& typed);
  // Waits until `text` is shown behind what was answered or expected before.
  void expect(const std::string& text);
  // The exit status, once it has ended.
  int wait();
  const std::string& shown() const { return shown_; }

 private:
  bool read_some();

  UniqueFd terminal_;
  pid_t pid_ = -1;
  std::string shown_;
  std::size_t seen_ = 0;
};

}  // namespace volseal::test
