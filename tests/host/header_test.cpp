// Header backups as people use them, and the record beside each.
#include "core/base/error.h"
#include "core/luks/backup.h"
#include "tests/support/image.h"
#include "tests/support/swtpm.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class HeaderTest : public ImageTest {
 protected:
  HeaderTest() {
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml",
               "[volumes]\nheader_backups = \"" + backups().native() + "\"\n");
    write_file(folder / "key", "passphrase");
    write_file(folder / "new-key", "another passphrase");
    write_file(folder / "wrong", "wrong");
  }

  Path backups() const { return folder / "headers"; }
  std::string key() const { return (folder / "key").native(); }

  ProcessResult volseal(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {VOLSEAL_BINARY,
                                     "--tcti",
                                     swtpm.tcti(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / "state").native(),
                                     "header"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run(argv);
  }
  ProcessResult restore(const Path& image, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"restore", image.native(), "--yes", "--key-file", key()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return volseal(arguments);
  }

  static void cryptsetup(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "cryptsetup");
    run_or_throw(arguments);
  }

  // A LUKS volume that "passphrase" opens, with random data in it.
  Path luks(const std::string& name, const std::string& type = "luks2") const {
    const Path image = blank(name, 32);
    cryptsetup({"luksFormat", "-q", "--type", type, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
                "1000", image.native(), key()});
    return image;
  }
  bool opens(const Path& image, const std::string& by) const {
    return run({"cryptsetup", "open", "--test-passphrase", "--key-file", by, image.native()})
               .status == 0;
  }
  Path backup_of(const Path& image) const {
    return backup_place(backups(), read_header(image)->uuid);
  }
  // As an accident does it.
  static void lose_header(const Path& image) {
    run_or_throw({"dd", "if=/dev/zero", "of=" + image.native(), "bs=1M", "count=16", "conv=notrunc",
                  "status=none"});
  }
  static void flip(const Path& file, std::streamoff at) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const int byte = stream.get();
    stream.seekp(at);
    stream.put(static_cast<char>(byte ^ 1));
  }
  std::string actions() const { return read_file(folder / "state/audit.log"); }

  test::Swtpm swtpm;
};

TEST_F(HeaderTest, ALostHeaderComesBackAndOpens) {
  const Path image = luks("disk.img");
  const std::string before = digest(image);
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  EXPECT_EQ(volseal({"verify", image.native()}).status, 0);
  EXPECT_EQ(volseal({"verify", backup.native()}).status, 0);

  lose_header(image);
  const std::string lost = digest(image);
  const auto verified = volseal({"verify", image.native()});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.output, HasSubstr("header is lost"));

  // No key, or a wrong one: nothing is written.
  EXPECT_EQ(volseal({"restore", image.native(), "--yes"}).status, 64);
  EXPECT_EQ(volseal({"restore", image.native(), "--yes", "--key-file", folder / "wrong"}).status,
            6);
  EXPECT_EQ(digest(image), lost);

  const auto restored = restore(image);
  ASSERT_EQ(restored.status, 0) << restored.output;
  EXPECT_EQ(digest(image), before);
  EXPECT_TRUE(opens(image, key()));
  EXPECT_THAT(actions(), AllOf(HasSubstr(R"("header.backup","outcome":"ok")"),
                               HasSubstr(R"("header.restore","outcome":"refused")"),
                               HasSubstr(R"("header.restore","outcome":"started")"),
                               HasSubstr(R"("header.restore","outcome":"ok")")));
  EXPECT_THAT(restore(image).output, HasSubstr("already"));
}

TEST_F(HeaderTest, TheTpmProvesTheBackupWhereNoKeyIsGiven) {
  const Path image = luks("disk.img");
  const auto added = run({VOLSEAL_BINARY, "--tcti", swtpm.tcti(), "--policy",
                          (folder / "policy.toml").native(), "--state", (folder / "state").native(),
                          "protector", "add", "tpm", image.native(), "--key-file", key()});
  ASSERT_EQ(added.status, 0) << added.output;
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const std::string before = digest(image);
  lose_header(image);
  swtpm.extend(7, "another boot loader");
  EXPECT_EQ(volseal({"restore", image.native(), "--yes"}).status, 7);
  swtpm.restart();
  swtpm.extend(7, "firmware");
  const auto restored = volseal({"restore", image.native(), "--yes"});
  ASSERT_EQ(restored.status, 0) << restored.output;
  EXPECT_THAT(restored.output, HasSubstr("opens by tpm"));
  EXPECT_EQ(digest(image), before);
}

