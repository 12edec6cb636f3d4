// volseal tpm as people use it, on image files.
#include "core/base/error.h"
#include "core/luks/volume.h"
#include "core/unlock/unlocker.h"
#include "tests/support/image.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

class TpmVerbTest : public ImageTest {
 protected:
  TpmVerbTest() {
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml", "");
    write_file(folder / "key", "passphrase");
    write_file(folder / "pin", "correct horse");
  }

  // A shell only to keep the two outputs apart; the arguments are passed as they are.
  Result volseal(const std::vector<std::string>& arguments,
                 const std::string& state = "state") const {
    std::vector<std::string> argv = {"sh",
                                     "-c",
                                     R"(out=$1; err=$2; shift 2; exec "$@" >"$out" 2>"$err")",
                                     "sh",
                                     (folder / "stdout").native(),
                                     (folder / "stderr").native(),
                                     VOLSEAL_BINARY,
                                     "--tcti",
                                     swtpm.tcti(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / state).native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    const int status = run(argv).status;
    return {
        .status = status, .out = read_file(folder / "stdout"), .err = read_file(folder / "stderr")};
  }

  std::string luks2(const std::string& name) const {
    const Path image = blank(name, 32);
    run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2",
                  "--pbkdf-force-iterations", "1000", image.native(), (folder / "key").native()});
    return image.native();
  }

  std::string enrolled(const std::string& name, const std::string& state = "state") const {
    std::string image = luks2(name);
    const Result added =
        volseal({"protector", "add", "tpm", image, "--key-file", path("key")}, state);
    EXPECT_EQ(added.status, 0) << added.err;
    return image;
  }

  std::string path(const char* name) const { return (folder / name).native(); }
  int opens(const std::string& image) const { return volseal({"protector", "test", image}).status; }

  test::Swtpm swtpm;
};

constexpr int good = 0;
constexpr int warnings = 1;
constexpr int refused = 5;
constexpr int tpm_said_no = 7;

TEST_F(TpmVerbTest, AChangedBootIsExplainedApprovedAndTheOldOneRevoked) {
  const std::string first = enrolled("first.img");
  const std::string second = enrolled("second.img");
  EXPECT_EQ(volseal({"tpm", "status"}).status, good);
  EXPECT_EQ(volseal({"tpm", "explain"}).status, good);

  swtpm.restart();
  swtpm.extend(7, "new firmware");
  EXPECT_EQ(opens(first), tpm_said_no);
  const Result explained = volseal({"tpm", "explain"});
  EXPECT_EQ(explained.status, warnings);
  EXPECT_THAT(explained.out, HasSubstr("PCR 7 (Secure Boot policy) is not as approved"));
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("this boot     not approved"));

  const Result approved = volseal({"tpm", "approve", first, second});
  EXPECT_EQ(approved.status, good) << approved.err;
  EXPECT_THAT(approved.err, HasSubstr("2 of 2 volumes updated"));
  EXPECT_EQ(opens(first), good);
  EXPECT_EQ(opens(second), good);

  // One volume is away while the old boot is revoked.
  EXPECT_EQ(volseal({"tpm", "revoke", first}).status, good);
  EXPECT_EQ(opens(first), good);
  const Result away = volseal({"protector", "test", second});
  EXPECT_EQ(away.status, tpm_said_no);
  EXPECT_THAT(away.err, HasSubstr("volseal tpm sync"));
  EXPECT_EQ(volseal({"tpm", "sync", second}).status, good);
  EXPECT_EQ(opens(second), good);
}

TEST_F(TpmVerbTest, APinIsSetFromAFileAndRemoved) {
  const std::string image = enrolled("disk.img");
  // Behind the two copies of the metadata: keyslots and data, which none of this may touch.
  constexpr std::uint64_t metadata = 2ULL * 16 * 1024;
  const std::string keyslots_and_data = digest(image, metadata);
  EXPECT_EQ(volseal({"tpm", "pin", "remove", image}).status, 64);
  EXPECT_EQ(volseal({"tpm", "pin", "set", "--new-pin-file", path("pin"), image}).status, good);
  EXPECT_EQ(opens(image), tpm_said_no);  // nobody to ask
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("PIN           wanted at boot"));
  write_file(folder / "wrong", "battery staple");
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("wrong"), image}).status, 6);
  EXPECT_EQ(volseal({"tpm", "pin", "change", "--pin-file", path("pin"), "--new-pin-file",
                     path("wrong"), image})
                .status,
            good);
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("pin"), image}).status, 6);
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("wrong"), image}).status, good);
  EXPECT_EQ(opens(image), good);
  EXPECT_EQ(digest(image, metadata), keyslots_and_data);
}

