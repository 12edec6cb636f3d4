// A firmware's log is refused with Error{damaged}, or it is one: then it can be replayed, described
// and compared, with itself and with itself cut short.
#include "core/base/error.h"
#include "core/base/escape.h"
#include "tpm/event_log.h"
#include "tpm/explain.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

// What reaches a terminal holds no control character.
void require_harmless(const std::string& text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tpm::EventLog log;
  try {
    log = tpm::parse_event_log({data, size});
  } catch (const Error& error) {
    if (error.code() != Code::damaged) std::abort();
    return 0;
  }
  for (const std::string& bank : log.banks) (void)tpm::replay(log, bank);
  for (const tpm::Event& event : log.events) {
    require_harmless(tpm::describe(event));
    require_harmless(tpm::describe_change(event, "sha256"));
  }
  tpm::SealedGroup sealed;
  sealed.bank = "sha256";
  sealed.pcrs = {0, 1, 2, 3, 4, 5, 6, 7};
  sealed.events = tpm::event_prefixes(log, sealed);
  if (sealed.events.size() > tpm::SealedGroup::event_size * tpm::SealedGroup::max_events)
    std::abort();
  tpm::EventLog shorter = log;
  shorter.events.resize(log.events.size() / 2);
  for (const int pcr : sealed.pcrs) {
    if (!tpm::changes_of(sealed, pcr, log, log).empty()) std::abort();
    for (const auto& change : tpm::changes_of(sealed, pcr, {}, shorter)) require_harmless(change);
    for (const auto& change : tpm::changes_of(sealed, pcr, shorter, log)) require_harmless(change);
  }
  return 0;
}
