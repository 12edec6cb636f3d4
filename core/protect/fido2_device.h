// One FIDO2 key that is open, with libfido2's calls as values. For fido2.cpp alone.
#pragma once

#include "core/protect/fido2.h"

#include <fido.h>

#include <memory>

namespace volseal::fido2 {

// A secret as C wants it: with a zero behind it.
class Pin {
 public:
  explicit Pin(const Secret& typed);
  const char* chars() const { return text_.chars(); }

 private:
  Secret text_;
};

// What one assertion asks the key for. A null PIN: none.
struct Ask {
  const Fido2Token& token;
  const char* pin = nullptr;
  bool uv = false;
  bool touch = false;
  bool secret = false;  // hmac-secret over the token's salt
};

struct Made {
  int status = FIDO_OK;
  Bytes credential;
};

struct Asserted {
  int status = FIDO_OK;
  Secret secret;
};

class Device {
 public:
  // Every key that udev knows, opened and asked what it can. What does not answer is there too,
  // without a connection and not usable.
  static std::vector<Device> all();
  static std::vector<std::string> paths();

  const Fido2Key& key() const { return key_; }
  // It is still where it was.
  bool is_there() const;

  Made make(const Fido2Token& plan, const std::string& user, const std::string& label,
            const char* pin, bool uv) const;
  Asserted ask(const Ask& ask) const;
  // The tries that are left for the PIN; nothing where the key does not say.
  std::optional<int> tries_left() const;

 private:
  struct Close {
    void operator()(fido_dev_t* device) const;
  };

  void learn();
  void learn_options(const fido_cbor_info_t* info);

  Fido2Key key_;
  bool knows_up_ = true;
  std::unique_ptr<fido_dev_t, Close> device_;
};

}  // namespace volseal::fido2
