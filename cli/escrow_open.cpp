#include "cli/escrow_open.h"

#include "cli/prompt.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/cms.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

namespace volseal {

namespace {

// From the key's own file of passphrases or the last one, or asked for.
escrow::AskPassphrase passphrase_of(const EscrowKeys& options, std::size_t key) {
  if (options.pin_files.empty()) return [](const std::string& whose) { return ask_secret(whose); };
  const Path file = options.pin_files[std::min(key, options.pin_files.size() - 1)];
  return [file](const std::string&) { return std::optional(read_secret(file)); };
}

Secret open_blob(const std::string& name, const std::vector<escrow::PrivateKey>& keys) {
  const escrow::Blob blob(read_file(name, escrow::largest_blob));
  for (const escrow::PrivateKey& key : keys) {
    if (auto content = blob.open(key)) return std::move(*content);
  }
  std::vector<std::string> people;
  for (const std::string& person : blob.recipients()) people.push_back(escaped(person));
  throw Error(Code::wrong_secret,
              "open {}: none of the private keys is that of a recipient ({}), or it was changed",
              escaped(name), fmt::join(people, "; "));
}

}  // namespace

void add_escrow_keys(CLI::App& verb, EscrowKeys& options, bool required) {
  verb.add_option("--key", options.keys, "private key: a PEM file, or pkcs11:URI; once for each")
      ->required(required)
      ->allow_extra_args(false)
      ->type_name("FILE|URI");
  verb.add_option("--pin-file", options.pin_files,
                  "passphrase of the private key or PIN of the token, in the order of the keys")
      ->allow_extra_args(false)
      ->type_name("FILE");
}

escrow::Recovered open_escrow(const EscrowKeys& options) {
  std::vector<escrow::PrivateKey> keys;
  keys.reserve(options.keys.size());
  for (std::size_t i = 0; i < options.keys.size(); ++i) {
    keys.push_back(escrow::PrivateKey::load(options.keys[i], passphrase_of(options, i)));
  }
  std::vector<escrow::OpenedBlob> opened;
  opened.reserve(options.blobs.size());
  for (const std::string& name : options.blobs) {
    opened.push_back({.name = name, .content = escrow::parse_content(open_blob(name, keys))});
  }
  return escrow::recover(opened);
}

}  // namespace volseal
