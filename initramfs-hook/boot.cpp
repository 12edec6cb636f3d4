#include "initramfs-hook/boot.h"

#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "initramfs-hook/settle.h"
#include "tpm/protector.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <thread>

namespace volseal {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds longest_pause{30};

// Without these there is no system; for these a person is asked.
bool is_root(Wanted wanted) {
  return wanted == Wanted::root || wanted == Wanted::usr;
}

// Guessing gets slower with every try.
void pause_after(int tried) {
  std::this_thread::sleep_for(
      std::min(longest_pause, std::chrono::seconds(1) * (1 << std::min(tried, 5))));
}

bool resume_is_off() {
  const std::string line = " " + read_file("/proc/cmdline") + " ";
  return line.find(" noresume") != std::string::npos;
}

// A swap area that a suspended system lies in: swsusp puts its signature where mkswap's was.
bool is_hibernated(const std::string& mapping) {
  constexpr std::string_view signature = "S1SUSPEND";
  const UniqueFd fd = open_file("/dev/mapper/" + mapping, O_RDONLY);
  std::array<char, signature.size()> found{};
  const auto at = static_cast<off_t>(::sysconf(_SC_PAGESIZE)) - 10;
  const ssize_t got = ::pread(fd.get(), found.data(), found.size(), at);
  return got == static_cast<ssize_t>(found.size()) &&
         std::string_view(found.data(), found.size()) == signature;
}

void leave_shut(CheckedVolume& checked, Outcome outcome, std::string reason) {
  checked.attempt.outcome = outcome;
  checked.attempt.reason = std::move(reason);
}

}  // namespace

Boot::Boot(const BootSettings& settings, const BootList& list, WaitLimits limits)
    : settings_(settings),
      list_(list),
      limits_(limits),
      ciphers_(list),
      settling_{.work = settle, .processes = {}} {
  report_.boot_id = boot_id();
  report_.began = since_boot();
}

template <typename Work>
void Boot::timed(const char* part, Work work) {
  const auto begun = Clock::now();
  const Finally note([&] {
    report_.parts.emplace_back(
        part, std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun));
  });
  work();
}

void Boot::run() {
  try {
    unlock();
  } catch (const std::exception& error) {
    report_.refusal = error.what();
    tell_person(report_.refusal);
  }
  timed("latch", [&] { latch(); });
  const bool by_person = !locked_roots().empty();
  if (by_person && report_.stop.empty()) {
    timed("person", [&] {
      try {
        ask_person();
      } catch (const std::exception& error) {
        tell_person(error.what());
        report_.stop = to_string(settings_.on_refusal);
      }
    });
  }
  ciphers_.wait();
  timed("udev", [&] { settling_.wait(); });
  report_.ended = since_boot();
}

void Boot::unlock() {
  timed("devices", [&] { find(); });
  if (!present_.empty()) open_by_tpm();
}

void Boot::find() {
  const Nodes nodes = wait_for_volumes(list_, limits_);
  for (const BootVolume& volume : list_.volumes) {
    const auto found = nodes.find(volume.luks_uuid);
    if (found == nodes.end()) {
      report_.missing.push_back(volume.mapping);
      continue;
    }
    present_.push_back({.wanted = &volume,
                        .nodes = found->second,
                        .open = is_mapping_of(volume.mapping, volume.luks_uuid)});
  }
}

Boot::Present* Boot::present(const Attempt& attempt) {
  const auto found = std::ranges::find_if(
      present_, [&](const Present& volume) { return volume.wanted->mapping == attempt.mapping; });
  return found == present_.end() ? nullptr : &*found;
}

std::vector<Boot::Present*> Boot::locked_roots() {
  std::vector<Present*> locked;
  for (Present& volume : present_) {
    if (is_root(volume.wanted->wanted) && !volume.open) locked.push_back(&volume);
  }
  return locked;
}

void Boot::open_by_tpm() {
  const auto appear = firmware_has_tpm() ? std::chrono::seconds(10) : std::chrono::seconds(1);
  TpmGroupProtector protector(tcti_of(settings_), {.appear = appear});
  check_all(protector);
}

