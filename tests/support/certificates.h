// Certificates and keys for tests, made by the openssl program.
#pragma once

#include "core/base/process.h"
#include "tests/support/image.h"

#include <fmt/format.h>

#include <string>
#include <vector>

namespace volseal::test {

struct Holder {
  Path certificate;
  Path key;
};

struct HolderOptions {
  std::string usage = "keyAgreement";  // "": none
  std::string constraints = "CA:FALSE";
  std::vector<std::string> key = {"EC", "-pkeyopt", "ec_paramgen_curve:P-256"};
  std::vector<std::string> more;  // arguments of openssl req
};

inline std::vector<std::string> rsa(int bits) {
  return {"RSA", "-pkeyopt", fmt::format("rsa_keygen_bits:{}", bits)};
}

// A self-signed certificate NAME.pem with its key NAME.key in `folder`.
inline Holder holder(const Path& folder, const std::string& name,
                     const HolderOptions& options = {}) {
  const Path config = folder / (name + ".cnf");
  write_file(config,
             fmt::format("[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=ext\n"
                         "[dn]\nCN={}\n[ext]\nbasicConstraints={}\n{}",
                         name, options.constraints,
                         options.usage.empty() ? "" : "keyUsage=critical," + options.usage + "\n"));
  Holder made{.certificate = folder / (name + ".pem"), .key = folder / (name + ".key")};
  std::vector<std::string> generate = {"openssl", "genpkey", "-out", made.key.native(),
                                       "-algorithm"};
  generate.insert(generate.end(), options.key.begin(), options.key.end());
  run_or_throw(generate);
  std::vector<std::string> request = {
      "openssl",         "req",     "-x509",         "-new", "-key",
      made.key.native(), "-config", config.native(), "-out", made.certificate.native()};
  request.insert(request.end(), options.more.begin(), options.more.end());
  run_or_throw(request);
  std::filesystem::permissions(made.certificate, std::filesystem::perms(0644));
  return made;
}

}  // namespace volseal::test
