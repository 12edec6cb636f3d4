// What somebody hears who listens on the bus, and what somebody gets who sits in it.
#include "core/protect/group_protector.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/policy_key.h"
#include "tpm/state.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>

namespace volseal::tpm {
namespace {

Bytes bytes_of_secret(const Secret& secret) {
  return {secret.bytes().begin(), secret.bytes().end()};
}

bool contains(const Bytes& haystack, const Bytes& needle) {
  return !std::ranges::search(haystack, needle).empty();
}

class SecrecyTest : public TpmTest {
 protected:
  GroupState folder() const { return {state, "default"}; }

  // Everything that crossed the bus since the last call.
  std::vector<Bytes> overheard() {
    std::vector<Bytes> all;
    for (auto& exchange : swtpm.proxy().take_exchanges()) {
      all.push_back(std::move(exchange.command));
      all.push_back(std::move(exchange.response));
    }
    return all;
  }

  static bool heard(const std::vector<Bytes>& bus, const Bytes& needle) {
    return std::ranges::any_of(bus, [&](const Bytes& frame) { return contains(frame, needle); });
  }
};

TEST_F(SecrecyTest, NeitherSecretNorPinNorDerivedKeyCrossesTheBus) {
  constexpr std::string_view pin_text = "a pin that one would recognise";
  const Secret pin = Secret::copy_of(pin_text);
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = true});
  std::vector<Bytes> bus = overheard();
  reboot();
  ASSERT_EQ(recover(made.sealed, pin_is(pin_text)).outcome, Outcome::opened);
  ASSERT_EQ(recover(made.sealed, pin_is("a wrong pin, overheard")).outcome, Outcome::wrong_pin);
  {
    Connection tpm = connect();
    extend_latch(tpm, 15);
  }
  ASSERT_TRUE(open_group().secret.equal(made.secret));  // by the late copy
  std::ranges::move(overheard(), std::back_inserter(bus));
  ASSERT_GT(bus.size(), 40U);

  const SealedGroup sealed = parse_sealed(made.sealed);
  // The ear works: what is public is heard.
  EXPECT_TRUE(heard(bus, Bytes(sealed.policy_key.begin(), sealed.policy_key.begin() + 32)));
  EXPECT_TRUE(heard(bus, sealed.object_private));

  std::vector<std::pair<std::string, Bytes>> secrets = {
      {"group secret", bytes_of_secret(made.secret)},
      {"group secret in hex", bytes_of_secret(hex_of(made.secret))},
      {"group secret in base64", bytes_of_secret(base64_of(made.secret))},
      {"PIN", bytes_of_secret(pin)},
      {"wrong PIN", bytes_of_secret(Secret::copy_of("a wrong pin, overheard"))},
      {"late auth value", bytes_of_secret(folder().late_auth().value_or(Secret()))},
      {"keyslot passphrase",
       bytes_of_secret(
           keyslot_passphrase(made.secret, "6d5a4b3c-0000-4000-8000-000000000001", Bytes(32, 7)))},
      {"binding MAC", binding_mac(made.secret, "segments")}};
  ASSERT_TRUE(sealed.pin);
  const PinStretch stretch = sealed.pin.value_or(PinStretch{});
  for (const std::string_view text : {pin_text, std::string_view("a wrong pin, overheard")}) {
    Bytes stretched(32);
    PKCS5_PBKDF2_HMAC(text.data(), static_cast<int>(text.size()), stretch.salt.data(),
                      static_cast<int>(stretch.salt.size()), static_cast<int>(stretch.iterations),
                      EVP_sha256(), 32, stretched.data());
    stretched.pop_back();  // a trailing zero would have been dropped
    secrets.emplace_back("stretched PIN", stretched);
  }
  for (const auto& [name, needle] : secrets) {
    ASSERT_GE(needle.size(), 16U) << name;
    EXPECT_FALSE(heard(bus, needle)) << name;
    // A part would be as telling.
    EXPECT_FALSE(heard(bus, Bytes(needle.begin(), needle.begin() + 12))) << name;
    EXPECT_FALSE(heard(bus, Bytes(needle.end() - 12, needle.end()))) << name;
  }
}

TEST_F(SecrecyTest, APinChangeIsNotHeardEither) {
  const OpenedGroup made = open_group();
  overheard();
  const Secret pin = Secret::copy_of("a new pin to be kept");
  {
    Connection tpm = connect();
    begin_pin_change(tpm, folder(), {.pin = &pin, .ask_old_pin = {}});
    finish_revocation(tpm, folder());
  }
  const std::vector<Bytes> bus = overheard();
  EXPECT_FALSE(heard(bus, bytes_of_secret(pin)));
  EXPECT_FALSE(heard(bus, bytes_of_secret(made.secret)));
}

TEST_F(SecrecyTest, AManInTheMiddleWithHisOwnTpmIsRefused) {
  const OpenedGroup made = open_group();
  test::Swtpm his;
  his.extend(7, "secure boot policy");
  {
    Connection tpm = Connection::connect(his.tcti());
    open_or_create_group(tpm, group, state / "his");
  }
  // Every command goes to his TPM, with a storage root key of its own at the same handle.
  swtpm.proxy().intercept(
      [&](const Bytes& command) { return std::optional(his.command(command)); });
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::not_mine) << key.reason;
  EXPECT_TRUE(key.secret.empty());
}

TEST_F(SecrecyTest, AManInTheMiddleWhoSwapsOnlyTheRootKeyGetsNothing) {
  test::Swtpm his;
  {
    Connection tpm = Connection::connect(his.tcti());
    Group other = group;
    other.tpm.allow_unmeasured = true;
    open_or_create_group(tpm, other, state / "his");
  }
  open_group();  // so that there is a storage root key
  constexpr std::uint32_t read_public = 0x173;
  swtpm.proxy().intercept([&](const Bytes& command) -> std::optional<Bytes> {
    if (test::tpm_u32(command, 6) != read_public) return std::nullopt;
    return his.command(command);
  });
  group.name = "second";
  const Error error = error_of([&] { open_group(); });
  EXPECT_THAT(error.code(), ::testing::AnyOf(Code::tpm_refused, Code::damaged, Code::tampered))
      << error.what();
}

TEST_F(SecrecyTest, AnAlteredAnswerNeverGivesAnotherSecret) {
  const OpenedGroup made = open_group();
  swtpm.proxy().take_exchanges();
  ASSERT_EQ(recover(made.sealed).outcome, Outcome::opened);
  const std::size_t commands = swtpm.proxy().take_exchanges().size();
  for (std::size_t n = 0; n < commands; ++n) {
    for (const std::size_t from_end : {1U, 9U, 40U}) {
      std::size_t seen = 0;
      swtpm.proxy().alter([&](const Bytes&, Bytes& response) {
        if (seen++ != n || response.size() < 10 + from_end) return;
        response[response.size() - from_end] ^= 0x40U;
      });
      const GroupKey key = recover(made.sealed);
      // An answer about a handle that was altered leaves that handle in the TPM: nobody knows it.
      reboot();
      if (key.outcome == Outcome::opened) {
        EXPECT_TRUE(key.secret.equal(made.secret));
      } else {
        EXPECT_TRUE(key.secret.empty());
        EXPECT_NE(key.reason, "");
      }
    }
  }
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

}  // namespace
}  // namespace volseal::tpm
