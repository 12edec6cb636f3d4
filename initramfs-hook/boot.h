// The story of an encrypted boot: wait, unseal once, check every header, open in parallel, verify,
// close the latch; and what happens where the TPM says no.
#pragma once

#include "core/protect/fido2.h"
#include "core/unlock/all_of.h"
#include "core/unlock/boot_list.h"
#include "core/unlock/boot_report.h"
#include "core/unlock/parallel.h"
#include "initramfs-hook/ask.h"
#include "initramfs-hook/ciphers.h"
#include "initramfs-hook/devices.h"
#include "initramfs-hook/latch.h"
#include "initramfs-hook/settings.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

class TpmGroupProtector;

class Boot {
 public:
  Boot(const BootSettings& settings, const BootList& list, WaitLimits limits);

  // Afterwards the latch is closed, whatever happened. `report().stop` says whether the boot may
  // go on. Throws nothing that keeps the latch open.
  void run();

  const BootReport& report() const { return report_; }

 private:
  struct Present {
    const BootVolume* wanted = nullptr;
    std::vector<Path> nodes;
    bool open = false;
  };

  void unlock();
  void find();
  void open_by_tpm();
  void check_all(TpmGroupProtector& protector);
  CheckedVolume check(Unlocker& unlocker, const Present& volume);
  void hold_back(std::vector<CheckedVolume>& checked) const;
  void open_all(std::vector<CheckedVolume>& checked);
  void open_these(std::vector<CheckedVolume>& checked, const std::function<bool(Wanted)>& which);
  void verify(std::vector<CheckedVolume>& checked, std::vector<Attempt>& attempts) const;
  bool opened_here(const BootVolume& volume) const;
  void latch();
  void ask_person();
  // What one person has, for all volumes.
  struct Helper {
    Fido2& keys;
    AllOf& parts;
    std::vector<Secret> typed;
  };
  bool ask_for(Present& volume, Helper& helper);
  bool by_what_is_held(Present& volume, Helper& helper);
  Fido2Person person(const Present& volume);
  bool try_secret(Present& volume, const Secret& secret);
  bool try_fido2(Present& volume, Fido2& keys);
  bool try_parts(Present& volume, AllOf& parts);
  bool try_each_node(Present& volume, const char* protector,
                     const std::function<Attempt(const UnlockTarget&)>& open);
  bool must_not_ask() const;
  std::vector<Present*> locked_roots();
  Present* present(const Attempt& attempt);

  template <typename Work>
  void timed(const char* part, Work work);

  const BootSettings& settings_;
  const BootList& list_;
  WaitLimits limits_;
  BootReport report_;
  Askpass askpass_;
  std::vector<Present> present_;
  CipherWarmUp ciphers_;
  Settling settling_;
  bool vouched_ = false;  // the TPM opened root and /usr: they are what was enrolled
};

}  // namespace volseal