// Runs it at a terminal, where every question for a PIN is answered; what it said, and its status.
Result at_a_terminal(std::vector<std::string> arguments, const std::string& pin) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child < 0) throw_errno(errno, "make a terminal");
  if (child == 0) {
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  const UniqueFd owned(terminal);
  Result result;
  std::size_t answered = 0;
  std::array<char, 4096> chunk{};
  for (ssize_t got = 0; (got = ::read(terminal, chunk.data(), chunk.size())) > 0;) {
    result.out.append(chunk.data(), static_cast<std::size_t>(got));
    for (std::size_t at = 0;
         (at = result.out.find("PIN of group", answered)) != std::string::npos;) {
      answered = at + 1;
      write_all(terminal, pin + "\n", "the terminal");
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

TEST_F(TpmVerbTest, AGroupWithAPinTakesAnotherVolumeAndAsksOnce) {
  const std::string image = enrolled("disk.img");
  ASSERT_EQ(volseal({"tpm", "pin", "set", "--new-pin-file", path("pin"), image}).status, good);
  const std::string another = luks2("another.img");
  const Result added = at_a_terminal(
      {VOLSEAL_BINARY, "--tcti", swtpm.tcti(), "--policy", path("policy.toml"), "--state",
       path("state"), "protector", "add", "tpm", another, "--key-file", path("key")},
      "correct horse");
  EXPECT_EQ(added.status, good) << added.out;
  const auto first = added.out.find("PIN of group");
  EXPECT_NE(first, std::string::npos) << added.out;
  EXPECT_EQ(added.out.find("PIN of group", first + 1), std::string::npos) << added.out;
  EXPECT_EQ(volseal({"tpm", "pin", "remove", "--pin-file", path("pin"), image, another}).status,
            good);
  EXPECT_EQ(opens(another), good);
}

TEST_F(TpmVerbTest, ARevocationWaitsForEveryVolumeOfTheGroup) {
  const std::string image = enrolled("disk.img");
  const Result begun = volseal({"tpm", "revoke", image, path("absent.img")});
  EXPECT_EQ(begun.status, refused);
  EXPECT_THAT(begun.err, HasSubstr("absent.img"));
  EXPECT_EQ(opens(image), good);
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("begun and not finished"));
  EXPECT_EQ(volseal({"tpm", "pin", "set", "--new-pin-file", path("pin"), image}).status, refused);
  EXPECT_EQ(volseal({"tpm", "revoke", image}).status, good);
  EXPECT_EQ(volseal({"tpm", "status"}).status, good);
  EXPECT_EQ(opens(image), good);
}

TEST_F(TpmVerbTest, AVolumeOfAnotherMachineIsLeftAlone) {
  const std::string ours = enrolled("ours.img");
  const std::string theirs = enrolled("theirs.img", "other-state");
  const std::string before = digest(theirs);
  const Result approved = volseal({"tpm", "approve", ours, theirs});
  EXPECT_EQ(approved.status, good);
  EXPECT_THAT(approved.err, HasSubstr("belongs to a group of another machine"));
  EXPECT_EQ(digest(theirs), before);
}

TEST_F(TpmVerbTest, TheLatchClosesAndSaysSo) {
  const std::string image = enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "latch"}).status, good);
  const Result tested = volseal({"protector", "test", image});
  EXPECT_EQ(tested.status, tpm_said_no);
  EXPECT_THAT(tested.err, HasSubstr("PCR 15 is closed for this boot"));
  EXPECT_EQ(volseal({"tpm", "explain"}).status, good);
}

TEST_F(TpmVerbTest, AGroupIsForgottenOnlyWhenItsTpmIsGone) {
  enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "forget"}).status, refused);
  run_or_throw({"tpm2_clear", "-T", swtpm.tcti()});
  EXPECT_THAT(volseal({"tpm", "status"}).out, HasSubstr("another one, or cleared"));
  EXPECT_EQ(volseal({"tpm", "forget"}).status, good);
  EXPECT_EQ(volseal({"tpm", "status"}).status, 4);
  enrolled("new.img");
}

struct BadToken {
  const char* what;
  std::function<void(GroupToken&)> spoil;
  const char* outcome;
  const char* sentence;
};

