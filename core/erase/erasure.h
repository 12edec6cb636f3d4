// Carrying out an erasure: keyslots and headers overwritten with noise, read back, and what pointed
// to them taken away.
//
// All devices are claimed before the first byte is written. From then on a journal says how far it
// is; resume() goes on from there. A volume whose keyslots are half gone cannot be given back, so
// there is no other way than forward.
#pragma once

#include "core/base/file.h"
#include "core/erase/journal.h"
#include "core/erase/plan.h"

#include <functional>
#include <string>

namespace volseal {

// The world as it is needed here; the command line and the tests supply it.
struct ErasureWorld {
  // The machine as it is now.
  std::function<DeviceGraph()> scan;
  std::function<void(const std::string& volume, const std::string& step)> on_step;
  // One line an event, before and after what cannot be undone. `volume`: nullptr for the whole.
  std::function<void(const ErasureEntry&, const ErasedVolume* volume, const std::string& action,
                     const std::string& outcome)>
      record;
  // Repeatable after a cut.
  std::function<ClearedGroup(const ErasureEntry&)> clear_group;
  // The certificate. Repeatable after a cut.
  std::function<void(const ErasureEntry&)> certify;
};

struct ErasureSettings {
  Path state = "/var/lib/volseal";
  Path crypttab = "/etc/crypttab";
  Path fstab = "/etc/fstab";  // neither learns of image files
  bool backups = false;       // destroy the header backups that are files of this machine
  bool without_tpm = false;
  Path certificates;  // folder for them
};

class Erasure {
 public:
  Erasure(ErasureSettings settings, ErasureWorld world);

  // Throws Error; Error{busy} where a device is claimed meanwhile, Error{io} where what is read
  // back is not what was written.
  ErasureEntry erase(const ErasurePlan& plan);
  // Goes on with what a cut left. Throws Error{not_found} where a device is gone or cannot be told
  // from others.
  ErasureEntry resume(ErasureEntry entry);

  const ErasureJournal& journal() const { return journal_; }

 private:
  void carry_on(ErasureEntry& entry);
  void destroy_keys(ErasureEntry& entry);
  void destroy_volume(ErasureEntry& entry, ErasedVolume& volume, int fd);
  void clear_tables(ErasureEntry& entry) const;
  void clear_records(ErasureEntry& entry) const;
  void say(const std::string& volume, const std::string& step) const;

  ErasureSettings settings_;
  ErasureWorld world_;
  ErasureJournal journal_;
};

}  // namespace volseal
