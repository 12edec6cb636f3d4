#include "tpm/unseal.h"

#include "core/base/human.h"
#include "core/base/log.h"
#include "tpm/dictionary_attack.h"
#include "tpm/explain.h"
#include "tpm/policy_digest.h"
#include "tpm/sealing.h"
#include "tpm/selection.h"

#include <tss2/tss2_mu.h>

#include <algorithm>

namespace volseal::tpm {

namespace {

// Where an unseal was when the TPM said no: the same code means different things there.
enum class Step { session, pcrs, counter, approval, load, unseal };

struct Unsealing {
  Connection& connection;
  Connection::Impl& tpm;
  const SealedGroup& sealed;
  Step step = Step::session;

  // The commands of an unseal; a TPM does one at a time and a real one takes 3 to 300 ms for each.
  //
  //   StartAuthSession  one session is policy and encryption both; salted to the pinned key (ECDH)
  //   PolicyPCR         the chosen PCRs and the latch as they are now
  //   PolicyOR          which of the approved states that is; only where there are several
  //   PolicyNV          the approval is not revoked
  //   PolicyAuthorize   the owner signed that; the ticket spares LoadExternal, VerifySignature and
  //                     a flush
  //   PolicyAuthValue   only with a PIN
  //   Load              the sealed object
  //   Unseal            its response is encrypted; ends the session as well
  //   FlushContext      the object: without a resource manager it would stay in the TPM
  //
  // Not needed: ReadPublic of the storage root key and of the counter (both pinned), CreatePrimary
  // (it is persistent), PCR_Read and PolicyGetDigest (only when something is refused).
  Secret run(const TpmHandle& root, const Secret* pin) {
    step = Step::session;
    TpmHandle session = start_session(tpm, root, TPM2_SE_POLICY, TPMA_SESSION_ENCRYPT);
    step = Step::pcrs;
    policy_pcrs(session);
    step = Step::counter;
    policy_counter(session);
    step = Step::approval;
    policy_authorize(session);
    if (pin != nullptr) {
      tpm.command("ask for the PIN", [&] {
        return Esys_PolicyAuthValue(tpm.esys, session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                                    ESYS_TR_NONE);
      });
    }
    step = Step::load;
    TpmHandle object = load(root);
    if (pin != nullptr) give_pin(object, *pin);
    step = Step::unseal;
    return take_secret(object, session);
  }

  void policy_pcrs(const TpmHandle& session) {
    const TPML_PCR_SELECTION selection = pcr_selection(sealed.bank, bound_pcrs(sealed));
    const auto expected = sized<TPM2B_DIGEST>(
        sealed.states.size() == 1 ? std::span<const std::uint8_t>(sealed.states.front().composite)
                                  : std::span<const std::uint8_t>(),
        "PCR digest");
    tpm.command("compare the PCRs", [&] {
      return Esys_PolicyPCR(tpm.esys, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                            &expected, &selection);
    });
    if (sealed.states.size() == 1) return;
    TPML_DIGEST branches{};
    for (const PcrState& state : sealed.states) {
      branches.digests[branches.count++] = sized<TPM2B_DIGEST>(
          after_policy_pcr(sealed.bank, bound_pcrs(sealed), state.composite), "approved state");
    }
    tpm.command("compare the PCRs with the approved states", [&] {
      return Esys_PolicyOR(tpm.esys, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                           &branches);
    });
  }

  void policy_counter(const TpmHandle& session) {
    const TpmHandle counter = pinned_counter(tpm, sealed.counter);
    TPM2B_OPERAND sequence{};
    sequence.size = sizeof sealed.sequence;
    for (unsigned i = 0; i < sequence.size; ++i) {
      sequence.buffer[i] = static_cast<BYTE>(sealed.sequence >> 8U * (sequence.size - 1U - i));
    }
    tpm.command("compare the revocation counter", [&] {
      return Esys_PolicyNV(tpm.esys, counter.get(), counter.get(), session.get(), ESYS_TR_PASSWORD,
                           ESYS_TR_NONE, ESYS_TR_NONE, &sequence, 0, TPM2_EO_UNSIGNED_LE);
    });
  }

  TSS2_RC authorize_with(const TpmHandle& session, const Bytes& ticket_bytes) {
    TPMT_TK_VERIFIED ticket{};
    std::size_t offset = 0;
    if (Tss2_MU_TPMT_TK_VERIFIED_Unmarshal(ticket_bytes.data(), ticket_bytes.size(), &offset,
                                           &ticket) != TSS2_RC_SUCCESS ||
        offset != ticket_bytes.size()) {
      return TPM2_RC_TICKET;
    }
    const auto approved = sized<TPM2B_DIGEST>(approved_policy(sealed), "approved policy");
    const auto ref = sized<TPM2B_NONCE>(policy_ref(sealed.group), "policy reference");
    const auto key = sized<TPM2B_NAME>(policy_key_name(sealed.policy_key), "policy key");
    return tpm.attempt([&] {
      return Esys_PolicyAuthorize(tpm.esys, session.get(), ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                  &approved, &ref, &key, &ticket);
    });
  }