// Each is told apart, and none keeps a passphrase from opening the volume.
TEST_F(TpmVerbTest, EveryBadTokenHasItsOutcomeAndStopsNoOtherProtector) {
  const auto sealed_with = [](const char* key, const std::string& value) {
    return [=](GroupToken& token) {
      auto sealed = nlohmann::json::parse(token.sealed);
      sealed[key] = value;
      token.sealed = sealed.dump();
    };
  };
  const std::string image = enrolled("disk.img");
  const GroupToken good_token = find_group_token(Volume::load(image))->token;
  const auto good_sealed = nlohmann::json::parse(good_token.sealed);

  // Another key signs; another TPM seals: both by a group of their own.
  swtpm.extend(7, "more firmware");
  const Result elsewhere = volseal(
      {"protector", "add", "tpm", luks2("other.img"), "--key-file", path("key")}, "other-state");
  ASSERT_EQ(elsewhere.status, good) << elsewhere.err;
  const std::string other_sealed = find_group_token(Volume::load(path("other.img")))->token.sealed;
  test::Swtpm other;
  other.extend(7, "firmware");
  const std::string foreign = luks2("foreign.img");
  ASSERT_EQ(
      run({VOLSEAL_BINARY, "--tcti", other.tcti(), "--policy", path("policy.toml"), "--state",
           path("foreign-state"), "protector", "add", "tpm", foreign, "--key-file", path("key")})
          .status,
      good);
  const std::string foreign_sealed = find_group_token(Volume::load(foreign))->token.sealed;
  swtpm.restart();
  swtpm.extend(7, "firmware");
  Bytes corrupted = from_base64(good_sealed["private"].get<std::string>()).value_or(Bytes());
  corrupted.at(20) ^= 1U;

  const auto expect = [&](const BadToken& bad) {
    SCOPED_TRACE(bad.what);
    GroupToken token = good_token;
    bad.spoil(token);
    {
      Volume volume = Volume::load(image);
      volume.set_token(to_json(token), find_group_token(volume)->id);
    }
    const Result tested = volseal({"protector", "test", image});
    EXPECT_NE(tested.status, good);
    EXPECT_THAT(tested.err, HasSubstr(std::string(": ") + bad.outcome + ": "));
    EXPECT_THAT(tested.err, HasSubstr(bad.sentence));
    EXPECT_EQ(volseal({"protector", "test", image, "--key-file", path("key")}).status, good);
  };
  expect({"corrupted blob", sealed_with("private", to_base64(corrupted)), "damaged",
          "load the sealed object"});
  expect({"another policy key's signature",
          sealed_with("signature", nlohmann::json::parse(other_sealed)["signature"]), "forged",
          "not signed by the group's policy key"});
  expect({"another policy key",
          [&](GroupToken& token) {
            auto sealed = nlohmann::json::parse(other_sealed);
            sealed["public"] = good_sealed["public"];
            sealed["private"] = good_sealed["private"];
            token.sealed = sealed.dump();
          },
          "forged", "not bound to the group's policy key"});
  expect({"another machine's TPM", [&](GroupToken& token) { token.sealed = foreign_sealed; },
          "not-mine", "sealed by another TPM"});
  ASSERT_EQ(volseal({"tpm", "revoke"}).status, good);
  expect({"an approval below the counter", [](GroupToken&) {}, "revoked",
          "this approval was revoked"});
}

