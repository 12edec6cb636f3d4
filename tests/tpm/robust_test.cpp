// A TPM that is busy, young, failing, oddly provisioned; and every command failing in its turn.
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/esys.h"
#include "tpm/late.h"
#include "tpm/storage_root.h"
#include "tpm/templates.h"

#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <thread>

namespace volseal::tpm {
namespace {

using ::testing::HasSubstr;

constexpr std::uint32_t rc_failure = 0x101;
constexpr std::uint32_t rc_retry = 0x922;
constexpr std::uint32_t rc_testing = 0x90a;
constexpr std::uint32_t rc_yielded = 0x908;
constexpr std::uint32_t create_primary = 0x131;

class RobustTest : public TpmTest {
 protected:
  GroupState folder() const { return {state, "default"}; }

  // The n-th command from here on is answered by `answer`.
  void intercept_nth(std::size_t n, std::function<std::optional<Bytes>()> answer) {
    swtpm.proxy().intercept([n, answer = std::move(answer),
                             seen = std::size_t{0}](const Bytes&) mutable -> std::optional<Bytes> {
      if (seen++ != n) return std::nullopt;
      return answer();
    });
  }

  template <typename Work>
  std::size_t commands_of(const Work& work) {
    swtpm.proxy().take_exchanges();
    work();
    return swtpm.proxy().take_exchanges().size();
  }

  static void evict(Connection& connection) {
    auto& tpm = connection.impl();
    ESYS_TR object = ESYS_TR_NONE;
    tpm.command("find", [&] {
      return Esys_TR_FromTPMPublic(tpm.esys, srk_handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   &object);
    });
    ESYS_TR none = ESYS_TR_NONE;
    tpm.command("evict", [&] {
      return Esys_EvictControl(tpm.esys, ESYS_TR_RH_OWNER, object, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, srk_handle, &none);
    });
  }

  static void persist(Connection& connection, const TPM2B_PUBLIC& area) {
    auto& tpm = connection.impl();
    const TPM2B_SENSITIVE_CREATE sensitive{};
    const TPM2B_DATA outside{};
    const TPML_PCR_SELECTION pcrs{};
    ESYS_TR primary = ESYS_TR_NONE;
    tpm.command("create", [&] {
      return Esys_CreatePrimary(tpm.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                ESYS_TR_NONE, &sensitive, &area, &outside, &pcrs, &primary, nullptr,
                                nullptr, nullptr, nullptr);
    });
    const TpmHandle owned(tpm, primary, TpmHandle::Kind::transient);
    ESYS_TR persistent = ESYS_TR_NONE;
    tpm.command("persist", [&] {
      return Esys_EvictControl(tpm.esys, ESYS_TR_RH_OWNER, primary, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, srk_handle, &persistent);
    });
  }
};

TEST_F(RobustTest, ABusyTpmIsAskedAgain) {
  const OpenedGroup made = open_group();
  for (const std::uint32_t code : {rc_retry, rc_testing, rc_yielded}) {
    int left = 12;  // more often than ESYS asks by itself
    swtpm.proxy().intercept([&](const Bytes&) -> std::optional<Bytes> {
      if (left-- > 0) return test::tpm_refusal(code);
      return std::nullopt;
    });
    EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
    EXPECT_LE(left, 0);
  }
}

TEST_F(RobustTest, ATpmThatStaysBusyIsUnavailableInTheEnd) {
  const OpenedGroup made = open_group();
  swtpm.proxy().intercept([](const Bytes&) { return std::optional(test::tpm_refusal(rc_retry)); });
  ConnectOptions options;
  options.patience = std::chrono::milliseconds(50);
  const GroupKey key = TpmGroupProtector(swtpm.tcti(), options).recover(made.sealed, {});
  EXPECT_EQ(key.outcome, Outcome::unavailable);
  EXPECT_THAT(key.reason, HasSubstr("stays busy"));
}

TEST_F(RobustTest, ATpmThatNobodyStartedIsStarted) {
  const OpenedGroup made = open_group();
  swtpm.restart_without_startup();
  EXPECT_THAT(recover(made.sealed).reason, HasSubstr("PCR 7 is not as approved"));
  boot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

TEST_F(RobustTest, FailureModeIsCalledThat) {
  const OpenedGroup made = open_group();
  swtpm.proxy().intercept(
      [](const Bytes&) { return std::optional(test::tpm_refusal(rc_failure)); });
  EXPECT_EQ(error_of([&] { open_group(); }).code(), Code::tpm_failed);
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::unavailable);
  EXPECT_THAT(key.reason, HasSubstr("failure mode"));
}

TEST_F(RobustTest, AProtectorConnectsAnewAfterItsTpmVanished) {
  const OpenedGroup made = open_group();
  TpmGroupProtector protector(swtpm.tcti());
  EXPECT_EQ(protector.recover(made.sealed, {}).outcome, Outcome::opened);
  swtpm.stop();
  EXPECT_EQ(protector.recover(made.sealed, {}).outcome, Outcome::unavailable);
  swtpm.restart();
  boot();
  EXPECT_EQ(protector.recover(made.sealed, {}).outcome, Outcome::opened);
}

// Whether some thread of this process has a watch on a folder: somebody waits there.
bool somebody_watches() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    const auto text = read_file_if_any(entry.path());
    if (text && text->find("inotify wd:") != std::string::npos) return true;
  }
  return false;
}

