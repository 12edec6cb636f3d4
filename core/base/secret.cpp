#include "core/base/secret.h"

#include "core/base/error.h"
#include "core/base/handle.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace volseal {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Secret::Secret(std::size_t size) {
  if (size == 0) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t mapped = (size + page - 1) / page * page;
  void* memory =
      ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_errno(errno, "allocate memory for a secret");
  // Kernels without one of these advices (User-Mode Linux has them all) still lock the page.
  ::madvise(memory, mapped, MADV_DONTDUMP);
  ::madvise(memory, mapped, MADV_WIPEONFORK);
  if (::mlock(memory, mapped) != 0) {
    const int error = errno;
    ::munmap(memory, mapped);
    throw Error(Code::denied, "lock memory for a secret: errno {} (raise the memlock limit)",
                error);
  }
  data_ = static_cast<std::uint8_t*>(memory);
  size_ = size;
  mapped_ = mapped;
}

Secret::Secret(Secret&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_ = std::exchange(other.mapped_, 0);
  }
  return *this;
}

Secret::~Secret() {
  release();
}

void Secret::release() {
  if (data_ == nullptr) return;
  wipe(data_, mapped_);
  ::munmap(data_, mapped_);
  data_ = nullptr;
  size_ = mapped_ = 0;
}

Secret Secret::random(std::size_t size) {
  Secret secret(size);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::getrandom(secret.data_ + done, size - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read the kernel's random numbers");
    done += static_cast<std::size_t>(got);
  }
  return secret;
}

Secret Secret::copy_of(std::span<const std::uint8_t> bytes) {
  Secret secret(bytes.size());
  std::ranges::copy(bytes, secret.bytes().begin());
  return secret;
}

Secret Secret::copy_of(std::string_view text) {
  return copy_of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

void Secret::truncate(std::size_t size) {
  if (size >= size_) return;
  wipe(data_ + size, size_ - size);
  size_ = size;
}

bool Secret::equal(const Secret& other) const {
  return size_ == other.size_ && (size_ == 0 || CRYPTO_memcmp(data_, other.data_, size_) == 0);
}

void wipe(void* data, std::size_t size) {
  if (size != 0) OPENSSL_cleanse(data, size);
}

Secret hex_of(const Secret& secret) {
  static constexpr std::string_view digits = "0123456789abcdef";
  Secret text(secret.size() * 2);
  auto out = text.bytes().begin();
  for (const std::uint8_t byte : secret.bytes()) {
    *out++ = static_cast<std::uint8_t>(digits[byte >> 4U]);
    *out++ = static_cast<std::uint8_t>(digits[byte & 0xfU]);
  }
  return text;
}

Secret base64_of(const Secret& secret) {
  // EVP_EncodeBlock writes a terminator behind the text: one byte more, cut off again.
  Secret text((secret.size() + 2) / 3 * 4 + 1);
  EVP_EncodeBlock(text.bytes().data(), secret.bytes().data(), static_cast<int>(secret.size()));
  text.truncate(text.size() - 1);
  return text;
}

void forbid_core_dumps() {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

}  // namespace volseal

// AddressSanitizer has a free() of its own.
#ifndef VOLSEAL_SANITIZED

// Copies that C libraries make of a secret go when their memory is freed: libtss2-esys keeps a
// session's key with the PIN's auth value behind it, where nobody else can reach it. Standing in
// the program, this is the free() of every library in it. realloc() stays libc's: what holds a
// secret does not grow.
extern "C" void __libc_free(void* memory);  // NOLINT(bugprone-reserved-identifier): glibc's

extern "C" void free(void* memory) noexcept {
  // From here on glibc has mapped it for itself, and freeing unmaps (M_MMAP_THRESHOLD, mallopt(3)).
  constexpr std::size_t unmapped = 32U << 20U;
  if (memory != nullptr) {
    const std::size_t size = ::malloc_usable_size(memory);
    if (size < unmapped) ::explicit_bzero(memory, size);
  }
  __libc_free(memory);
}

#endif