// Everything is looked at before the first volume is opened: a root that is not ours must not find
// the data open.
void Boot::check_all(TpmGroupProtector& protector) {
  for (int tried = 0;; ++tried) {
    bool gave_up = false;
    Unlocker unlocker(protector, [&](const std::string& group) {
      const Present& first = present_.front();
      auto pin = askpass_.ask(
          {.prompt = fmt::format("PIN of group {} (empty: recovery key): ", escaped(group)),
           .mapping = first.wanted->mapping,
           .device = first.nodes.front(),
           .tried = tried});
      gave_up = !pin;
      return pin;
    });
    std::vector<CheckedVolume> checked;
    timed("check", [&] {
      for (const Present& volume : present_) {
        if (!volume.open) checked.push_back(check(unlocker, volume));
      }
    });
    askpass_.answered();
    const auto wrong = std::ranges::find(
        checked, Outcome::wrong_pin, [](const CheckedVolume& one) { return one.attempt.outcome; });
    if (wrong == checked.end() || gave_up || tried + 1 >= settings_.tries) {
      // The processes that open would hold it, and the latch find it busy.
      protector.disconnect();
      hold_back(checked);
      open_all(checked);
      return;
    }
    report_.attempts.push_back(wrong->attempt);
    tell_person(wrong->attempt.reason);
    pause_after(tried);
  }
}

// Where several devices bear the same UUID, the one that passes.
CheckedVolume Boot::check(Unlocker& unlocker, const Present& volume) {
  CheckedVolume first;
  bool tried = false;
  for (const Path& node : volume.nodes) {
    const UnlockTarget target{.device = node,
                              .mapping = volume.wanted->mapping,
                              .options = activate_options(volume.wanted->options)};
    CheckedVolume checked{.target = target};
    try {
      checked = unlocker.check(target);
    } catch (const Error& error) {
      checked.attempt = {.device = node,
                         .mapping = target.mapping,
                         .luks_uuid = volume.wanted->luks_uuid,
                         .protector = "tpm",
                         .outcome = Outcome::unavailable,
                         .reason = error.what()};
    }
    if (checked.may_open()) return checked;
    if (!tried) first = std::move(checked);
    tried = true;
  }
  return first;
}

// The root vouches for the rest: without it, and for another group than its own, nothing is opened
// here. Otherwise who plants a root with a group of their own in this TPM would get our data with
// it. Other groups open after boot, by their late copies, which are on the real root only.
void Boot::hold_back(std::vector<CheckedVolume>& checked) const {
  if (list_.latches.empty()) return;
  const auto wanted = [&](const CheckedVolume& volume) {
    return std::ranges::find(list_.volumes, volume.target.mapping, &BootVolume::mapping)->wanted;
  };
  const GroupKey* root = nullptr;
  std::string trouble;
  for (const BootVolume& volume : list_.volumes) {
    const auto found = std::ranges::find_if(checked, [&](const CheckedVolume& candidate) {
      return candidate.target.mapping == volume.mapping;
    });
    // A swap area that is gone keeps nothing shut; one that was exchanged might be resumed from.
    if (volume.wanted == Wanted::data) continue;
    if (volume.wanted == Wanted::boot && found == checked.end()) continue;
    const bool opens = found != checked.end() && found->may_open();
    if (!opens || (root != nullptr && !root->secret.equal(found->group->secret))) {
      trouble = volume.mapping;
    } else {
      root = found->group;
    }
  }
  for (CheckedVolume& volume : checked) {
    if (!volume.may_open()) continue;
    if (!trouble.empty()) {
      leave_shut(volume, Outcome::unavailable,
                 fmt::format("{} is not what was enrolled, so the TPM opens nothing in this boot",
                             escaped(trouble)));
    } else if (wanted(volume) == Wanted::data && !volume.group->secret.equal(root->secret)) {
      leave_shut(volume, Outcome::unavailable,
                 "it belongs to another group than the root, and is opened after boot");
    }
  }
}

void Boot::open_all(std::vector<CheckedVolume>& checked) {
  const auto resumable = std::ranges::find(list_.volumes, Wanted::boot, &BootVolume::wanted);
  if (resumable == list_.volumes.end()) {
    open_these(checked, [](Wanted) { return true; });
  } else {
    open_these(checked, [](Wanted wanted) { return wanted != Wanted::data; });
    // Its node in /dev/mapper is looked at.
    settling_.wait();
    // The system that wakes up has its data volumes open already.
    const bool wakes = !resume_is_off() && std::ranges::any_of(present_, [](const Present& volume) {
      return volume.wanted->wanted == Wanted::boot && volume.open &&
             is_hibernated(volume.wanted->mapping);
    });
    if (!wakes) open_these(checked, [](Wanted wanted) { return wanted == Wanted::data; });
  }
  vouched_ = std::ranges::all_of(list_.volumes, [&](const BootVolume& volume) {
    return !is_root(volume.wanted) || opened_here(volume);
  });
  for (const Attempt& attempt : report_.attempts) {
    const Present* volume = present(attempt);
    if (attempt.outcome == Outcome::opened || volume == nullptr) continue;
    if (is_root(volume->wanted->wanted) && report_.refusal.empty())
      report_.refusal = attempt.reason;
  }
}