TEST_F(HeaderTest, ABrokenCopyIsRepairedAndWhatWasThereIsKept) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  const std::string before = digest(image);
  flip(image, 5000);
  ASSERT_EQ(restore(image).status, 0);
  EXPECT_EQ(digest(image), before);
  int kept = 0;
  for (const auto& file : std::filesystem::directory_iterator(backups())) {
    if (file.path().native().find(".head-before-") == std::string::npos) continue;
    ++kept;
    EXPECT_EQ(std::filesystem::file_size(file), 16U << 20U);
    flip(file.path(), 5000);
    EXPECT_EQ(digest(file), digest(backup));
  }
  EXPECT_EQ(kept, 1);
}

TEST_F(HeaderTest, AnotherVolumesHeaderIsRefused) {
  const Path image = luks("disk.img");
  const Path other = luks("other.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  ASSERT_EQ(volseal({"backup", other.native()}).status, 0);
  const Path backup = backup_of(image);
  const std::string before = digest(other);
  const auto refused = restore(other, {"--file", backup.native()});
  EXPECT_EQ(refused.status, 5);
  EXPECT_THAT(refused.output, HasSubstr("it is the header of volume"));
  EXPECT_EQ(digest(other), before);

  // Without its header, by name and size.
  lose_header(other);
  const std::string lost = digest(other);
  const auto unnamed = restore(other, {"--file", backup.native()});
  EXPECT_EQ(unnamed.status, 5);
  EXPECT_THAT(unnamed.output, HasSubstr("another device"));
  std::filesystem::remove(record_place(backup));
  EXPECT_THAT(restore(other, {"--file", backup.native()}).output, HasSubstr("no record"));
  EXPECT_EQ(digest(other), lost);
  // The right one is found among those that are there.
  EXPECT_EQ(restore(other).status, 0);
  EXPECT_EQ(digest(other), before);

  // Of another size now.
  lose_header(other);
  std::filesystem::resize_file(other, 40U << 20U);
  EXPECT_EQ(restore(other).status, 4);
  EXPECT_THAT(restore(other, {"--file", (backups() / "x").native()}).output,
              HasSubstr("No such file"));
}

TEST_F(HeaderTest, AHeaderFromBeforeAReencryptionIsRefused) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  cryptsetup({"reencrypt", "-q", "--key-file", key(), "--pbkdf", "pbkdf2",
              "--pbkdf-force-iterations", "1000", "--force-offline-reencrypt", image.native()});
  const std::string before = digest(image);
  const auto refused = restore(image);
  EXPECT_EQ(refused.status, 5);
  EXPECT_THAT(refused.output, HasSubstr("re-encrypted"));
  EXPECT_EQ(digest(image), before);
  EXPECT_EQ(volseal({"verify", image.native()}).status, 2);
  EXPECT_EQ(volseal({"verify", backup.native()}).status, 2);
  // libcryptsetup itself would have done it.
  const Path copy = folder / "copy";
  std::filesystem::copy_file(image, copy);
  EXPECT_EQ(run({"cryptsetup", "luksHeaderRestore", "-q", "--header-backup-file", backup.native(),
                 copy.native()})
                .status,
            0);
  // A new backup takes the place of the old one.
  EXPECT_EQ(volseal({"backup", image.native()}).status, 0);
  EXPECT_EQ(volseal({"verify", image.native()}).status, 0);
}

