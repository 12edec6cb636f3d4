#include "cli/crypttab_source.h"
#include "cli/next_boot.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/process.h"
#include "core/tables/tables.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>

namespace volseal {

namespace {

namespace fs = std::filesystem;

constexpr const char* program_inside = "/usr/lib/volseal/volseal-unlock";
constexpr std::size_t largest_list = 16U << 20U;

// The unpacked tree: names of modules, and what is where.
class Initramfs {
 public:
  explicit Initramfs(const Path& root) : root_(root) {
    for (const char* folder : {"usr/lib/modules", "lib/modules"}) {
      std::error_code error;
      for (fs::directory_iterator at(root / folder, error), end; !error && at != end;
           at.increment(error)) {
        kernel_ = at->path().filename();
        collect(at->path());
      }
    }
    // What the kernel has built in is listed by the machine, not by every initramfs.
    for (const Path& list : {root / "usr/lib/modules" / kernel_ / "modules.builtin",
                             Path("/lib/modules") / kernel_ / "modules.builtin"}) {
      add_built_in(read_file_if_any(list, largest_list).value_or(""));
    }
  }

  const std::string& kernel() const { return kernel_; }
  bool has(const std::string& file) const {
    std::error_code ignored;
    return fs::exists(root_ / file, ignored);
  }
  bool has_module(std::string name) const {
    std::ranges::replace(name, '-', '_');
    return modules_.contains(name);
  }
  std::optional<std::string> text(const std::string& file) const {
    return read_file_if_any(root_ / file);
  }
  const Path& root() const { return root_; }

 private:
  void add(std::string_view path) {
    std::string name(path.substr(path.rfind('/') + 1));
    const auto dot = name.find(".ko");
    if (dot == std::string::npos) return;
    name.resize(dot);
    std::ranges::replace(name, '-', '_');
    modules_.insert(std::move(name));
  }

  void collect(const Path& folder) {
    std::error_code error;
    for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
         at.increment(error)) {
      add(at->path().native());
    }
  }

  void add_built_in(std::string_view list) {
    while (!list.empty()) {
      const auto newline = std::min(list.find('\n'), list.size());
      add(list.substr(0, newline));
      list.remove_prefix(std::min(newline + 1, list.size()));
    }
  }

  Path root_;
  std::string kernel_;
  std::set<std::string> modules_;
};

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return escaped(text.substr(text.rfind('\n') + 1), 512);
}

// A key of USB that the initramfs cannot see opens nothing in it.
std::string fido2_problem(const Initramfs& initramfs) {
  for (const char* module : {"usbhid", "hid_generic"}) {
    if (!initramfs.has_module(module))
      return fmt::format("the module {} for the FIDO2 key of the root is not in it", module);
  }
  return "";
}

// What every volume needs alike.
std::vector<std::string> common_problems(const Initramfs& initramfs) {
  std::vector<std::string> problems;
  if (!initramfs.has(program_inside + 1)) {
    problems.push_back(fmt::format("{} is not in it", program_inside));
  } else if (const ProcessResult result =
                 run({"chroot", initramfs.root().native(), program_inside, "--version"});
             result.status != 0) {
    problems.push_back(
        fmt::format("{} does not run: {}", program_inside, last_line(result.output)));
  }
  const auto order = initramfs.text("scripts/local-top/ORDER").value_or("");
  if (!initramfs.has("scripts/local-top/volseal") ||
      order.find("/scripts/local-top/volseal") == std::string::npos) {
    problems.emplace_back("its boot script local-top/volseal is not in it");
  }
  if (!initramfs.has_module("dm_crypt")) problems.emplace_back("the module dm-crypt is not in it");
  const auto settings = initramfs.text("etc/volseal/boot.conf").value_or("");
  const auto tcti = settings.find("\nTCTI=");
  const bool other_tpm =
      tcti != std::string::npos && tcti + 6 < settings.size() && settings[tcti + 6] != '\n';
  if (!other_tpm && !initramfs.has_module("tpm_crb") && !initramfs.has_module("tpm_tis"))
    problems.emplace_back("no driver for a TPM is in it");
  return problems;
}

// aes-xts-plain64 → aes, xts; the IV generators that dm-crypt has itself are not modules.
std::vector<std::string> modules_of(std::string_view cipher) {
  std::vector<std::string> parts;
  while (!cipher.empty()) {
    const auto end = std::min(cipher.find_first_of("-:"), cipher.size());
    const std::string part(cipher.substr(0, end));
    if (!part.starts_with("plain") && part != "null" && part != "random" && !part.empty())
      parts.push_back(part);
    cipher.remove_prefix(std::min(end + 1, cipher.size()));
  }
  return parts;
}

