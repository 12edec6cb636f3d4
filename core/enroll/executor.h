// Plan → encrypted volumes.
//
// Order, for every volume (design, "Recovery"): recovery keyslot → proven → handed over and
// acknowledged → TPM keyslot → proven → data → crypttab → header backup. Until the recovery key has
// been acknowledged and both keyslots are proven, nothing of the device but a file-system check is
// written. After that a journal says where it stands; Executor::resume goes on from there.
#pragma once

#include "core/enroll/journal.h"
#include "core/enroll/protectors.h"
#include "core/enroll/shrinking.h"
#include "core/enroll/window.h"
#include "core/luks/encryption.h"
#include "core/plan/plan.h"
#include "core/policy/policy.h"
#include "core/protect/escrow_token.h"
#include "core/protect/group_protector.h"

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

// The world as the executor needs it; the command line and the tests supply it.
struct EnrollWorld {
  // The machine as it is now.
  std::function<DeviceGraph()> scan;
  // The group's secret; made where the group is new. Throws Error{no_tpm ...}.
  std::function<GroupMaterial(const std::string& group)> group;
  // Used to prove TPM keyslots. Never null while `group` works.
  GroupProtector* protector = nullptr;
  // What opens a volume that somebody else has made. Throws Error{wrong_secret, usage}.
  std::function<Secret(const VolumePlan&, const Volume&)> open_with;
  // Puts the key into escrow, where the policy wants that; nothing: it does not. Returns only when
  // that is acknowledged; throws to stop. Comes before hand_over.
  std::function<std::optional<EscrowReceipt>(const VolumePlan&, const std::string& luks_uuid,
                                             const Secret& key)>
      escrow;
  // Gives the key to a person or a file. Returns only when that is acknowledged; throws to stop.
  std::function<void(const VolumePlan&, const std::string& luks_uuid, const Secret& key)> hand_over;
  // Asks for a recovery key when the TPM does not answer while resuming; nothing: nobody there.
  std::function<std::optional<Secret>(const VolumePlan&, const std::string& why)> ask_secret;
  std::function<void(const VolumePlan&, const std::string& step)> on_step;
  // Of long work. Called without the turn.
  std::function<bool(const VolumePlan&, std::uint64_t done, std::uint64_t total)> progress;
  // One line an event, before and after what cannot be undone.
  std::function<void(const VolumePlan&, const std::string& luks_uuid, const std::string& action,
                     const std::string& outcome)>
      record;
  // Held by who calls the executor, where several volumes are worked on at once: long work lets go
  // of it. All other functions here are called with it held.
  std::mutex* turn = nullptr;
};

struct EnrollSettings {
  Path state = "/var/lib/volseal";
  Path crypttab = "/etc/crypttab";
  Path fstab = "/etc/fstab";  // neither learns of image files, which are not mapped either
  bool unmount = false;       // unmount and swapoff what is in the way, and put it back afterwards
  bool online = true;         // a mounted volume is in use while its data is encrypted
};

class Executor {
 public:
  Executor(const Policy& policy, EnrollSettings settings, EnrollWorld world);

  // Carries out one volume's plan. Throws Error; Error{interrupted} when progress said stop.
  // Throws Error{unsafe} where the volume is no longer what the plan was made for.
  void enroll(const VolumePlan& plan);

  // Goes on with what a cut left. Throws Error{not_found} where the device is gone.
  void resume(JournalEntry entry);

  const Journal& journal() const { return journal_; }

 private:
  void release(const VolumePlan& plan);
  static void use(const VolumePlan& plan, const Path& device);
  void preflight(const VolumePlan& plan, const Path& device);
  static void require_room(const VolumePlan& plan, const Path& device);
  void choose_extent(JournalEntry& entry, const Path& device) const;
  JournalEntry prepare(const VolumePlan& plan, const Path& device,
                       const std::vector<std::string>& links);
  std::optional<EscrowReceipt> hand_over(const VolumePlan& plan, const std::string& luks_uuid,
                                         const Secret& key) const;
  void add_missing(const VolumePlan& plan, Volume& volume, const Secret& existing);
  void adopt(const VolumePlan& plan, const Path& device, const std::vector<std::string>& links);
  JournalEntry convert(const VolumePlan& plan, const Path& device,
                       const std::vector<std::string>& links);
  const std::string& options_of(const VolumePlan& plan) const;
  void save_header(const JournalEntry& entry, const Path& device) const;
  void carry_on(JournalEntry entry, const Path& device);
  void advance(JournalEntry& entry, Phase phase);
  bool is_idle(const JournalEntry& entry, Phase phase, const Path& device) const;
  static bool grows(const JournalEntry& entry, const Path& device);
  void perform(const JournalEntry& entry, const Path& device);
  void extend(const JournalEntry& entry, const Path& device) const;
  void wipe(const JournalEntry& entry, const Path& device) const;
  void grow(const JournalEntry& entry, const Path& device);
  static Window window(const JournalEntry& entry, const Path& device);
  void write_tables(const JournalEntry& entry);
  void encrypt(const JournalEntry& entry, const Path& device);
  void encrypt_in_use(const JournalEntry& entry, const Path& device);
  bool in_use_meanwhile(const JournalEntry& entry, const Path& device) const;
  bool stays_in_use(const JournalEntry& entry) const;
  [[noreturn]] void paused(const JournalEntry& entry) const;
  void fill(const JournalEntry& entry, const Path& device);
  void bind(const JournalEntry& entry, const Path& device);
  void map(const JournalEntry& entry, const Path& device);
  void put_back(const JournalEntry& entry, const Path& device);
  bool uses_tpm(const VolumePlan& plan) const;
  bool apart(const JournalEntry& entry, const Secret& secret,
             const std::function<bool(const Secret&, const GoOn&)>& work) const;
  Shrinking shrinking(const JournalEntry& entry, const Path& device) const;
  Secret secret_for(const JournalEntry& entry, const Volume& volume);
  static std::string replaced_by(Task task, Phase phase, const Path& device);
  void take_as_it_is(JournalEntry& entry, const Device& now);
  void take_file_system(JournalEntry& entry, std::uint64_t size, const Path& device);
  void require_copied(const JournalEntry& entry, const Path& device) const;
  Path luks1_backup(const std::string& luks_uuid) const;
  Path find_again(const JournalEntry& entry, const DeviceGraph& graph) const;
  void say(const JournalEntry& entry, const std::string& step) const;

  const Policy& policy_;
  EnrollSettings settings_;
  EnrollWorld world_;
  Journal journal_;
  // The recovery keys of the volumes at work, by their journals: what opens them where there is no
  // TPM.
  std::map<std::string, Secret> fresh_recovery_;
};

}  // namespace volseal
