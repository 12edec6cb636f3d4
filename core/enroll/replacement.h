// A new key in the place of one that was used: made, proven, handed over, and only then is the old
// one removed. A journal says how far that came, so that it can be finished after a cut at any
// step; until the end the old key opens, from the hand-over on the new one does too.
#pragma once

#include "core/luks/volume.h"

#include <functional>
#include <optional>
#include <string>

namespace volseal {

class Replacement {
 public:
  // STATE/replace/UUID.json of each volume at work.
  explicit Replacement(const Path& state) : folder_(state / "replace") {}

  // What a cut had left of a volume.
  enum class Left {
    nothing,
    begun,       // perhaps a keyslot that nobody has the key of: it shows in protector list
    taken_back,  // the new keyslot is gone: nobody is known to have its key
    finished,    // the new key had been handed over, so the old keyslot is gone now
  };
  // Brings that to its end; needs no key, since both keyslots were proven before.
  Left finish(Volume& volume) const;

  // `add` makes the new keyslot and proves it, `hand_over` returns once somebody has its key. Where
  // either throws, the volume is as it was. Returns the new keyslot. Throws Error{busy} where
  // finish() has not been called for what a cut left.
  int carry_out(Volume& volume, int old, const std::function<int()>& add,
                const std::function<void(int slot)>& hand_over) const;

 private:
  struct Entry {
    int old = 0;
    std::string old_print;  // fingerprints of the keyslots: no other key ever has the same
    std::optional<int> fresh;
    std::string fresh_print;
    bool handed_over = false;
  };

  Path file_of(const Volume& volume) const;
  std::optional<Entry> load(const Volume& volume) const;
  void save(const Volume& volume, const Entry& entry) const;
  void forget(const Volume& volume) const;

  Path folder_;
};

}  // namespace volseal
