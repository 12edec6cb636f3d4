#include "core/decrypt/plan.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/luks/header.h"
#include "core/plan/mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace volseal {

namespace {

bool lies_in(std::string_view path, std::string_view folder) {
  if (folder == "/") return true;
  return path == folder ||
         (path.starts_with(folder) && path.substr(folder.size()).starts_with('/'));
}

// Of a device that has one; see require_luks().
const LuksHeader& header_of(const Device& device) {
  if (!device.luks) throw Error(Code::not_luks, "decrypt {}: it is no LUKS volume", device.path);
  return *device.luks;
}

// The LUKS volume that is meant: a device, or what is opened from it.
DeviceIndex require_luks(const DeviceGraph& graph, const std::string& name) {
  const auto at = graph.find(name);
  if (!at) throw Error(Code::not_found, "decrypt {}: there is no such device", escaped(name));
  const auto is_luks = [&](DeviceIndex device) { return graph[device].luks.has_value(); };
  if (is_luks(*at)) return *at;
  const Device& device = graph[*at];
  if (device.below.size() == 1 && is_luks(device.below.front())) return device.below.front();
  throw Error(Code::not_luks, "decrypt {}: it is no LUKS volume", escaped(name));
}

void add_header(std::vector<Obstacle>& obstacles, const Device& device) {
  const LuksHeader& header = header_of(device);
  const auto add = [&](std::string what, std::string advice) {
    obstacles.push_back({.what = std::move(what), .advice = std::move(advice)});
  };
  if (!header.damage.empty()) {
    add(fmt::format("its LUKS header cannot be read: {}", escaped(header.damage)),
        fmt::format("restore it first: 'volseal header restore {}'", escaped(device.path)));
    return;
  }
  if (header.version != 2) {
    add("it is LUKS1", "'volseal enroll' converts it to LUKS2 first");
    return;
  }
  if (!header.reencryption.empty() || !header.requirements.empty()) {
    add("it is being re-encrypted", "let that finish first: 'volseal enroll', or what began it");
    return;
  }
  if (header.segments.size() != 1 || header.segments[0].type != "crypt" ||
      header.segments[0].offset == 0 || header.segments[0].size) {
    add("its data is not one encrypted segment behind the header, to the end of the device",
        "copy the data to another volume");
    return;
  }
  if (!header.segments[0].integrity.empty()) {
    add("it has authenticated encryption (dm-integrity), whose tags lie between the data",
        "copy the data to another volume");
  }
  if (is_null_cipher(header.segments[0].cipher)) {
    add("its cipher is null: nothing on it is encrypted", "see what was done to its header");
  }
  if (device.size < 2 * header.segments[0].offset) {
    add("it has less data than header", "copy the data to another volume");
  }
}

void add_device(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, DeviceIndex at) {
  const Device& device = graph[at];
  if (device.read_only) {
    obstacles.push_back(
        {.what = "it is read-only",
         .advice = fmt::format("find out why, then 'blockdev --setrw {}'", escaped(device.path))});
  }
  const std::string& uuid = header_of(device).uuid;
  const std::vector<DeviceIndex> own = graph.closure_below(at);
  for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
    const Device& twin = graph[other];
    const std::vector<DeviceIndex> below = graph.closure_below(other);
    if (!twin.luks || twin.luks->uuid != uuid || std::ranges::find(own, other) != own.end() ||
        std::ranges::find(below, at) != below.end()) {
      continue;
    }
    obstacles.push_back({.what = fmt::format("{} has the same LUKS header: a copy, or another path "
                                             "to the same disk",
                                             escaped(twin.path)),
                         .advice = "set up multipath, or take the copy away"});
  }
}