bool Boot::opened_here(const BootVolume& volume) const {
  return std::ranges::any_of(report_.attempts, [&](const Attempt& attempt) {
    return attempt.mapping == volume.mapping && attempt.outcome == Outcome::opened;
  });
}

void Boot::open_these(std::vector<CheckedVolume>& checked,
                      const std::function<bool(Wanted)>& which) {
  std::vector<CheckedVolume> chosen;
  for (CheckedVolume& volume : checked) {
    const Present* here = present(volume.attempt);
    if (here != nullptr && which(here->wanted->wanted)) chosen.push_back(std::move(volume));
  }
  std::erase_if(checked, [](const CheckedVolume& volume) { return !volume.volume; });
  std::vector<Attempt> attempts;
  timed("open", [&] {
    ciphers_.wait();
    attempts = open_in_parallel(chosen, settling_);
  });
  timed("verify", [&] { verify(chosen, attempts); });
  for (Attempt& attempt : attempts) {
    if (attempt.outcome == Outcome::opened) present(attempt)->open = true;
    report_.attempts.push_back(std::move(attempt));
  }
}

// What was activated is what was checked. Where the root is not, nothing stays open.
void Boot::verify(std::vector<CheckedVolume>& checked, std::vector<Attempt>& attempts) const {
  bool root_differs = false;
  const auto close = [&](std::size_t i, const std::string& why) {
    attempts[i].outcome = Outcome::tampered;
    attempts[i].reason = why;
    deactivate(attempts[i].mapping);
  };
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (attempts[i].outcome != Outcome::opened) continue;
    const std::string problem = mapping_problem(checked[i]);
    if (problem.empty()) continue;
    close(i, "what was mapped is not what was checked: " + problem);
    root_differs =
        root_differs ||
        is_root(
            std::ranges::find(list_.volumes, attempts[i].mapping, &BootVolume::mapping)->wanted);
  }
  if (!root_differs) return;
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (attempts[i].outcome == Outcome::opened) close(i, "the root was not what was checked");
  }
}

void Boot::latch() {
  const Latch latch = close_latch(settings_, list_.latches);
  switch (latch.result) {
    case LatchResult::closed: report_.latch = "closed"; return;
    case LatchResult::none: report_.latch = "none"; return;
    case LatchResult::absent: report_.latch = "no TPM"; return;
    case LatchResult::hidden:
    case LatchResult::failed:
      report_.latch = latch.reason;
      tell_person("the TPM cannot be closed to what runs from here on: " + latch.reason);
      // A root that the TPM itself has checked may have an open TPM; any other one must not.
      if (!vouched_) report_.stop = to_string(settings_.on_refusal);
      return;
  }
}

// No passphrase is typed into a header that was changed: what it maps need not be encrypted.
bool Boot::must_not_ask() const {
  return std::ranges::any_of(report_.attempts, [&](const Attempt& attempt) {
    const auto volume = std::ranges::find(list_.volumes, attempt.mapping, &BootVolume::mapping);
    return attempt.outcome == Outcome::tampered && volume != list_.volumes.end() &&
           is_root(volume->wanted);
  });
}

void Boot::ask_person() {
  tell_person(report_.refusal.empty() ? "the TPM did not open the root"
                                      : "the TPM did not open the root: " + report_.refusal);
  if (must_not_ask()) {
    tell_person("no passphrase is asked for it; compare its header with a backup");
    report_.stop = to_string(settings_.on_refusal);
    return;
  }
  const std::vector<Present*> locked = locked_roots();
  const Present& first = *locked.front();
  // One for all of them: what one touch gives opens the next volume without.
  Fido2 keys(person(first));
  const AllOf::Ask ask = [&](const std::string& prompt) {
    auto secret = askpass_.ask(
        {.prompt = prompt + ": ", .mapping = first.wanted->mapping, .device = first.nodes.front()});
    askpass_.answered();
    return secret;
  };
  AllOf parts(keys, ask);
  Helper helper{.keys = keys, .parts = parts, .typed = {}};
  for (Present* volume : locked) {
    if (!ask_for(*volume, helper)) {
      report_.stop = to_string(settings_.on_refusal);
      return;
    }
  }
}

Fido2Person Boot::person(const Present& volume) {
  return {.ask_pin =
              [this, &volume](const std::string& prompt, int tried) {
                return askpass_.ask({.prompt = prompt + " (empty: recovery key): ",
                                     .mapping = volume.wanted->mapping,
                                     .device = volume.nodes.front(),
                                     .tried = tried});
              },
          .tell = [](const std::string& text) { tell_person(text); }};
}

