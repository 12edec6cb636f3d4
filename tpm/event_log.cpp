#include "tpm/event_log.h"

#include "core/base/error.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace volseal::tpm {

using namespace std::string_view_literals;

namespace {

constexpr std::uint32_t ev_no_action = 3;
constexpr std::size_t sha1_size = 20;
constexpr std::size_t max_algorithms = 16;
constexpr std::size_t max_digest = 64;
constexpr int pcr_count = 24;

struct Algorithm {
  std::uint16_t id;
  std::string_view bank;
  const char* openssl;
};
constexpr std::array<Algorithm, 5> algorithms = {
    Algorithm{.id = 0x0004, .bank = "sha1", .openssl = "SHA1"},
    Algorithm{.id = 0x000b, .bank = "sha256", .openssl = "SHA256"},
    Algorithm{.id = 0x000c, .bank = "sha384", .openssl = "SHA384"},
    Algorithm{.id = 0x000d, .bank = "sha512", .openssl = "SHA512"},
    Algorithm{.id = 0x0012, .bank = "sm3_256", .openssl = "SM3"}};

// Little-endian, never beyond the end.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : rest_(bytes), size_(bytes.size()) {}

  bool done() const { return rest_.empty(); }

  std::span<const std::uint8_t> take(std::size_t size) {
    if (size > rest_.size()) {
      throw Error(Code::damaged, "read the event log: it ends within an event, at byte {}",
                  size_ - rest_.size());
    }
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }

  template <typename T>
  T number() {
    T value = 0;
    const auto bytes = take(sizeof value);
    for (std::size_t i = sizeof value; i-- > 0;) value = static_cast<T>(value << 8U | bytes[i]);
    return value;
  }

  [[noreturn]] void fail(std::string_view why) const {
    throw Error(Code::damaged, "read the event log: {}, before byte {}", why, size_ - rest_.size());
  }

 private:
  std::span<const std::uint8_t> rest_;
  std::size_t size_;
};

struct DigestSize {
  std::uint16_t algorithm = 0;
  std::size_t size = 0;
};

std::string bank_name(std::uint16_t id) {
  const auto known = std::ranges::find(algorithms, id, &Algorithm::id);
  return known != algorithms.end() ? std::string(known->bank)
                                   : fmt::format("algorithm-{:#06x}", id);
}

// TCG_EfiSpecIDEvent; nothing where the first event is no crypto-agile header.
std::optional<std::vector<DigestSize>> parse_header(std::span<const std::uint8_t> data) {
  constexpr std::string_view signature = "Spec ID Event03\0"sv;
  if (data.size() < signature.size() ||
      !std::ranges::equal(data.first(signature.size()), signature, [](std::uint8_t a, char b) {
        return a == static_cast<std::uint8_t>(b);
      })) {
    return std::nullopt;
  }
  Reader reader(data.subspan(signature.size()));
  reader.take(8);  // platform class, version, errata, size of UINTN
  const auto count = reader.number<std::uint32_t>();
  if (count == 0 || count > max_algorithms)
    reader.fail("its header lists no sensible number of algorithms");
  std::vector<DigestSize> sizes;
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto algorithm = reader.number<std::uint16_t>();
    const auto size = reader.number<std::uint16_t>();
    if (size == 0 || size > max_digest)
      reader.fail("its header names a digest of no sensible size");
    sizes.push_back({.algorithm = algorithm, .size = size});
  }
  reader.take(reader.number<std::uint8_t>());
  return sizes;
}

int parse_pcr(Reader& reader) {
  const auto pcr = reader.number<std::uint32_t>();
  // EV_NO_ACTION may carry any index; only what extends must name a PCR.
  return pcr < pcr_count ? static_cast<int>(pcr) : -1;
}

Bytes parse_data(Reader& reader) {
  const auto data = reader.take(reader.number<std::uint32_t>());
  return {data.begin(), data.end()};
}

