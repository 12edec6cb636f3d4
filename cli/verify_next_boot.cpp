// volseal verify-next-boot: whether the initramfs that was built opens every volume.
#include "cli/exit_status.h"
#include "cli/next_boot.h"
#include "cli/output.h"
#include "cli/status_of.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/discover/discover.h"
#include "core/tables/tables.h"
#include "tpm/approval.h"
#include "tpm/connection.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct NextBootOptions {
  bool list = false;
  bool json = false;
  std::optional<Path> cryptroot;
  std::vector<Path> initramfs;
};

void print_list(const NextBootOptions& options, const DeviceGraph& graph) {
  const auto cryptroot =
      options.cryptroot ? load_crypttab(*options.cryptroot) : std::vector<CrypttabEntry>();
  print_out(to_text(boot_list_of(graph, cryptroot)));
}

// The one of the newest kernel, as boot loaders choose it.
Path newest_initramfs() {
  Path newest;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/boot", error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename();
    if (!name.starts_with("initrd.img-") || name.ends_with(".new") || name.ends_with(".bak"))
      continue;
    if (newest.empty() || ::strverscmp(newest.c_str(), at->path().c_str()) < 0) newest = at->path();
  }
  if (newest.empty())
    throw Error(Code::not_found, "find an initramfs: there is no /boot/initrd.img-VERSION");
  return newest;
}

class Unpacked {
 public:
  explicit Unpacked(const Path& initramfs) {
    std::string pattern = "/var/tmp/volseal-initramfs.XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw_errno(errno, "make a folder in /var/tmp");
    folder_ = pattern;
    try {
      run_or_throw({"unmkinitramfs", initramfs.native(), folder_.native()});
    } catch (...) {
      remove();
      throw;
    }
  }
  Unpacked(const Unpacked&) = delete;
  Unpacked& operator=(const Unpacked&) = delete;
  Unpacked(Unpacked&&) = delete;
  Unpacked& operator=(Unpacked&&) = delete;
  ~Unpacked() { remove(); }

  // With microcode in front, what Linux unpacks last is in main/.
  Path root() const {
    std::error_code ignored;
    return std::filesystem::exists(folder_ / "main", ignored) ? folder_ / "main" : folder_;
  }

 private:
  void remove() const {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  Path folder_;
};

// What the TPM would say to a boot that measures what this one did.
std::vector<std::string> approval_problems(const Session& session) {
  std::vector<std::string> problems;
  try {
    tpm::Connection connection = tpm::Connection::connect(session.options.tcti);
    for (const std::string& group : tpm::groups_in(session.options.state)) {
      const auto state =
          tpm::group_status(connection, tpm::GroupState(session.options.state, group));
      const auto tell = [&](std::string_view what) {
        problems.push_back(fmt::format("{}: {}", named_group(session.options, group), what));
      };
      if (!state.our_tpm) tell("another TPM sealed it");
      if (state.our_tpm && !state.current_approved) tell("this boot's PCRs are not approved");
      if (state.revoked || !state.counter) tell("its approvals were revoked");
      if (state.dictionary_attack.locked_out && state.sealed.pin) tell("the TPM is locked out");
    }
  } catch (const Error& error) {
    problems.emplace_back(error.what());
  }
  return problems;
}

Json json_of(const NextBoot& boot) {
  Json volumes = Json::array();
  for (const NextBootVolume& volume : boot.volumes) {
    volumes.push_back({{"mapping", to_valid_utf8(volume.volume.mapping)},
                       {"luks_uuid", to_valid_utf8(volume.volume.luks_uuid)},
                       {"wanted", to_string(volume.volume.wanted)},
                       {"opens", boot.problems.empty() && volume.problems.empty()},
                       {"problems", volume.problems}});
  }
  return {{"initramfs", boot.initramfs.native()},
          {"kernel", boot.kernel},
          {"problems", boot.problems},
          {"volumes", volumes}};
}

std::string text_of_next(const NextBoot& boot) {
  std::string text = fmt::format("{}: {}\n", escaped(boot.initramfs.native()),
                                 boot.volumes.empty() ? "no enrolled volume is opened in it"
                                 : boot.opens_all()   ? "opens every volume"
                                                      : "does NOT open every volume");
  for (const std::string& problem : boot.problems)
    text += fmt::format("  {}\n", escaped(problem, 512));
  for (const NextBootVolume& volume : boot.volumes) {
    text +=
        fmt::format("  {:<12} {}\n", escaped(volume.volume.mapping),
                    volume.problems.empty() && boot.problems.empty() ? "opens" : "stays locked");
    for (const std::string& problem : volume.problems)
      text += fmt::format("               {}\n", escaped(problem, 512));
  }
  return text;
}

// For `volseal status`; whether it can be kept is nothing to the answer.
void note(const Session& session, const NextBoot& boot) {
  std::string problem = boot.problems.empty() ? "" : boot.problems.front();
  for (const NextBootVolume& volume : boot.volumes) {
    if (problem.empty() && !volume.problems.empty())
      problem = fmt::format("{}: {}", volume.volume.mapping, volume.problems.front());
  }
  try {
    note_next_boot(session.options.state, boot.initramfs, boot.opens_all(), problem);
  } catch (const Error& error) {
    log::detail("{}", error.what());
  }
}

void verify_next_boot(const NextBootOptions& options, Session& session) {
  const DeviceGraph graph = scan();
  if (!graph.root) throw Error(Code::denied, "look at what the next boot opens: only root can");
  if (options.list) {
    print_list(options, graph);
    return;
  }
  Json all = Json::array();
  bool good = true;
  const std::vector<std::string> approvals = approval_problems(session);
  for (const Path& path :
       options.initramfs.empty() ? std::vector{newest_initramfs()} : options.initramfs) {
    const Unpacked unpacked(path);
    NextBoot boot = verify_initramfs(unpacked.root(), graph);
    boot.initramfs = path;
    if (!boot.volumes.empty())
      boot.problems.insert(boot.problems.end(), approvals.begin(), approvals.end());
    good = good && boot.opens_all();
    if (options.initramfs.empty()) note(session, boot);
    all.push_back(json_of(boot));
    if (!options.json) print_out(text_of_next(boot));
  }
  if (options.json)
    print_out(Json{{"schema", "volseal-next-boot/1"}, {"initramfs", all}}.dump(1) + "\n");
  session.status = good ? exit_status::good : exit_status::failed;
}

}  // namespace

void add_verify_next_boot(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand("verify-next-boot",
                                      "whether the initramfs that was built opens every volume");
  auto options = std::make_shared<NextBootOptions>();
  verb->add_flag("--list", options->list,
                 "print what an initramfs built now has to open, for the initramfs hook");
  verb->add_option("--cryptroot", options->cryptroot,
                   "with --list: the crypttab that Debian's hook put into the initramfs");
  verb->add_flag("--json", options->json, "as JSON");
  verb->add_option("INITRAMFS", options->initramfs, "else the one of the newest kernel in /boot");
  verb->footer("Exit status: 0 every volume opens, 4 one does not and why is said.");
  verb->callback([options, &session] { verify_next_boot(*options, session); });
}

}  // namespace volseal
