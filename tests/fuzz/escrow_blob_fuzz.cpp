// CMS from anywhere: Error{bad_blob}, or a blob that a key which is no recipient's does not open.
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/escrow/cms.h"

#include <unistd.h>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

// A key of P-256 that nothing was ever encrypted to.
constexpr std::string_view pem = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtCUOf6u/aCtRYkuu
TU1SwCJYIqwJ7dHaRra6tA8oyKOhRANCAATd5pjrIFNOCDMNsNhh/aeYgCX3tHx8
ow4aAeWddKfxrWGpqfZnfx4b+6iIFdJXADSHtTrnrvTiQQcetjskqCh+
-----END PRIVATE KEY-----
)";

const volseal::escrow::PrivateKey& key() {
  static const volseal::escrow::PrivateKey loaded = [] {
    std::string path = (std::filesystem::temp_directory_path() / "volseal-fuzz.XXXXXX").native();
    const volseal::UniqueFd fd(::mkstemp(path.data()));
    const volseal::Finally clean([&] { ::unlink(path.c_str()); });
    volseal::write_all(fd.get(), pem, path);
    return volseal::escrow::PrivateKey::load(path, {});
  }();
  return loaded;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    const escrow::Blob blob(std::string(reinterpret_cast<const char*>(data), size));
    if (blob.recipients().size() > 64) std::abort();
    if (blob.open(key())) std::abort();
  } catch (const Error& error) {
    if (error.code() != Code::bad_blob) std::abort();
  }
  return 0;
}
