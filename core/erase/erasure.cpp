#include "core/erase/erasure.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/destroy.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/device/use.h"
#include "core/drill/forget.h"
#include "core/luks/header.h"
#include "core/luks/volume.h"
#include "core/tables/tables.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace volseal {

namespace {

// To the end: nobody mounts or maps it meanwhile. Files are not claimed; what is attached or mapped
// from them was looked for.
UniqueFd claim_for_erasure(const Path& device) {
  const int claim = is_block_device(device) ? O_EXCL : 0;
  UniqueFd fd(::open(device.c_str(), O_RDWR | O_CLOEXEC | claim));
  if (!fd && errno == EBUSY) throw Error(Code::busy, "erase {}: it is in use", device.native());
  if (!fd) throw_errno(errno, "open {}", device.native());
  return fd;
}

bool has_uuid(const Path& path, const std::string& uuid) {
  const auto header = read_header(path);
  return header && !uuid.empty() && header->uuid == uuid;
}

// It is what was begun: by its header, or by the noise that is there instead.
bool is_what_was_begun(const ErasedVolume& volume, const Path& header) {
  if (has_uuid(header, volume.luks_uuid)) return true;
  const Noise noise(volume.seed);
  return std::ranges::any_of(volume.areas, [&](const ErasedArea& area) {
    return begins_with_noise(header, area.offset, noise);
  });
}

// A detached header is found by its path.
void find_again(ErasedVolume& volume, const DeviceGraph& graph) {
  const bool detached = volume.header != volume.path;
  if (detached) {
    if (std::filesystem::exists(volume.header) && is_what_was_begun(volume, volume.header)) return;
    throw Error(Code::not_found, "go on with {}: {} is not the header that was begun", volume.path,
                volume.header);
  }
  for (const Device& device : graph.devices) {
    if (device.size != volume.size) continue;
    const bool called_alike = device.path == volume.path || device.name == volume.name ||
                              (device.luks && device.luks->uuid == volume.luks_uuid) ||
                              std::ranges::any_of(volume.links, [&](const std::string& link) {
                                return std::ranges::find(device.links, link) != device.links.end();
                              });
    if (!called_alike || !is_what_was_begun(volume, device.path)) continue;
    volume.path = device.path;
    volume.header = device.path;
    return;
  }
  throw Error(Code::not_found,
              "go on with {}: no device of {} is surely the one that was begun (LUKS {})",
              volume.path, human_size(volume.size), escaped(volume.luks_uuid));
}

// Asked of two readers that know nothing of what was done here: our own and libcryptsetup's.
void require_no_header(const Path& path) {
  if (read_header(path))
    throw Error(Code::io, "erase {}: a LUKS header still is read", path.native());
  try {
    static_cast<void>(Volume::load(path));
  } catch (const Error& error) {
    if (error.code() == Code::not_luks) return;
    throw;
  }
  throw Error(Code::io, "erase {}: libcryptsetup still finds a LUKS header", path.native());
}

}  // namespace

Erasure::Erasure(ErasureSettings settings, ErasureWorld world)
    : settings_(std::move(settings)), world_(std::move(world)), journal_(settings_.state) {}

void Erasure::say(const std::string& volume, const std::string& step) const {
  if (world_.on_step) world_.on_step(volume, step);
}

ErasureEntry Erasure::erase(const ErasurePlan& plan) {
  if (!plan.obstacles.empty())
    throw Error(Code::unsafe, "erase {}: {}", escaped(plan.target), plan.obstacles.front().what);
  ErasureEntry entry{.id = to_hex(Secret::random(8).bytes()),
                     .phase = ErasePhase::keys,
                     .target = plan.target,
                     .group = plan.group,
                     .certificates = settings_.certificates.native(),
                     .backups = settings_.backups,
                     .without_tpm = settings_.without_tpm,
                     .volumes = plan.volumes,
                     .cleared = {},
                     .table_lines = {},
                     .started_at = utc_now()};
  for (ErasedVolume& volume : entry.volumes) volume.seed = Noise::new_seed();
  world_.record(entry, nullptr, "erase.start", "started");
  carry_on(entry);
  return entry;
}

ErasureEntry Erasure::resume(ErasureEntry entry) {
  world_.record(entry, nullptr, "erase.resume", "started");
  carry_on(entry);
  return entry;
}

