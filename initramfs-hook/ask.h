// Asking the person in front of the machine, or behind dropbear, through Debian's askpass.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"

#include <optional>
#include <string>

namespace volseal {

struct Question {
  std::string prompt;
  std::string mapping;  // whose: cryptroot-unlock(8) looks for it
  Path device;
  int tried = 0;
};

// /lib/cryptsetup/askpass: plymouth, the consoles, and the FIFO that cryptroot-unlock writes to.
// Blocks until somebody answers. Nothing: no askpass, or an empty answer.
class Askpass {
 public:
  std::optional<Secret> ask(const Question& question);
  // The answer was used: cryptroot-unlock goes on from here.
  void answered();

  Askpass() = default;
  Askpass(const Askpass&) = delete;
  Askpass& operator=(const Askpass&) = delete;
  Askpass(Askpass&&) = delete;
  Askpass& operator=(Askpass&&) = delete;
  ~Askpass() { answered(); }

 private:
  UniqueFd witness_;
  pid_t witness_pid_ = -1;
};

// A line for the console, and for plymouth where it runs.
void tell_person(const std::string& text);

}  // namespace volseal
