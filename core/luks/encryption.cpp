#include "core/luks/encryption.h"

#include "core/base/error.h"
#include "core/luks/last_zone.h"
#include "core/luks/reporter.h"

#include <fcntl.h>
#include <libcryptsetup.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace volseal {

namespace {

// In the sector after the boot block (Documentation/filesystems/ext4, "The Super Block").
constexpr std::uint64_t ext_magic_sector = 1024;
// btrfs has its superblock at 64 KiB, of 4 KiB, with a checksum over all of it.
constexpr std::uint64_t last_superblock_end = 128ULL << 10U;

void zero(const Path& device, std::uint64_t begin, std::uint64_t end) {
  const UniqueFd fd = open_file(device, O_WRONLY);
  if (::lseek(fd.get(), static_cast<off_t>(begin), SEEK_SET) < 0)
    throw_errno(errno, "write {}", device.native());
  write_all(fd.get(), std::string(end - begin, '\0'), device.native());
  sync_fd(fd.get(), device.native());
}

}  // namespace

void clear_superblock(const Path& device) {
  zero(device, ext_magic_sector, ext_magic_sector + 512);
  zero(device, 0, superblock_bytes);
}

void InPlaceEncryption::begin(const Path& header, const Path& device, const Secret& passphrase,
                              int keyslot, std::uint32_t sector_size) {
  Volume volume = Volume::load(header);
  // The digest over the re-encryption's own metadata is keyed with the volume key: 512 random bits.
  volume.stretch_nothing();
  crypt_device* const raw = volume.device_.get();
  if (const int r = crypt_set_data_device(raw, device.c_str()); r != 0) {
    volume.fail(r, "attach " + device.native() + " to the header");
  }
  crypt_params_luks2 luks2{};
  luks2.sector_size = sector_size;
  crypt_params_reencrypt parameters{};
  parameters.mode = CRYPT_REENCRYPT_ENCRYPT;
  parameters.direction = CRYPT_REENCRYPT_BACKWARD;
  parameters.resilience = "datashift";
  parameters.hash = "sha256";
  parameters.data_shift = header_bytes / 512;
  parameters.luks2 = &luks2;
  parameters.flags = CRYPT_REENCRYPT_INITIALIZE_ONLY | CRYPT_REENCRYPT_MOVE_FIRST_SEGMENT;
  const int r = crypt_reencrypt_init_by_passphrase(
      raw, nullptr, passphrase.chars(), passphrase.size(), CRYPT_ANY_SLOT, keyslot,
      crypt_get_cipher(raw), crypt_get_cipher_mode(raw), &parameters);
  if (r < 0) volume.fail(r, "prepare " + device.native() + " for encryption with the header");
  // Both must be on their disks before anything rests on them.
  sync_fd(open_file(device, O_RDONLY).get(), device.native());
  sync_fd(open_file(header, O_RDONLY).get(), header.native());
}

InPlaceEncryption::State InPlaceEncryption::state(const Path& device) {
  const Volume volume = Volume::load(device);
  crypt_params_reencrypt parameters{};
  switch (crypt_reencrypt_status(volume.device_.get(), &parameters)) {
    case CRYPT_REENCRYPT_NONE: return State::none;
    case CRYPT_REENCRYPT_CLEAN: return State::clean;
    case CRYPT_REENCRYPT_CRASH: return State::crashed;
    case CRYPT_REENCRYPT_INVALID: break;
  }
  throw Error(Code::damaged, "look at the encryption of {}: its metadata contradicts itself",
              device.native());
}

bool InPlaceEncryption::run(const Path& device, const Secret& passphrase,
                            const std::string& mapping, const GoOn& go_on) {
  const Volume volume = Volume::load(device);
  crypt_device* const raw = volume.device_.get();
  crypt_params_reencrypt parameters{};
  const crypt_reencrypt_info state = crypt_reencrypt_status(raw, &parameters);
  if (state == CRYPT_REENCRYPT_NONE) return true;
  if (last_zone(device) == LastZone::encrypted) {
    if (!volume.opens_with(passphrase)) {
      throw Error(Code::wrong_secret, "finish the encryption of {}: no keyslot opens with it",
                  device.native());
    }
    finish_after_last_zone(device);
    return true;
  }
  // Memory that is not there would be made room for by writing to disks; among them this one, whose
  // hot zone waits for us.
  if (!mapping.empty() && ::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    throw_errno(errno, "lock memory to encrypt {} while it is in use", device.native());
  const auto prepare = [&](std::uint32_t flags) {
    parameters = {};
    parameters.flags = flags;
    return crypt_reencrypt_init_by_passphrase(raw, mapping.empty() ? nullptr : mapping.c_str(),
                                              passphrase.chars(), passphrase.size(), CRYPT_ANY_SLOT,
                                              CRYPT_ANY_SLOT, nullptr, nullptr, &parameters);
  };
  // Cut off or failed within a hot zone: libcryptsetup resumes only what was repaired first.
  if (state == CRYPT_REENCRYPT_CRASH) {
    if (const int r = prepare(CRYPT_REENCRYPT_RECOVERY); r < 0)
      volume.fail(r, "repair the last hot zone of");
    // The last one of all.
    if (crypt_reencrypt_status(raw, &parameters) == CRYPT_REENCRYPT_NONE) return true;
  }
  int r = prepare(CRYPT_REENCRYPT_RESUME_ONLY);
  if (r < 0) volume.fail(r, "resume the encryption of");
  Reporter reporter{.go_on = &go_on};
  r = crypt_reencrypt_run(raw, Reporter::call, &reporter);
  if (reporter.stopped) return false;
  if (r < 0) volume.fail(r, "encrypt");
  return true;
}

void install_header(const Path& header, const Path& device, bool replaces_data) {
  if (replaces_data) {
    clear_superblock(device);
    const std::uint64_t end = std::min<std::uint64_t>(size_of(header), last_superblock_end);
    if (end > superblock_bytes) zero(device, superblock_bytes, end);
  }
  const Volume target = Volume::open(device);
  if (const int r = crypt_header_restore(target.device_.get(), nullptr, header.c_str()); r != 0) {
    target.fail(r, "write the header " + header.native() + " to");
  }
  sync_fd(open_file(device, O_RDONLY).get(), device.native());
  const std::string wanted = read_head(header, size_of(header));
  if (read_head(device, wanted.size()) != wanted) {
    throw Error(Code::io, "write the header {} to {}: it reads back differently", header.native(),
                device.native());
  }
}

void convert_to_luks2(const Path& header) {
  const Volume volume = Volume::load(header);
  if (const int r = crypt_convert(volume.device_.get(), CRYPT_LUKS2, nullptr); r != 0) {
    volume.fail(r, "convert to LUKS2");
  }
  sync_fd(open_file(header, O_RDONLY).get(), header.native());
}

void copy_luks1_header(const Path& device, const Path& file) {
  const std::uint64_t size = Volume::load(device).data_offset();
  if (size < 4096 || size > header_bytes) {
    throw Error(Code::unsafe, "copy the header of {}: its data begins at byte {}", device.native(),
                size);
  }
  const std::string head = read_head(device, size);
  const UniqueFd fd = open_file(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
  write_all(fd.get(), head, file.native());
  sync_fd(fd.get(), file.native());
  sync_folder(file.parent_path());
}

std::string read_head(const Path& path, std::uint64_t size) {
  const UniqueFd fd = open_file(path, O_RDONLY);
  std::string data(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        ::pread(fd.get(), data.data() + done, size - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(errno, "read {}", path.native());
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  data.resize(done);
  return data;
}

}  // namespace volseal
