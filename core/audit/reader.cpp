#include "core/audit/record.h"
#include "core/base/digest.h"
#include "core/base/error.h"

namespace volseal {

namespace {

struct Reader {
  AuditReading reading;
  std::string prev{audit::no_prev};
  std::uint64_t seq = 0;
  // A line that is no event is a flaw unless the next one is the "audit.recovered" that closed it.
  std::size_t open_flaw = 0;

  void flaw(std::size_t line, std::string what) {
    reading.flaws.push_back({line, std::move(what)});
  }

  void take(std::size_t number, std::string_view line) {
    const auto record = audit::from_line(line);
    const bool closes = record && record->event.action == audit::recovered;
    if (open_flaw != 0 && !closes) flaw(open_flaw, "not an event");
    open_flaw = 0;
    if (!record) {
      open_flaw = number;
    } else {
      if (record->prev != prev)
        flaw(number, "the line before it is not the one it was written after");
      if (record->seq != seq + 1)
        flaw(number, fmt::format("number {} follows number {}", record->seq, seq));
      seq = record->seq;
      reading.records.push_back(*record);
    }
    prev = sha256_hex(line);
  }
};

}  // namespace

AuditReading read_audit_log(const Path& path, std::size_t limit) {
  const std::string text = read_file(path, limit);
  Reader reader;
  std::size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const auto newline = rest.find('\n');
    const std::string_view line = rest.substr(0, newline);
    reader.take(++number, line);
    if (newline == std::string_view::npos) {
      reader.flaw(number, "cut off");
      reader.open_flaw = 0;
      break;
    }
    rest.remove_prefix(newline + 1);
  }
  if (reader.open_flaw != 0) reader.flaw(reader.open_flaw, "not an event");
  return std::move(reader.reading);
}

}  // namespace volseal
