// FIDO2 keys: libfido2 against the authenticator in software, and every way in which it goes wrong.
#include "core/base/error.h"
#include "tests/support/softkey/keys_test.h"

#include <gmock/gmock.h>

namespace volseal {
namespace {

using test::KeyModel;
using test::PluggedKey;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* user = "2c3d1a52-0b5f-4f0a-9d5e-3f6a6d1b7a10";

class Fido2Test : public test::KeysTest {
 protected:
  Fido2::Enrolled enrolled_on(PluggedKey& key, const std::string& pin = "1234") {
    key.set_pin(pin);
    pins = {pin};
    auto enrolled = Fido2(person()).enroll(user, "/dev/sda");
    prompts.clear();
    told.clear();
    pins.clear();
    return enrolled;
  }

  Fido2Answer open(const std::vector<Fido2Token>& tokens) { return Fido2(person()).open(tokens); }
  Fido2Answer open(const Fido2Token& token) { return open(std::vector{token}); }

  Code refused(const std::function<void()>& what, const std::string& why) {
    try {
      what();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(why));
      return error.code();
    }
    ADD_FAILURE() << "it was not refused";
    return Code::internal;
  }
};

TEST_F(Fido2Test, TellsWhatIsPluggedIn) {
  EXPECT_THAT(Fido2::keys(), IsEmpty());
  EXPECT_FALSE(Fido2::is_plugged_in());
  PluggedKey bare(keys, "bare");
  PluggedKey old(keys, "old", {.ctap21 = false, .hmac_secret = false});
  bare.set_pin("1234");
  const auto found = Fido2::keys();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].name, "Softkey bare");
  EXPECT_TRUE(found[0].usable);
  EXPECT_TRUE(found[0].pin_set);
  EXPECT_TRUE(found[0].binds_pin);
  EXPECT_FALSE(found[0].verifies);
  EXPECT_FALSE(found[1].usable);
  EXPECT_FALSE(found[1].binds_pin);
  EXPECT_THAT(found[1].problem, HasSubstr("hmac-secret"));
}

class Fido2Models : public Fido2Test, public ::testing::WithParamInterface<KeyModel> {};

TEST_P(Fido2Models, OpenAgainWithWhatTheyWereEnrolledWith) {
  PluggedKey key(keys, "key", GetParam());
  const auto enrolled = enrolled_on(key);
  EXPECT_EQ(enrolled.passphrase.size(), 44U) << "base64 of 32 bytes";
  EXPECT_TRUE(enrolled.token.is_two_factors());
  EXPECT_EQ(enrolled.token.uv, GetParam().finger_reader);
  EXPECT_EQ(enrolled.token.rp, "io.systemd.cryptsetup");
  EXPECT_EQ(key.touches(), 2);

  key.plug_in();  // again
  pins = {"1234"};
  const Fido2Answer answer = open(enrolled.token);
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_TRUE(answer.passphrase.equal(enrolled.passphrase));
  EXPECT_EQ(prompts.size(), GetParam().finger_reader ? 0U : 1U);

  Fido2Token other = enrolled.token;
  other.salt[0] ^= 1U;
  pins = {"1234"};
  const Fido2Answer another = open(other);
  ASSERT_EQ(another.outcome, Outcome::opened) << another.reason;
  EXPECT_FALSE(another.passphrase.equal(enrolled.passphrase)) << "another salt, another secret";
}

INSTANTIATE_TEST_SUITE_P(Kinds, Fido2Models,
                         ::testing::Values(KeyModel{}, KeyModel{.pin_protocols = {1}},
                                           KeyModel{.pin_protocols = {1}, .ctap21 = false},
                                           KeyModel{.makes_without_pin = true},
                                           KeyModel{.finger_reader = true},
                                           KeyModel{.pin_protocols = {1}, .finger_reader = true}));

TEST_F(Fido2Test, OneTouchOpensAllVolumesOfARun) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  const int before = key.touches();
  Fido2 run(person());
  pins = {"1234"};
  for (int volume = 0; volume < 8; ++volume) {
    const Fido2Answer answer = run.open(std::vector{enrolled.token});
    ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
    EXPECT_TRUE(answer.passphrase.equal(enrolled.passphrase));
  }
  EXPECT_EQ(key.touches() - before, 1);
  EXPECT_EQ(prompts.size(), 1U);
  EXPECT_THAT(told, ElementsAre(HasSubstr("touch the FIDO2 key Softkey key")));
}