// A FIDO2 key first, then what takes several parts.
bool Boot::by_what_is_held(Present& volume, Helper& helper) {
  return try_fido2(volume, helper.keys) || try_parts(volume, helper.parts);
}

bool Boot::ask_for(Present& volume, Helper& helper) {
  for (const Secret& secret : helper.typed) {
    if (try_secret(volume, secret)) return true;
  }
  bool wants_key = false;
  bool parts_alone = false;  // that no FIDO2 key has a part in
  for (const Path& node : volume.nodes) {
    const Volume loaded = Volume::load(node);
    wants_key = wants_key || !find_fido2_tokens(loaded).empty();
    for (const AllOfToken& token : find_all_of_tokens(loaded)) {
      wants_key = wants_key || token.fido2.has_value();
      parts_alone = parts_alone || !token.fido2;
    }
  }
  const bool more = wants_key || parts_alone;
  if ((parts_alone || (wants_key && Fido2::is_plugged_in())) && by_what_is_held(volume, helper))
    return true;
  const std::string prompt =
      fmt::format("Recovery key or passphrase of {}{}: ", escaped(volume.wanted->mapping),
                  wants_key     ? " (or plug in the FIDO2 key and press Enter)"
                  : parts_alone ? " (or press Enter to give the parts once more)"
                                : "");
  for (int tried = 0; tried < settings_.tries; ++tried) {
    auto secret = askpass_.ask({.prompt = prompt,
                                .mapping = volume.wanted->mapping,
                                .device = volume.nodes.front(),
                                .tried = tried});
    const bool opened =
        secret ? try_secret(volume, *secret) : more && by_what_is_held(volume, helper);
    askpass_.answered();
    if (opened) {
      if (secret) helper.typed.push_back(std::move(*secret));
      return true;
    }
    if (tried + 1 < settings_.tries) pause_after(tried);
  }
  tell_person(
      fmt::format("{} stays locked: {} tries", escaped(volume.wanted->mapping), settings_.tries));
  return false;
}

bool Boot::try_secret(Present& volume, const Secret& secret) {
  return try_each_node(volume, "passphrase", [&](const UnlockTarget& target) {
    return Unlocker::by_secret(target, secret);
  });
}

bool Boot::try_fido2(Present& volume, Fido2& keys) {
  const bool any = std::ranges::any_of(volume.nodes, [](const Path& node) {
    return !find_fido2_tokens(Volume::load(node)).empty();
  });
  const bool opened = any && try_each_node(volume, "fido2", [&](const UnlockTarget& target) {
                        return Unlocker::by_fido2(target, keys);
                      });
  askpass_.answered();
  return opened;
}

bool Boot::try_parts(Present& volume, AllOf& parts) {
  const bool any = std::ranges::any_of(volume.nodes, [](const Path& node) {
    return !find_all_of_tokens(Volume::load(node)).empty();
  });
  if (!any) return false;
  // Connects only where the TPM has a part.
  TpmGroupProtector protector(tcti_of(settings_), {.appear = std::chrono::seconds(1)});
  Unlocker unlocker(protector, {});
  const bool opened = try_each_node(volume, "all-of", [&](const UnlockTarget& target) {
    Attempt attempt{.device = target.device, .mapping = target.mapping, .protector = "all-of"};
    for (const AllOfToken& token : find_all_of_tokens(Volume::load(target.device))) {
      if (attempt.protector != "all-of") tell_person(attempt.reason);
      attempt = unlocker.by_all_of(target, parts, token.keyslots.front());
      if (attempt.outcome == Outcome::opened) break;
    }
    return attempt;
  });
  // The latch must not find it busy.
  protector.disconnect();
  askpass_.answered();
  return opened;
}

bool Boot::try_each_node(Present& volume, const char* protector,
                         const std::function<Attempt(const UnlockTarget&)>& open) {
  for (const Path& node : volume.nodes) {
    const UnlockTarget target{.device = node,
                              .mapping = volume.wanted->mapping,
                              .options = activate_options(volume.wanted->options)};
    Attempt attempt;
    try {
      attempt = open(target);
    } catch (const Error& error) {
      attempt = {.device = node,
                 .mapping = target.mapping,
                 .luks_uuid = volume.wanted->luks_uuid,
                 .protector = protector,
                 .outcome = Outcome::unavailable,
                 .reason = error.what()};
    }
    volume.open = attempt.outcome == Outcome::opened;
    if (!volume.open) tell_person(attempt.reason);
    report_.attempts.push_back(std::move(attempt));
    if (volume.open) return true;
  }
  return false;
}

}  // namespace volseal
