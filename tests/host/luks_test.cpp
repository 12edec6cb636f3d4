#include "core/base/error.h"
#include "core/luks/encryption.h"
#include "core/luks/header.h"
#include "core/luks/last_zone.h"
#include "core/luks/volume.h"
#include "core/protect/group_protector.h"
#include "core/protect/recovery_key.h"
#include "tests/support/image.h"

#include <gmock/gmock.h>
#include <sys/file.h>

#include <atomic>
#include <thread>

namespace volseal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LuksTest : public ImageTest {
 protected:
  // A header file with one keyslot for `passphrase`, for a device of that size.
  Path header_for(const Path& device, std::uint32_t sector_size = 512) {
    Path header = blank("header", 0);
    std::filesystem::resize_file(header, 4096);
    Volume volume = Volume::format(
        header, {.sector_size = sector_size, .label = "test", .data_device = device});
    EXPECT_EQ(volume.add_first_keyslot(passphrase, Stretch::none), 0);
    return header;
  }

  Path formatted(std::uint64_t mebibytes) {
    const Path device = blank("device", mebibytes);
    install_header(header_for(device), device, false);
    return device;
  }

  // Changes the JSON of both header copies and mends their checksums, as an attacker would.
  static void tamper(const Path& device, const std::string& from, const std::string& to) {
    const auto result = run({"python3", "-", device.native(), from, to}, R"(
import hashlib, sys
path, old, new = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode()
with open(path, 'r+b') as f:
    size = int.from_bytes(f.read(4096)[8:16], 'big')
    for offset in (0, size):
        f.seek(offset)
        data = bytearray(f.read(size))
        assert data.count(old) >= 1, 'not there'
        text = data[4096:].rstrip(b'\0').replace(old, new)
        data[4096:] = text.ljust(size - 4096, b'\0')
        data[448:512] = bytes(64)
        data[448:480] = hashlib.sha256(data).digest()
        f.seek(offset)
        f.write(data)
)");
    ASSERT_EQ(result.status, 0) << result.output;
  }

  const Secret passphrase = new_recovery_key();
};

TEST_F(LuksTest, AFormattedVolumeOpensAndItsHeaderReadsBack) {
  const Path device = formatted(64);
  const Volume volume = Volume::load(device);
  EXPECT_EQ(volume.opens_with(passphrase), 0);
  EXPECT_FALSE(volume.opens_with(Secret::copy_of("wrong")));

  const auto header = read_header(device);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->damage, "");
  EXPECT_EQ(header->uuid, volume.uuid());
  EXPECT_EQ(header->label, "test");
  EXPECT_EQ(header->key_bytes, 64U);
  ASSERT_EQ(header->segments.size(), 1U);
  EXPECT_EQ(header->segments[0].cipher, "aes-xts-plain64");
  EXPECT_EQ(header->segments[0].offset, header_bytes);
  EXPECT_EQ(header->keyslots[0].pbkdf, "pbkdf2");
  EXPECT_EQ(header->keyslots[0].cost, 1000U);
}

// As systemd-cryptsetup holds it while it stretches a passphrase.
class OthersTurn {
 public:
  OthersTurn() {
    std::filesystem::create_directories(folder);
    lock_ = open_file(file, O_RDWR | O_CREAT);
    EXPECT_EQ(::flock(lock_.get(), LOCK_EX), 0);
  }

  // Returns once `ended`, or somebody waits for the lock.
  bool is_waited_for(const std::atomic<bool>& ended) const {
    struct stat status{};
    EXPECT_EQ(::fstat(lock_.get(), &status), 0);
    const std::string inode = ":" + std::to_string(status.st_ino) + " ";
    while (!ended) {
      std::istringstream locks(read_file("/proc/locks"));
      for (std::string line; std::getline(locks, line);) {
        if (line.contains("-> FLOCK") && line.contains(inode)) return true;
      }
      std::this_thread::yield();
    }
    return false;
  }

  void end() {
    std::filesystem::remove(file);
    lock_.reset();
  }

