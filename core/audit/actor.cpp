#include "core/audit/audit.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <memory>

namespace volseal {

namespace {

// A file of procfs or sysfs, "" where it cannot be read: knowing less of the actor stops no act.
std::string text_of(const std::string& path, std::size_t limit) {
  std::ifstream in(path, std::ios::binary);
  std::string text(limit, '\0');
  in.read(text.data(), static_cast<std::streamsize>(limit));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

std::optional<std::uint32_t> audit_loginuid(const std::string& pid) {
  const std::string text = text_of("/proc/" + pid + "/loginuid", 32);
  std::uint32_t uid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), uid);
  if (error != std::errc{} || end == text.data() || uid == UINT32_MAX) return std::nullopt;
  return uid;
}

// The fields of /proc/PID/stat that follow the name, which may itself hold spaces and parentheses:
// state, ppid, pgrp, session, tty_nr.
struct Stat {
  std::int64_t ppid = 0;
  unsigned tty = 0;
};

Stat stat_of(const std::string& pid) {
  const std::string text = text_of("/proc/" + pid + "/stat", 4096);
  const auto at = text.rfind(')');
  if (at == std::string::npos) return {};
  std::string_view rest = std::string_view(text).substr(at + 1);
  Stat stat;
  for (int field = 3; field <= 7; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (field == 4) std::from_chars(rest.data(), rest.data() + rest.size(), stat.ppid);
    if (field == 7) std::from_chars(rest.data(), rest.data() + rest.size(), stat.tty);
    rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  return stat;
}

// The controlling terminal, however the standard descriptors are redirected.
std::string tty_name(const std::string& pid) {
  const unsigned device = stat_of(pid).tty;
  if (device == 0) return "";
  const unsigned major = device >> 8U & 0xfffU;
  const unsigned minor = (device & 0xffU) | (device >> 12U & 0xfff00U);
  // UNIX98 pseudo-terminals have no name in sysfs.
  if (major >= 136 && major <= 143) return fmt::format("/dev/pts/{}", minor + (major - 136) * 256);
  const std::string uevent = text_of(fmt::format("/sys/dev/char/{}:{}/uevent", major, minor), 4096);
  constexpr std::string_view key = "DEVNAME=";
  const auto at = uevent.find(key);
  if (at == std::string::npos) return fmt::format("{}:{}", major, minor);
  const auto name = at + key.size();
  return "/dev/" + uevent.substr(name, uevent.find('\n', name) - name);
}

// sudo and su drop SSH_CONNECTION; the shell that they were typed into still has it.
std::string ssh_connection(std::int64_t pid) {
  constexpr std::string_view key = "SSH_CONNECTION=";
  for (int depth = 0; depth < 16 && pid > 1; ++depth) {
    const std::string environment = text_of(fmt::format("/proc/{}/environ", pid), 128U << 10U);
    for (std::string_view rest = environment; !rest.empty();) {
      const std::string_view variable = rest.substr(0, rest.find('\0'));
      if (variable.starts_with(key)) return std::string(variable.substr(key.size()));
      rest.remove_prefix(std::min(variable.size() + 1, rest.size()));
    }
    pid = stat_of(std::to_string(pid)).ppid;
  }
  return "";
}

// sd-login hands out malloc'ed strings, or an error where there is no such thing.
template <typename Call>
std::string login_text(Call call) {
  char* text = nullptr;
  if (call(&text) < 0 || text == nullptr) return "";
  const std::unique_ptr<char, Deleter<std::free>> owner(text);
  return text;
}

// `pid` as sd-login has it, where 0 is this process.
void add_session(Actor& actor, pid_t pid) {
  actor.session = login_text([&](char** text) { return ::sd_pid_get_session(pid, text); });
  if (!actor.session.empty()) {
    actor.remote = login_text(
        [&](char** text) { return ::sd_session_get_remote_host(actor.session.c_str(), text); });
  }
  actor.unit = login_text([&](char** text) { return ::sd_pid_get_unit(pid, text); });
}

}  // namespace

Actor this_actor(std::string_view verb) {
  Actor actor;
  actor.loginuid = audit_loginuid("self");
  actor.uid = ::getuid();
  actor.euid = ::geteuid();
  actor.tty = tty_name("self");
  add_session(actor, 0);
  const char* own = std::getenv("SSH_CONNECTION");
  actor.ssh = own != nullptr ? own : ssh_connection(stat_of("self").ppid);
  actor.pid = ::getpid();
  actor.program = program_invocation_short_name;
  actor.verb = verb;
  return actor;
}

Actor actor_of(std::int64_t pid, std::uint32_t uid, std::string_view verb) {
  Actor actor{.uid = uid, .euid = uid};
  actor.pid = pid;
  actor.verb = verb;
  const std::string name = std::to_string(pid);
  struct stat owner{};
  // Another user's by now: nothing of it is the asker's.
  if (::stat(("/proc/" + name).c_str(), &owner) != 0 || owner.st_uid != uid) return actor;
  actor.loginuid = audit_loginuid(name);
  actor.tty = tty_name(name);
  add_session(actor, static_cast<pid_t>(pid));
  actor.ssh = ssh_connection(pid);
  const std::string program = text_of("/proc/" + name + "/comm", 64);
  actor.program = program.substr(0, program.find('\n'));
  return actor;
}

}  // namespace volseal