  void policy_authorize(const TpmHandle& session) {
    TSS2_RC code = sealed.ticket.empty() ? TPM2_RC_TICKET : authorize_with(session, sealed.ticket);
    // A TPM that no longer knows its own ticket (libtpms says "value", others "ticket") still
    // verifies the signature: three commands more.
    if (meaning_of(code) == Meaning::ticket || meaning_of(code) == Meaning::value) {
      code = authorize_with(session, verification_ticket(tpm, sealed));
    }
    if (code != TSS2_RC_SUCCESS) throw_tpm(code, "present the approval");
  }

  TpmHandle load(const TpmHandle& root) {
    const TPM2B_PUBLIC area = unmarshalled_public(sealed.object_public);
    const auto private_area = sized<TPM2B_PRIVATE>(sealed.object_private, "sealed object");
    ESYS_TR object = ESYS_TR_NONE;
    tpm.command("load the sealed object", [&] {
      return Esys_Load(tpm.esys, root.get(), ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                       &private_area, &area, &object);
    });
    return {tpm, object, TpmHandle::Kind::transient};
  }

  // The auth value keys the session's HMAC; it does not cross the bus.
  void give_pin(const TpmHandle& object, const Secret& pin) {
    const Secret stretched_pin = stretched(pin, sealed.pin.value_or(PinStretch{}));
    auto auth = sized<TPM2B_AUTH>(stretched_pin.bytes(), "PIN");
    const Finally clean([&] { wipe(&auth, sizeof auth); });
    tpm.command("set the PIN", [&] { return Esys_TR_SetAuth(tpm.esys, object.get(), &auth); });
  }

