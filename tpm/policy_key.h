// The key that signs approvals of a group: ECDSA P-256, root-only in the state folder.
#pragma once

#include "core/base/base64.h"
#include "core/base/secret.h"

#include <cstddef>
#include <memory>

struct evp_pkey_st;

namespace volseal::tpm {

// Of a coordinate of a point on P-256, and of each half of a signature.
inline constexpr std::size_t coordinate_size = 32;

class PolicyKey {
 public:
  static PolicyKey generate();
  // PKCS #8 in PEM. Throws Error{damaged} where it is no P-256 private key.
  static PolicyKey from_pem(const Secret& pem);
  Secret to_pem() const;

  // x ‖ y, 64 bytes.
  Bytes public_point() const;
  // Of a SHA-256 digest; r ‖ s, 64 bytes.
  Bytes sign(const Bytes& digest) const;

 private:
  explicit PolicyKey(std::shared_ptr<evp_pkey_st> key) : key_(std::move(key)) {}

  std::shared_ptr<evp_pkey_st> key_;
};

// False also where the point is not on the curve.
bool verify_approval(const Bytes& public_point, const Bytes& digest, const Bytes& signature);

}  // namespace volseal::tpm
