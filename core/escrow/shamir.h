// Shamir's secret sharing, byte by byte over GF(256) with the polynomial of AES (FIPS 197 section
// 4.2): any `threshold` of the shares give the secret, fewer tell nothing about it.
//
// A. Shamir, How to Share a Secret, CACM 22 (1979). Every coefficient is random, zero included.
// Multiplication neither branches nor looks up by what it multiplies.
#pragma once

#include "core/base/secret.h"

#include <cstdint>
#include <vector>

namespace volseal::escrow {

struct Share {
  int number = 0;  // 1 to 255: where the polynomials were evaluated
  Secret value;    // as long as the secret
};

constexpr int most_shares = 16;

// 2 <= threshold <= count <= most_shares.
std::vector<Share> split(const Secret& secret, int threshold, int count);

// Exactly `threshold` shares of different numbers and the same length. Wrong shares give a wrong
// secret: see recover.h, which tells them apart.
Secret combine(const std::vector<const Share*>& shares);

namespace field {

std::uint8_t multiply(std::uint8_t a, std::uint8_t b);
// 0 for 0.
std::uint8_t inverse(std::uint8_t a);

}  // namespace field

}  // namespace volseal::escrow
