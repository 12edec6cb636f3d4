#include "core/audit/note.h"
#include "core/base/error.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <utility>

namespace volseal::audit {

namespace {

using Pkey = Handle<EVP_PKEY, EVP_PKEY_free>;
using Bio = Handle<BIO, BIO_free_all>;
using Context = Handle<EVP_MD_CTX, EVP_MD_CTX_free>;

constexpr std::uint8_t ed25519 = 0x01;  // signed notes' number for it
constexpr std::size_t ed25519_key_size = 32;
constexpr std::size_t ed25519_signature_size = 64;

void require_openssl(bool good, const char* what) {
  if (!good) throw Error(Code::internal, "{}: OpenSSL refused", what);
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Bytes typed(const Bytes& key) {
  Bytes all = {ed25519};
  all.insert(all.end(), key.begin(), key.end());
  return all;
}

}  // namespace

std::optional<VerifierKey> VerifierKey::parse(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  const auto first = text.find('+');
  const auto second = first == std::string_view::npos ? first : text.find('+', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const auto key = from_base64(text.substr(second + 1));
  if (first == 0 || !key || key->size() != 1 + ed25519_key_size || key->front() != ed25519)
    return std::nullopt;
  VerifierKey result(std::string(text.substr(0, first)), {key->begin() + 1, key->end()});
  if (result.text() != text) return std::nullopt;
  return result;
}

std::string VerifierKey::text() const {
  return fmt::format("{}+{}+{}", name_, to_hex(id()), to_base64(typed(key_)));
}

Bytes VerifierKey::id() const {
  std::string hashed = name_ + '\n';
  for (const std::uint8_t byte : typed(key_)) hashed += static_cast<char>(byte);
  const Hash hash = Hasher().of(hashed);
  return {hash.begin(), hash.begin() + 4};
}

bool VerifierKey::signed_this(const Note& note) const {
  const std::string text = text_of(note.checkpoint);
  const Bytes own = id();
  return std::ranges::any_of(note.signatures, [&](const Note::Signature& signature) {
    return signature.name == name_ && signature.key_id == own &&
           signed_bytes(text, signature.bytes);
  });
}

bool VerifierKey::signed_bytes(std::string_view text, const Bytes& signature) const {
  const Pkey key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key_.data(), key_.size()));
  const Context context(EVP_MD_CTX_new());
  return key && context && signature.size() == ed25519_signature_size &&
         EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), bytes_of(text),
                          text.size()) == 1;
}

CheckpointKey CheckpointKey::generate() {
  Pkey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  require_openssl(key != nullptr, "make the audit log's key");
  return CheckpointKey(std::move(key));
}

CheckpointKey CheckpointKey::from_pem(const Secret& pem) {
  const Bio bio(BIO_new_mem_buf(pem.chars(), static_cast<int>(pem.size())));
  require_openssl(bio != nullptr, "read the audit log's key");
  constexpr auto no_password = [](char*, int, int, void*) { return -1; };
  Pkey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (!key || EVP_PKEY_is_a(key.get(), "ED25519") != 1)
    throw Error(Code::bad_key, "read the audit log's key: not an Ed25519 private key");
  return CheckpointKey(std::move(key));
}

Secret CheckpointKey::to_pem() const {
  // A memory BIO that wipes what it held.
  const Bio bio(BIO_new(BIO_s_secmem()));
  require_openssl(bio && PEM_write_bio_PrivateKey(bio.get(), key_.get(), nullptr, nullptr, 0,
                                                  nullptr, nullptr) == 1,
                  "write the audit log's key");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  require_openssl(data != nullptr && size > 0, "write the audit log's key");
  return Secret::copy_of(std::string_view(data, static_cast<std::size_t>(size)));
}

VerifierKey CheckpointKey::verifier(std::string name) const {
  Bytes key(ed25519_key_size);
  std::size_t size = key.size();
  require_openssl(
      EVP_PKEY_get_raw_public_key(key_.get(), key.data(), &size) == 1 && size == ed25519_key_size,
      "read the audit log's public key");
  return {std::move(name), std::move(key)};
}

std::string CheckpointKey::sign(const Checkpoint& checkpoint) const {
  const std::string text = text_of(checkpoint);
  Bytes signature = verifier(checkpoint.origin).id();
  const Bytes bytes = sign_bytes(text);
  signature.insert(signature.end(), bytes.begin(), bytes.end());
  return fmt::format("{}\n\xe2\x80\x94 {} {}\n", text, checkpoint.origin, to_base64(signature));
}

Bytes CheckpointKey::sign_bytes(std::string_view text) const {
  const Context context(EVP_MD_CTX_new());
  Bytes signature(ed25519_signature_size);
  std::size_t size = signature.size();
  require_openssl(
      context && EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) == 1 &&
          EVP_DigestSign(context.get(), signature.data(), &size, bytes_of(text), text.size()) == 1,
      "sign by the audit log's key");
  return signature;
}

}  // namespace volseal::audit
