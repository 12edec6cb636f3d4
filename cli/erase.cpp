// volseal erase: the end of a volume, or of a whole group.
#include "cli/erase.h"

#include "cli/erase_certificate.h"
#include "cli/erase_leftovers.h"
#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/decrypt/journal.h"
#include "core/discover/discover.h"
#include "core/enroll/journal.h"
#include "core/erase/erasure.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tpm/clear.h"
#include "tpm/sealed_group.h"
#include "tpm/state.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace volseal {

namespace {

using EraseJson = nlohmann::ordered_json;

struct EraseOptions {
  // A volume; or a group, and image files and devices of it beside those that are found. Nothing
  // goes on with what was cut off.
  std::vector<std::string> targets;
  std::optional<Path> header;
  std::optional<Path> certificates;
  bool header_backups = false;
  bool without_tpm = false;
  bool yes_really = false;
  bool json = false;
};

std::string real_path(const std::string& name) {
  std::error_code none;
  const Path real = std::filesystem::canonical(name, none);
  return none ? name : real.native();
}

class EraseRun {
 public:
  EraseRun(const EraseOptions& options, const Session& session)
      : options_(options),
        session_(session),
        policy_(load_policy(session.options.policy)),
        audit_(audit_log_of(session.options), "erase"),
        erasure_({.state = session.options.state,
                  .backups = options.header_backups,
                  .without_tpm = options.without_tpm,
                  .certificates = std::filesystem::absolute(
                      options.certificates.value_or(session.options.state / "erasures"))},
                 world()) {}

  int all() {
    bool went_on = false;
    for (ErasureEntry& entry : erasure_.journal().unfinished()) {
      if (!options_.targets.empty() && !is_of(entry)) continue;
      went_on = true;
      log::note("going on with the erasure of {}, which was cut off", escaped(entry.target));
      for (const ErasedVolume& volume : entry.volumes) add_image(volume.path);
      finish([&] { return erasure_.resume(std::move(entry)); });
    }
    if (!went_on) {
      if (options_.targets.empty())
        throw Error(Code::usage, "erase: name a volume or a group; no erasure was cut off");
      begin();
    }
    if (options_.json) print_out(result_.dump(1, ' ', true) + "\n");
    return status_;
  }

 private:
  void begin() {
    for (const std::string& name : options_.targets) add_image(name);
    if (options_.header) add_image(options_.header->native());
    const DeviceGraph graph = take_graph();
    const ErasureOptions wanted = resolve(graph);
    ErasurePlan plan = plan_erasure(graph, wanted);
    add_own_obstacles(plan);
    for (ErasedVolume& volume : plan.volumes) {
      if (const auto header = read_header(volume.header)) {
        for (Leftover& left : leftovers_of(volume, *header, plan.group, policy_, session_.options))
          volume.left.push_back(std::move(left));
      }
    }
    if (!options_.json) print_out(to_text(plan, columns(STDOUT_FILENO)));
    if (!plan.obstacles.empty()) {
      refuse(plan);
      return;
    }
    require_consent(plan);
    finish([&] { return erasure_.erase(plan); });
  }

  void refuse(const ErasurePlan& plan) {
    const std::string& why = plan.obstacles.front().what;
    audit_.record({.action = "erase.start",
                   .outcome = "refused",
                   .volume = plan.group.empty() ? plan.target : "",
                   .luks_uuid = plan.volumes.size() == 1 ? plan.volumes.front().luks_uuid : "",
                   .group = plan.group,
                   .detail = {{"reason", why}}});
    result_["outcome"] = "refused";
    for (const Obstacle& obstacle : plan.obstacles)
      result_["obstacles"].push_back(
          {{"what", to_valid_utf8(obstacle.what)}, {"advice", to_valid_utf8(obstacle.advice)}});
    status_ = exit_status::refused;
  }

  template <typename F>
  void finish(F action) {
    certificate_.reset();
    try {
      const ErasureEntry entry = action();
      tell(entry);
    } catch (const Error& error) {
      audit_.record(
          {.action = "erase.finish",
           .outcome = "failed",
           .volume = "",
           .luks_uuid = "",
           .group = "",
           .detail = {{"target", options_.targets.empty() ? "" : options_.targets.front()},
                      {"error", error.what()}}});
      throw;
    }
  }

