// An envelope is refused with Error{bad_evidence}, or it is one: then what is written of it is read
// back as the same. So with the statement in it. A quote is refused, or names PCRs that exist.
#include "core/base/error.h"
#include "core/evidence/envelope.h"
#include "core/evidence/statement.h"
#include "tpm/attestation.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace volseal;

template <typename Call>
void refuses_or(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.code() != Code::bad_evidence) std::abort();
  }
}

void read_quote(std::span<const std::uint8_t> bytes) {
  refuses_or([&] {
    for (const int pcr : tpm::parse_quote(bytes).pcrs) {
      if (pcr < 0 || pcr > 23) std::abort();
    }
  });
}

void read_statement(std::string_view text) {
  refuses_or([&] {
    const Evidence evidence = parse_statement(text);
    const std::string written = to_statement(evidence);
    if (to_statement(parse_statement(written)) != written) std::abort();
    read_quote(evidence.quote);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  refuses_or([&] {
    const Envelope envelope = parse_envelope(text);
    const std::string written = to_json(envelope);
    if (to_json(parse_envelope(written)) != written) std::abort();
    read_statement(envelope.payload);
  });
  read_statement(text);
  read_quote({data, size});
  return 0;
}