  Secret take_secret(TpmHandle& object, TpmHandle& session) {
    const Finally forget([&] {
      const TPM2B_AUTH nothing{};
      Esys_TR_SetAuth(tpm.esys, object.get(), &nothing);
    });
    EsysPtr<TPM2B_SENSITIVE_DATA> data;
    tpm.command("unseal the group secret", [&] {
      return Esys_Unseal(tpm.esys, object.get(), session.get(), ESYS_TR_NONE, ESYS_TR_NONE,
                         out(data));
    });
    session.release();
    forget_response(tpm);
    const Finally clean([&] { wipe(data.get(), sizeof *data); });
    return Secret::copy_of(std::span<const std::uint8_t>(data->buffer, data->size));
  }
};

GroupKey refused(Outcome outcome, std::string reason) {
  return {.outcome = outcome,
          .secret = {},
          .reason = std::move(reason),
          .tries_left = {},
          .retry_after = {}};
}

GroupKey pcr_mismatch(Connection& connection, const SealedGroup& sealed) {
  return refused(Outcome::policy_mismatch, summary(explain(connection, sealed), sealed.latch));
}

// Some PCR, of the chosen ones or not, was extended again and again while the TPM was asked.
GroupKey restless_pcrs(Connection& connection, const SealedGroup& sealed) {
  const Explanation explanation = explain(connection, sealed);
  if (explanation.latch_closed || !explanation.differences.empty())
    return refused(Outcome::policy_mismatch, summary(explanation, sealed.latch));
  return refused(Outcome::unavailable,
                 "the PCRs are as approved, but something goes on extending one while the TPM is "
                 "asked");
}

GroupKey pin_failure(Connection& connection, Meaning meaning) {
  const DictionaryAttackState state = dictionary_attack_state(connection);
  GroupKey key;
  if (meaning == Meaning::locked_out || state.locked_out) {
    key = refused(
        Outcome::locked_out,
        fmt::format("the TPM is locked out after {} wrong PINs: the next try is possible in {}",
                    state.failures, human_duration(state.until_next_try)));
    key.retry_after = state.until_next_try;
    return key;
  }
  key = refused(Outcome::wrong_pin, fmt::format("wrong PIN; {} tries left", state.tries_left));
  key.tries_left = state.tries_left;
  return key;
}

// The TPM that is there is not the one that sealed; nothing where it is.
std::optional<GroupKey> other_tpm(Connection::Impl& tpm, const SealedGroup& sealed) {
  const Bytes present = present_storage_root(tpm);
  if (present == sealed.srk) return std::nullopt;
  return refused(Outcome::not_mine,
                 present.empty()
                     ? "the TPM has no storage root key: it was cleared, or is another one"
                     : "sealed by another TPM, or by this one before it was cleared");
}

GroupKey diagnose(Connection& connection, const SealedGroup& sealed, Step step,
                  const TpmError& error) {
  switch (error.meaning()) {
    case Meaning::failure_mode:
    case Meaning::gone:
    case Meaning::busy:
    case Meaning::not_started:
    case Meaning::full: return refused(Outcome::unavailable, error.what());
    case Meaning::wrong_auth:
    case Meaning::locked_out:
      if (step == Step::unseal) return pin_failure(connection, error.meaning());
      break;
    case Meaning::good:
    case Meaning::no_handle:
    case Meaning::bad_auth:
    case Meaning::value:
    case Meaning::policy:
    case Meaning::policy_fail:
    case Meaning::pcr_changed:
    case Meaning::ticket:
    case Meaning::signature:
    case Meaning::integrity:
    case Meaning::defined:
    case Meaning::unwritten:
    case Meaning::forged:
    case Meaning::other: break;
  }
  if (auto other = other_tpm(connection.impl(), sealed)) return *std::move(other);
  switch (step) {
    case Step::pcrs:
      if (error.meaning() == Meaning::value) return pcr_mismatch(connection, sealed);
      break;
    case Step::counter:
      if (error.meaning() == Meaning::policy) {
        return refused(Outcome::revoked,
                       "this approval was revoked: the TPM's counter is above it");
      }
      if (error.meaning() == Meaning::no_handle || error.meaning() == Meaning::unwritten) {
        return refused(Outcome::damaged, "the revocation counter is gone from the TPM");
      }
      break;
    case Step::load:
      if (error.meaning() == Meaning::bad_auth || error.meaning() == Meaning::wrong_auth) {
        return refused(Outcome::unavailable, "the TPM's storage root key has a password");
      }
      break;
    case Step::unseal:
      if (error.meaning() == Meaning::pcr_changed) return restless_pcrs(connection, sealed);
      break;
    case Step::session:
    case Step::approval: break;
  }
  // Something alters what crosses the bus: the blob may be as good as ever.
  if (error.meaning() == Meaning::forged) return refused(Outcome::unavailable, error.what());
  return refused(Outcome::damaged, error.what());
}

// A session is void once any PCR was extended after its PolicyPCR (Part 1, 19.7.7.4): the boot goes
// on measuring while we unseal. So it is asked again; a change that matters then shows in the
// PolicyPCR of the new session. Bounded, since somebody may go on extending.
Secret run(Unsealing& unsealing, const TpmHandle& root, const Secret* pin) {
  constexpr int attempts = 5;
  for (int left = attempts - 1;; --left) {
    try {
      return unsealing.run(root, pin);
    } catch (const TpmError& error) {
      const bool void_session =
          error.meaning() == Meaning::pcr_changed || error.meaning() == Meaning::policy_fail;
      if (!void_session || unsealing.step != Step::unseal || left == 0) throw;
    }
  }
}

// As run(); where the persistent storage root key is gone, once more with a transient one.
Secret run_with_any_root(Unsealing& unsealing, const Secret* pin) {
  try {
    return run(unsealing, pinned_storage_root(unsealing.tpm, unsealing.sealed.srk), pin);
  } catch (const TpmError& error) {
    if (error.meaning() == Meaning::gone || error.meaning() == Meaning::failure_mode) throw;
    if (unsealing.step != Step::session) throw;
    if (!present_storage_root(unsealing.tpm).empty()) throw;
    const TpmHandle root = transient_storage_root(unsealing.tpm, unsealing.sealed.srk);
    if (!root) throw;
    log::note(
        "the TPM's storage root key is not persistent any more, which makes this slow; "
        "'volseal tpm approve' mends it");
    return run(unsealing, root, pin);
  }
}

}  // namespace

GroupKey unseal(Connection& connection, const SealedGroup& sealed, const AskPin& ask_pin) {
  Unsealing unsealing{.connection = connection, .tpm = connection.impl(), .sealed = sealed};
  try {
    if (std::string why = contradiction(sealed); !why.empty())
      return refused(Outcome::forged, std::move(why));
    std::optional<Secret> pin;
    if (sealed.pin) {
      // Nobody is asked for a PIN that the TPM would not look at.
      const DictionaryAttackState state = dictionary_attack_state(connection);
      if (state.locked_out) return pin_failure(connection, Meaning::locked_out);
      if (ask_pin) pin = ask_pin(sealed.group);
      if (!pin) return refused(Outcome::needs_pin, "a PIN is needed");
    }
    GroupKey key{.outcome = Outcome::opened,
                 .secret = run_with_any_root(unsealing, pin ? &*pin : nullptr),
                 .reason = {},
                 .tries_left = {},
                 .retry_after = {}};
    if (pin) reset_dictionary_attack_counter(connection);
    return key;
  } catch (const TpmError& error) {
    try {
      return diagnose(connection, sealed, unsealing.step, error);
    } catch (const TpmError& second) {
      return refused(Outcome::unavailable, second.what());
    }
  } catch (const Error& error) {
    if (error.code() != Code::damaged && error.code() != Code::tpm_refused) throw;
    return refused(Outcome::damaged, error.what());
  }
}

}  // namespace volseal::tpm
