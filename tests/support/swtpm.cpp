#include "tests/support/swtpm.h"

#include "core/base/error.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

namespace volseal::test {

namespace {

// Both ends of a connected pair: nothing to wait for, since what is written early is kept for
// swtpm.
std::pair<UniqueFd, UniqueFd> connected_pair() {
  std::array<int, 2> fds{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    throw_errno(errno, "make a socket pair");
  }
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Inherited under these numbers by swtpm.
constexpr int child_commands = 3;
constexpr int child_control = 4;

}  // namespace

Swtpm::Swtpm() : Swtpm(Path()) {}

Swtpm::Swtpm(const Path& saved_state) {
  // An absolute folder: with a relative one swtpm's TPM is in failure mode.
  std::string pattern = (std::filesystem::temp_directory_path() / "volseal-tpm.XXXXXX").native();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno(errno, "make a folder for swtpm");
  folder_ = pattern;
  tcti_ = "swtpm:path=" + (folder_ / "tpm").native();
  if (!saved_state.empty()) {
    std::filesystem::copy(saved_state / "tpm2-00.permall", folder_ / "tpm2-00.permall");
  }
  start("startup-clear");
}

Swtpm::~Swtpm() {
  end(true);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Swtpm::start(std::string_view startup) {
  auto [commands, child_end] = connected_pair();
  auto [control, control_end] = connected_pair();
  // dup2 onto the numbers below must not hit descriptors that are still to be copied.
  const UniqueFd first(::fcntl(child_end.get(), F_DUPFD_CLOEXEC, 10));
  const UniqueFd second(::fcntl(control_end.get(), F_DUPFD_CLOEXEC, 10));
  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  const Finally clean([&] { ::posix_spawn_file_actions_destroy(&actions); });
  ::posix_spawn_file_actions_adddup2(&actions, first.get(), child_commands);
  ::posix_spawn_file_actions_adddup2(&actions, second.get(), child_control);

  std::vector<std::string> words = {"swtpm",
                                    "socket",
                                    "--tpm2",
                                    "--tpmstate",
                                    "dir=" + folder_.native(),
                                    "--fd",
                                    std::to_string(child_commands),
                                    "--ctrl",
                                    "type=unixio,clientfd=" + std::to_string(child_control),
                                    "--flags",
                                    "not-need-init," + std::string(startup),
                                    "--log",
                                    "file=" + (folder_ / "log").native()};
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const int error = ::posix_spawnp(&pid_, "swtpm", &actions, nullptr, arguments.data(), environ);
  if (error != 0) throw_errno(error, "run swtpm");
  commands_ = std::move(commands);
  control_ = std::move(control);
  proxy_ = std::make_unique<TpmProxy>(folder_ / "tpm", commands_.get(), control_.get());
}

void Swtpm::end(bool in_order) {
  if (pid_ < 0) return;
  if (in_order) {
    try {
      // TPM2_Shutdown(CLEAR); without it the TPM may count a failed attempt.
      proxy_->transact({0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0});
    } catch (const Error&) {
      in_order = false;
    }
  }
  proxy_.reset();
  if (!in_order) ::kill(pid_, SIGKILL);
  // swtpm ends when its connection does.
  commands_.reset();
  control_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

void Swtpm::extend(int pcr, std::string_view text) {
  // TPM2_PCR_Event (Part 3, 22.3) with an empty password session.
  Bytes bytes = {0x80,
                 0x02,
                 0,
                 0,
                 0,
                 0,
                 0,
                 0,
                 0x01,
                 0x3c,
                 0,
                 0,
                 0,
                 static_cast<std::uint8_t>(pcr),
                 0,
                 0,
                 0,
                 9,
                 0x40,
                 0,
                 0,
                 0x09,
                 0,
                 0,
                 0,
                 0,
                 0,
                 static_cast<std::uint8_t>(text.size() >> 8U),
                 static_cast<std::uint8_t>(text.size())};
  bytes.insert(bytes.end(), text.begin(), text.end());
  bytes[4] = static_cast<std::uint8_t>(bytes.size() >> 8U);
  bytes[5] = static_cast<std::uint8_t>(bytes.size());
  const Bytes response = command(bytes);
  if (tpm_u32(response, 6) != 0) {
    throw Error(Code::tpm_refused, "extend PCR {}: {:#x}", pcr, tpm_u32(response, 6));
  }
}

void Swtpm::restart() {
  end(true);
  start("startup-clear");
}

void Swtpm::cut_power() {
  end(false);
  start("startup-clear");
}

void Swtpm::restart_without_startup() {
  end(true);
  start("startup-none");
}

void Swtpm::stop() {
  end(true);
}

std::size_t handles_in(Swtpm& swtpm) {
  std::size_t count = 0;
  for (const std::uint8_t range : std::initializer_list<std::uint8_t>{0x80, 0x02, 0x03}) {
    // TPM2_GetCapability(HANDLES, range, 64)
    const Bytes response = swtpm.command(
        {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1, range, 0, 0, 0, 0, 0, 0, 64});
    count += tpm_u32(response, 15);
  }
  return count;
}

}  // namespace volseal::test
