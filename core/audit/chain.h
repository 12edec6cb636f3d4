// What must hold from line to line: numbers without a gap, and each line naming the one before.
#pragma once

#include "core/audit/audit.h"
#include "core/audit/hash.h"

#include <functional>
#include <optional>
#include <string_view>

namespace volseal::audit {

class Chain {
 public:
  using Found = std::function<void(AuditFlaw)>;

  Chain(Hasher& hasher, Found found) : hasher_(hasher), found_(std::move(found)) {}

  // Lines are counted from 1 again.
  void begin_file(const Path& path);
  // The next line must be event `seq` and name a line with this hash as the one before: where what
  // is before it is gone, and that was said.
  void expect(std::uint64_t seq, std::string_view prev);
  // The event, where it is one. A line that is none is a flaw, unless the next one is the
  // "audit.recovered" that closed it.
  std::optional<AuditRecord> take(std::string_view line);
  void end();

  std::size_t line() const { return here_.line; }

 private:
  void flaw(AuditFlaw at, std::string what);

  Hasher& hasher_;
  Found found_;
  AuditFlaw here_;
  AuditFlaw last_;  // where the line before was
  std::uint64_t seq_ = 0;
  std::string prev_ = std::string(64, '0');  // what line 1 has
  bool open_flaw_ = false;
};

}  // namespace volseal::audit
