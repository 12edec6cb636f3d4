// Book: what is in quarantine, released, or decided to be let alone in this boot; one small file
// each below /run/volseal, which udev's rules and `volseal quarantine` read as well.
#pragma once

#include "core/watch/claim.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace volseal {

struct Held {
  DeviceId id;
  std::string path;  // the node that people use
  std::string rule;
  std::string reason;
  std::string from;   // one line: bus, model, serial
  std::string since;  // RFC 3339
};

struct Release {
  std::string reason;
  std::string who;  // one line
  std::string when;
};

class Book {
 public:
  explicit Book(Path folder = "/run/volseal") : folder_(std::move(folder)) {}

  // Throws Error where the folders cannot be made.
  void prepare() const;

  void hold(const Held& held) const;
  void forget(const DeviceId& id) const;  // it is held no longer
  bool is_held(const DeviceId& id) const;
  // Files that are no record are left out.
  std::vector<Held> held() const;

  void release(const DeviceId& id, const Release& release) const;
  std::optional<Release> released(const DeviceId& id) const;
  std::set<DeviceId> released() const;

  // The watch has nothing against it: udev's rule lets it pass.
  void clear(const DeviceId& id) const;
  void forget_cleared(const DeviceId& id) const;
  std::set<DeviceId> cleared() const;

  // While this is there, udev's rule holds every disk that comes.
  void first_moment(bool wanted) const;

  Path released_folder() const { return folder_ / "released"; }
  Path lock() const { return folder_ / "watch.lock"; }

 private:
  Path folder_;
};

std::string to_json(const Held& held);
std::optional<Held> held_from_json(std::string_view text);

}  // namespace volseal
