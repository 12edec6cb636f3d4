// A folder of security keys, and a person who answers and remembers what was said.
#pragma once

#include "core/protect/fido2.h"
#include "tests/support/image.h"
#include "tests/support/softkey/plugged_key.h"

#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

namespace volseal::test {

class KeysTest : public ImageTest {
 protected:
  KeysTest() {
    std::filesystem::create_directory(keys);
    ::setenv("VOLSEAL_SOFTKEYS", keys.c_str(), 1);
  }
  ~KeysTest() override { ::unsetenv("VOLSEAL_SOFTKEYS"); }

  Fido2Person person() {
    return {.ask_pin = [this](const std::string& prompt, int) -> std::optional<Secret> {
              prompts.push_back(prompt);
              if (pins.empty()) return std::nullopt;
              Secret pin = Secret::copy_of(pins.front());
              pins.pop_front();
              return pin;
            },
            .tell = [this](const std::string& text) { told.push_back(text); }};
  }

  Path keys = folder / "keys";
  std::deque<std::string> pins;
  std::vector<std::string> prompts;
  std::vector<std::string> told;
};

}  // namespace volseal::test
