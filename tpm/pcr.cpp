#include "tpm/pcr.h"

#include "tpm/esys.h"
#include "tpm/selection.h"

#include <algorithm>
#include <array>

namespace volseal::tpm {

namespace {

struct Bank {
  std::string_view name;
  TPM2_ALG_ID algorithm;
};
// In the order of preference.
constexpr std::array<Bank, 3> banks = {Bank{.name = "sha256", .algorithm = TPM2_ALG_SHA256},
                                       Bank{.name = "sha384", .algorithm = TPM2_ALG_SHA384},
                                       Bank{.name = "sha512", .algorithm = TPM2_ALG_SHA512}};

bool holds(const TPMS_PCR_SELECTION& selection, int pcr) {
  const auto byte = static_cast<unsigned>(pcr) / 8;
  return byte < selection.sizeofSelect && byte < sizeof selection.pcrSelect &&
         (selection.pcrSelect[byte] >> static_cast<unsigned>(pcr) % 8 & 1U) != 0;
}

bool holds_all(const TPML_PCR_SELECTION& present, TPM2_ALG_ID algorithm,
               const std::vector<int>& pcrs) {
  for (const auto& selection : std::span(present.pcrSelections).first(present.count)) {
    if (selection.hash != algorithm) continue;
    if (std::ranges::all_of(pcrs, [&](int pcr) { return holds(selection, pcr); })) return true;
  }
  return false;
}

}  // namespace

TPM2_ALG_ID bank_algorithm(std::string_view bank) {
  for (const Bank& known : banks) {
    if (known.name == bank) return known.algorithm;
  }
  throw Error(Code::bad_policy, "PCR bank \"{}\": only sha256, sha384 and sha512 are used", bank);
}

TPML_PCR_SELECTION pcr_selection(std::string_view bank, const std::vector<int>& pcrs) {
  TPML_PCR_SELECTION selection{};
  selection.count = 1;
  auto& only = selection.pcrSelections[0];
  only.hash = bank_algorithm(bank);
  only.sizeofSelect = 3;
  for (const int pcr : pcrs) {
    if (pcr < 0 || pcr > 23)
      throw Error(Code::bad_policy, "PCR {}: there are only PCRs 0 to 23", pcr);
    const auto byte = static_cast<unsigned>(pcr) / 8;
    only.pcrSelect[byte] =
        static_cast<BYTE>(only.pcrSelect[byte] | 1U << static_cast<unsigned>(pcr) % 8);
  }
  return selection;
}

std::string choose_bank(Connection& tpm, std::string_view preferred, const std::vector<int>& pcrs) {
  bank_algorithm(preferred);  // throws for a bank that is not used
  auto& impl = tpm.impl();
  EsysPtr<TPMS_CAPABILITY_DATA> data;
  TPMI_YES_NO more = 0;
  impl.command("read the TPM's PCR banks", [&] {
    return Esys_GetCapability(impl.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, TPM2_CAP_PCRS, 0,
                              1, &more, out(data));
  });
  const TPML_PCR_SELECTION& present = data->data.assignedPCR;
  const auto usable = [&](const Bank& bank) { return holds_all(present, bank.algorithm, pcrs); };
  const auto asked = std::ranges::find(banks, preferred, &Bank::name);
  if (usable(*asked)) return std::string(preferred);
  if (const auto next = std::ranges::find_if(banks, usable); next != banks.end()) {
    return std::string(next->name);
  }
  throw Error(
      Code::tpm_refused,
      "choose a PCR bank: the TPM keeps the chosen PCRs in no SHA-256, SHA-384 or SHA-512 bank, "
      "and SHA-1 alone is not enough (the firmware setup or tpm2_pcrallocate can turn one on)");
}

PcrValues read_pcrs(Connection& tpm, std::string_view bank, const std::vector<int>& pcrs) {
  auto& impl = tpm.impl();
  PcrValues values;
  std::vector<int> wanted = pcrs;
  std::ranges::sort(wanted);
  wanted.erase(std::ranges::unique(wanted).begin(), wanted.end());
  // A response holds at most eight digests (Part 3, 22.4).
  while (!wanted.empty()) {
    const TPML_PCR_SELECTION selection = pcr_selection(bank, wanted);
    EsysPtr<TPML_PCR_SELECTION> read;
    EsysPtr<TPML_DIGEST> digests;
    impl.command("read PCRs", [&] {
      return Esys_PCR_Read(impl.esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE, &selection, nullptr,
                           out(read), out(digests));
    });
    std::size_t at = 0;
    std::vector<int> left;
    for (const int pcr : wanted) {
      if (read->count == 1 && holds(read->pcrSelections[0], pcr) && at < digests->count) {
        values[pcr] = bytes_of(digests->digests[at++]);
      } else {
        left.push_back(pcr);
      }
    }
    if (at == 0) {
      throw Error(Code::tpm_refused, "read PCR {}: the TPM has none in its {} bank", wanted.front(),
                  bank);
    }
    wanted = std::move(left);
  }
  return values;
}

bool unmeasured(const Bytes& value) {
  return std::ranges::all_of(value, [](auto byte) { return byte == 0; }) ||
         std::ranges::all_of(value, [](auto byte) { return byte == 0xff; });
}

void extend_latch(Connection& tpm, int pcr) {
  auto& impl = tpm.impl();
  const auto event = sized<TPM2B_EVENT>(
      std::span(reinterpret_cast<const std::uint8_t*>("volseal-latch"), 13), "latch event");
  impl.command(fmt::format("extend the latch PCR {}", pcr), [&] {
    EsysPtr<TPML_DIGEST_VALUES> digests;
    return Esys_PCR_Event(impl.esys, ESYS_TR_PCR0 + static_cast<ESYS_TR>(pcr), ESYS_TR_PASSWORD,
                          ESYS_TR_NONE, ESYS_TR_NONE, &event, out(digests));
  });
}

bool latch_closed(Connection& tpm, std::string_view bank, int pcr) {
  const Bytes value = read_pcrs(tpm, bank, {pcr}).at(pcr);
  return std::ranges::any_of(value, [](auto byte) { return byte != 0; });
}

}  // namespace volseal::tpm