 private:
  static constexpr const char* folder = "/run/cryptsetup";
  static constexpr const char* file = "/run/cryptsetup/LN_memory-hard-access";
  UniqueFd lock_;
};

TEST_F(LuksTest, OneArgon2AtATime) {
  const Path device = formatted(64);
  write_file(folder / "key", passphrase.view());
  write_file(folder / "typed", "a passphrase");
  run_or_throw({"cryptsetup", "luksAddKey", "--pbkdf", "argon2id", "--pbkdf-memory", "65536",
                "--pbkdf-force-iterations", "4", "--key-file", (folder / "key").native(),
                device.native(), (folder / "typed").native()});
  const auto waits = [&](const std::function<void()>& work) {
    OthersTurn others;
    std::atomic<bool> ended = false;
    std::jthread thread([&] {
      work();
      ended = true;
    });
    const bool waited = others.is_waited_for(ended);
    others.end();
    thread.join();
    return waited;
  };
  EXPECT_TRUE(waits(
      [&] { EXPECT_EQ(Volume::load(device).opens_with(Secret::copy_of("a passphrase")), 1); }));
  EXPECT_TRUE(waits(
      [&] { Volume::load(device).add_keyslot(passphrase, new_recovery_key(), Stretch::none); }));
  EXPECT_FALSE(waits([&] { EXPECT_EQ(Volume::load(device).opens_with(passphrase, 0), 0); }))
      << "a key of 256 bits takes no memory";
}

TEST_F(LuksTest, KeyslotsAndTokensComeAndGo) {
  const Path device = formatted(64);
  Volume volume = Volume::load(device);
  const Secret other = Secret::copy_of("a passphrase that somebody typed");
  const int slot = volume.add_keyslot(passphrase, other, Stretch::none);
  EXPECT_THROW(volume.add_keyslot(Secret::copy_of("wrong"), other, Stretch::none), Error);
  const int token = volume.set_token(recovery_token_json(0));
  EXPECT_EQ(volume.tokens().at(0).type, "systemd-recovery");
  volume.remove_token(token);
  EXPECT_TRUE(volume.tokens().empty());
  volume.remove_keyslot(slot);
  EXPECT_FALSE(volume.opens_with(other));
  EXPECT_THAT(volume.keyslots(), ElementsAre(0));
}

TEST_F(LuksTest, RefusesANullCipherEvenWithTheRightPassphrase) {
  const Path device = formatted(64);
  Volume::load(device).refuse_unsafe();
  tamper(device, R"("encryption":"aes-xts-plain64","sector_size")",
         R"("encryption":"cipher_null-ecb","sector_size")");
  const Volume volume = Volume::load(device);
  EXPECT_EQ(volume.opens_with(passphrase), 0) << "libcryptsetup itself notices nothing";
  EXPECT_THROW(volume.refuse_unsafe(), Error);
}

TEST_F(LuksTest, TheBindingChangesWithTheSegmentsAndNotWithKeyslots) {
  const Path device = formatted(64);
  Volume volume = Volume::load(device);
  const Secret group = Secret::random(32);
  const Bytes before = binding_mac(group, volume.binding_text("full"));
  volume.add_keyslot(passphrase, Secret::copy_of("another"), Stretch::none);
  volume.set_token(recovery_token_json(1));
  EXPECT_EQ(binding_mac(group, volume.binding_text("full")), before);
  EXPECT_NE(binding_mac(Secret::random(32), volume.binding_text("full")), before);
  tamper(device, R"("offset":"16777216")", R"("offset":"16781312")");
  EXPECT_NE(binding_mac(group, Volume::load(device).binding_text("full")), before);
}

