#include "core/erase/overwrite.h"

#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/base/secret.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <openssl/evp.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace volseal {

namespace {

constexpr std::size_t noise_piece = 1U << 20U;
constexpr std::size_t noise_unit = 4096;  // what O_DIRECT reads at once, on any device
constexpr std::size_t noise_key = 32;

struct FreeBuffer {
  void operator()(std::uint8_t* data) const { std::free(data); }
};
using DirectBuffer = std::unique_ptr<std::uint8_t, FreeBuffer>;

DirectBuffer direct_buffer() {
  void* data = nullptr;
  if (::posix_memalign(&data, noise_unit, noise_piece) != 0)
    throw Error(Code::internal, "get {} bytes of memory", noise_piece);
  return DirectBuffer(static_cast<std::uint8_t*>(data));
}

// As many bytes as there are, up to `size`.
std::size_t read_up_to(int fd, const Path& path, std::uint8_t* to, std::size_t size,
                       std::uint64_t offset) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::pread(fd, to + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read back {} at byte {}", path.native(), offset + done);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
    // A short direct read ends where the file does; what follows would not be aligned.
    if (done % noise_unit != 0) break;
  }
  return done;
}

// Not every file system lets its files be read past the page cache (tmpfs does not).
UniqueFd open_direct(const Path& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
}

}  // namespace

Noise::Noise(std::string seed) : key_(std::move(seed)) {
  const auto bytes = from_hex(key_);
  if (!bytes || bytes->size() != noise_key)
    throw Error(Code::damaged, "overwrite: the journal has no seed");
  key_.assign(bytes->begin(), bytes->end());
}

std::string Noise::new_seed() {
  return to_hex(Secret::random(noise_key).bytes());
}

void Noise::fill(std::span<std::uint8_t> bytes, std::uint64_t offset) const {
  constexpr std::size_t block = 16;
  std::array<std::uint8_t, block> counter{};
  std::uint64_t number = offset / block;
  for (std::size_t at = block; number != 0; number >>= 8U)
    counter.at(--at) = static_cast<std::uint8_t>(number);
  const Handle<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free> context(EVP_CIPHER_CTX_new());
  std::ranges::fill(bytes, std::uint8_t{0});
  int size = 0;
  if (!context ||
      EVP_EncryptInit_ex2(context.get(), EVP_aes_256_ctr(),
                          reinterpret_cast<const unsigned char*>(key_.data()), counter.data(),
                          nullptr) != 1 ||
      EVP_EncryptUpdate(context.get(), bytes.data(), &size, bytes.data(),
                        static_cast<int>(bytes.size())) != 1) {
    throw Error(Code::internal, "make noise: libcrypto refused");
  }
}

void overwrite(int fd, const Path& path, ErasedArea& area, const Noise& noise) {
  if (is_block_device(path)) {
    // What the device promises to destroy with all its copies; few can (eMMC, some SSDs).
    std::array<std::uint64_t, 2> range = {area.offset, area.bytes};
    area.secure_discard = ::ioctl(fd, BLKSECDISCARD, range.data()) == 0;
  }
  std::vector<std::uint8_t> piece(noise_piece);
  for (std::uint64_t at = 0; at < area.bytes;) {
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(noise_piece, area.bytes - at));
    noise.fill({piece.data(), size}, area.offset + at);
    for (std::size_t done = 0; done < size;) {
      const ssize_t put = ::pwrite(fd, piece.data() + done, size - done,
                                   static_cast<off_t>(area.offset + at + done));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) throw_errno(put == 0 ? EIO : errno, "overwrite {}", path.native());
      done += static_cast<std::size_t>(put);
    }
    at += size;
  }
  sync_fd(fd, path.native());
  if (is_block_device(path)) ::ioctl(fd, BLKFLSBUF, 0);
}

void prove_overwritten(const Path& path, ErasedArea& area, const Noise& noise) {
  UniqueFd fd = open_direct(path);
  area.direct = static_cast<bool>(fd);
  if (!fd) {
    fd = open_file(path, O_RDONLY);
    ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
  const DirectBuffer read = direct_buffer();
  std::vector<std::uint8_t> wanted(noise_piece);
  Sha256 sum;
  for (std::uint64_t at = 0; at < area.bytes;) {
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(noise_piece, area.bytes - at));
    const std::uint64_t begin = area.offset + at;
    const std::size_t lead = begin % noise_unit;
    const std::size_t take = std::min(size, noise_piece - lead);
    const std::size_t whole = (lead + take + noise_unit - 1) / noise_unit * noise_unit;
    const std::size_t got = read_up_to(fd.get(), path, read.get(), whole, begin - lead);
    noise.fill({wanted.data(), take}, begin);
    if (got < lead + take ||
        !std::equal(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(take),
                    read.get() + lead)) {
      throw Error(Code::io,
                  "read back {}: within a MiB of byte {} is not what was written; the disk did not "
                  "take it",
                  path.native(), begin);
    }
    sum.add({reinterpret_cast<const char*>(read.get() + lead), take});
    at += take;
  }
  area.sha256 = sum.end();
}

bool begins_with_noise(const Path& path, std::uint64_t offset, const Noise& noise) {
  const UniqueFd fd = open_file(path, O_RDONLY | O_NONBLOCK);
  std::array<std::uint8_t, noise_unit> read{};
  std::array<std::uint8_t, noise_unit> wanted{};
  noise.fill(wanted, offset);
  return read_up_to(fd.get(), path, read.data(), read.size(), offset) == read.size() &&
         read == wanted;
}

}  // namespace volseal
