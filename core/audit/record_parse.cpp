// AuditRecord from its line. By hand and not by a JSON library, since a million of them have to be
// read in seconds: there is one spelling of each event only, that of to_line, so this reads that
// one and refuses all others.
#include "core/audit/record.h"

#include <charconv>
#include <concepts>
#include <limits>

namespace volseal::audit {

namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool literal(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }

  template <std::integral Number>
  bool number(Number& value) {
    const char* const begin = rest_.data();
    const auto [end, error] = std::from_chars(begin, begin + rest_.size(), value);
    if (error != std::errc{}) return false;
    std::string_view digits(begin, static_cast<std::size_t>(end - begin));
    const bool negative = digits.front() == '-';
    if (negative) digits.remove_prefix(1);
    if (digits.front() == '0' && (digits.size() > 1 || negative)) return false;
    rest_.remove_prefix(static_cast<std::size_t>(end - begin));
    return true;
  }

  // A JSON string as nlohmann::json writes it in ASCII, of at most `limit` bytes of UTF-8.
  bool text(std::string& value, std::size_t limit = max_text) {
    if (!literal("\"")) return false;
    value.clear();
    for (;;) {
      std::size_t plain = 0;
      while (plain < rest_.size() && is_plain(rest_[plain])) ++plain;
      value.append(rest_.substr(0, plain));
      rest_.remove_prefix(plain);
      if (value.size() > limit) return false;
      if (literal("\"")) return true;
      if (!literal("\\") || !escape(value)) return false;
    }
  }

  bool at_end() const { return rest_.empty(); }

 private:
  static bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

  bool escape(std::string& value) {
    if (rest_.empty()) return false;
    const char kind = rest_.front();
    rest_.remove_prefix(1);
    switch (kind) {
      case '"': value += '"'; return true;
      case '\\': value += '\\'; return true;
      case 'b': value += '\b'; return true;
      case 'f': value += '\f'; return true;
      case 'n': value += '\n'; return true;
      case 'r': value += '\r'; return true;
      case 't': value += '\t'; return true;
      case 'u': return code_point(value);
      default: return false;
    }
  }

  bool code_unit(std::uint32_t& unit) {
    constexpr std::size_t size = 4;
    if (rest_.size() < size) return false;
    unit = 0;
    for (const char c : rest_.substr(0, size)) {
      const bool digit = c >= '0' && c <= '9';
      if (!digit && (c < 'a' || c > 'f')) return false;
      unit = unit << 4U | static_cast<std::uint32_t>(digit ? c - '0' : c - 'a' + 10);
    }
    rest_.remove_prefix(size);
    return true;
  }

  bool code_point(std::string& value) {
    std::uint32_t point = 0;
    if (!code_unit(point)) return false;
    const bool short_form =
        point == '\b' || point == '\f' || point == '\n' || point == '\r' || point == '\t';
    if (short_form || (point >= 0x20 && point < 0x7f)) return false;
    if (point >= 0xdc00 && point < 0xe000) return false;
    if (point >= 0xd800 && point < 0xdc00) {
      std::uint32_t low = 0;
      if (!literal("\\u") || !code_unit(low) || low < 0xdc00 || low > 0xdfff) return false;
      point = 0x10000 + ((point - 0xd800) << 10U) + (low - 0xdc00);
    }
    append_utf8(value, point);
    return true;
  }

  static void append_utf8(std::string& value, std::uint32_t point) {
    const auto put = [&](std::uint32_t byte) { value += static_cast<char>(byte); };
    const auto trail = [&](unsigned shift) { put(0x80U | (point >> shift & 0x3fU)); };
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xc0U | point >> 6U);
      trail(0);
    } else if (point < 0x10000) {
      put(0xe0U | point >> 12U);
      trail(6);
      trail(0);
    } else {
      put(0xf0U | point >> 18U);
      trail(12);
      trail(6);
      trail(0);
    }
  }

  std::string_view rest_;
};

bool read_who(Scanner& scan, Actor& who) {
  if (!scan.literal(R"({"loginuid":)")) return false;
  if (!scan.literal("null") && !scan.number(who.loginuid.emplace())) return false;
  return scan.literal(R"(,"uid":)") && scan.number(who.uid) &&        //
         scan.literal(R"(,"euid":)") && scan.number(who.euid) &&      //
         scan.literal(R"(,"tty":)") && scan.text(who.tty) &&          //
         scan.literal(R"(,"session":)") && scan.text(who.session) &&  //
         scan.literal(R"(,"remote":)") && scan.text(who.remote) &&    //
         scan.literal(R"(,"ssh":)") && scan.text(who.ssh) &&          //
         scan.literal(R"(,"unit":)") && scan.text(who.unit) &&        //
         scan.literal(R"(,"pid":)") && scan.number(who.pid) &&        //
         scan.literal(R"(,"program":)") && scan.text(who.program) &&  //
         scan.literal(R"(,"verb":)") && scan.text(who.verb) && scan.literal("}");
}

bool read_detail(Scanner& scan, std::map<std::string, std::string>& detail) {
  if (!scan.literal("{")) return false;
  if (scan.literal("}")) return true;
  do {
    std::string key;
    std::string value;
    if (detail.size() == max_details || !scan.text(key, max_key) || !scan.literal(":") ||
        !scan.text(value)) {
      return false;
    }
    // In order, and each once.
    if (!detail.empty() && key <= detail.rbegin()->first) return false;
    detail.emplace_hint(detail.end(), std::move(key), std::move(value));
  } while (scan.literal(","));
  return scan.literal("}");
}

}  // namespace

std::optional<AuditRecord> from_line(std::string_view line) {
  if (line.size() > max_line) return std::nullopt;
  Scanner scan(line);
  std::optional<AuditRecord> result(std::in_place);
  AuditRecord& record = *result;
  Event& event = record.event;
  const bool good = scan.literal(R"({"schema":"volseal-audit/1","seq":)") &&
                    scan.number(record.seq) &&                                           //
                    scan.literal(R"(,"time":)") && scan.text(record.time) &&             //
                    scan.literal(R"(,"boot_ms":)") && scan.number(record.boot_ms) &&     //
                    scan.literal(R"(,"boot_id":)") && scan.text(record.boot_id) &&       //
                    scan.literal(R"(,"host":)") && scan.text(record.host) &&             //
                    scan.literal(R"(,"who":)") && read_who(scan, record.who) &&          //
                    scan.literal(R"(,"action":)") && scan.text(event.action) &&          //
                    scan.literal(R"(,"outcome":)") && scan.text(event.outcome) &&        //
                    scan.literal(R"(,"volume":)") && scan.text(event.volume) &&          //
                    scan.literal(R"(,"luks_uuid":)") && scan.text(event.luks_uuid) &&    //
                    scan.literal(R"(,"group":)") && scan.text(event.group) &&            //
                    scan.literal(R"(,"detail":)") && read_detail(scan, event.detail) &&  //
                    scan.literal(R"(,"prev":)") && scan.text(record.prev) &&             //
                    scan.literal("}") && scan.at_end();
  if (!good) result.reset();
  return result;
}

}  // namespace volseal::audit