TEST_F(RobustTest, WaitsForTheDeviceButNotForEver) {
  ConnectOptions options;
  options.appear = std::chrono::milliseconds(30);
  const std::string node = (state / "tpm0").native();
  const auto refusal = [&] {
    const Error error = error_of([&] { Connection::connect("device:" + node, options); });
    EXPECT_EQ(error.code(), Code::no_tpm);
    return std::string(error.what());
  };
  EXPECT_THAT(refusal(), HasSubstr("No such file"));
  // It appears while somebody waits; that it is no TPM is then found out.
  options.appear = std::chrono::minutes(5);
  std::atomic<bool> given_up = false;
  std::thread driver([&] {
    while (!somebody_watches() && !given_up) std::this_thread::yield();
    write_file(node, "not a TPM");
  });
  EXPECT_THAT(refusal(), HasSubstr("does not answer"));
  given_up = true;
  driver.join();
}

// The boot goes on measuring while we unseal: before the TPM sees the Unseal, some PCR is extended.
class RaceTest : public RobustTest {
 protected:
  static constexpr std::uint32_t unseal = 0x15e;

  // Into `pcr`, before the first `times` Unseals.
  void extend_in_between(int pcr, int times) {
    swtpm.proxy().intercept([this, pcr, times](const Bytes& command) -> std::optional<Bytes> {
      if (test::tpm_u32(command, 6) != unseal) return std::nullopt;
      if (unseals++ < times) swtpm.extend(pcr, "in between");
      return std::nullopt;
    });
  }

  std::atomic<int> unseals = 0;
};

TEST_F(RaceTest, APcrThatMattersNothingCostsASecondTry) {
  const OpenedGroup made = open_group();
  extend_in_between(12, 1);
  const GroupKey key = recover(made.sealed);
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_TRUE(key.secret.equal(made.secret));
  EXPECT_EQ(unseals, 2);
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(RaceTest, AChosenPcrIsNamedAfterTheSecondTry) {
  const OpenedGroup made = open_group();
  extend_in_between(7, 1);
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::policy_mismatch);
  EXPECT_THAT(key.reason, HasSubstr("PCR 7 is not as approved"));
  EXPECT_TRUE(key.secret.empty());
  EXPECT_EQ(unseals, 1);
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(RaceTest, ALatchThatClosesInBetweenEndsUnsealing) {
  const OpenedGroup made = open_group();
  extend_in_between(15, 1);
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::policy_mismatch);
  EXPECT_THAT(key.reason, HasSubstr("PCR 15 is closed"));
  EXPECT_EQ(unseals, 1);
}

