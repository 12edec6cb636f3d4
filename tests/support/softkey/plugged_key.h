// A security key that is plugged in: a socket in a folder, behind it a CTAP authenticator. Programs
// find it through libfido2_port, which stands between them and libfido2.
//
//   PluggedKey key(folder, "first");
//   key.set_pin("1234");
//   key.leave_untouched();
//   key.pull_out();
#pragma once

#include "tests/support/softkey/ctaphid.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace volseal::test {

class PluggedKey {
 public:
  // The socket is FOLDER/NAME.key, what the key keeps FOLDER/NAME.state.
  PluggedKey(Path folder, std::string name, KeyModel model = {});
  PluggedKey(const PluggedKey&) = delete;
  PluggedKey& operator=(const PluggedKey&) = delete;
  PluggedKey(PluggedKey&&) = delete;
  PluggedKey& operator=(PluggedKey&&) = delete;
  ~PluggedKey();

  // As its owner has done it elsewhere: written into the key's state. Only while nobody uses it.
  void set_pin(const std::string& pin);

  void pull_out();
  void plug_in();

  // What the person does from here on.
  void touch_at_once();
  void leave_untouched();
  void pull_out_when_it_blinks();
  void show_another_finger(bool known);
  // Goes dead, as some do: takes what comes and never answers.
  void hang();

  int touches() const { return touches_; }
  KeyState state() const { return load_key_state(state_file_); }
  const Path& path() const { return socket_; }

 private:
  enum class Does { touches, waits, pulls_out };
  class Link;
  class OwnHand;

  void run();

  Path socket_;
  Path state_file_;
  KeyModel model_;
  std::atomic<Does> does_ = Does::touches;
  std::atomic<bool> finger_ = true;
  std::atomic<bool> hung_ = false;
  std::atomic<int> touches_ = 0;
  UniqueFd listener_;
  std::atomic<bool> plugged_ = false;
  std::thread thread_;
};

}  // namespace volseal::test
