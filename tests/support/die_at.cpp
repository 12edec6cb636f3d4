// Preloaded into one program: it dies, as if killed, right before the step that VOLSEAL_DIE_AT
// numbers. A step is a sync, a rename or a removal. Without that many steps it lives.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

template <typename F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

void step() {
  static long left = [] {
    const char* const text = ::getenv("VOLSEAL_DIE_AT");
    return text == nullptr ? 0L : ::strtol(text, nullptr, 10);
  }();
  constexpr int died = 99;
  if (left > 0 && --left == 0) ::_exit(died);
}

}  // namespace

extern "C" {

int fsync(int fd) {
  step();
  static const auto real = next<int (*)(int)>("fsync");
  return real(fd);
}

int fdatasync(int fd) {
  step();
  static const auto real = next<int (*)(int)>("fdatasync");
  return real(fd);
}

int rename(const char* from, const char* to) {
  step();
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  return real(from, to);
}

int remove(const char* path) {
  step();
  static const auto real = next<int (*)(const char*)>("remove");
  return real(path);
}

int unlink(const char* path) {
  step();
  static const auto real = next<int (*)(const char*)>("unlink");
  return real(path);
}

}  // extern "C"