TEST_F(RaceTest, WhoNeverStopsExtendingDoesNotKeepUsForEver) {
  const OpenedGroup made = open_group();
  extend_in_between(12, 1000);
  const GroupKey key = recover(made.sealed);
  EXPECT_EQ(key.outcome, Outcome::unavailable);
  EXPECT_THAT(key.reason, HasSubstr("goes on extending"));
  EXPECT_EQ(unseals, 5);
  EXPECT_EQ(leaked_handles(), 0U);
}

TEST_F(RaceTest, ARightPinIsNotCountedAsWrong) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = false});
  extend_in_between(12, 2);
  swtpm.proxy().take_exchanges();
  EXPECT_EQ(recover(made.sealed, pin_is("correct horse")).outcome, Outcome::opened);
  EXPECT_EQ(unseals, 3);
  // Had a try been counted, the count would have been reset.
  constexpr std::uint32_t reset = 0x139;
  for (const auto& exchange : swtpm.proxy().take_exchanges())
    EXPECT_NE(exchange.command_code(), reset);
}

TEST_F(RobustTest, NoCreatePrimaryWhereAStorageRootIsPersistent) {
  open_group();
  group.name = "second";
  swtpm.proxy().take_exchanges();
  open_group();
  for (const auto& exchange : swtpm.proxy().take_exchanges())
    EXPECT_NE(exchange.command_code(), create_primary);
}

TEST_F(RobustTest, AnRsaStorageRootIsAsGood) {
  {
    Connection tpm = connect();
    TPM2B_PUBLIC rsa = srk_template();
    rsa.publicArea.type = TPM2_ALG_RSA;
    rsa.publicArea.parameters = {};
    auto& parameters = rsa.publicArea.parameters.rsaDetail;
    parameters.symmetric.algorithm = TPM2_ALG_AES;
    parameters.symmetric.keyBits.aes = 128;
    parameters.symmetric.mode.aes = TPM2_ALG_CFB;
    parameters.scheme.scheme = TPM2_ALG_NULL;
    parameters.keyBits = 2048;
    rsa.publicArea.unique = {};
    rsa.publicArea.unique.rsa.size = 256;
    persist(tpm, rsa);
  }
  const OpenedGroup made = open_group();
  EXPECT_LE(made.sealed.size(), SealedGroup::max_text);
  reboot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);
}

