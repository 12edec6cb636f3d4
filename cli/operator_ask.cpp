#include "cli/operator_ask.h"

#include "cli/exit_status.h"
#include "cli/operator_peer.h"
#include "cli/operator_view.h"
#include "cli/output.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/operators/request.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t longest_answer = 64U << 10U;
constexpr int patience_ms = 180'000;  // a TPM that is slow, and disks that wake up

// Nothing where there is none, or it is not for this process.
std::optional<UniqueFd> connect_to(const Path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(address.sun_path)) return std::nullopt;
  std::ranges::copy(path.native(), std::begin(address.sun_path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) throw_errno(errno, "make a socket");
  // connect(2) takes any address by the type of all of them.
  const auto* any = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(fd.get(), any, sizeof(address)) != 0) return std::nullopt;
  return fd;
}

std::string read_answer(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  while (text.size() < longest_answer && !text.ends_with('\n')) {
    pollfd wait{.fd = fd, .events = POLLIN};
    if (::poll(&wait, 1, patience_ms) != 1)
      throw Error(Code::io, "wait for root's service: it does not answer");
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0) throw_errno(errno, "read the answer of root's service");
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

int status_of(const std::string& outcome) {
  if (outcome == "opened" || outcome == "open") return exit_status::good;
  if (outcome == "tampered" || outcome == "forged") return exit_status::refused;
  return outcome == "unknown-volume" || outcome == "damaged" ? exit_status::failed
                                                             : exit_status::tpm;
}

int tell(const Json& answer, bool json) {
  const auto of = [&](const char* key) { return escaped(answer.value(key, ""), 512); };
  const std::string outcome = of("outcome");
  if (json) {
    print_out(answer.dump(1, ' ', true) + "\n");
  } else if (outcome == "opened") {
    print_out(fmt::format("{} opened as {} by tpm ({} ms)\n", of("volume"), of("mapping"),
                          answer.value("milliseconds", 0)));
  } else if (outcome == "open") {
    print_out(fmt::format("{} is open as {}\n", of("volume"), of("mapping")));
  } else {
    print_err(
        "volseal: {} by tpm: {}: {}\n  ask who is root here: what the TPM does not open, a "
        "recovery key does\n",
        of("volume"), outcome, of("reason"));
  }
  return status_of(outcome);
}

}  // namespace

std::optional<int> ask_to_unlock(const std::string& volume, bool json) {
  bool asked = false;
  for (const std::string& unix_group : own_unix_groups()) {
    const auto socket = connect_to(operators_socket(unix_group));
    if (!socket) continue;
    asked = true;
    write_all(socket->get(), to_text(OperatorRequest{.volume = volume}), "root's service");
    const Json answer = Json::parse(read_answer(socket->get()), nullptr, false);
    if (!answer.is_object())
      throw Error(Code::io,
                  "ask root's service: its answer is none ('journalctl -u "
                  "volseal-operators@*' says more to root)");
    // Perhaps it is of another group that this process is in.
    if (answer.value("outcome", "") == "unknown-volume") continue;
    if (answer.value("outcome", "") == "bad-request")
      throw Error(Code::usage, "unlock {}: name it by a path below /dev, or by its LUKS UUID",
                  escaped(volume));
    return tell(answer, json);
  }
  if (!asked) return std::nullopt;
  throw Error(Code::not_found, "unlock {}: no volume of yours", escaped(volume));
}

}  // namespace volseal