void add_mount(std::vector<Obstacle>& obstacles, const DeviceGraph& graph, DeviceIndex opened,
               const std::string& mount, const DecryptionOptions& options) {
  const bool needed = std::ranges::any_of(
      options.needed, [&](const std::string& path) { return lies_in(path, mount); });
  if (needed) {
    obstacles.push_back(
        {.what = fmt::format("it is mounted at {}, and the running system or volseal itself needs "
                             "it there",
                             escaped(mount)),
         .advice = "move what lies there, or decrypt it from a rescue system with 'cryptsetup "
                   "reencrypt --decrypt'"});
    return;
  }
  if (!options.unmount) {
    obstacles.push_back({.what = fmt::format("it is mounted at {}", escaped(mount)),
                         .advice = fmt::format("umount {}, or say --unmount", escaped(mount)),
                         .by_unmount = true});
  }
  for (DeviceIndex other = 0; other < graph.devices.size(); ++other) {
    if (other == opened) continue;
    for (const std::string& inner : graph[other].mounts) {
      if (inner == mount || !lies_in(inner, mount)) continue;
      obstacles.push_back({.what = fmt::format("{} is mounted inside it, at {}",
                                               escaped(graph[other].path), escaped(inner)),
                           .advice = fmt::format("umount {}", escaped(inner))});
    }
  }
}

void look_inside(DecryptionPlan& plan, const DeviceGraph& graph, DeviceIndex at,
                 const DecryptionOptions& options) {
  const std::vector<DeviceIndex> above = graph.above(at);
  if (above.empty()) {
    if (const std::string& holder = graph[at].in_use; !holder.empty()) {
      plan.obstacles.push_back(
          {.what = fmt::format("it is in use: {}", escaped(holder)),
           .advice = fmt::format("stop what uses it ('fuser -v {}')", escaped(plan.path))});
    }
    return;
  }
  const Device& opened = graph[above.front()];
  const std::vector<DeviceIndex> users = graph.above(above.front());
  if (above.size() > 1 || !opened.dm_uuid.starts_with("CRYPT-") || !users.empty()) {
    plan.obstacles.push_back(
        {.what = fmt::format("{} stands on it",
                             escaped(users.empty() ? opened.path : graph[users.front()].path)),
         .advice = "stop that first ('vgchange -an', 'mdadm --stop', 'dmsetup remove'), and close "
                   "the volume"});
    return;
  }
  plan.open_as = opened.dm_name;
  plan.opened_names = opened.links;
  plan.content_type = opened.content.type;
  plan.content_uuid = opened.content.uuid;
  plan.content_label = opened.content.label;
  plan.mounts = opened.mounts;
  plan.swap_active = opened.swap_active;
  for (const std::string& mount : plan.mounts) {
    add_mount(plan.obstacles, graph, above.front(), mount, options);
  }
  if (plan.swap_active && !options.unmount) {
    plan.obstacles.push_back(
        {.what = "it is active swap",
         .advice = fmt::format("swapoff {}, or say --unmount", escaped(opened.path)),
         .by_unmount = true});
  }
  if (!opened.in_use.empty() && plan.mounts.empty() && !plan.swap_active) {
    plan.obstacles.push_back(
        {.what = fmt::format("what is opened from it is in use: {}", escaped(opened.in_use)),
         .advice = fmt::format("stop what uses it ('fuser -v {}')", escaped(opened.path))});
  }
}

void ask_policy(DecryptionPlan& plan, const Policy& policy, const DeviceGraph& graph,
                DeviceIndex at, const DecryptionOptions& options) {
  const Rule* rule = deciding_rule(policy, graph, at);
  if (rule != nullptr) plan.rule = rule->name;
  if (rule != nullptr && rule->action == Action::leave && !expired(*rule, options.today)) {
    plan.why = fmt::format("rule '{}' exempts it: {}", escaped(rule->name), escaped(rule->reason));
    return;
  }
  if (!options.despite_policy.empty()) {
    plan.reason = options.despite_policy;
    plan.why = fmt::format("despite the policy: {}", escaped(options.despite_policy));
    return;
  }
  plan.obstacles.push_back(
      {.what = rule == nullptr
                   ? std::string("the policy wants it encrypted, since no rule exempts it")
                   : fmt::format("the policy does not exempt it: rule '{}' decides{}",
                                 escaped(rule->name),
                                 rule->action == Action::leave ? ", and has run out" : ""),
       .advice = "write a rule with action = \"leave\" and a reason, or say --despite-policy "
                 "REASON, which is logged"});
}

