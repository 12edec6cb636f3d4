// volseal-unlock: what the initramfs runs. `boot` opens what the list names and closes the latch;
// `latch` only closes it.
//
// Exit status: 0 the boot goes on; 10 stop in a shell, 11 power off, 12 restart; 4 it failed, and
// the boot goes on to whatever else asks for a passphrase; 64 usage.
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/process.h"
#include "core/base/secret.h"
#include "initramfs-hook/boot.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <span>
#include <string>

namespace volseal {
namespace {

constexpr int failed = 4;
constexpr int stop_shell = 10;
constexpr int stop_poweroff = 11;
constexpr int stop_reboot = 12;
constexpr int usage = 64;
constexpr int longest_wait = 3600;

struct Arguments {
  std::string verb;
  Path list = "/etc/volseal/boot.list";
  Path settings = "/etc/volseal/boot.conf";
  WaitLimits limits;
};

Arguments parse(std::span<char*> words) {
  Arguments arguments;
  if (!words.empty()) arguments.verb = words[0];
  for (std::size_t i = 1; i + 1 < words.size(); i += 2) {
    const std::string_view name = words[i];
    const std::string_view value = words[i + 1];
    if (name == "--list") {
      arguments.list = value;
    } else if (name == "--settings") {
      arguments.settings = value;
    } else if (name == "--wait") {
      int seconds = 0;
      const auto [at, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
      if (error == std::errc{} && at == value.data() + value.size())
        arguments.limits.needed = std::chrono::seconds(std::clamp(seconds, 0, longest_wait));
    } else {
      throw Error(Code::usage, "there is no option {}", name);
    }
  }
  return arguments;
}

int status_for(const std::string& stop) {
  if (stop == to_string(Stop::shell)) return stop_shell;
  if (stop == to_string(Stop::poweroff)) return stop_poweroff;
  if (stop == to_string(Stop::reboot)) return stop_reboot;
  return 0;
}

void tell(const BootReport& report) {
  const auto opened = std::ranges::count(report.attempts, Outcome::opened, &Attempt::outcome);
  if (opened != 0) {
    fmt::print("volseal: {} volume{} opened by {} in {} ms\n", opened, opened == 1 ? "" : "s",
               how_opened(report), (report.ended - report.began).count());
  }
  for (const Attempt& attempt : report.attempts) {
    if (attempt.outcome != Outcome::opened && attempt.reason != report.refusal) {
      log::warning("{} by {}: {}: {}", attempt.mapping, attempt.protector,
                   to_string(attempt.outcome), attempt.reason);
    }
    for (const std::string& finding : attempt.findings)
      log::warning("{}: {}", attempt.mapping, finding);
  }
  for (const std::string& mapping : report.missing)
    log::warning("{}: its volume is not there", mapping);
  static_cast<void>(std::fflush(stdout));
}

int boot(const Arguments& arguments) {
  const BootSettings settings =
      parse_boot_settings(read_file_if_any(arguments.settings).value_or(""));
  const BootList list = parse_boot_list(read_file(arguments.list));
  WaitLimits limits = arguments.limits;
  limits.data = settings.wait;
  Boot boot(settings, list, limits);
  boot.run();
  tell(boot.report());
  make_folder(Path(BootReport::path).parent_path());
  write_file(BootReport::path, to_json(boot.report()));
  return status_for(boot.report().stop);
}

int latch(const Arguments& arguments) {
  const BootSettings settings =
      parse_boot_settings(read_file_if_any(arguments.settings).value_or(""));
  const Latch latch = close_latch(settings, parse_boot_list(read_file(arguments.list)).latches);
  if (latch.result == LatchResult::hidden || latch.result == LatchResult::failed) {
    log::warning("the latch of the TPM is not closed: {}", latch.reason);
    return failed;
  }
  return 0;
}

int run_program(std::span<char*> words) {
  // Secrets pass through this process.
  forbid_core_dumps();
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  try {
    const Arguments arguments = parse(words);
    if (arguments.verb == "--version") {
      fmt::print("volseal-unlock {}\n", VOLSEAL_VERSION);
      return 0;
    }
    if (arguments.verb == "boot") return boot(arguments);
    if (arguments.verb == "latch") return latch(arguments);
    fmt::print(stderr,
               "usage: volseal-unlock boot|latch [--list FILE] [--settings FILE] [--wait S]\n");
    return usage;
  } catch (const Error& error) {
    log::warning("{}", error.what());
    return error.code() == Code::usage ? usage : failed;
  } catch (const std::exception& error) {
    log::warning("{}", error.what());
    return failed;
  }
}

}  // namespace
}  // namespace volseal

int main(int argc, char** argv) {
  volseal::ensure_standard_descriptors();
  return volseal::run_program(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
}