TEST_F(Fido2Test, WithoutItsPinAKeyComputesAnotherSecret) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  Fido2Token stolen = enrolled.token;
  stolen.pin = false;
  const Fido2Answer answer = open(stolen);
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_FALSE(answer.passphrase.equal(enrolled.passphrase));
}

TEST_F(Fido2Test, NoKeyAndTheWrongKeyAreTwoThings) {
  std::optional<Fido2Token> token;
  {
    PluggedKey key(keys, "key");
    token = enrolled_on(key).token;
  }
  EXPECT_EQ(open(*token).outcome, Outcome::no_key);
  PluggedKey other(keys, "other");
  other.set_pin("1234");
  const Fido2Answer answer = open(*token);
  EXPECT_EQ(answer.outcome, Outcome::not_mine);
  EXPECT_THAT(answer.reason, HasSubstr("Softkey other"));
  EXPECT_THAT(prompts, IsEmpty()) << "the PIN of a key that cannot help";
  EXPECT_EQ(other.touches(), 0);
}

TEST_F(Fido2Test, OfTwoKeysTheOneThatWasEnrolledIsUsed) {
  std::optional<Fido2::Enrolled> enrolled;
  {
    PluggedKey key(keys, "z");
    enrolled = enrolled_on(key);
  }
  PluggedKey other(keys, "a");
  other.set_pin("4321");
  PluggedKey key(keys, "z");
  pins = {"1234"};
  const Fido2Answer answer = open(enrolled->token);
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_TRUE(answer.passphrase.equal(enrolled->passphrase));
  EXPECT_THAT(told, ElementsAre(HasSubstr("2 FIDO2 keys are plugged in; trying Softkey z"),
                                HasSubstr("touch")));
  EXPECT_EQ(other.touches(), 0);
  EXPECT_EQ(other.state().tries, 8);
}

TEST_F(Fido2Test, SeveralKeysOfAVolumeOpenEach) {
  PluggedKey first(keys, "first");
  const auto one = enrolled_on(first);
  first.pull_out();
  PluggedKey second(keys, "second");
  const auto two = enrolled_on(second, "5678");
  pins = {"5678"};
  const Fido2Answer answer = open({one.token, two.token});
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_EQ(answer.token, 1U);
  EXPECT_TRUE(answer.passphrase.equal(two.passphrase));
}

TEST_F(Fido2Test, AWrongPinTellsTheTriesLeftAndAsksAgain) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  const int before = key.touches();
  pins = {"0000", "12", "1234"};
  const Fido2Answer answer = open(enrolled.token);
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_THAT(prompts[0], HasSubstr("8 tries left"));
  EXPECT_THAT(prompts[1], HasSubstr("7 tries left"));
  EXPECT_THAT(told, ElementsAre(HasSubstr("wrong PIN of Softkey key; 7 tries left"),
                                HasSubstr("4 to 63 characters"), HasSubstr("touch")));
  EXPECT_EQ(key.touches() - before, 1) << "a touch is wanted only once the PIN is right";
  EXPECT_EQ(key.state().tries, 8) << "the right PIN brings them back";
}

TEST_F(Fido2Test, ThreeWrongPinsBlockItUntilItIsPulledOutAndEightForGood) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  const auto guess = [&](int wrong) {
    pins.assign(static_cast<std::size_t>(wrong), "0000");
    return open(enrolled.token);
  };
  Fido2Answer answer = guess(1);
  EXPECT_EQ(answer.outcome, Outcome::needs_pin) << "given up";
  answer = guess(2);
  EXPECT_EQ(answer.outcome, Outcome::locked_out);
  EXPECT_THAT(answer.reason, HasSubstr("pulled out"));
  pins = {"1234"};
  EXPECT_EQ(open(enrolled.token).outcome, Outcome::locked_out) << "the right one comes too late";
  key.plug_in();
  EXPECT_EQ(guess(3).outcome, Outcome::locked_out);
  key.plug_in();
  pins = {"0000"};
  EXPECT_EQ(open(enrolled.token).outcome, Outcome::needs_pin);
  EXPECT_THAT(told.back(), HasSubstr("one try left, then the key is blocked for good"));
  answer = guess(1);
  EXPECT_EQ(answer.outcome, Outcome::pin_blocked);
  EXPECT_THAT(answer.reason, HasSubstr("for good"));
  key.plug_in();
  prompts.clear();
  EXPECT_EQ(guess(1).outcome, Outcome::pin_blocked);
  EXPECT_THAT(prompts, IsEmpty()) << "there is nothing to be typed any more";
}

