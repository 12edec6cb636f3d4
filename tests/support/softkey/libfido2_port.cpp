// Stands before libfido2, linked into a test or preloaded into volseal: the keys that are "plugged
// in" are the sockets in the folder that VOLSEAL_SOFTKEYS names. All the rest is libfido2's.
#include <dlfcn.h>
#include <fido.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

namespace {

using Path = std::filesystem::path;

const char* folder() {
  return std::getenv("VOLSEAL_SOFTKEYS");
}

int fd_of(void* handle) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(handle)) - 1;
}

void* open_key(const char* path) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    ::close(fd);
    return nullptr;
  }
  return reinterpret_cast<void*>(static_cast<std::intptr_t>(fd + 1));
}

void close_key(void* handle) {
  ::close(fd_of(handle));
}

int read_key(void* handle, unsigned char* data, std::size_t size, int wait) {
  pollfd poll{.fd = fd_of(handle), .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, wait) != 1) return -1;
  const ssize_t got = ::recv(poll.fd, data, size, 0);
  return got <= 0 ? -1 : static_cast<int>(got);
}

int write_key(void* handle, const unsigned char* data, std::size_t size) {
  return static_cast<int>(::send(fd_of(handle), data, size, MSG_NOSIGNAL));
}

constexpr fido_dev_io_t io = {
    .open = open_key, .close = close_key, .read = read_key, .write = write_key};

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int fido_dev_info_manifest(fido_dev_info_t* list, std::size_t size, std::size_t* found) {
  if (folder() == nullptr) {
    return next<decltype(fido_dev_info_manifest)>("fido_dev_info_manifest")(list, size, found);
  }
  std::vector<Path> keys;
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    if (entry.path().extension() == ".key") keys.push_back(entry.path());
  }
  std::ranges::sort(keys);
  *found = 0;
  for (const Path& key : keys) {
    if (*found == size) break;
    const int result =
        fido_dev_info_set(list, *found, key.c_str(), "Softkey", key.stem().c_str(), &io, nullptr);
    if (result != FIDO_OK) return result;
    ++*found;
  }
  return FIDO_OK;
}

extern "C" int fido_dev_open(fido_dev_t* device, const char* path) {
  if (folder() != nullptr) {
    const int result = fido_dev_set_io_functions(device, &io);
    if (result != FIDO_OK) return result;
  }
  return next<decltype(fido_dev_open)>("fido_dev_open")(device, path);
}
