// The private key that opens escrow blobs: a PEM file, or a key that a PKCS#11 token keeps.
#pragma once

#include "core/base/secret.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>

struct evp_pkey_st;

namespace volseal::escrow {

// Asks for the passphrase of a key or the PIN of a token, saying whose; nothing: nobody is there.
using AskPassphrase = std::function<std::optional<Secret>(const std::string& whose)>;

class PrivateKey {
 public:
  // A PEM file, or "pkcs11:..." (RFC 7512; module-path names the module, else p11-kit's are asked).
  // A PIN in the URI is refused: it would stand in the process list. Asks once: tokens count wrong
  // PINs. Throws Error{wrong_secret} for a wrong passphrase or PIN, Error{bad_key, not_found ...}.
  static PrivateKey load(const std::string& name, const AskPassphrase& ask);

  const std::string& name() const { return name_; }
  // OpenSSL's, for this folder.
  evp_pkey_st* get() const { return key_.get(); }

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  PrivateKey(std::string name, evp_pkey_st* key) : name_(std::move(name)), key_(key) {}
  static PrivateKey from_file(const std::string& name, const AskPassphrase& ask);
  static PrivateKey from_token(const std::string& uri, const AskPassphrase& ask);

  std::string name_;
  std::unique_ptr<evp_pkey_st, Free> key_;
};

}  // namespace volseal::escrow
