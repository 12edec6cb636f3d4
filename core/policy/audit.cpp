#include "core/policy/audit.h"

namespace volseal {

AuditPolicy read_audit(const Section& section) {
  section.only({"sync", "on_full", "rotate", "checkpoint_events", "tpm", "anchor", "timeout"});
  AuditPolicy audit;
  audit.sync_always = section.one_of("sync", {"always", "checkpoint"}) != "checkpoint";
  audit.refuse_when_full = section.one_of("on_full", {"refuse", "continue"}) != "continue";
  audit.rotate = section.size("rotate").value_or(audit.rotate);
  // A file holds some events at least, or each would begin with which one was closed before it.
  constexpr std::uint64_t least = 1U << 20U;
  if (audit.rotate != 0 && audit.rotate < least)
    section.refuse("rotate", "must be 0 (never) or at least 1 MiB");
  constexpr int most_events = 1'000'000;
  audit.checkpoint_events =
      section.integer("checkpoint_events", 0, most_events).value_or(audit.checkpoint_events);
  audit.tpm = section.truth("tpm").value_or(audit.tpm);
  audit.anchor = section.command("anchor");
  if (section.has("timeout") && audit.anchor.empty())
    section.refuse("timeout", "is only for the command of 'anchor'");
  constexpr int longest_timeout = 3600;
  audit.timeout = section.integer("timeout", 1, longest_timeout).value_or(audit.timeout);
  return audit;
}

}  // namespace volseal