  void tell(const ErasureEntry& entry) {
    result_["outcome"] = "erased";
    if (!certificate_) return;
    EraseJson one = {{"certificate", EraseJson::parse(certificate_->text)},
                     {"files", EraseJson::array()},
                     {"signed_by", EraseJson::array()}};
    for (const Path* file : {&certificate_->json, &certificate_->page, &certificate_->envelope}) {
      if (!file->empty()) one["files"].push_back(to_valid_utf8(file->native()));
    }
    for (const CertificateSignature& signature : certificate_->signatures)
      one["signed_by"].push_back({{"by", signature.by}, {"key", signature.key}});
    result_["erasures"].push_back(std::move(one));
    if (options_.json) return;
    std::string text;
    for (const ErasedVolume& volume : entry.volumes) {
      text += fmt::format("{} is erased: nothing opens it, and that was proven\n",
                          escaped(volume.path));
    }
    if (!entry.group.empty())
      text += fmt::format("group {} is erased: its secret is nowhere\n", escaped(entry.group));
    text += fmt::format("the certificate is {}\n  to print: {}\n",
                        escaped(certificate_->json.native(), 4096),
                        escaped(certificate_->page.native(), 4096));
    for (const CertificateSignature& signature : certificate_->signatures)
      text += fmt::format("  signed by {}\n", signature.by);
    if (certificate_->signatures.empty()) text += "  it is NOT signed: see the warnings above\n";
    bool title = false;
    for (const ErasedVolume& volume : entry.volumes) {
      for (const Leftover& left : volume.left) {
        if (!title) text += "still there, and opens it together with what is missing:\n";
        title = true;
        text += to_text(left, columns(STDOUT_FILENO));
      }
    }
    if (!entry.table_lines.empty()) {
      text += "the boot still may look for it: 'update-initramfs -u'\n";
      for (const std::string& line : stale_lines()) text += line;
    }
    tell_out(text);
  }

  // An fstab line by the UUID of a file system that was inside, which a closed volume does not
  // show.
  static std::vector<std::string> stale_lines() {
    std::vector<std::string> lines;
    const DeviceGraph graph = scan();
    for (const FstabEntry& entry : graph.fstab) {
      if (!entry.source.starts_with("UUID=")) continue;
      const std::string uuid = entry.source.substr(sizeof("UUID=") - 1);
      const bool here = std::ranges::any_of(
          graph.devices, [&](const Device& device) { return device.content.uuid == uuid; });
      if (!here) {
        lines.push_back(fmt::format(
            "fstab mounts {} from {}, which no device has: take that line out if it was in here\n",
            escaped(entry.target), escaped(entry.source)));
      }
    }
    return lines;
  }

  // What was named, as devices of the graph.
  ErasureOptions resolve(const DeviceGraph& graph) {
    ErasureOptions wanted{.volumes = {},
                          .group = "",
                          .header = options_.header,
                          .identify = [](const Path& path) { return identify_header(path); },
                          .size_of = [](const Path& path) { return size_of(path); }};
    const std::string& first = options_.targets.front();
    const std::vector<std::string> groups = tpm::groups_in(session_.options.state);
    if (std::ranges::find(groups, first) != groups.end()) {
      if (graph.find(first)) {
        throw Error(Code::usage,
                    "erase {0}: it is a group and a device; say /dev/{0} for the device",
                    escaped(first));
      }
      if (options_.header)
        throw Error(Code::usage, "erase {}: --header is for one volume", escaped(first));
      wanted.group = first;
      wanted.volumes = volumes_of(graph, first);
      return wanted;
    }
    if (options_.targets.size() > 1)
      throw Error(Code::usage, "erase {}: one volume at a time, or a group", escaped(first));
    wanted.volumes = {device_named(graph, first)};
    return wanted;
  }

  static std::string device_named(const DeviceGraph& graph, const std::string& name) {
    auto at = graph.find(name);
    if (!at) at = graph.find(real_path(name));
    if (!at) {
      const std::string uuid = name.starts_with("UUID=") ? name.substr(sizeof("UUID=") - 1) : name;
      for (DeviceIndex i = 0; i < graph.devices.size(); ++i) {
        const auto& luks = graph[i].luks;
        if (!luks || luks->uuid != uuid) continue;
        if (at) {
          throw Error(Code::usage, "erase {}: {} and {} both have this UUID; name one",
                      escaped(name), escaped(graph[*at].path), escaped(graph[i].path));
        }
        at = i;
      }
    }
    if (!at) {
      throw Error(Code::not_found,
                  "erase {}: there is no such device, file or group of this machine",
                  escaped(name));
    }
    // Whoever names the mapping means the volume.
    const Device& device = graph[*at];
    if (device.dm_uuid.starts_with("CRYPT-LUKS") && device.below.size() == 1)
      return graph[device.below.front()].name;
    return device.name;
  }

