// A recovery key on paper: one HTML page, complete in itself, for the safe.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace volseal {

// --recovery-page-dir and --no-host-name.
struct PageOptions {
  std::optional<Path> folder;
  bool no_host_name = false;
};
void add_page_options(CLI::App& verb, PageOptions& options);

struct RecoveryPage {
  std::string volume;
  std::string luks_uuid;
  std::string host;           // "": not on the page
  std::string date;           // "YYYY-MM-DD"
  std::string together_with;  // "fido2": it opens nothing alone; "": it does
};

// No script, nothing from elsewhere, what devices say of themselves escaped.
Secret to_html(const RecoveryPage& page, const Secret& key);

// Writes UUID.recovery-key.html into `options.folder`, for its owner alone, with this machine's
// name and today's date, and says what is to be done with it.
void write_recovery_page(const PageOptions& options, RecoveryPage page, const Secret& key);

// As the page where a folder is given for those; else on standard output, on a terminal with all
// that belongs to it, into a pipe the key and nothing else.
void show_new_recovery_key(const PageOptions& options, const RecoveryPage& page, const Secret& key);

}  // namespace volseal