TEST_F(LuksTest, TellsNoHeaderFromABrokenOne) {
  const auto code_of = [](const Path& path) {
    try {
      Volume::load(path);
    } catch (const Error& error) {
      return error.code();
    }
    return Code::internal;
  };
  EXPECT_EQ(code_of(folder / "absent"), Code::not_found);
  EXPECT_EQ(code_of(blank("empty", 1)), Code::not_luks);
  EXPECT_EQ(code_of(blank("nothing", 0)), Code::not_luks);

  const Path device = formatted(64);
  {
    std::fstream file(device);
    file.seekp(5000);
    file << "garbage";
    file.seekp(65536 + 5000);
    file << "garbage";
  }
  EXPECT_EQ(code_of(device), Code::damaged);
  EXPECT_THAT(read_header(device)->damage, HasSubstr("no header copy is good"));
  std::filesystem::resize_file(device, 3000);
  EXPECT_THAT(read_header(device)->damage, HasSubstr("no header copy is good"));
  EXPECT_EQ(code_of(device), Code::damaged);
}

TEST_F(LuksTest, AHeaderNestedTooDeeplyIsNotWalkedThrough) {
  const Path device = formatted(64);
  const std::uint64_t size = 64U << 10U;
  const auto nested = [&](std::size_t levels) {
    // A token of somebody's: brackets in its texts are none.
    tamper(device, R"("tokens":{)",
           R"("tokens":{"7":{"type":"x","keyslots":[],"t":"[[[[[\"[[[[[","x":)" +
               std::string(levels, '[') + std::string(levels, ']') + "}");
    return read_header(device)->damage;
  };
  EXPECT_EQ(nested(29), "");
  ASSERT_TRUE(identify_header(device));
  EXPECT_EQ(identify_header(device)->tokens.count(7), 1U);
  EXPECT_EQ(identify_header(formatted(64))->tokens.size(), 0U);
  EXPECT_EQ(nested(size / 3), "its metadata is nested too deeply");
}

TEST_F(LuksTest, ReadingAHalfDamagedHeaderRepairsNothing) {
  const Path device = formatted(64);
  {
    std::fstream file(device);
    file.seekp(5000);
    file << "garbage";
  }
  const std::string before = digest(device);
  EXPECT_THAT(read_header(device)->damage, HasSubstr("the secondary is good"));
  EXPECT_EQ(digest(device), before);
}

TEST_F(LuksTest, EncryptsAnExt4InPlaceAndKeepsItsFiles) {
  const Path device = ext4("device", 128);
  const Path out = folder / "out";
  const std::string random = file_in_ext4(device, "/random", out);
  run_or_throw({"e2fsck", "-fp", device.native()});
  run_or_throw({"resize2fs", device.native(), "96M"});
  std::filesystem::resize_file(device, 128U << 20U);  // resize2fs cuts image files off
  const Path header = header_for(device, 4096);
  const Secret group = Secret::random(32);
  const Bytes bound = binding_mac(group, Volume::load(header).binding_text("reencrypt"));
  EXPECT_EQ(std::filesystem::file_size(header), header_bytes)
      << "it overwrites all of the old head";
  InPlaceEncryption::begin(header, device, passphrase, 0, 4096);
  EXPECT_EQ(file_in_ext4(device, "/random", out), random)
      << "until the header is there, it is an ext4";
  install_header(header, device, true);
  EXPECT_EQ(InPlaceEncryption::state(device), InPlaceEncryption::State::clean);

  auto converting = read_header(device);
  EXPECT_EQ(converting->reencryption, "encrypt");
  EXPECT_EQ(converting->encrypted_bytes, 0U);
  EXPECT_EQ(converting->damage, "");
  EXPECT_EQ(binding_mac(group, Volume::load(device).binding_text("reencrypt")), bound);

  std::uint64_t last = 0;
  EXPECT_TRUE(
      InPlaceEncryption::run(device, passphrase, "", [&](std::uint64_t done, std::uint64_t total) {
        EXPECT_GE(done, last);
        EXPECT_EQ(total, (128U << 20U) - header_bytes);
        last = done;
        return true;
      }));
  EXPECT_EQ(InPlaceEncryption::state(device), InPlaceEncryption::State::none);
  EXPECT_EQ(binding_mac(group, Volume::load(device).binding_text("reencrypt")), bound);
  Volume::load(device).refuse_unsafe();
  const auto done = read_header(device);
  EXPECT_EQ(done->reencryption, "");
  EXPECT_EQ(done->segments.at(0).sector_size, 4096U);

  // Decrypting it with libcryptsetup's own tool gives the files back.
  const Path key = folder / "key";
  write_secret_file(key, passphrase);
  run_or_throw({"cryptsetup", "reencrypt", "-q", "--decrypt", "--force-offline-reencrypt",
                "--header", (folder / "detached").native(), "--key-file", key.native(),
                device.native()});
  EXPECT_EQ(file_in_ext4(device, "/random", out), random);
}

// The power goes when the last zone is synced; before or after the first segment's copy in the
// clear is overwritten. libcryptsetup cannot go on from there.
TEST_F(LuksTest, FinishesWhatWasCutOffBehindTheLastZone) {
  const Path device = ext4("device", 128);
  const Path out = folder / "out";
  const std::string random = file_in_ext4(device, "/random", out);
  run_or_throw({"e2fsck", "-fp", device.native()});
  run_or_throw({"resize2fs", device.native(), "96M"});
  std::filesystem::resize_file(device, 128U << 20U);
  const Path header = header_for(device, 4096);
  InPlaceEncryption::begin(header, device, passphrase, 0, 4096);
  install_header(header, device, true);
  const Path synced = folder / "synced";
  InPlaceEncryption::run(device, passphrase, "", [&](std::uint64_t done, std::uint64_t total) {
    if (done == total) std::filesystem::copy_file(device, synced);
    return true;
  });
  const Path overwritten = folder / "overwritten";
  std::filesystem::copy_file(synced, overwritten);
  {
    std::fstream file(overwritten);
    file.seekp(112 << 20);
    file << std::string(header_bytes, 'x');
  }
  EXPECT_EQ(last_zone(device), LastZone::ahead) << "it is done";
  const std::string clear_copy = [&] {
    std::ifstream file(synced, std::ios::binary);
    file.seekg(112 << 20);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }();

  for (const Path& image : {synced, overwritten}) {
    EXPECT_EQ(last_zone(image), LastZone::encrypted);
    EXPECT_EQ(InPlaceEncryption::state(image), InPlaceEncryption::State::clean);
    EXPECT_THROW(InPlaceEncryption::run(image, Secret::copy_of("other"), "", {}), Error);
    EXPECT_EQ(last_zone(image), LastZone::encrypted);
    EXPECT_TRUE(InPlaceEncryption::run(image, passphrase, "", {}));
    EXPECT_EQ(InPlaceEncryption::state(image), InPlaceEncryption::State::none);
    EXPECT_EQ(last_zone(image), LastZone::ahead);
    const auto done = read_header(image);
    EXPECT_EQ(done->damage, "");
    EXPECT_EQ(done->segments.size(), 1U);
    EXPECT_EQ(done->keyslots.size(), 1U);
    Volume::load(image).refuse_unsafe();
    EXPECT_EQ(Volume::load(image).opens_with(passphrase), 0);
    EXPECT_EQ(Volume::load(image).binding_text("full"), Volume::load(device).binding_text("full"));
    run_or_throw({"cryptsetup", "luksDump", image.native()});
    // Nothing is left in the clear.
    std::ifstream file(image, std::ios::binary);
    file.seekg(112 << 20);
    const std::string tail(std::istreambuf_iterator<char>(file), {});
    for (std::size_t at = 0; at < tail.size(); at += 4096)
      ASSERT_NE(tail.substr(at, 4096), clear_copy.substr(at, 4096));

    const Path key = image.native() + ".key";
    write_secret_file(key, passphrase);
    run_or_throw({"cryptsetup", "reencrypt", "-q", "--decrypt", "--force-offline-reencrypt",
                  "--header", image.native() + ".detached", "--key-file", key.native(),
                  image.native()});
    EXPECT_EQ(file_in_ext4(image, "/random", out), random);
  }
}

}  // namespace
}  // namespace volseal
