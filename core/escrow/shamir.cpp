#include "core/escrow/shamir.h"

#include "core/base/error.h"

namespace volseal::escrow {

namespace field {

std::uint8_t multiply(std::uint8_t a, std::uint8_t b) {
  constexpr unsigned reduction = 0x1b;  // x^8 = x^4 + x^3 + x + 1
  unsigned left = a;
  unsigned right = b;
  unsigned product = 0;
  for (int bit = 0; bit < 8; ++bit) {
    product ^= (0U - (right & 1U)) & left;
    left = (left << 1U) ^ ((0U - (left >> 7U)) & (0x100U | reduction));
    right >>= 1U;
  }
  return static_cast<std::uint8_t>(product);
}

// a^254: the group has 255 elements.
std::uint8_t inverse(std::uint8_t a) {
  std::uint8_t power = a;
  std::uint8_t product = 1;
  for (int bit = 1; bit < 8; ++bit) {
    power = multiply(power, power);
    product = multiply(product, power);
  }
  return product;
}

}  // namespace field

std::vector<Share> split(const Secret& secret, int threshold, int count) {
  if (threshold < 2 || threshold > count || count > most_shares || secret.empty()) {
    throw Error(Code::internal, "split a secret: {} of {} shares make no sense", threshold, count);
  }
  const auto degree = static_cast<std::size_t>(threshold) - 1;
  const Secret coefficients = Secret::random(secret.size() * degree);
  std::vector<Share> shares;
  for (int number = 1; number <= count; ++number) {
    const auto x = static_cast<std::uint8_t>(number);
    Share share{.number = number, .value = Secret(secret.size())};
    for (std::size_t i = 0; i < secret.size(); ++i) {
      std::uint8_t y = 0;
      for (std::size_t k = 0; k < degree; ++k) {
        y = field::multiply(y, x) ^ coefficients.bytes()[i * degree + k];
      }
      share.value.bytes()[i] = field::multiply(y, x) ^ secret.bytes()[i];
    }
    shares.push_back(std::move(share));
  }
  return shares;
}

Secret combine(const std::vector<const Share*>& shares) {
  if (shares.empty()) throw Error(Code::internal, "combine shares: there are none");
  Secret secret(shares.front()->value.size());
  for (const Share* share : shares) {
    // Lagrange's polynomial of this share, at zero. The numbers are no secret.
    const auto x = static_cast<std::uint8_t>(share->number);
    std::uint8_t weight = 1;
    for (const Share* other : shares) {
      if (other == share) continue;
      const auto z = static_cast<std::uint8_t>(other->number);
      if (z == x || other->value.size() != secret.size()) {
        throw Error(Code::internal, "combine shares: they do not fit each other");
      }
      weight = field::multiply(
          weight, field::multiply(z, field::inverse(static_cast<std::uint8_t>(z ^ x))));
    }
    for (std::size_t i = 0; i < secret.size(); ++i) {
      secret.bytes()[i] ^= field::multiply(weight, share->value.bytes()[i]);
    }
  }
  return secret;
}

}  // namespace volseal::escrow
