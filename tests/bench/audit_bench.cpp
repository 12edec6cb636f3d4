// What an event costs, and how fast a long log is verified: ./dev bench audit [EVENTS]
#include "core/audit/reader.h"
#include "core/audit/verify.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <vector>

namespace {

using namespace volseal;

double seconds_of(const std::function<void()>& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

Event event_of(std::size_t number) {
  return {.action = "unlock",
          .outcome = number % 8 == 0 ? "opened" : "policy_mismatch",
          .volume = fmt::format("/dev/disk/by-id/nvme-bench-{}", number % 64),
          .luks_uuid = "e9e8d1c6-0a5a-4c0a-9f0e-6a3a4e2b8d11",
          .group = "default",
          .detail = {{"stage", "system"},
                     {"protector", "tpm"},
                     {"mapping", fmt::format("data{}", number % 64)},
                     {"milliseconds", std::to_string(number % 1000)}}};
}

void run(std::size_t events, const Path& folder) {
  const Path path = folder / "audit.log";
  const AuditLog log(path, "bench");
  constexpr std::size_t batch = 1000;
  const double written = seconds_of([&] {
    std::vector<Event> some;
    for (std::size_t i = 0; i < events; ++i) {
      some.push_back(event_of(i));
      if (some.size() < batch && i + 1 < events) continue;
      log.record_all(some);
      some.clear();
    }
  });
  fmt::print("{:<52}{:>12.1f} s\n", fmt::format("write {} events, {} at a time", events, batch),
             written);

  constexpr int few = 200;
  const double singly = seconds_of([&] {
    for (int i = 0; i < few; ++i) log.record(event_of(static_cast<std::size_t>(i)));
  });
  fmt::print("{:<52}{:>12.0f} us\n", "record() of one, on disk", singly / few * 1e6);

  AuditVerdict verdict;
  const double verified = seconds_of([&] { verdict = verify_audit_log(path); });
  fmt::print("{:<52}{:>12.2f} s, {:.0f} lines/s, {:.0f} MB/s\n",
             fmt::format("verify {} lines", verdict.lines), verified,
             static_cast<double>(verdict.lines) / verified,
             static_cast<double>(verdict.bytes) / verified / 1e6);
  if (!verdict.sound()) fmt::print("NOT SOUND: {}\n", verdict.flaws.front().what);

  std::size_t seen = 0;
  const double filtered = seconds_of([&] {
    for_each_event(path, R"("outcome":"opened")",
                   [&](const AuditRecord&, std::string_view) { ++seen; });
  });
  fmt::print("{:<52}{:>12.2f} s\n", fmt::format("find {} openings in it, as check does", seen),
             filtered);
  const double all = seconds_of(
      [&] { for_each_event(path, "", [&](const AuditRecord&, std::string_view) { ++seen; }); });
  fmt::print("{:<52}{:>12.2f} s\n", "read every event, as show does", all);
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t events = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000;
  std::string pattern =
      (std::filesystem::temp_directory_path() / "volseal-audit-bench.XXXXXX").native();
  const Path folder = ::mkdtemp(pattern.data());
  run(events, folder);
  std::filesystem::remove_all(folder);
  return 0;
}