bool has_cipher(const Initramfs& initramfs, const std::string& part) {
  if (initramfs.has_module(part) || initramfs.has_module(part + "_generic")) return true;
  // Built in without a name of its own; the running kernel knows, if it is the same.
  const auto running = read_file_if_any("/proc/sys/kernel/osrelease").value_or("");
  if (running != initramfs.kernel() + "\n") return false;
  const auto known = "\n" + read_file_if_any("/proc/crypto").value_or("");
  return known.find("\nname         : " + part + "\n") != std::string::npos;
}

std::string header_problem(const DeviceGraph& graph, const BootVolume& volume) {
  const auto device = std::ranges::find_if(graph.devices, [&](const Device& candidate) {
    return candidate.luks && candidate.luks->uuid == volume.luks_uuid;
  });
  if (device == graph.devices.end()) return "the volume is not there";
  const std::string damage = device->luks.value_or(LuksHeader{}).damage;
  if (!damage.empty()) return "its header is damaged: " + damage;
  if (!has_group_token(*device)) return "it has no volseal-tpm2 token";
  try {
    const Volume loaded = Volume::load(device->path);
    loaded.refuse_unsafe();
    if (!find_group_token(loaded)) return "it has no volseal-tpm2 token";
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::vector<std::string> problems_of(const BootVolume& volume, const BootList& listed,
                                     const std::vector<CrypttabEntry>& cryptroot,
                                     const Initramfs& initramfs, const DeviceGraph& graph) {
  std::vector<std::string> problems;
  const auto line = std::ranges::find(listed.volumes, volume.luks_uuid, &BootVolume::luks_uuid);
  if (line == listed.volumes.end()) {
    problems.emplace_back("it is not in the initramfs's list of volumes");
  } else if (line->mapping != volume.mapping) {
    problems.push_back(
        fmt::format("the initramfs calls it {}, crypttab {}", line->mapping, volume.mapping));
  } else if (line->wanted != volume.wanted) {
    problems.push_back(fmt::format("the initramfs takes it for {}, it is {}",
                                   to_string(line->wanted), to_string(volume.wanted)));
  }
  if (std::string problem = header_problem(graph, volume); !problem.empty())
    problems.push_back(std::move(problem));
  for (const std::string& part : modules_of(volume.cipher)) {
    if (!has_cipher(initramfs, part))
      problems.push_back(fmt::format("nothing for '{}' of its cipher is in it", part));
  }
  if (volume.wanted == Wanted::root || volume.wanted == Wanted::usr) {
    if (std::ranges::find(cryptroot, volume.mapping, &CrypttabEntry::name) == cryptroot.end())
      problems.emplace_back("the initramfs's crypttab has no line for it: nobody could type a key");
    if (!initramfs.has("lib/cryptsetup/askpass") && !initramfs.has("usr/lib/cryptsetup/askpass"))
      problems.emplace_back("askpass is not in it: nobody could type a recovery key");
  }
  return problems;
}

}  // namespace

bool NextBoot::opens_all() const {
  return problems.empty() && std::ranges::all_of(volumes, [](const NextBootVolume& volume) {
           return volume.problems.empty();
         });
}

NextBoot verify_initramfs(const Path& unpacked, const DeviceGraph& graph) {
  const Initramfs initramfs(unpacked);
  const auto cryptroot = parse_crypttab(initramfs.text("cryptroot/crypttab").value_or(""));
  const BootList needed = boot_list_of(graph, cryptroot);
  NextBoot result{.kernel = initramfs.kernel()};
  if (needed.volumes.empty()) return result;
  result.problems = common_problems(initramfs);
  BootList listed;
  try {
    listed = parse_boot_list(initramfs.text("etc/volseal/boot.list").value_or(""));
  } catch (const Error& error) {
    result.problems.emplace_back(error.what());
  }
  if (listed.latches != needed.latches)
    result.problems.emplace_back("it would not close the latch of the TPM as it should");
  if (needed.fido2) {
    if (std::string problem = fido2_problem(initramfs); !problem.empty())
      result.problems.push_back(std::move(problem));
  }
  for (const BootVolume& volume : needed.volumes) {
    result.volumes.push_back(
        {.volume = volume, .problems = problems_of(volume, listed, cryptroot, initramfs, graph)});
  }
  return result;
}

}  // namespace volseal
