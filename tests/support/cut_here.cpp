// Preloaded into programs of a guest (/etc/ld.so.preload): stops the world at a chosen step of an
// enrollment, so that the host cuts the power just there. See tests/uml/cut-steps.
//
// A step is whatever makes something durable or visible: a sync, a rename, a removal, zeros written
// by the kernel; by volseal or by a program that it runs. /run/cut/at says before which step to
// stop. A journal that was written or removed is stopped at in any case, once that is durable.
//
// Preloaded with VOLSEAL_DIE_AT=PHASE, it kills volseal once a journal that names the phase is
// durable.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace {

template <typename F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

bool is_ours() {
  constexpr std::array<std::string_view, 8> programs = {
      "volseal", "e2fsck", "resize2fs", "mkfs.ext4", "mke2fs", "mkswap", "dmsetup", "losetup"};
  for (const std::string_view program : programs) {
    if (program == program_invocation_short_name) return true;
  }
  return false;
}

// 0: nobody asked.
long wanted_step() {
  static const long step = [] {
    std::array<char, 16> text{};
    const int fd = is_ours() ? ::open("/run/cut/at", O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return 0L;
    if (::read(fd, text.data(), text.size() - 1) < 0) text = {};
    ::close(fd);
    return ::strtol(text.data(), nullptr, 10);
  }();
  return step;
}

[[noreturn]] void stop(const std::string& where) {
  const std::string line = "CUT HERE: " + where + ".\n";
  const int console = ::open("/dev/console", O_WRONLY | O_NOCTTY);
  (void)!::write(console, line.data(), line.size());
  for (;;) ::pause();
}

// Counts over all programs: the steps so far are the bytes of a file.
void step(std::string_view call, std::string_view what) {
  const long wanted = wanted_step();
  if (wanted == 0) return;
  const int fd = ::open("/run/cut/steps", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  struct stat status{};
  (void)!::write(fd, ".", 1);
  ::fstat(fd, &status);
  ::close(fd);
  if (status.st_size != wanted) return;
  stop("before step " + std::to_string(wanted) + ", " + program_invocation_short_name + ": " +
       std::string(call) + " " + std::string(what));
}

std::string name_of(int fd) {
  std::array<char, 256> name{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  (void)!::readlink(link.c_str(), name.data(), name.size() - 1);
  return name.data();
}

bool is_journal(std::string_view path) {
  return path.find("/enroll/") != std::string_view::npos && path.ends_with(".json");
}

// Written or removed, but not durable before its folder is synced.
std::string journal;

void after_journal(std::string_view path) {
  if (is_journal(path)) journal = path;
}

bool names_phase(const std::string& path, std::string_view phase) {
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return text.find("\"phase\": \"" + std::string(phase) + "\"") != std::string::npos;
}

void at_durable_journal() {
  if (journal.empty()) return;
  if (wanted_step() != 0) stop("the journal, " + journal);
  const char* const phase = ::getenv("VOLSEAL_DIE_AT");
  if (phase != nullptr && names_phase(journal, phase)) ::kill(::getpid(), SIGKILL);
  journal.clear();
}

}  // namespace

extern "C" {

int fsync(int fd) {
  static const auto real = next<int (*)(int)>("fsync");
  step("fsync", name_of(fd));
  const int result = real(fd);
  at_durable_journal();
  return result;
}

int fdatasync(int fd) {
  static const auto real = next<int (*)(int)>("fdatasync");
  step("fdatasync", name_of(fd));
  return real(fd);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  step("rename", to);
  const int result = real(from, to);
  after_journal(to);
  return result;
}

int unlink(const char* path) noexcept {
  static const auto real = next<int (*)(const char*)>("unlink");
  step("unlink", path);
  const int result = real(path);
  after_journal(path);
  return result;
}

int remove(const char* path) noexcept {
  static const auto real = next<int (*)(const char*)>("remove");
  step("remove", path);
  const int result = real(path);
  after_journal(path);
  return result;
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  static const auto real = next<int (*)(int, unsigned long, ...)>("ioctl");
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  if (request == BLKZEROOUT) step("BLKZEROOUT", name_of(fd));
  return real(fd, request, argument);
}

}  // extern "C"
