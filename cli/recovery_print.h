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
  std::string host;  // "": not on the page
  std::string date;  // "YYYY-MM-DD"
};

// No script, nothing from elsewhere, what devices say of themselves escaped.
Secret to_html(const RecoveryPage& page, const Secret& key);

// Writes UUID.recovery-key.html into `options.folder`, for its owner alone, with this machine's
// name and today's date, and says what is to be done with it.
void write_recovery_page(const PageOptions& options, const std::string& volume,
                         const std::string& luks_uuid, const Secret& key);

}  // namespace volseal
