#include "core/escrow/private_key.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/escrow/openssl.h"

#include <openssl/engine.h>
#include <openssl/pem.h>
#include <openssl/ui.h>

#include <algorithm>
#include <exception>

namespace volseal::escrow {

namespace {

// One question, and what became of it. C code asks through it, so nothing may be thrown there.
struct Question {
  const AskPassphrase& ask;
  std::string whose;
  int asked = 0;
  bool answered = false;
  std::exception_ptr failure;
};

extern "C" int answer(char* buffer, int size, int /*writing*/, void* data) {
  auto& question = *static_cast<Question*>(data);
  try {
    // Tokens count wrong PINs and lock themselves: never the same answer twice.
    if (question.asked++ > 0) return -1;
    const auto secret = question.ask ? question.ask(question.whose) : std::nullopt;
    if (!secret || secret->size() >= static_cast<std::size_t>(size)) return -1;
    std::ranges::copy(secret->view(), buffer);
    buffer[secret->size()] = '\0';
    question.answered = true;
    return static_cast<int>(secret->size());
  } catch (...) {
    question.failure = std::current_exception();
    return -1;
  }
}

[[noreturn]] void fail(const Question& question, const std::string& name) {
  const std::string reason = openssl_reason();
  if (question.failure) std::rethrow_exception(question.failure);
  if (question.answered) {
    throw Error(Code::wrong_secret, "open the private key {}: its passphrase or PIN is wrong ({})",
                escaped(name), reason);
  }
  if (question.asked > 0) {
    throw Error(Code::usage,
                "open the private key {}: nobody is there to ask for its passphrase or PIN; give "
                "--pin-file",
                escaped(name));
  }
  throw Error(Code::bad_key, "open the private key {}: {}", escaped(name), reason);
}

// The value of a query attribute of a PKCS#11 URI (RFC 7512 section 2.4); "" where it has none.
std::string attribute(const std::string& uri, const std::string& name) {
  const std::size_t query = uri.find('?');
  if (query == std::string::npos) return "";
  std::size_t at = query + 1;
  while (at < uri.size()) {
    const std::size_t end = std::min(uri.find('&', at), uri.size());
    const std::string part = uri.substr(at, end - at);
    if (part.starts_with(name + "=")) return part.substr(name.size() + 1);
    at = end + 1;
  }
  return "";
}

// Lives as long as the process: keys that came from it do not work without.
ENGINE* pkcs11_engine(const std::string& module) {
  static ENGINE* engine = nullptr;
  static std::string loaded;
  if (engine != nullptr) {
    if (module != loaded)
      throw Error(Code::usage, "open private keys: two PKCS#11 modules at a time are too many");
    return engine;
  }
  ENGINE_load_dynamic();
  const Handle<ENGINE, ENGINE_free> found(ENGINE_by_id("pkcs11"));
  if (!found) {
    openssl_reason();
    throw Error(Code::not_found,
                "open a PKCS#11 token: OpenSSL's engine for it is not there (Debian: "
                "libengine-pkcs11-openssl)");
  }
  ENGINE_ctrl_cmd_string(found.get(), "QUIET", nullptr, 1);
  if (!module.empty() &&
      ENGINE_ctrl_cmd_string(found.get(), "MODULE_PATH", module.c_str(), 0) != 1) {
    throw Error(Code::bad_key, "open the PKCS#11 module {}: {}", escaped(module), openssl_reason());
  }
  if (ENGINE_init(found.get()) != 1) {
    throw Error(Code::bad_key, "open a PKCS#11 token: {}", openssl_reason());
  }
  engine = found.get();
  loaded = module;
  return engine;
}

}  // namespace

void PrivateKey::Free::operator()(evp_pkey_st* key) const {
  EVP_PKEY_free(key);
}

PrivateKey PrivateKey::load(const std::string& name, const AskPassphrase& ask) {
  return name.starts_with("pkcs11:") ? from_token(name, ask) : from_file(name, ask);
}

PrivateKey PrivateKey::from_file(const std::string& name, const AskPassphrase& ask) {
  const Secret text = read_secret(name, true);
  const Bio bio = reader_of(text.bytes());
  Question question{.ask = ask, .whose = "Passphrase of the private key " + escaped(name)};
  PrivateKey key(name, PEM_read_bio_PrivateKey(bio.get(), nullptr, answer, &question));
  if (key.get() == nullptr) fail(question, name);
  return key;
}

PrivateKey PrivateKey::from_token(const std::string& uri, const AskPassphrase& ask) {
  if (uri.contains("pin-value=")) {
    throw Error(Code::usage,
                "open a PKCS#11 token: a PIN in the URI can be seen by everybody; it is asked for, "
                "or read from --pin-file");
  }
  ENGINE* engine = pkcs11_engine(attribute(uri, "module-path"));
  const std::string bare = uri.substr(0, uri.find('?'));
  Question question{.ask = ask, .whose = "PIN of " + escaped(bare)};
  const Handle<UI_METHOD, UI_destroy_method> method(UI_UTIL_wrap_read_pem_callback(answer, 0));
  PrivateKey key(uri, ENGINE_load_private_key(engine, bare.c_str(), method.get(), &question));
  if (key.get() == nullptr) fail(question, bare);
  return key;
}

}  // namespace volseal::escrow