TEST_F(HeaderTest, WhileItIsReencryptedNothingIsBackedUpOrRestored) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  cryptsetup({"reencrypt", "-q", "--init-only", "--key-file", key(), "--pbkdf", "pbkdf2",
              "--pbkdf-force-iterations", "1000", image.native()});
  const std::string before = digest(image);
  const auto not_made = volseal({"backup", image.native()});
  EXPECT_EQ(not_made.status, 5);
  EXPECT_THAT(not_made.output, HasSubstr("is being re-encrypted"));
  EXPECT_EQ(restore(image).status, 5);
  EXPECT_EQ(digest(image), before);

  // Made by somebody else at such a moment, it fits no volume.
  const Path foreign = folder / "foreign";
  std::filesystem::copy_file(image, foreign);
  std::filesystem::resize_file(foreign, 16U << 20U);
  const auto refused = restore(image, {"--file", foreign.native()});
  EXPECT_EQ(refused.status, 4);
  EXPECT_THAT(refused.output, HasSubstr("while the volume was being re-encrypted"));
}

TEST_F(HeaderTest, AFlippedByteInTheBackupIsFound) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  std::filesystem::permissions(backup, std::filesystem::perms::owner_all);
  lose_header(image);
  const std::string lost = digest(image);
  for (const std::streamoff at : {100, 5000, 16384 + 5000, 40000, 15 << 20}) {
    flip(backup, at);
    const auto verified = volseal({"verify", backup.native()});
    EXPECT_EQ(verified.status, 2) << at;
    EXPECT_THAT(verified.output, HasSubstr("damaged")) << at;
    EXPECT_EQ(restore(image, {"--file", backup.native()}).status, 4) << at;
    flip(backup, at);
  }
  EXPECT_EQ(digest(image), lost);
  std::filesystem::resize_file(backup, 1U << 20U);
  EXPECT_EQ(volseal({"verify", backup.native()}).status, 2);
  std::filesystem::remove(record_place(backup));
  EXPECT_THAT(volseal({"verify", backup.native()}).output, HasSubstr("cut off"));
}

TEST_F(HeaderTest, SaysWhatIsNewerOnTheVolume) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  cryptsetup({"luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
              "--key-file", key(), image.native(), (folder / "new-key").native()});
  auto verified = volseal({"verify", image.native()});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.output, HasSubstr("keyslot 1 was added"));
  verified = volseal({"verify", "--json", backup.native()});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.output, AllOf(HasSubstr(R"("verdict": "outdated")"),
                                     HasSubstr("\"volume\": \"" + image.native() + "\"")));

  cryptsetup({"luksKillSlot", "-q", image.native(), "0"});
  verified = volseal({"verify", image.native()});
  EXPECT_THAT(verified.output, HasSubstr("keyslot 0 was removed"));
  const auto restored = restore(image);
  EXPECT_EQ(restored.status, 0);
  EXPECT_THAT(restored.output, HasSubstr("since then keyslot 0 was removed: that is undone"));
  EXPECT_TRUE(opens(image, key()));
  EXPECT_FALSE(opens(image, folder / "new-key"));
}

TEST_F(HeaderTest, ACutBetweenTheTwoRenamesIsNoFalseAlarm) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  const Path old = folder / "old";
  std::filesystem::copy_file(backup, old);
  cryptsetup({"config", image.native(), "--label", "new"});
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  // The record is the new one, the header has not taken its place yet.
  std::filesystem::rename(old, backup);
  const auto verified = volseal({"verify", backup.native()});
  EXPECT_EQ(verified.status, 1);
  EXPECT_THAT(verified.output, HasSubstr("the one before, and whole"));
  lose_header(image);
  EXPECT_EQ(restore(image).status, 0);
  // But one that was damaged before does not become whole by that.
  std::filesystem::permissions(backup, std::filesystem::perms::owner_all);
  flip(backup, 40000);
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  EXPECT_THAT(read_file(record_place(backup)), HasSubstr(R"("previous_sha256": "")"));
}

TEST_F(HeaderTest, ALuks1HeaderIsBackedUpToo) {
  const Path image = luks("disk.img", "luks1");
  const std::string before = digest(image);
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  EXPECT_EQ(volseal({"verify", image.native()}).status, 0);
  lose_header(image);  // and data behind it, which was blank here
  const auto restored = restore(image);
  EXPECT_EQ(restored.status, 0) << restored.output;
  EXPECT_TRUE(opens(image, key()));
  EXPECT_EQ(digest(image), before);
}

