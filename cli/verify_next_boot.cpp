// volseal verify-next-boot: whether the initramfs that was built opens every volume.
#include "cli/exit_status.h"
#include "cli/next_boot.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/error.h"
#include "core/discover/discover.h"
#include "core/tables/tables.h"

#include <memory>
#include <optional>
#include <string>

namespace volseal {

namespace {

struct NextBootOptions {
  bool list = false;
  std::optional<Path> cryptroot;
};

void print_list(const NextBootOptions& options) {
  const auto cryptroot =
      options.cryptroot ? load_crypttab(*options.cryptroot) : std::vector<CrypttabEntry>();
  const DeviceGraph graph = scan();
  if (!graph.root) throw Error(Code::denied, "list what the next boot opens: only root can");
  print_out(to_text(boot_list_of(graph, cryptroot)));
}

}  // namespace

void add_verify_next_boot(CLI::App& app, Session&) {
  CLI::App* verb = app.add_subcommand("verify-next-boot",
                                      "whether the initramfs that was built opens every volume");
  auto options = std::make_shared<NextBootOptions>();
  verb->add_flag("--list", options->list,
                 "print what an initramfs built now has to open, for the initramfs hook");
  verb->add_option("--cryptroot", options->cryptroot,
                   "with --list: the crypttab that Debian's hook put into the initramfs");
  verb->callback([options] { print_list(*options); });
}

}  // namespace volseal