  // Those whose token is of the group as this machine has it: another machine's group of the same
  // name is somebody else's.
  std::vector<std::string> volumes_of(const DeviceGraph& graph, const std::string& group) const {
    const auto sealed = tpm::GroupState(session_.options.state, group).sealed();
    if (!sealed) {
      throw Error(
          Code::unsafe,
          "erase group {}: {} has no sealed secret, so which volumes are its cannot be told", group,
          tpm::GroupState(session_.options.state, group).folder().native());
    }
    std::vector<std::string> volumes;
    for (const Device& device : graph.devices) {
      if (!device.luks) continue;
      const bool named = std::ranges::any_of(
          device.luks->tokens, [&](const Token& token) { return token.group == group; });
      if (!named) continue;
      if (is_of_group(device.path, group, *sealed)) {
        volumes.push_back(device.name);
      } else {
        log::warning("{} is of another machine's group {}: it is left alone", escaped(device.path),
                     group);
      }
    }
    for (std::size_t i = 1; i < options_.targets.size(); ++i) {
      const std::string name = device_named(graph, options_.targets[i]);
      if (std::ranges::find(volumes, name) == volumes.end()) {
        throw Error(Code::unsafe, "erase {}: it is no volume of group {}",
                    escaped(options_.targets[i]), group);
      }
    }
    return volumes;
  }

  static bool is_of_group(const Path& path, const std::string& group, const std::string& sealed) {
    const Volume volume = Volume::load(path);
    if (const auto found = find_group_token(volume);
        found && found->token.group == group && tpm::same_group(sealed, found->token.sealed)) {
      return true;
    }
    return std::ranges::any_of(volume.tokens(), [&](const VolumeToken& token) {
      if (token.type != AllOfToken::type) return false;
      const AllOfToken parts = parse_all_of_token(token.json);
      return parts.tpm && parts.tpm->group == group && tpm::same_group(sealed, parts.tpm->sealed);
    });
  }

  // What is half done must be whole first: its journal has keys and headers, too.
  void add_own_obstacles(ErasurePlan& plan) const {
    const auto add = [&](const std::string& path, const std::string& uuid, const char* verb) {
      for (const ErasedVolume& volume : plan.volumes) {
        if (volume.path != path && volume.luks_uuid != uuid) continue;
        plan.obstacles.push_back(
            {.what = fmt::format("{}: 'volseal {}' was cut off on it", escaped(path), verb),
             .advice = fmt::format("finish that first: 'volseal {}' goes on", verb)});
      }
    };
    for (const JournalEntry& entry : Journal(session_.options.state).unfinished())
      add(entry.plan.path, entry.luks_uuid, "enroll");
    for (const DecryptionEntry& entry : DecryptionJournal(session_.options.state).unfinished())
      add(entry.plan.path, entry.plan.luks_uuid, "decrypt");
    if (plan.group.empty() || options_.without_tpm) return;
    try {
      static_cast<void>(tpm::Connection::connect(session_.options.tcti));
    } catch (const Error& error) {
      plan.obstacles.push_back(
          {.what = fmt::format("group {}: its TPM does not answer: {}", plan.group, error.what()),
           .advice = "make it answer, or, where it is gone for good, say --without-tpm"});
    }
  }

  // Typed, so that no habit of saying yes destroys a disk.
  void require_consent(const ErasurePlan& plan) const {
    if (options_.yes_really) return;
    const auto stop = [] {
      throw Error(Code::usage,
                  "erase: not confirmed, nothing was changed; say --yes-really where there is no "
                  "terminal");
    };
    const bool one = plan.group.empty();
    const auto name = ask_line(fmt::format("To destroy it, type the {} {}",
                                           one ? "device's name or UUID," : "group's name,",
                                           escaped(one ? plan.target : plan.group)));
    const bool same = one ? name == plan.target || name == plan.volumes.front().name ||
                                name == plan.volumes.front().luks_uuid ||
                                name == Path(plan.target).filename().native()
                          : name == plan.group;
    if (!same) stop();
    if (ask_line("Nobody will be able to bring its data back. Type 'destroy'") != "destroy") stop();
  }

  bool is_of(const ErasureEntry& entry) const {
    const std::string& name = options_.targets.front();
    if (name == entry.target || (!entry.group.empty() && name == entry.group)) return true;
    if (!entry.group.empty()) return false;
    const auto has = [&](const std::vector<std::string>& list, const std::string& text) {
      return std::ranges::find(list, text) != list.end();
    };
    return std::ranges::any_of(entry.volumes, [&](const ErasedVolume& volume) {
      return name == volume.name || name == volume.luks_uuid ||
             name == "UUID=" + volume.luks_uuid || has(volume.links, name) ||
             real_path(name) == volume.path || name == volume.path;
    });
  }

  void add_image(const std::string& name) {
    if (!is_image(name)) return;
    const std::string path = real_path(name);
    if (std::ranges::find(images_, path) == images_.end()) images_.push_back(path);
  }