Event parse_old_event(Reader& reader) {
  Event event;
  event.pcr = parse_pcr(reader);
  event.type = reader.number<std::uint32_t>();
  const auto digest = reader.take(sha1_size);
  event.digests["sha1"] = {digest.begin(), digest.end()};
  event.data = parse_data(reader);
  return event;
}

Event parse_agile_event(Reader& reader, const std::vector<DigestSize>& sizes) {
  Event event;
  event.pcr = parse_pcr(reader);
  event.type = reader.number<std::uint32_t>();
  const auto count = reader.number<std::uint32_t>();
  if (count > sizes.size()) reader.fail("an event has more digests than the header lists");
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto algorithm = reader.number<std::uint16_t>();
    const auto size = std::ranges::find(sizes, algorithm, &DigestSize::algorithm);
    if (size == sizes.end()) reader.fail("an event has a digest that the header does not list");
    const auto digest = reader.take(size->size);
    if (!event.digests.emplace(bank_name(algorithm), Bytes(digest.begin(), digest.end())).second) {
      reader.fail("an event has two digests of one kind");
    }
  }
  event.data = parse_data(reader);
  return event;
}

void add(EventLog& log, Event event, const Reader& reader) {
  if (event.type == ev_no_action) {
    // TCG_EfiStartupLocalityEvent
    constexpr std::string_view signature = "StartupLocality\0"sv;
    if (event.data.size() == signature.size() + 1 &&
        std::equal(signature.begin(), signature.end(), event.data.begin(),
                   [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; })) {
      log.startup_locality = event.data.back();
    }
    return;
  }
  if (event.pcr < 0) reader.fail("an event names a PCR that does not exist");
  if (log.events.size() == EventLog::max_events) reader.fail("it has too many events");
  log.events.push_back(std::move(event));
}

}  // namespace

EventLog parse_event_log(std::span<const std::uint8_t> bytes) {
  if (bytes.size() > EventLog::max_size) {
    throw Error(Code::damaged, "read the event log: larger than {} bytes", EventLog::max_size);
  }
  EventLog log;
  Reader reader(bytes);
  if (reader.done()) throw Error(Code::damaged, "read the event log: it is empty");
  Event first = parse_old_event(reader);
  const auto sizes = first.type == ev_no_action ? parse_header(first.data) : std::nullopt;
  if (!sizes) {
    log.banks = {"sha1"};
    add(log, std::move(first), reader);
  } else {
    for (const DigestSize& size : *sizes) log.banks.push_back(bank_name(size.algorithm));
  }
  while (!reader.done()) {
    add(log, sizes ? parse_agile_event(reader, *sizes) : parse_old_event(reader), reader);
  }
  return log;
}

PcrValues replay(const EventLog& log, std::string_view bank) {
  const auto known = std::ranges::find(algorithms, bank, &Algorithm::bank);
  if (known == algorithms.end()) return {};
  const EVP_MD* hash = EVP_get_digestbyname(known->openssl);
  if (hash == nullptr) return {};
  const auto size = static_cast<std::size_t>(EVP_MD_get_size(hash));
  PcrValues values;
  for (const Event& event : log.events) {
    const auto digest = event.digests.find(std::string(bank));
    if (digest == event.digests.end() || digest->second.size() != size) continue;
    auto [value, fresh] = values.try_emplace(event.pcr, size, std::uint8_t{0});
    if (fresh && event.pcr == 0)
      value->second.back() = static_cast<std::uint8_t>(log.startup_locality);
    Bytes joined = value->second;
    joined.insert(joined.end(), digest->second.begin(), digest->second.end());
    unsigned written = 0;
    if (EVP_Digest(joined.data(), joined.size(), value->second.data(), &written, hash, nullptr) !=
        1) {
      throw Error(Code::internal, "replay the event log");
    }
  }
  return values;
}

}  // namespace volseal::tpm
