#include "core/unlock/parallel.h"

#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/discover/mapper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace volseal {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t sector = 512;

// What a child tells; one write, smaller than PIPE_BUF, so it arrives whole.
struct Answer {
  Outcome outcome = Outcome::unavailable;
  int keyslot = -1;
  std::array<char, 512> reason{};
};

Answer answer_of(const Attempt& attempt) {
  Answer answer{.outcome = attempt.outcome, .keyslot = attempt.keyslot.value_or(-1)};
  attempt.reason.copy(answer.reason.data(), answer.reason.size() - 1);
  return answer;
}

struct Child {
  std::size_t index = 0;
  pid_t pid = -1;
  UniqueFd answer;
};

// An open that fails for whatever reason keeps no other volume locked.
Attempt opened_or_why_not(CheckedVolume& checked) {
  try {
    return Unlocker::open(checked);
  } catch (const Error& error) {
    Attempt attempt = checked.attempt;
    attempt.outcome = Outcome::unavailable;
    attempt.reason = error.what();
    return attempt;
  }
}

[[noreturn]] void be_child(CheckedVolume& checked, const Settling& settling, int passphrase,
                           int answer) {
  Answer result;
  try {
    checked.passphrase = read_secret_from(passphrase, "passphrase", true);
    result = answer_of(opened_or_why_not(checked));
  } catch (const std::exception& error) {
    std::string_view(error.what()).copy(result.reason.data(), result.reason.size() - 1);
  }
  const ssize_t written = ::write(answer, &result, sizeof result);
  if (settling.work) settling.work();
  // No destructors: what the parent holds is the parent's to close.
  ::_exit(written == ssize_t{sizeof result} ? 0 : 1);
}

Child start(CheckedVolume& checked, std::size_t index, const Settling& settling) {
  std::array<int, 2> secret{};
  std::array<int, 2> answer{};
  if (::pipe2(secret.data(), O_CLOEXEC) != 0) throw_errno(errno, "make a pipe");
  const UniqueFd secret_read(secret[0]);
  UniqueFd secret_write(secret[1]);
  if (::pipe2(answer.data(), O_CLOEXEC) != 0) throw_errno(errno, "make a pipe");
  UniqueFd answer_read(answer[0]);
  const UniqueFd answer_write(answer[1]);
  const pid_t pid = ::fork();
  if (pid < 0) throw_errno(errno, "start a process to open a volume");
  if (pid == 0) {
    secret_write.reset();
    be_child(checked, settling, secret_read.get(), answer_write.get());
  }
  write_all(secret_write.get(), checked.passphrase.view(), "passphrase");
  return {.index = index, .pid = pid, .answer = std::move(answer_read)};
}

void collect(const Child& child, Attempt& attempt, Clock::time_point begun) {
  Answer answer;
  ssize_t got = 0;
  do {
    got = ::read(child.answer.get(), &answer, sizeof answer);
  } while (got < 0 && errno == EINTR);
  attempt.took += std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
  if (got != ssize_t{sizeof answer}) {
    attempt.outcome = Outcome::unavailable;
    attempt.reason = "the process that was to open it ended early";
    return;
  }
  attempt.outcome = answer.outcome;
  attempt.reason = answer.reason.data();
  if (answer.keyslot >= 0) attempt.keyslot = answer.keyslot;
}

std::uint64_t device_bytes(const Path& device) {
  const UniqueFd fd = open_file(device, O_RDONLY);
  std::uint64_t bytes = 0;
  if (::ioctl(fd.get(), BLKGETSIZE64, &bytes) != 0) throw_errno(errno, "size {}", device.native());
  return bytes;
}

void wait_for(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::string number_of(const Path& node) {
  struct stat status{};
  if (::stat(node.c_str(), &status) != 0) throw_errno(errno, "look at {}", node.native());
  return fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
}

std::vector<Segment> table_of(const std::string& mapping) {
  return read_table(mapping, [](std::uint32_t major, std::uint32_t minor) {
    return fmt::format("{}:{}", major, minor);
  });
}

std::string difference(const Segment& live, const nlohmann::json& bound, const Path& device) {
  const auto offset = std::stoull(bound.at("offset").get<std::string>());
  const std::string size = bound.at("size").get<std::string>();
  const std::uint64_t bytes = size == "dynamic" ? device_bytes(device) - offset : std::stoull(size);
  if (live.target != "crypt") return "it is no dm-crypt mapping";
  if (live.cipher != bound.at("encryption").get<std::string>()) return "its cipher is another one";
  if (live.key_bytes == 0) return "it has no key";
  if (live.start != 0 || live.length != bytes / sector) return "its size is another one";
  if (live.sector_size != bound.at("sector_size")) return "its sector size is another one";
  if (bound.contains("integrity")) return "";  // the device below is dm-integrity's
  if (live.devices.size() != 1 || live.devices.front() != number_of(device))
    return "it lies on another device";
  if (live.offsets.front() != offset / sector) return "it begins somewhere else";
  return "";
}

}  // namespace

void Settling::wait() {
  if (work) work();
  for (const pid_t process : std::exchange(processes, {})) wait_for(process);
}

std::vector<Attempt> open_in_parallel(std::vector<CheckedVolume>& checked, Settling& settling) {
  std::vector<Attempt> attempts;
  attempts.reserve(checked.size());
  for (const CheckedVolume& volume : checked) attempts.push_back(volume.attempt);
  const auto openable = std::ranges::count_if(checked, &CheckedVolume::may_open);
  const auto begun = Clock::now();
  std::vector<Child> children;
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (!checked[i].may_open()) continue;
    if (openable == 1) {
      attempts[i] = opened_or_why_not(checked[i]);
      continue;
    }
    try {
      children.push_back(start(checked[i], i, settling));
      settling.processes.push_back(children.back().pid);
    } catch (const Error& error) {
      attempts[i].outcome = Outcome::unavailable;
      attempts[i].reason = error.what();
    }
  }
  for (const Child& child : children) collect(child, attempts[child.index], begun);
  return attempts;
}

std::string mapping_problem(const CheckedVolume& checked) {
  if (!checked.volume) return "its header was not read";
  const Volume& volume = *checked.volume;
  try {
    const std::vector<Segment> table = table_of(checked.target.mapping);
    if (table.empty()) return "the kernel has no table for it";
    if (checked.binding_scope != "full") {
      // Being encrypted: the kernel's table changes as that goes on.
      return is_mapping_of(checked.target.mapping, volume.uuid()) ? ""
                                                                  : "it belongs to another volume";
    }
    const auto segments = nlohmann::json::parse(volume.binding_text("full")).at("segments");
    if (segments.size() != 1 || table.size() != 1) return "it has more than one segment";
    return difference(table.front(), segments.begin().value(), checked.target.device);
  } catch (const Error& error) {
    return error.what();
  } catch (const std::exception&) {
    return "its segments cannot be compared";
  }
}

}  // namespace volseal