void add_steps(DecryptionPlan& plan, const Policy& policy, bool image) {
  const std::string room = human_size(plan.data_offset);
  const auto step = [&](std::string text) { plan.steps.push_back(std::move(text)); };
  step("prove that it opens, and rehearse the beginning on a stand-in in memory");
  for (const std::string& mount : plan.mounts) step(fmt::format("unmount {}", escaped(mount)));
  if (plan.swap_active) step("turn this swap off");
  if (!plan.open_as.empty()) step(fmt::format("close /dev/mapper/{}", escaped(plan.open_as)));
  step(fmt::format("copy its LUKS header beside the journal and to {}; prove that the copy opens",
                   escaped(policy.header_backups)));
  step(
      "mark its lines in crypttab and fstab 'noauto': from here on until the end it cannot be "
      "opened or mounted, at boot neither");
  step(fmt::format("decrypt the data, which moves down by {} to where the header was", room));
  step(fmt::format("zero the last {}, which are free then", room));
  if (image) {
    // It has no line anywhere.
  } else if (plan.crypttab) {
    step(fmt::format("take '{}' out of crypttab; let fstab name what is inside",
                     escaped(plan.crypttab->name)));
  } else {
    step("let fstab name what is inside");
  }
  step("destroy the header beside the journal, and set its backup aside");
  for (const std::string& mount : plan.mounts) step(fmt::format("mount {}", escaped(mount)));
  if (plan.swap_active) step("turn this swap on");
}

}  // namespace

DecryptionPlan plan_decryption(const DeviceGraph& graph, const Policy& policy,
                               const DecryptionOptions& options) {
  const DeviceIndex at = require_luks(graph, options.volume);
  const Device& device = graph[at];
  DecryptionPlan plan;
  plan.path = device.path;
  plan.name = device.name;
  plan.links = lasting_links(device);
  plan.luks_uuid = header_of(device).uuid;
  plan.diskseq = device.diskseq;
  plan.size = device.size;
  if (const auto& segments = header_of(device).segments; !segments.empty()) {
    plan.data_offset = segments.front().offset;
  }
  const auto line = std::ranges::find_if(
      graph.crypttab, [&](const CrypttabEntry& entry) { return names_volume(entry, device); });
  if (line != graph.crypttab.end()) plan.crypttab = *line;

  ask_policy(plan, policy, graph, at, options);
  add_header(plan.obstacles, device);
  add_device(plan.obstacles, graph, at);
  look_inside(plan, graph, at, options);
  if (!plan.obstacles.empty()) return plan;

  add_steps(plan, policy, device.kind == DeviceKind::file);
  plan.for_ever = {
      "everything on it can be read by whoever has the disk",
      "its recovery keys, passphrases and TPM keyslot open nothing any more; to encrypt it again "
      "is "
      "a new enrollment with new keys",
      "what was written in the clear stays on worn or remapped sectors, also after it is encrypted "
      "again"};
  plan.risk =
      "the data is rewritten in place: safe against a power cut, not against a failing disk; have "
      "a "
      "backup. Until it is done, only 'volseal decrypt' and the header in its folder open the "
      "volume";
  plan.bytes = 2 * (plan.size - plan.data_offset) + plan.data_offset;
  if (options.bytes_per_second > 0) {
    plan.estimate = std::chrono::seconds(
        std::max(1LL, std::llround(static_cast<double>(plan.bytes) / options.bytes_per_second)));
  }
  return plan;
}

std::vector<std::string> fstab_names(const DecryptionPlan& plan) {
  std::vector<std::string> names = plan.opened_names;
  for (const std::string& mapping : {plan.open_as, plan.crypttab ? plan.crypttab->name : ""}) {
    if (!mapping.empty()) names.push_back("/dev/mapper/" + mapping);
  }
  return names;
}

}  // namespace volseal
