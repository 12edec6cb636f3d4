#include "initramfs-hook/ciphers.h"

#include "core/base/handle.h"

#include <linux/if_alg.h>
#include <sys/socket.h>

#include <cstring>
#include <string_view>

namespace volseal {

namespace {

// Whether the kernel has it, or has made it now.
bool has(const std::string& cipher) {
  const UniqueFd socket(::socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_alg address{};
  address.salg_family = AF_ALG;
  constexpr std::string_view type = "skcipher";
  std::memcpy(static_cast<void*>(address.salg_type), type.data(), type.size());
  if (!socket || cipher.size() >= sizeof address.salg_name) return false;
  std::memcpy(static_cast<void*>(address.salg_name), cipher.data(), cipher.size());
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): how bind is called
  return ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

std::set<std::string> kernel_ciphers(const BootList& list) {
  std::set<std::string> ciphers;
  for (const BootVolume& volume : list.volumes) {
    // CIPHER-MODE-IV
    const std::string_view name = volume.cipher;
    const auto first = name.find('-');
    const auto second = name.find('-', first == std::string_view::npos ? first : first + 1);
    if (second == std::string_view::npos || name.find(':') < first) continue;
    ciphers.insert(std::string(name.substr(first + 1, second - first - 1)) + "(" +
                   std::string(name.substr(0, first)) + ")");
  }
  return ciphers;
}

CipherWarmUp::CipherWarmUp(const BootList& list)
    : thread_([ciphers = kernel_ciphers(list)] {
        // What it lacks, dm-crypt complains of.
        for (const std::string& cipher : ciphers) has(cipher);
      }) {}

void CipherWarmUp::wait() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace volseal