void Erasure::carry_on(ErasureEntry& entry) {
  for (auto phase = std::ranges::find(erase_phases, entry.phase); phase != erase_phases.end();
       ++phase) {
    if (entry.phase != *phase) {
      entry.phase = *phase;
      journal_.write(entry);
    }
    // Each may be entered again after a cut in its middle.
    switch (*phase) {
      case ErasePhase::keys: destroy_keys(entry); break;
      case ErasePhase::group:
        if (!entry.group.empty()) entry.cleared = world_.clear_group(entry);
        break;
      case ErasePhase::tables: clear_tables(entry); break;
      case ErasePhase::records: clear_records(entry); break;
      case ErasePhase::proof:
        world_.record(entry, nullptr, "erase.finish", "ok");
        world_.certify(entry);
        break;
    }
  }
  journal_.remove(entry);
}

void Erasure::destroy_keys(ErasureEntry& entry) {
  // What is done already need not be here any more.
  const bool begun = std::ranges::any_of(
      journal_.unfinished(), [&](const ErasureEntry& other) { return other.id == entry.id; });
  const DeviceGraph graph = world_.scan();
  std::vector<UniqueFd> claims;
  for (ErasedVolume& volume : entry.volumes) {
    claims.emplace_back();
    if (!volume.erased_at.empty()) continue;
    if (begun) {
      find_again(volume, graph);
    } else if (!has_uuid(volume.header, volume.luks_uuid)) {
      throw Error(Code::unsafe, "erase {}: it is not what the plan was made for", volume.path);
    }
    if (const auto at = graph.find(volume.path)) {
      if (const std::string use = use_of(graph, *at); !use.empty())
        throw Error(Code::busy, "erase {}: {}", volume.path, use);
    }
    claims.back() = claim_for_erasure(volume.header);
    if (volume.header != volume.path) require_unclaimed(volume.path);
  }
  // Until here nothing was changed.
  if (!begun) journal_.write(entry);
  for (std::size_t i = 0; i < entry.volumes.size(); ++i) {
    ErasedVolume& volume = entry.volumes[i];
    if (volume.erased_at.empty()) destroy_volume(entry, volume, claims[i].get());
  }
}

void Erasure::destroy_volume(ErasureEntry& entry, ErasedVolume& volume, int fd) {
  world_.record(entry, &volume, "erase.volume", "started");
  try {
    const Noise noise(volume.seed);
    for (ErasedArea& area : volume.areas) {
      say(volume.path, fmt::format("overwriting the {}, {} at byte {}", area.what,
                                   human_size(area.bytes), area.offset));
      overwrite(fd, volume.header, area, noise);
      say(volume.path, fmt::format("reading the {} back", area.what));
      prove_overwritten(volume.header, area, noise);
    }
    require_no_header(volume.header);
  } catch (const Error&) {
    world_.record(entry, &volume, "erase.volume", "failed");
    throw;
  }
  volume.erased_at = utc_now();
  world_.record(entry, &volume, "erase.volume", "ok");
  journal_.write(entry);
}

void Erasure::clear_tables(ErasureEntry& entry) const {
  std::string crypttab = read_file_if_any(settings_.crypttab).value_or("");
  std::string fstab = read_file_if_any(settings_.fstab).value_or("");
  const auto note = [&](const std::string& line) {
    if (std::ranges::find(entry.table_lines, line) == entry.table_lines.end())
      entry.table_lines.push_back(line);
  };
  bool any = false;
  for (const ErasedVolume& volume : entry.volumes) {
    for (const std::string& name : volume.mappings) {
      any = true;
      const std::string node = "/dev/mapper/" + name;
      // Noted also where a cut came between a table and the journal.
      note("crypttab: " + name);
      crypttab = without_crypttab_entry(crypttab, name);
      const std::string rest = without_fstab_source(fstab, {node});
      if (rest != fstab) note("fstab: " + node);
      fstab = rest;
    }
  }
  if (!any) return;
  say(entry.target, "taking its lines out of crypttab and fstab");
  journal_.write(entry);
  save_table(settings_.crypttab, crypttab);
  save_table(settings_.fstab, fstab);
}

void Erasure::clear_records(ErasureEntry& entry) const {
  for (const ErasedVolume& volume : entry.volumes) {
    forget_drills(settings_.state, volume.luks_uuid);
    if (!entry.backups) continue;
    for (const Leftover& left : volume.left) {
      if (!left.ours) continue;
      say(volume.path, fmt::format("destroying {}", escaped(left.where)));
      destroy_file(left.where);
    }
  }
  for (ErasedVolume& volume : entry.volumes) {
    std::erase_if(volume.left, [](const Leftover& left) {
      return left.ours && !std::filesystem::exists(left.where);
    });
  }
}

}  // namespace volseal
