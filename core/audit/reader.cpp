#include "core/audit/reader.h"

#include "core/audit/chain.h"
#include "core/audit/files.h"
#include "core/audit/lines.h"
#include "core/audit/record.h"
#include "core/base/error.h"

#include <fcntl.h>

#include <utility>

namespace volseal {

namespace audit {

void for_each_line(const Snapshot::File& file,
                   const std::function<void(const LineReader::Line&)>& visit) {
  UniqueFd own;
  if (!file.fd) own = open_file(file.path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
  LineReader reader(file.fd ? file.fd->get() : own.get(), file.path, 0, file.size);
  while (const auto line = reader.next()) visit(*line);
}

}  // namespace audit

void for_each_event(const Path& log, std::string_view containing,
                    const std::function<void(const AuditRecord&, std::string_view)>& visit) {
  for (const audit::Snapshot::File& file : audit::snapshot(log).files) {
    audit::for_each_line(file, [&](const audit::LineReader::Line& line) {
      if (!line.text.contains(containing)) return;
      if (const auto record = audit::from_line(line.text)) visit(*record, line.text);
    });
  }
}

AuditReading read_audit_log(const Path& path, std::size_t limit) {
  const audit::Snapshot log = audit::snapshot(path);
  std::uint64_t size = 0;
  for (const audit::Snapshot::File& file : log.files) size += file.size;
  if (size > limit)
    throw Error(Code::damaged, "read {}: larger than {} bytes", path.native(), limit);
  AuditReading reading;
  audit::Hasher hasher;
  audit::Chain chain(hasher, [&](AuditFlaw flaw) { reading.flaws.push_back(std::move(flaw)); });
  bool ended = true;
  for (const audit::Snapshot::File& file : log.files) {
    chain.begin_file(file.path);
    audit::for_each_line(file, [&](const audit::LineReader::Line& line) {
      if (auto record = chain.take(line.text)) reading.records.push_back(*std::move(record));
      ended = line.ended;
    });
  }
  if (ended) {
    chain.end();
  } else {
    reading.flaws.push_back(
        {.line = chain.line(), .what = "cut off", .file = log.files.back().path});
  }
  return reading;
}

}  // namespace volseal