  // The machine, and the image files that were named.
  DeviceGraph take_graph() const {
    DeviceGraph graph = scan();
    for (const std::string& image : images_) graph.devices.push_back(scan_image(image));
    return graph;
  }

  ClearedGroup clear_group(const ErasureEntry& entry) {
    const Path& state = session_.options.state;
    record(entry, nullptr, "erase.group", std::string(audit_started));
    ClearedGroup cleared{.tpm = "cleared", .counter = "none", .index = "", .destroyed = {}};
    tpm::CounterEnd end;
    if (entry.without_tpm) {
      end = tpm::unreachable_counter(state, entry.group);
      cleared.tpm = "absent";
    } else {
      tpm::Connection connection = tpm::Connection::connect(session_.options.tcti);
      end = tpm::end_counter(connection, state, entry.group);
    }
    cleared.counter = end.what;
    if (end.index) cleared.index = fmt::format("{:08x}", *end.index);
    cleared.destroyed = tpm::destroy_group_files(state, entry.group);
    record(entry, nullptr, "erase.group", "ok");
    return cleared;
  }

  void certify(const ErasureEntry& entry) {
    certificate_ = write_certificate(entry, session_.options);
    audit_.record({.action = "erase.certificate",
                   .outcome = "ok",
                   .volume = entry.group.empty() ? entry.target : "",
                   .luks_uuid = entry.group.empty() ? entry.volumes.front().luks_uuid : "",
                   .group = entry.group,
                   .detail = {{"id", entry.id},
                              {"sha256", sha256_hex(certificate_->text)},
                              {"file", certificate_->json.native()}}});
  }

  void record(const ErasureEntry& entry, const ErasedVolume* volume, const std::string& action,
              const std::string& outcome) const {
    const bool one = volume == nullptr && entry.group.empty() && !entry.volumes.empty();
    const ErasedVolume* about = one ? &entry.volumes.front() : volume;
    audit_.record(
        {.action = action,
         .outcome = outcome,
         .volume = about == nullptr ? "" : about->path,
         .luks_uuid = about == nullptr ? "" : about->luks_uuid,
         .group = entry.group,
         .detail = {{"id", entry.id}, {"volumes", std::to_string(entry.volumes.size())}}});
  }

  ErasureWorld world() {
    return {
        .scan = [this] { return take_graph(); },
        .on_step = [](const std::string& volume,
                      const std::string& step) { log::note("{}: {}", escaped(volume), step); },
        .record = [this](const ErasureEntry& entry, const ErasedVolume* volume,
                         const std::string& action,
                         const std::string& outcome) { record(entry, volume, action, outcome); },
        .clear_group = [this](const ErasureEntry& entry) { return clear_group(entry); },
        .certify = [this](const ErasureEntry& entry) { certify(entry); }};
  }

  const EraseOptions& options_;
  const Session& session_;
  Policy policy_;
  AuditLog audit_;
  std::vector<std::string> images_;
  std::optional<WrittenCertificate> certificate_;
  EraseJson result_ = {{"schema", "volseal-erase/1"},
                       {"outcome", ""},
                       {"obstacles", EraseJson::array()},
                       {"erasures", EraseJson::array()}};
  int status_ = exit_status::good;
  Erasure erasure_;
};

int erase(const EraseOptions& options, const Session& session) {
  if (::geteuid() != 0) throw Error(Code::denied, "erase: only root can");
  make_folder(session.options.state);
  const FileLock lock(session.options.state / "lock");
  return EraseRun(options, session).all();
}

}  // namespace

void add_erase(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "erase", "destroy the keys of a volume or group, prove it and certify it; for ever");
  auto options = std::make_shared<EraseOptions>();
  verb->add_option("VOLUME|GROUP", options->targets,
                   "a LUKS volume, device or image file; or a group, and image files of it; none: "
                   "what was cut off goes on");
  verb->add_option("--header", options->header, "the volume's detached header; else crypttab says")
      ->type_name("FILE");
  verb->add_flag("--header-backups", options->header_backups,
                 "also destroy the header backups on this machine");
  verb->add_option("--certificate-dir", options->certificates,
                   "where the certificate goes; else erasures/ in the state folder")
      ->type_name("DIR");
  verb->add_flag("--without-tpm", options->without_tpm,
                 "a group whose TPM is gone: what is in there stays");
  verb->add_flag("--yes-really", options->yes_really, "ask nothing; there is no way back");
  verb->add_flag("--json", options->json, "result and certificate as JSON");
  verb->footer(
      "Exit status: 0 erased and proven, 4 it could not be (the same command goes on), 5 refused:\n"
      "in use, or no header that can be identified. At a terminal the name has to be typed.");
  verb->callback([options, &session] { session.status = erase(*options, session); });
}

}  // namespace volseal
