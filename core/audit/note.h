// Checkpoints of the log: C2SP tlog-checkpoint in a signed note, by an Ed25519 key.
//
//   volseal-audit/MACHINE/LOG
//   SIZE
//   ROOT HASH, base64
//
//   — volseal-audit/MACHINE/LOG SIGNATURE
#pragma once

#include "core/audit/hash.h"
#include "core/base/base64.h"
#include "core/base/file.h"
#include "core/base/secret.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::audit {

struct Checkpoint {
  std::string origin;
  std::uint64_t size = 0;  // lines
  Hash root{};

  bool operator==(const Checkpoint&) const = default;
};

struct Note {
  struct Signature {
    std::string name;
    Bytes key_id;  // 4 bytes
    Bytes bytes;
  };
  Checkpoint checkpoint;
  std::vector<Signature> signatures;  // 1 to 16: witnesses may have added theirs
};

// The log of one machine: what its checkpoints are about. Name without blanks and '+'.
std::string origin_of(std::string_view machine, std::string_view log);
// Both parts; nothing where it is none of ours.
struct Origin {
  std::string machine;
  std::string log;
};
std::optional<Origin> parse_origin(std::string_view origin);
// This machine, as nobody else knows it: derived from machine-id(5), which is not told. "none"
// where it has none.
std::string this_machine();

// The first three lines: what is signed.
std::string text_of(const Checkpoint& checkpoint);
// Strict; nothing where it is no checkpoint with a signature, or anything is left over.
std::optional<Note> parse_note(std::string_view text);

class VerifierKey {
 public:
  // As signed notes write it: NAME+ID+base64. Nothing where it is none, or of another algorithm.
  static std::optional<VerifierKey> parse(std::string_view text);
  VerifierKey(std::string name, Bytes key) : name_(std::move(name)), key_(std::move(key)) {}

  const std::string& name() const { return name_; }
  std::string text() const;
  Bytes id() const;
  bool signed_this(const Note& note) const;
  // Anything else that the key has signed; 64 bytes.
  bool signed_bytes(std::string_view text, const Bytes& signature) const;
  // The same key under the name of another log of the machine.
  VerifierKey named(std::string name) const { return {std::move(name), key_}; }

 private:
  std::string name_;
  Bytes key_;  // 32 bytes
};

class CheckpointKey {
 public:
  static CheckpointKey generate();
  // PKCS #8 in PEM. Throws Error{bad_key}.
  static CheckpointKey from_pem(const Secret& pem);
  Secret to_pem() const;

  VerifierKey verifier(std::string name) const;
  std::string sign(const Checkpoint& checkpoint) const;
  // Of a text that nobody takes for a checkpoint: those begin with "volseal-audit/".
  Bytes sign_bytes(std::string_view text) const;

 private:
  explicit CheckpointKey(Handle<EVP_PKEY, EVP_PKEY_free> key) : key_(std::move(key)) {}

  Handle<EVP_PKEY, EVP_PKEY_free> key_;
};

}  // namespace volseal::audit