TEST_F(RobustTest, AKeyThatIsNoStorageRootIsLeftAlone) {
  {
    Connection tpm = connect();
    TPM2B_PUBLIC signing = verification_key(Bytes(64, 0));
    signing.publicArea.objectAttributes |=
        TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN;
    signing.publicArea.unique = {};
    persist(tpm, signing);
  }
  const Error error = error_of([&] { open_group(); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("no storage root key"));
}

TEST_F(RobustTest, AnEvictedStorageRootIsMadeAnewForThisBoot) {
  const OpenedGroup made = open_group();
  {
    Connection tpm = connect();
    evict(tpm);
  }
  const GroupKey key = recover(made.sealed);
  ASSERT_EQ(key.outcome, Outcome::opened) << key.reason;
  EXPECT_EQ(leaked_handles(), 0U);
  Connection tpm = connect();
  approve_state(tpm, folder());
  EXPECT_FALSE(present_storage_root(tpm.impl()).empty());
}

TEST_F(RobustTest, AnOwnerPasswordIsNamedNotGuessed) {
  Connection tpm = connect();
  auto& impl = tpm.impl();
  const auto password = sized<TPM2B_AUTH>(Bytes(8, 'x'), "password");
  impl.command("set the owner's password", [&] {
    return Esys_HierarchyChangeAuth(impl.esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &password);
  });
  const TPM2B_AUTH none{};
  Esys_TR_SetAuth(impl.esys, ESYS_TR_RH_OWNER, &none);
  const Error error = error_of([&] { open_or_create_group(tpm, group, state); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("owner hierarchy has a password"));
}

TEST_F(RobustTest, WithoutTheSha256BankTheNextOneIsTaken) {
  const auto allocate = [&](TPM2_ALG_ID on) {
    Connection tpm = connect();
    auto& impl = tpm.impl();
    TPML_PCR_SELECTION banks{};
    for (const TPM2_ALG_ID bank :
         {TPM2_ALG_SHA1, TPM2_ALG_SHA256, TPM2_ALG_SHA384, TPM2_ALG_SHA512}) {
      auto& selection = banks.pcrSelections[banks.count++];
      selection.hash = bank;
      selection.sizeofSelect = 3;
      if (bank == on) std::ranges::fill(std::span(selection.pcrSelect).first(3), BYTE{0xff});
    }
    impl.command("allocate PCR banks", [&] {
      TPMI_YES_NO done = 0;
      UINT32 most = 0;
      UINT32 needed = 0;
      UINT32 available = 0;
      return Esys_PCR_Allocate(impl.esys, ESYS_TR_RH_PLATFORM, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                               ESYS_TR_NONE, &banks, &done, &most, &needed, &available);
    });
  };
  allocate(TPM2_ALG_SHA384);
  reboot();
  const OpenedGroup made = open_group();
  EXPECT_EQ(parse_sealed(made.sealed).bank, "sha384");
  reboot();
  EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened);

  allocate(TPM2_ALG_SHA1);
  reboot();
  group.name = "second";
  const Error error = error_of([&] { open_group(); });
  EXPECT_EQ(error.code(), Code::tpm_refused);
  EXPECT_THAT(error.what(), HasSubstr("SHA-1 alone is not enough"));
}

TEST_F(RobustTest, WhatIsPinnedIsWhatEsysWouldHaveRead) {
  const OpenedGroup made = open_group();
  Connection connection = connect();
  auto& tpm = connection.impl();
  const SealedGroup sealed = parse_sealed(made.sealed);
  const auto name_at = [&](std::uint32_t handle) {
    ESYS_TR object = ESYS_TR_NONE;
    tpm.command("open", [&] {
      return Esys_TR_FromTPMPublic(tpm.esys, handle, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   &object);
    });
    EsysPtr<TPM2B_NAME> name;
    tpm.command("name", [&] { return Esys_TR_GetName(tpm.esys, object, out(name)); });
    return bytes_of(*name);
  };
  EXPECT_EQ(name_at(srk_handle), name_of(unmarshalled_public(sealed.srk)));
  EXPECT_EQ(name_at(sealed.counter), name_of(counter_template(sealed.counter, true)));
}

// Each command of `work` fails in its turn: the TPM breaks, or (parameter) it vanishes. Then: an
// error that says so, nothing left in the TPM, whole files, and a second try that works.
class FaultTest : public RobustTest, public ::testing::WithParamInterface<bool> {
 protected:
  using Work = std::function<void()>;

  void run(const Work& prepare, const Work& work, const Work& works_afterwards) {
    prepare();
    const std::size_t commands = commands_of(work);
    ASSERT_GT(commands, 0U);
    for (std::size_t n = 0; n < commands; ++n) {
      SCOPED_TRACE("command " + std::to_string(n) + " of " + std::to_string(commands));
      const bool vanishes = GetParam();
      prepare();
      intercept_nth(n, [&]() -> std::optional<Bytes> {
        if (vanishes) throw Error(Code::no_tpm, "gone");
        return test::tpm_refusal(rc_failure);
      });
      try {
        work();
      } catch (const Error& error) {
        EXPECT_THAT(error.code(),
                    ::testing::AnyOf(Code::tpm_failed, Code::no_tpm, Code::tpm_refused))
            << error.what();
      }
      swtpm.proxy().intercept({});
      if (vanishes) {
        reboot();
      } else {
        EXPECT_EQ(leaked_handles(), 0U);
      }
      if (const auto text = folder().sealed()) {
        EXPECT_NO_THROW(parse_sealed(*text));
      }
      works_afterwards();
    }
  }
};

TEST_P(FaultTest, MakingAGroup) {
  run([&] { std::filesystem::remove_all(state / "groups"); },
      [&] { open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true}); },
      [&] { EXPECT_EQ(recover(open_group().sealed).outcome, Outcome::opened); });
}

