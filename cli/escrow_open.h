// Getting a recovery key out of escrow: blobs, private keys, and what those are locked with.
#pragma once

#include "core/base/file.h"
#include "core/escrow/recover.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace volseal {

struct EscrowKeys {
  std::vector<std::string> blobs;
  std::vector<std::string> keys;  // PEM files, or pkcs11: URIs
  std::vector<Path> pin_files;    // in the order of the keys; else asked for
};

// --key and --pin-file.
void add_escrow_keys(CLI::App& verb, EscrowKeys& options, bool required);

// Throws Error{bad_blob, bad_key, wrong_secret}.
escrow::Recovered open_escrow(const EscrowKeys& options);

}  // namespace volseal
