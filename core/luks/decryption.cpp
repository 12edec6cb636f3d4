#include "core/luks/decryption.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/luks/header.h"
#include "core/luks/last_zone.h"
#include "core/luks/reporter.h"
#include "core/luks/volume.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <libcryptsetup.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

namespace volseal {

namespace {

// A file without a name, for this process only.
struct MemoryFile {
  UniqueFd fd;
  Path path;

  static MemoryFile of_size(const char* name, std::uint64_t size) {
    UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
    if (!fd) throw_errno(errno, "make a file in memory");
    if (::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
      throw_errno(errno, "make a file of {} bytes in memory", size);
    }
    Path path = fmt::format("/proc/self/fd/{}", fd.get());
    return {.fd = std::move(fd), .path = std::move(path)};
  }
};

}  // namespace

void InPlaceDecryption::rehearse(const Path& header, std::uint64_t device_size,
                                 const Secret& passphrase) {
  const std::string bytes = read_head(header, size_of(header));
  const MemoryFile copy = MemoryFile::of_size("volseal-header", 0);
  write_all(copy.fd.get(), bytes, "a copy of the header in memory");
  // All holes; what is moved in it takes data_offset() bytes of memory.
  const MemoryFile stand_in = MemoryFile::of_size("volseal-rehearsal", device_size);
  begin(copy.path, stand_in.path, passphrase);
}

void InPlaceDecryption::begin(const Path& header, const Path& device, const Secret& passphrase) {
  Volume volume = Volume::load(header);
  // The digest over the re-encryption's own metadata is keyed with the volume key.
  volume.stretch_nothing();
  crypt_device* const raw = volume.device_.get();
  const std::uint64_t shift = volume.data_offset() / 512;
  if (const int r = crypt_set_data_device(raw, device.c_str()); r != 0) {
    volume.fail(r, "attach " + device.native() + " to the header");
  }
  crypt_params_reencrypt parameters{};
  parameters.mode = CRYPT_REENCRYPT_DECRYPT;
  parameters.direction = CRYPT_REENCRYPT_FORWARD;
  parameters.resilience = "datashift-checksum";
  parameters.hash = "sha256";
  parameters.data_shift = shift;
  parameters.flags = CRYPT_REENCRYPT_INITIALIZE_ONLY | CRYPT_REENCRYPT_MOVE_FIRST_SEGMENT;
  const int r = crypt_reencrypt_init_by_passphrase(raw, nullptr, passphrase.chars(),
                                                   passphrase.size(), CRYPT_ANY_SLOT,
                                                   CRYPT_ANY_SLOT, nullptr, nullptr, &parameters);
  if (r < 0) volume.fail(r, "prepare " + device.native() + " for decryption with the header");
  // libcryptsetup 2.6.1 does not sync the copied piece before the header speaks of it. So nothing
  // may rest on either before both are on their disks.
  sync_fd(open_file(device, O_RDONLY).get(), device.native());
  sync_fd(open_file(header, O_RDONLY).get(), header.native());
}

bool InPlaceDecryption::is_at_last_piece(const Path& header) {
  const Volume volume = Volume::load(header);
  const char* text = nullptr;
  if (crypt_dump_json(volume.device_.get(), &text, 0) != 0 || text == nullptr) {
    throw Error(Code::damaged, "look at the decryption in {}: libcryptsetup shows no metadata",
                header.native());
  }
  try {
    // Segments are numbered from the start of the data (LUKS2 on-disk format 1.1, section 3.3).
    const nlohmann::json first = nlohmann::json::parse(text).at("segments").at("0");
    const auto flags = first.value("flags", std::vector<std::string>());
    return first.at("type") == "linear" ||
           std::ranges::find(flags, "in-reencryption") != flags.end();
  } catch (const nlohmann::json::exception&) {
    throw Error(Code::damaged,
                "look at the decryption in {}: its metadata lacks what LUKS2 demands",
                header.native());
  }
}

bool InPlaceDecryption::is_done(const Path& header) {
  // libcryptsetup repairs what a cut has left of one of the two copies.
  static_cast<void>(Volume::load(header));
  const auto found = read_header(header);
  if (!found || !found->damage.empty()) {
    throw Error(Code::damaged, "look at the decryption in {}: {}", header.native(),
                found ? found->damage : "there is no LUKS header");
  }
  // Then libcryptsetup must not see it again.
  if (last_zone(header) == LastZone::decrypted) return true;
  return found->requirements.empty() && !found->segments.empty() &&
         std::ranges::all_of(found->segments, [](const LuksSegment& segment) {
           return segment.type == "linear" && segment.offset == 0;
         });
}

bool InPlaceDecryption::run(const Path& header, const Path& device, const Secret& passphrase,
                            const GoOn& go_on) {
  if (is_done(header)) return true;
  const Volume volume = Volume::load(header);
  crypt_device* const raw = volume.device_.get();
  if (const int r = crypt_set_data_device(raw, device.c_str()); r != 0) {
    volume.fail(r, "attach " + device.native() + " to the header");
  }
  crypt_params_reencrypt parameters{};
  const crypt_reencrypt_info state = crypt_reencrypt_status(raw, &parameters);
  if (state == CRYPT_REENCRYPT_INVALID ||
      (state != CRYPT_REENCRYPT_NONE && parameters.mode != CRYPT_REENCRYPT_DECRYPT)) {
    throw Error(Code::damaged, "go on decrypting {}: {} contradicts itself", device.native(),
                header.native());
  }
  const auto prepare = [&](std::uint32_t flags) {
    parameters = {};
    parameters.flags = flags;
    return crypt_reencrypt_init_by_passphrase(raw, nullptr, passphrase.chars(), passphrase.size(),
                                              CRYPT_ANY_SLOT, CRYPT_ANY_SLOT, nullptr, nullptr,
                                              &parameters);
  };
  // Cut off or failed within a hot zone: libcryptsetup resumes only what was repaired first.
  if (state == CRYPT_REENCRYPT_CRASH) {
    if (const int r = prepare(CRYPT_REENCRYPT_RECOVERY); r < 0)
      volume.fail(r, "repair the last hot zone of " + device.native() + " by");
  }
  if (crypt_reencrypt_status(raw, &parameters) != CRYPT_REENCRYPT_NONE) {
    int r = prepare(CRYPT_REENCRYPT_RESUME_ONLY);
    if (r < 0) volume.fail(r, "resume the decryption of " + device.native() + " by");
    Reporter reporter{.go_on = &go_on};
    r = crypt_reencrypt_run(raw, Reporter::call, &reporter);
    // Even where it is told to stop, libcryptsetup finishes what was the last zone.
    if (r >= 0 && reporter.stopped && !is_done(header)) return false;
    if (r < 0) volume.fail(r, "decrypt " + device.native() + " by");
  }
  sync_fd(open_file(device, O_RDONLY).get(), device.native());
  if (!is_done(header)) {
    throw Error(Code::damaged, "decrypt {}: {} does not say that it is done", device.native(),
                header.native());
  }
  return true;
}

std::string fingerprint(const Path& path, std::uint64_t offset, std::size_t size) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  // What was written through a mapping is not in the page cache of the device below it, which may
  // still hold what was there before.
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  std::string data(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        ::pread(fd.get(), data.data() + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", path.native());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return sha256_hex(std::string_view(data).substr(0, done));
}

std::string fingerprint_of_zeros(std::size_t size) {
  return sha256_hex(std::string(size, '\0'));
}

}  // namespace volseal