TEST_P(FaultTest, Unsealing) {
  const OpenedGroup made = open_group();
  run([] {},
      [&] {
        const GroupKey key = recover(made.sealed);
        // A flush that fails, or the session's end, is no failure of the unseal.
        EXPECT_THAT(key.outcome, ::testing::AnyOf(Outcome::opened, Outcome::unavailable))
            << key.reason;
      },
      [&] { EXPECT_EQ(recover(made.sealed).outcome, Outcome::opened); });
}

TEST_P(FaultTest, UnsealingWithAPin) {
  const Secret pin = Secret::copy_of("correct horse");
  const OpenedGroup made = open_group({.pin = &pin, .ask_pin = {}, .late_copy = false});
  const AskPin ask = pin_is("correct horse");
  run([] {},
      [&] {
        const GroupKey key = recover(made.sealed, ask);
        EXPECT_THAT(key.outcome, ::testing::AnyOf(Outcome::opened, Outcome::unavailable))
            << key.reason;
      },
      [&] { EXPECT_EQ(recover(made.sealed, ask).outcome, Outcome::opened); });
}

TEST_P(FaultTest, TheLateCopy) {
  const OpenedGroup made = open_group({.pin = nullptr, .ask_pin = {}, .late_copy = true});
  const auto late = [&] {
    Connection tpm = connect();
    return recover_late(tpm, folder());
  };
  run([] {},
      [&] { EXPECT_THAT(late().outcome, ::testing::AnyOf(Outcome::opened, Outcome::unavailable)); },
      [&] { EXPECT_TRUE(late().secret.equal(made.secret)); });
}

TEST_P(FaultTest, Approving) {
  open_group();
  run([] {},
      [&] {
        Connection tpm = connect();
        approve_state(tpm, folder());
      },
      [&] { EXPECT_EQ(recover(folder().sealed().value_or("")).outcome, Outcome::opened); });
}

TEST_P(FaultTest, Revoking) {
  open_group();
  const auto revoke = [&] {
    Connection tpm = connect();
    begin_revocation(tpm, folder());
    finish_revocation(tpm, folder());
  };
  run([] {}, revoke,
      [&] {
        EXPECT_EQ(recover(folder().sealed().value_or("")).outcome, Outcome::opened);
        revoke();
        EXPECT_EQ(recover(folder().sealed().value_or("")).outcome, Outcome::opened);
      });
}

TEST_P(FaultTest, ChangingThePin) {
  open_group();
  const Secret pin = Secret::copy_of("correct horse");
  const AskPin ask = pin_is("correct horse");
  run([] {},
      [&] {
        Connection tpm = connect();
        begin_pin_change(tpm, folder(), {.pin = &pin, .ask_old_pin = ask});
        finish_revocation(tpm, folder());
      },
      [&] {
        const std::string text = folder().sealed().value_or("");
        EXPECT_EQ(recover(text, ask).outcome, Outcome::opened);
        Connection tpm = connect();
        finish_revocation(tpm, folder());
        EXPECT_EQ(recover(text, ask).outcome, Outcome::opened);
      });
}

INSTANTIATE_TEST_SUITE_P(Tpm, FaultTest, ::testing::Bool(), [](const auto& vanishes) {
  return vanishes.param ? "Vanishes" : "Breaks";
});

}  // namespace
}  // namespace volseal::tpm