TEST_F(Fido2Test, NobodyTouchesIt) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  key.leave_untouched();
  pins = {"1234"};
  const Fido2Answer answer = open(enrolled.token);
  EXPECT_EQ(answer.outcome, Outcome::no_touch);
  EXPECT_THAT(answer.reason, HasSubstr("not touched in time"));
}

TEST_F(Fido2Test, ItIsPulledOutWhileItBlinks) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  key.pull_out_when_it_blinks();
  pins = {"1234"};
  const Fido2Answer answer = open(enrolled.token);
  EXPECT_EQ(answer.outcome, Outcome::pulled_out);
  EXPECT_THAT(answer.reason, HasSubstr("pulled out"));
}

TEST_F(Fido2Test, AKeyThatNeverAnswersIsNoKeyToWaitFor) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  key.hang();
  const Fido2Answer answer = open(enrolled.token);
  EXPECT_EQ(answer.outcome, Outcome::not_mine);
  EXPECT_THAT(answer.reason, HasSubstr("cannot be opened"));
}

TEST_F(Fido2Test, AKeyThatWasResetHasNoPin) {
  PluggedKey key(keys, "key");
  const auto enrolled = enrolled_on(key);
  key.pull_out();
  test::KeyState state = key.state();
  state.pin_hash.clear();
  save_key_state(keys / "key.state", state);
  key.plug_in();
  EXPECT_EQ(open(enrolled.token).outcome, Outcome::no_pin);
}

TEST_F(Fido2Test, WhereTheFingerIsNotKnownThePinDoes) {
  PluggedKey key(keys, "key", {.finger_reader = true});
  const auto enrolled = enrolled_on(key);
  key.show_another_finger(false);
  pins = {"1234"};
  const Fido2Answer answer = open(enrolled.token);
  ASSERT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_TRUE(answer.passphrase.equal(enrolled.passphrase));
  EXPECT_EQ(prompts.size(), 1U);
}

TEST_F(Fido2Test, ATokenThatLeavesItToTheKeyTakesWhatTheKeyWants) {
  PluggedKey key(keys, "key");
  auto token = enrolled_on(key).token;
  token.pin.reset();
  token.touch.reset();
  token.uv.reset();
  const Fido2Answer answer = open(token);
  EXPECT_EQ(answer.outcome, Outcome::opened) << answer.reason;
  EXPECT_THAT(told, ElementsAre(HasSubstr("touch")));
}

TEST_F(Fido2Test, WhatCannotBeEnrolledIsSaid) {
  Fido2 fido2(person());
  const auto enroll = [&] { fido2.enroll(user, "/dev/sda"); };
  EXPECT_EQ(refused(enroll, "none is plugged in"), Code::no_key);
  {
    PluggedKey old(keys, "old", {.hmac_secret = false});
    EXPECT_EQ(refused(enroll, "hmac-secret"), Code::key_refused);
  }
  PluggedKey key(keys, "key");
  EXPECT_EQ(refused(enroll, "it has no PIN; set one with 'fido2-token -S"), Code::key_refused);
  key.set_pin("1234");
  EXPECT_EQ(refused(enroll, "no PIN of Softkey key was given"), Code::key_refused);
  pins = {"0", "0", "0"};
  EXPECT_EQ(refused(enroll, "4 to 63 characters"), Code::key_refused);
  EXPECT_EQ(key.state().tries, 8) << "what is too short for a PIN is not sent";
  key.leave_untouched();
  pins = {"1234"};
  EXPECT_EQ(refused(enroll, "not touched in time"), Code::key_refused);
  key.pull_out_when_it_blinks();
  pins = {"1234"};
  EXPECT_EQ(refused(enroll, "pulled out"), Code::no_key);
  key.touch_at_once();
  key.plug_in();
  PluggedKey other(keys, "other");
  EXPECT_EQ(refused(enroll, "2 are plugged in (Softkey key, Softkey other)"), Code::usage);
  pins = {"1234"};
  EXPECT_EQ(fido2.enroll(user, "/dev/sda", key.path()).key.name, "Softkey key");
  EXPECT_EQ(refused([&] { fido2.enroll(user, "/dev/sda", "/dev/null"); }, "/dev/null is none"),
            Code::no_key);
}

}  // namespace
}  // namespace volseal
