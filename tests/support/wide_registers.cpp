// For User-Mode Linux on processors with AMX, by LD_PRELOAD. The kernel of Debian 12 keeps 2696
// bytes of a process's floating-point state. On such a processor ptrace(2) reads that much, but
// writes all of the state or nothing, so that init dies before its first instruction. What is
// missing belongs to AMX, which no guest uses: here it is added, as unused.
#include <dlfcn.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <array>
#include <cstdarg>
#include <cstdint>
#include <cstring>

namespace {

using Ptrace = long (*)(__ptrace_request, ...);

// Static: a stack in that kernel has 16 KiB, and it has one processor.
alignas(64) std::array<std::uint8_t, 65536> state;
std::size_t full_size = 0;
constexpr std::size_t features_at = 512;  // Intel SDM 1, 13.4.2: XSTATE_BV
constexpr std::uint64_t features_kept = 0x3ff;

Ptrace next() {
  static const auto found = reinterpret_cast<Ptrace>(dlsym(RTLD_NEXT, "ptrace"));
  return found;
}

long write_state(pid_t process, void* kind, const iovec& given) {
  if (full_size == 0) {
    iovec all{.iov_base = state.data(), .iov_len = state.size()};
    if (next()(PTRACE_GETREGSET, process, kind, &all) != 0) return -1;
    full_size = all.iov_len;
  }
  if (given.iov_len >= full_size || given.iov_len < features_at + sizeof features_kept)
    return next()(PTRACE_SETREGSET, process, kind, &given);
  std::memset(state.data(), 0, full_size);
  std::memcpy(state.data(), given.iov_base, given.iov_len);
  std::uint64_t features = 0;
  std::memcpy(&features, state.data() + features_at, sizeof features);
  features &= features_kept;
  std::memcpy(state.data() + features_at, &features, sizeof features);
  iovec whole{.iov_base = state.data(), .iov_len = full_size};
  return next()(PTRACE_SETREGSET, process, kind, &whole);
}

}  // namespace

extern "C" long ptrace(__ptrace_request request, ...) noexcept {
  va_list words;
  va_start(words, request);
  const auto process = va_arg(words, pid_t);
  void* address = va_arg(words, void*);
  void* data = va_arg(words, void*);
  va_end(words);
  if (request == PTRACE_SETREGSET && reinterpret_cast<std::uintptr_t>(address) == NT_X86_XSTATE)
    return write_state(process, address, *static_cast<const iovec*>(data));
  return next()(request, process, address, data);
}
