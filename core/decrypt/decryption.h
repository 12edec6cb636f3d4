// Decrypting a volume in place: enrollment backwards.
//
// Until the header is in a file and in a backup, and the copy has been proven to open, nothing of
// the device is written. After that a journal says where it stands; Decryption::resume goes on from
// there. The order: header files → crypttab and fstab held back → data → tail wiped → crypttab and
// fstab → header files destroyed.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"
#include "core/decrypt/journal.h"
#include "core/decrypt/plan.h"
#include "core/luks/decryption.h"
#include "core/luks/volume.h"
#include "core/policy/policy.h"

#include <functional>
#include <string>

namespace volseal {

// The world as it is needed here; the command line and the tests supply it.
struct DecryptionWorld {
  // The machine as it is now.
  std::function<DeviceGraph()> scan;
  // What opens the volume, whose header is on it or in a file. Throws Error{wrong_secret, usage}.
  std::function<Secret(const DecryptionPlan&, const Volume& header)> open_with;
  std::function<void(const DecryptionPlan&, const std::string& step)> on_step;
  // Bytes; false stops at the next safe point.
  GoOn progress;
  // One line an event, before and after what cannot be undone.
  std::function<void(const DecryptionPlan&, const std::string& action, const std::string& outcome)>
      record;
};

struct DecryptionSettings {
  Path state = "/var/lib/volseal";
  Path crypttab = "/etc/crypttab";
  Path fstab = "/etc/fstab";  // neither learns of image files
  bool unmount = false;       // unmount and swapoff what is in the way, and put it back afterwards
};

class Decryption {
 public:
  Decryption(const Policy& policy, DecryptionSettings settings, DecryptionWorld world);

  // Carries out the plan. Throws Error; Error{interrupted} when progress said stop, Error{unsafe}
  // where the volume is no longer what the plan was made for. Where a header backup was set aside
  // to comes back; "" for nowhere.
  Path decrypt(const DecryptionPlan& plan);

  // Goes on with what a cut left. Throws Error{not_found} where the device is gone or cannot be
  // told from others. As above.
  Path resume(DecryptionEntry entry);

  const DecryptionJournal& journal() const { return journal_; }

 private:
  void require_unchanged(const DecryptionPlan& plan) const;
  DecryptionEntry prepare(const DecryptionPlan& plan, const Path& device, const Secret& secret);
  void learn_content(DecryptionPlan& plan, const Path& device, const Secret& secret) const;
  Path carry_on(DecryptionEntry entry, const Path& device);
  void advance(DecryptionEntry& entry, DecryptPhase phase) const;
  void perform(DecryptionEntry& entry, const Path& device);
  void move(DecryptionEntry& entry, const Path& device);
  void give_back(const DecryptionEntry& entry, const Path& device) const;
  void run(DecryptionEntry& entry, const Path& device);
  void wipe(const DecryptionEntry& entry, const Path& device) const;
  void hold_tables(const DecryptionEntry& entry) const;
  void free_tables(const DecryptionEntry& entry) const;
  void write_tables(const DecryptionEntry& entry) const;
  void look_inside(DecryptionEntry& entry, const Path& device) const;
  void release(const DecryptionPlan& plan) const;
  void reopen(const DecryptionPlan& plan, const Path& device, const Secret& secret) const;
  void put_back(const DecryptionPlan& plan, const Path& device) const;
  Path find_again(const DecryptionEntry& entry, const DeviceGraph& graph) const;
  DecryptionPlan use_now(const DecryptionEntry& entry, const Path& device,
                         const DeviceGraph& graph) const;
  void say(const DecryptionPlan& plan, const std::string& step) const;

  const Policy& policy_;
  DecryptionSettings settings_;
  DecryptionWorld world_;
  DecryptionJournal journal_;
};

}  // namespace volseal