// Whatever the TPM refuses: the volume has the whole protector or none, nothing stays in the TPM,
// and the next run succeeds.
TEST_F(TpmVerbTest, EachTpmCommandFailsInItsTurnWhileAProtectorIsAdded) {
  const std::string blank_image = luks2("blank.img");
  const std::string image = path("disk.img");
  const auto prepare = [&] {
    std::filesystem::copy_file(blank_image, image,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(folder / "state");
  };
  const auto add = [&] {
    return volseal({"protector", "add", "tpm", image, "--key-file", path("key")});
  };
  prepare();
  swtpm.proxy().take_exchanges();
  ASSERT_EQ(add().status, good);
  const std::size_t commands = swtpm.proxy().take_exchanges().size();
  ASSERT_GT(commands, 20U);
  int failures = 0;
  for (std::size_t n = 0; n < commands; ++n) {
    SCOPED_TRACE("command " + std::to_string(n));
    prepare();
    swtpm.proxy().intercept(
        [n, seen = std::size_t{0}](const Bytes&) mutable -> std::optional<Bytes> {
          constexpr std::uint32_t failure = 0x101;
          if (seen++ == n) return test::tpm_refusal(failure);
          return std::nullopt;
        });
    const Result added = add();
    swtpm.proxy().intercept({});
    EXPECT_EQ(test::handles_in(swtpm), 0U);
    const Volume volume = Volume::load(image);
    if (added.status == good) {  // it was a flush, and the second one worked
      EXPECT_EQ(opens(image), good);
    } else {
      ++failures;
      EXPECT_EQ(added.status, tpm_said_no) << added.err;
      EXPECT_THAT(added.err, HasSubstr("TPM"));
      // What was proven and then could not be proven again stays, whole.
      const bool whole = volume.keyslots().size() == 2 && volume.tokens().size() == 1;
      const bool none = volume.keyslots().size() == 1 && volume.tokens().empty();
      EXPECT_TRUE(whole || none) << added.err;
      EXPECT_EQ(whole ? opens(image) : add().status, good);
    }
    EXPECT_EQ(volume.opens_with(Secret::copy_of("passphrase")), 0);
  }
  EXPECT_GT(failures, 20);
}

// The power goes while 'protector add tpm' writes: first the token, then the keyslot, then the
// token that names it. Whatever is there, the next run ends with one keyslot of the TPM and no
// orphan.
TEST_F(TpmVerbTest, AKeyslotThatAPowerCutLeftIsTakenOver) {
  const std::string image = enrolled("disk.img");
  const auto add = [&] {
    return volseal({"protector", "add", "tpm", image, "--key-file", path("key")});
  };
  const auto leave_token_alone = [&] {
    Volume volume = Volume::load(image);
    auto found = find_group_token(volume);
    ASSERT_TRUE(found);
    found->token.keyslots.clear();
    found->token.known_keyslots = {0};
    volume.set_token(to_json(found->token), found->id);
  };
  const auto expect_whole = [&] {
    const Volume volume = Volume::load(image);
    EXPECT_EQ(volume.keyslots().size(), 3U);
    EXPECT_EQ(volume.tokens().size(), 1U);
    EXPECT_EQ(volume.opens_with(Secret::copy_of("passphrase")), 0);
    EXPECT_EQ(volume.opens_with(Secret::copy_of("somebody's own")), 2);
    EXPECT_EQ(opens(image), good);
  };
  // A keyslot that no token names either, and that is none of the TPM's.
  EXPECT_EQ(Volume::load(image).add_keyslot(Secret::copy_of("passphrase"),
                                            Secret::copy_of("somebody's own"), Stretch::none),
            2);

  leave_token_alone();  // cut between keyslot and token
  const Result adopted = add();
  EXPECT_EQ(adopted.status, good) << adopted.err;
  EXPECT_THAT(adopted.err, HasSubstr("keyslot 1 of"));
  expect_whole();

  leave_token_alone();
  Volume::load(image).remove_keyslot(1);  // cut between token and keyslot
  EXPECT_EQ(add().status, good);
  expect_whole();

  EXPECT_EQ(add().status, 64);  // it has one now
  expect_whole();
}

TEST_F(TpmVerbTest, OurOwnKeyslotsAreKnownAndAStrangersStaysReported) {
  const std::string image = enrolled("disk.img");
  const std::string report = "was added since the enrollment";
  const auto add_passphrase = [&](const std::string& text) {
    write_file(folder / text, text);
    // Not by the TPM's keyslot.
    return volseal({"protector", "add", "passphrase", image, "--key-file", path("key"),
                    "--new-key-file", path(text.c_str())})
        .status;
  };
  const auto said = [&] { return volseal({"unlock", "--test", image}).err; };
  ASSERT_EQ(add_passphrase("long enough one"), good);
  EXPECT_THAT(said(), Not(HasSubstr(report)));

  const auto add_stranger = [&] {
    return Volume::load(image).add_keyslot(Secret::copy_of("passphrase"), Secret::copy_of("other"),
                                           Stretch::none);
  };
  EXPECT_EQ(add_stranger(), 3);
  EXPECT_THAT(said(), HasSubstr("keyslot 3 " + report));
  // What is added later does not make it known.
  ASSERT_EQ(add_passphrase("long enough two"), good);
  EXPECT_THAT(said(), HasSubstr("keyslot 3 " + report));

  // Nor does the number of a keyslot that is gone.
  ASSERT_EQ(
      volseal({"protector", "remove", image, "--keyslot", "2", "--key-file", path("key")}).status,
      good);
  EXPECT_EQ(add_stranger(), 2);
  EXPECT_THAT(said(), HasSubstr("keyslot 2, 3 " + report));
}

TEST_F(TpmVerbTest, BadInputGivesOneLineAndTheRightStatus) {
  const Result none = volseal({"tpm", "status"});
  EXPECT_EQ(none.status, 4);
  EXPECT_THAT(none.err, HasSubstr("there is none in"));
  enrolled("disk.img");
  EXPECT_EQ(volseal({"tpm", "status", "--group", "nobody"}).status, 4);
  EXPECT_EQ(volseal({"tpm", "status", "--group", "../../etc"}).status, 78);
  EXPECT_EQ(volseal({"tpm", "pin", "forget"}).status, 64);
  write_file(folder / "state" / "groups" / "default" / "sealed.json", "{\"version\":1");
  const Result damaged = volseal({"tpm", "approve"});
  EXPECT_EQ(damaged.status, 4);
  EXPECT_THAT(damaged.err, HasSubstr("sealed group"));
  swtpm.stop();
  EXPECT_EQ(volseal({"tpm", "status"}).status, tpm_said_no);
}

}  // namespace
}  // namespace volseal