TEST_F(HeaderTest, WhatElseLiesThereIsNotOverwritten) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  run_or_throw({"mke2fs", "-q", "-F", image.native()});
  const std::string before = digest(image);
  const auto refused = restore(image);
  EXPECT_EQ(refused.status, 5);
  EXPECT_THAT(refused.output, AllOf(HasSubstr("ext2"), HasSubstr("wipefs")));
  EXPECT_EQ(digest(image), before);

  EXPECT_EQ(volseal({"backup", blank("blank.img", 32).native()}).status, 4);
  EXPECT_EQ(volseal({"verify", blank("blank.img", 32).native()}).status, 2);
  EXPECT_EQ(volseal({"backup", (folder / "absent").native()}).status, 4);
}

TEST_F(HeaderTest, TheRecordIsReadStrictly) {
  const Path image = luks("disk.img");
  ASSERT_EQ(volseal({"backup", image.native()}).status, 0);
  const Path backup = backup_of(image);
  const std::string good = read_file(record_place(backup));
  const BackupRecord record = parse_backup_record(good);
  EXPECT_EQ(to_json(record), good);
  EXPECT_THAT(record.names, ElementsAre(std::filesystem::canonical(image).native()));
  EXPECT_EQ(record.device_size, 32U << 20U);
  EXPECT_THAT(record.keyslots, ElementsAre(0));
  EXPECT_THAT(record.segments, SizeIs(1));

  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  const auto refused = [](const std::string& text) {
    try {
      parse_backup_record(text);
    } catch (const Error& error) {
      return error.code() == Code::damaged;
    }
    return false;
  };
  std::vector<std::string> bad = {"",
                                  "[]",
                                  "{}",
                                  good.substr(0, good.size() / 2),
                                  with(R"("uuid")", R"("guid")"),
                                  with(R"("made_at")", R"("more": 1, "made_at")"),
                                  with("header-backup/1", "header-backup/2"),
                                  with(record.uuid, "../../etc/passwd"),
                                  with(record.sha256, record.sha256.substr(1)),
                                  with(R"("keyslots": [)", R"("keyslots": [64,)"),
                                  with(R"("keyslots": [)", R"("keyslots": [-1,)"),
                                  with(R"("device_size": )", R"("device_size": -)"),
                                  with(R"("names": [)", R"("names": [1,)"),
                                  with(R"("offset": )", R"("offset": null, "x": )"),
                                  std::string(100000, '[')};
  std::string many = R"("names": [)";
  for (int i = 0; i < 300; ++i) many += R"("x",)";
  bad.push_back(with(R"("names": [)", many));
  bad.push_back(good + std::string(300000, ' '));
  for (const std::string& text : bad) EXPECT_TRUE(refused(text)) << text.substr(0, 400);

  write_file(record_place(backup), "{}");
  const auto verified = volseal({"verify", backup.native()});
  EXPECT_EQ(verified.status, 2);
  EXPECT_THAT(verified.output, HasSubstr("record cannot be used"));
}

TEST_F(HeaderTest, DevicesAreToldApartByTheBestNameThatBothHave) {
  Backup backup;
  backup.record = BackupRecord{
      .device_size = 100,
      .names = {"/dev/disk/by-id/ata-A", "/dev/disk/by-partlabel/data", "/dev/disk/by-path/pci-1"}};
  const auto fits = [&](const std::vector<std::string>& names, std::uint64_t size = 100) {
    return why_not_of(backup, {.header = {}, .size = size, .names = names}).empty();
  };
  EXPECT_TRUE(fits({"/dev/disk/by-id/ata-A", "/dev/disk/by-path/pci-2"})) << "it was moved";
  EXPECT_FALSE(fits({"/dev/disk/by-id/ata-B", "/dev/disk/by-path/pci-1"})) << "it was replaced";
  EXPECT_TRUE(fits({"/dev/disk/by-path/pci-1"})) << "nothing better is known";
  EXPECT_FALSE(fits({"/dev/disk/by-id/ata-A"}, 101));
  EXPECT_FALSE(fits({"/dev/disk/by-partlabel/data"})) << "anybody may choose a label";
  EXPECT_FALSE(fits({}));
}

}  // namespace
}  // namespace volseal
