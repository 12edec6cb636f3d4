// volseal erase as people use it, on image files: what is gone, what is proven, what a cut leaves.
#include "core/base/base64.h"
#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/erase/erasure.h"
#include "core/luks/header.h"
#include "core/luks/volume.h"
#include "tests/support/image.h"
#include "tests/support/swtpm.h"
#include "tests/support/terminal.h"
#include "tpm/connection.h"
#include "tpm/counter.h"
#include "tpm/state.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace volseal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr std::size_t sector = 512;

class EraseTest : public ImageTest {
 protected:
  EraseTest() {
    swtpm.extend(7, "firmware");
    write_file(folder / "policy.toml",
               "[volumes]\nheader_backups = \"" + backups().native() + "\"\n");
    write_file(folder / "key", "passphrase");
  }

  Path backups() const { return folder / "headers"; }
  Path state() const { return folder / "state"; }

  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {VOLSEAL_BINARY,
                                     "--tcti",
                                     swtpm.tcti(),
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     state().native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }
  ProcessResult volseal(const std::vector<std::string>& arguments) const {
    return run(command(arguments));
  }
  ProcessResult erase(const Path& image, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"erase", image.native(), "--yes-really"});
    return volseal(more);
  }

  Path luks(const std::string& name, std::vector<std::string> more = {}) const {
    const Path image = blank(name, 32);
    std::vector<std::string> argv = {"cryptsetup", "luksFormat",   "-q",
                                     "--pbkdf",    "pbkdf2",       "--pbkdf-force-iterations",
                                     "1000",       image.native(), (folder / "key").native()};
    argv.insert(argv.end(), more.begin(), more.end());
    run_or_throw(argv);
    return image;
  }
  bool opens(const Path& header) const {
    return run({"cryptsetup", "open", "--test-passphrase", "--key-file", (folder / "key").native(),
                header.native()})
               .status == 0;
  }
  static bool is_luks(const Path& path) {
    return run({"cryptsetup", "isLuks", path.native()}).status == 0;
  }
  static std::string bytes(const Path& path) { return read_file(path, 256U << 20U); }
  // Those of the header and the keyslots that have anything in them.
  static std::set<std::string> sectors(const std::string& content, std::size_t end) {
    std::set<std::string> all;
    for (std::size_t at = 0; at < end; at += sector) {
      std::string one = content.substr(at, sector);
      if (one.find_first_not_of('\0') != std::string::npos) all.insert(std::move(one));
    }
    return all;
  }
  Json certificate() const {
    Json found;
    for (const auto& entry : std::filesystem::directory_iterator(state() / "erasures")) {
      const std::string name = entry.path().filename().native();
      if (name.ends_with(".json") && !name.ends_with(".dsse.json"))
        found.push_back(Json::parse(read_file(entry.path())));
    }
    EXPECT_EQ(found.size(), 1);
    return found.at(0);
  }
  Path certificate_file(const std::string& ending) const {
    for (const auto& entry : std::filesystem::directory_iterator(state() / "erasures")) {
      if (entry.path().native().ends_with(ending)) return entry.path();
    }
    return {};
  }
  std::string log() const { return read_file(state() / "audit.log"); }
  static std::string digest_of(const Path& path, const Json& area) {
    return sha256_hex(bytes(path).substr(area.at("offset"), area.at("bytes")));
  }

  test::Swtpm swtpm;
};

TEST_F(EraseTest, NothingOfHeaderAndKeyslotsIsLeftAndNothingOpensIt) {
  const Path image = luks("disk.img");
  const std::string uuid = read_header(image)->uuid;
  const std::string before = bytes(image);
  const std::set<std::string> old = sectors(before, 16U << 20U);
  ASSERT_GT(old.size(), 400);  // a keyslot of 512 bits alone has 500
  run_or_throw({"cryptsetup", "luksHeaderBackup", image.native(), "--header-backup-file",
                (folder / "copy").native()});
  ASSERT_TRUE(opens(image));

  const auto erased = erase(image);
  ASSERT_EQ(erased.status, 0) << erased.output;
  EXPECT_FALSE(is_luks(image));
  EXPECT_FALSE(opens(image));
  EXPECT_THROW(Volume::load(image), Error);
  const std::string after = bytes(image);
  for (std::size_t at = 0; at < after.size(); at += sector)
    ASSERT_FALSE(old.contains(after.substr(at, sector))) << at;
  EXPECT_EQ(after.substr(16U << 20U), before.substr(16U << 20U));

  const Json certificate = this->certificate();
  EXPECT_EQ(certificate.at("schema"), "volseal-erasure/1");
  EXPECT_EQ(certificate.at("complete"), true);
  const Json volume = certificate.at("volumes").at(0);
  EXPECT_EQ(volume.at("luks_uuid"), uuid);
  EXPECT_EQ(volume.at("path"), image.native());
  EXPECT_FALSE(volume.contains("seed"));
  std::uint64_t covered = 0;
  for (const Json& area : volume.at("areas")) {
    EXPECT_EQ(area.at("sha256"), digest_of(image, area));
    covered += area.at("bytes").get<std::uint64_t>();
  }
  EXPECT_EQ(covered, 16U << 20U);
  EXPECT_THAT(log(), AllOf(HasSubstr(R"("erase.start","outcome":"started")"),
                           HasSubstr(R"("erase.volume","outcome":"started")"),
                           HasSubstr(R"("erase.volume","outcome":"ok")"),
                           HasSubstr(R"("erase.finish","outcome":"ok")"),
                           HasSubstr(R"("erase.certificate","outcome":"ok")")));
  EXPECT_TRUE(std::filesystem::is_empty(state() / "erase"));
  // What the documentation says of copies is so: that is why they are named.
  EXPECT_TRUE(opens(folder / "copy"));
  EXPECT_EQ(erase(image).status, 4);
}

TEST_F(EraseTest, Luks1AndDetachedHeadersGoWhole) {
  const Path old = luks("luks1.img", {"--type", "luks1"});
  const std::set<std::string> keys = sectors(bytes(old), read_header(old)->segments[0].offset);
  ASSERT_EQ(erase(old).status, 0);
  EXPECT_FALSE(is_luks(old));
  const std::string after = bytes(old);
  for (std::size_t at = 0; at < after.size(); at += sector)
    ASSERT_FALSE(keys.contains(after.substr(at, sector))) << at;

  const Path header = folder / "header";
  const Path data = luks("data.img", {"--type", "luks2", "--header", header.native()});
  const std::string ciphertext = digest(data);
  ASSERT_TRUE(opens(header));
  EXPECT_EQ(erase(data).status, 4) << "there is no header on it, and crypttab has none";
  ASSERT_TRUE(opens(header));
  const auto erased = erase(data, {"--header", header.native()});
  ASSERT_EQ(erased.status, 0) << erased.output;
  EXPECT_FALSE(opens(header));
  EXPECT_EQ(digest(data), ciphertext);
}

TEST_F(EraseTest, WhatIsNoVolumeOrPartlyInTheClearIsLeftAlone) {
  const Path plain = ext4("plain.img", 32);
  const std::string before = digest(plain);
  EXPECT_EQ(erase(plain).status, 4);
  EXPECT_EQ(digest(plain), before);

  const Path half = ext4("half.img", 96);
  run_or_throw({"resize2fs", half.native(), "60M"});
  run_or_throw({"cryptsetup", "reencrypt", "-q", "--encrypt", "--init-only", "--reduce-device-size",
                "32M", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file",
                (folder / "key").native(), half.native()});
  const std::string half_before = digest(half);
  const auto refused = erase(half);
  EXPECT_EQ(refused.status, 5);
  EXPECT_THAT(refused.output, HasSubstr("still in the clear"));
  EXPECT_EQ(digest(half), half_before);
  EXPECT_THAT(log(), HasSubstr(R"("erase.start","outcome":"refused")"));

  // Both headers unreadable: nobody can say which volume it is.
  const Path broken = luks("broken.img");
  std::fstream stream(broken, std::ios::in | std::ios::out | std::ios::binary);
  for (const int at : {4096, 16384 + 4096}) {
    stream.seekp(at);
    stream.put('X');
  }
  stream.close();
  EXPECT_EQ(erase(broken).status, 5);
}

TEST_F(EraseTest, WithoutTheNameTypedAndASecondWordNothingHappens) {
  const Path image = luks("disk.img");
  const std::string before = digest(image);
  EXPECT_EQ(volseal({"erase", image.native()}).status, 64);
  EXPECT_EQ(digest(image), before);
  {
    test::Terminal terminal(command({"erase", image.native()}));
    terminal.answer("type the device's name", "yes\n");
    EXPECT_EQ(terminal.wait(), 64);
  }
  {
    test::Terminal terminal(command({"erase", image.native()}));
    terminal.answer("type the device's name", "disk.img\n");
    terminal.answer("Type 'destroy'", "yes\n");
    EXPECT_EQ(terminal.wait(), 64);
  }
  EXPECT_EQ(digest(image), before);
  EXPECT_FALSE(std::filesystem::exists(state() / "audit.log"));
  test::Terminal terminal(command({"erase", image.native()}));
  terminal.expect("keyslot 0: passphrase");
  terminal.answer("type the device's name", "disk.img\n");
  terminal.answer("Type 'destroy'", "destroy\n");
  EXPECT_EQ(terminal.wait(), 0) << terminal.shown();
  EXPECT_FALSE(is_luks(image));
}

TEST_F(EraseTest, HeaderBackupsAreNamedAndOnlyDestroyedWhereThatIsAskedFor) {
  const Path image = luks("disk.img");
  const Path pristine = folder / "pristine";
  std::filesystem::copy_file(image, pristine);
  const std::string uuid = read_header(image)->uuid;
  const Path backup = backups() / (uuid + ".luks-header");
  ASSERT_EQ(volseal({"header", "backup", image.native()}).status, 0);
  const auto kept = erase(image);
  ASSERT_EQ(kept.status, 0);
  EXPECT_THAT(kept.output, HasSubstr("shred -u " + backup.native()));
  EXPECT_TRUE(opens(backup));
  EXPECT_EQ(certificate().at("complete"), false);
  EXPECT_THAT(read_file(certificate_file(".html")), HasSubstr("What still exists"));

  std::filesystem::remove_all(state() / "erasures");
  std::filesystem::copy_file(pristine, image, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::create_hard_link(backup, folder / "other-name");
  ASSERT_EQ(erase(image, {"--header-backups"}).status, 0);
  EXPECT_FALSE(std::filesystem::exists(backup));
  EXPECT_FALSE(opens(folder / "other-name")) << "it was only removed";
  EXPECT_EQ(certificate().at("complete"), true);
}

// Before every sync, rename and removal in turn: the volume is as it was, or the same command ends
// what was begun; and no cut leaves a certificate of what was not done.
TEST_F(EraseTest, APowerCutAtAnyStepIsGoneOnFrom) {
  const Path image = luks("disk.img");
  const Path pristine = folder / "pristine";
  ASSERT_EQ(volseal({"header", "backup", image.native()}).status, 0);
  std::filesystem::copy_file(image, pristine);
  const Path pristine_backups = folder / "headers.pristine";
  std::filesystem::copy(backups(), pristine_backups);
  int untouched = 0;
  int half = 0;
  int at = 1;
  for (;; ++at) {
    ASSERT_LT(at, 300);
    std::filesystem::copy_file(pristine, image, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(state());
    std::filesystem::remove_all(backups());
    std::filesystem::copy(pristine_backups, backups());
    std::vector<std::string> argv = {"/usr/bin/env", "LD_PRELOAD=" VOLSEAL_DIE_AT,
                                     "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
                                     "VOLSEAL_DIE_AT=" + std::to_string(at)};
    const auto program = command({"erase", image.native(), "--yes-really", "--header-backups"});
    argv.insert(argv.end(), program.begin(), program.end());
    const auto cut = run(argv);
    if (cut.status == 0) break;
    ASSERT_EQ(cut.status, 99) << at << cut.output;
    if (opens(image)) {
      ++untouched;
      EXPECT_EQ(digest(image), digest(pristine)) << "step " << at;
    } else {
      ++half;
    }
    const auto again = volseal({"erase", image.native(), "--yes-really", "--header-backups"});
    // The last removal is that of the journal: then it was all done.
    const bool was_done = half > 0 && std::filesystem::exists(state() / "erase") &&
                          std::filesystem::is_empty(state() / "erase") && again.status == 4;
    EXPECT_TRUE(again.status == 0 || was_done) << "step " << at << again.output;
    EXPECT_FALSE(is_luks(image)) << "step " << at;
    EXPECT_FALSE(opens(image)) << "step " << at;
    EXPECT_TRUE(std::filesystem::is_empty(backups())) << "step " << at;
    const Json certificate = this->certificate();
    for (const Json& area : certificate.at("volumes").at(0).at("areas"))
      EXPECT_EQ(area.at("sha256"), digest_of(image, area)) << "step " << at;
  }
  EXPECT_GT(untouched, 2);
  EXPECT_GT(half, 8);
  EXPECT_FALSE(is_luks(image));
}

TEST_F(EraseTest, AHalfErasedVolumeIsKnownAgainWithoutItsHeader) {
  const Path image = luks("disk.img");
  const Path other = luks("other.img");
  ErasureEntry entry{.id = "1234", .target = image.native(), .started_at = "2026-01-01T00:00:00Z"};
  entry.certificates = (state() / "erasures").native();
  ErasedVolume volume{.path = image.native(),
                      .name = image.native(),
                      .size = 32U << 20U,
                      .header = image.native(),
                      .luks_uuid = read_header(image)->uuid,
                      .seed = Noise::new_seed()};
  volume.areas = {{.what = "keyslots", .offset = 32768, .bytes = (16U << 20U) - 32768},
                  {.what = "header", .offset = 0, .bytes = 32768}};
  {
    const UniqueFd fd = open_file(image, O_RDWR);
    const Noise noise(volume.seed);
    for (ErasedArea& area : volume.areas) overwrite(fd.get(), image, area, noise);
  }
  entry.volumes = {volume};
  make_folder(state());
  ErasureJournal(state()).write(entry);

  // Another volume that took its name is left alone.
  std::filesystem::rename(image, folder / "away.img");
  std::filesystem::rename(other, image);
  const std::string before = digest(image);
  EXPECT_EQ(erase(image).status, 4);
  EXPECT_EQ(digest(image), before);
  std::filesystem::rename(image, other);
  std::filesystem::rename(folder / "away.img", image);
  EXPECT_THAT(volseal({"plan", image.native()}).output, HasSubstr("half erased"));
  EXPECT_EQ(volseal({"enroll", "--yes", image.native()}).status, 5);

  // No scan finds an image; the journal names it.
  const auto finished = volseal({"erase"});
  EXPECT_EQ(finished.status, 0) << finished.output;
  EXPECT_TRUE(std::filesystem::is_empty(state() / "erase"));
}

TEST_F(EraseTest, WhatTheDiskDidNotTakeIsFound) {
  const Path image = blank("disk.img", 4);
  const Noise noise(Noise::new_seed());
  ErasedArea area{.what = "keyslots", .offset = 4096, .bytes = (3U << 20U) + 512};
  {
    const UniqueFd fd = open_file(image, O_RDWR);
    overwrite(fd.get(), image, area, noise);
  }
  prove_overwritten(image, area, noise);
  EXPECT_EQ(area.sha256, sha256_hex(bytes(image).substr(4096, area.bytes)));
  EXPECT_TRUE(begins_with_noise(image, 4096, noise));
  EXPECT_FALSE(begins_with_noise(image, 0, noise));
  EXPECT_EQ(bytes(image).substr(0, 4096), std::string(4096, '\0'));
  EXPECT_EQ(bytes(image).substr(4096 + area.bytes, 512), std::string(512, '\0'));
  for (const std::streamoff at : {4096, (2 << 20) + 17, 4096 + (3 << 20) + 511}) {
    std::fstream stream(image, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(at);
    const int byte = stream.get();
    stream.seekp(at);
    stream.put(static_cast<char>(byte ^ 1));
    stream.close();
    EXPECT_THROW(prove_overwritten(image, area, noise), Error) << at;
    stream.open(image, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(at);
    stream.put(static_cast<char>(byte));
  }
  prove_overwritten(image, area, noise);
}

TEST_F(EraseTest, TheCertificateIsVerifiedElsewhereByEitherKey) {
  const Path image = luks("disk.img");
  const auto erased = volseal({"erase", image.native(), "--yes-really", "--json"});
  ASSERT_EQ(erased.status, 0) << erased.output;
  const Path envelope = certificate_file(".dsse.json");
  ASSERT_FALSE(envelope.empty());
  write_file(folder / "tpm.pem", volseal({"evidence", "key"}).output);
  write_file(folder / "log.key", volseal({"audit", "key"}).output);
  const auto verify = [&](const Path& file, const std::string& key) {
    return run({VOLSEAL_BINARY, "--state", (folder / "nobody").native(), "evidence", "verify",
                file.native(), "--key", (folder / key).native()});
  };
  for (const char* key : {"tpm.pem", "log.key"}) {
    const auto verified = verify(envelope, key);
    EXPECT_EQ(verified.status, 0) << key << verified.output;
    EXPECT_THAT(verified.output, AllOf(HasSubstr(image.native()), HasSubstr("SHA-256")));
  }
  // One letter of it changed, by who has no key.
  Json changed = Json::parse(read_file(envelope));
  std::string payload;
  const auto decoded = from_base64(changed.at("payload").get<std::string>());
  payload.assign(decoded->begin(), decoded->end());
  const auto at = payload.find("disk.img");
  ASSERT_NE(at, std::string::npos);
  payload[at] = 'D';
  changed["payload"] =
      to_base64({reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()});
  write_file(folder / "changed", changed.dump());
  EXPECT_EQ(verify(folder / "changed", "tpm.pem").status, 5);
  EXPECT_EQ(verify(folder / "changed", "log.key").status, 5);
  // Without a TPM the log's key signs alone, and that is said.
  const Path second = luks("second.img");
  std::filesystem::remove_all(state() / "erasures");
  const auto alone = run({VOLSEAL_BINARY, "--tcti", "swtpm:path=/nowhere", "--policy",
                          (folder / "policy.toml").native(), "--state", state().native(), "erase",
                          second.native(), "--yes-really"});
  ASSERT_EQ(alone.status, 0) << alone.output;
  EXPECT_THAT(alone.output, AllOf(HasSubstr("signed by the key of the audit log"),
                                  Not(HasSubstr("signed by the TPM"))));
  EXPECT_EQ(verify(certificate_file(".dsse.json"), "log.key").status, 0);
}

class EraseGroupTest : public EraseTest {
 protected:
  void add_tpm(const Path& image) const {
    const auto added = volseal(
        {"protector", "add", "tpm", image.native(), "--key-file", (folder / "key").native()});
    ASSERT_EQ(added.status, 0) << added.output;
  }
  bool counter_is_there(std::uint32_t index) const {
    tpm::Connection connection = tpm::Connection::connect(swtpm.tcti());
    return tpm::look_at_counter(connection, index) != tpm::CounterState::none;
  }
};

TEST_F(EraseGroupTest, TheSecretOfAGroupIsNowhereAndAnOldHeaderOpensByNoTpm) {
  const Path one = luks("one.img");
  const Path two = luks("two.img");
  add_tpm(one);
  add_tpm(two);
  const auto index = tpm::GroupState(state(), "default").counter();
  ASSERT_TRUE(index && counter_is_there(*index));
  run_or_throw({"cryptsetup", "luksHeaderBackup", one.native(), "--header-backup-file",
                (folder / "copy").native()});
  const Path old_state = folder / "old-state";
  std::filesystem::copy(state(), old_state, std::filesystem::copy_options::recursive);
  ASSERT_EQ(
      volseal({"drill", "--keyslot", "0", "--key-file", (folder / "key").native(), one.native()})
          .status,
      0);

  const auto erased = volseal({"erase", "default", one.native(), two.native(), "--yes-really"});
  ASSERT_EQ(erased.status, 0) << erased.output;
  EXPECT_FALSE(is_luks(one));
  EXPECT_FALSE(is_luks(two));
  EXPECT_FALSE(counter_is_there(*index));
  EXPECT_FALSE(std::filesystem::exists(state() / "groups/default"));
  EXPECT_THAT(read_file(state() / "drills.json"), Not(HasSubstr("passphrase")));
  const Json certificate = this->certificate();
  EXPECT_EQ(certificate.at("group"), "default");
  EXPECT_EQ(certificate.at("volumes").size(), 2);
  EXPECT_EQ(certificate.at("group_secret").at("tpm"), "cleared");
  EXPECT_EQ(certificate.at("group_secret").at("counter"), "removed");

  // Somebody brings back the header and every file, and even the counter: the TPM does not open.
  write_file(folder / "restored.img", bytes(two));
  run_or_throw({"cryptsetup", "luksHeaderRestore", "-q", two.native(), "--header-backup-file",
                (folder / "copy").native()});
  const auto by_tpm = [&] {
    return run({VOLSEAL_BINARY, "--tcti", swtpm.tcti(), "--policy",
                (folder / "policy.toml").native(), "--state", old_state.native(), "unlock",
                "--test", "--json", two.native()});
  };
  EXPECT_NE(by_tpm().status, 0);
  {
    tpm::Connection connection = tpm::Connection::connect(swtpm.tcti());
    EXPECT_EQ(tpm::make_counter(connection, tpm::GroupState(old_state, "default")), *index);
  }
  EXPECT_EQ(by_tpm().status, 7) << by_tpm().output;
}

TEST_F(EraseGroupTest, OneVolumeOfAGroupLeavesTheOthers) {
  const Path one = luks("one.img");
  const Path two = luks("two.img");
  add_tpm(one);
  add_tpm(two);
  const auto erased = erase(one);
  ASSERT_EQ(erased.status, 0);
  EXPECT_THAT(erased.output, HasSubstr("volseal erase default"));
  EXPECT_EQ(volseal({"unlock", "--test", "--json", two.native()}).status, 0);
}

TEST_F(EraseGroupTest, AnotherMachinesGroupOfTheSameNameIsLeftAlone) {
  const Path ours = luks("ours.img");
  add_tpm(ours);
  const Path theirs = luks("theirs.img");
  {
    const auto added =
        run({VOLSEAL_BINARY, "--tcti", swtpm.tcti(), "--policy", (folder / "policy.toml").native(),
             "--state", (folder / "other-machine").native(), "protector", "add", "tpm",
             theirs.native(), "--key-file", (folder / "key").native()});
    ASSERT_EQ(added.status, 0) << added.output;
  }
  const std::string before = digest(theirs);
  EXPECT_EQ(volseal({"erase", "default", ours.native(), theirs.native(), "--yes-really"}).status,
            5);
  EXPECT_EQ(digest(theirs), before);
  EXPECT_TRUE(opens(ours));
}

TEST_F(EraseGroupTest, WithoutItsTpmAGroupIsOnlyErasedOnDemand) {
  const Path one = luks("one.img");
  add_tpm(one);
  const auto without = [&](std::vector<std::string> more) {
    std::vector<std::string> argv = {VOLSEAL_BINARY,
                                     "--tcti",
                                     "swtpm:path=/nowhere",
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     state().native(),
                                     "erase",
                                     "default",
                                     one.native(),
                                     "--yes-really"};
    argv.insert(argv.end(), more.begin(), more.end());
    return run(argv);
  };
  EXPECT_EQ(without({}).status, 5);
  EXPECT_TRUE(opens(one));
  ASSERT_EQ(without({"--without-tpm"}).status, 0);
  EXPECT_FALSE(is_luks(one));
  EXPECT_EQ(certificate().at("complete"), false);
  EXPECT_EQ(certificate().at("group_secret").at("tpm"), "absent");
}

TEST_F(EraseGroupTest, APowerCutAtAnyStepOfAGroupIsGoneOnFrom) {
  const Path image = luks("one.img");
  add_tpm(image);
  const auto index = tpm::GroupState(state(), "default").counter();
  const Path pristine = folder / "pristine";
  std::filesystem::copy_file(image, pristine);
  const Path pristine_state = folder / "pristine-state";
  std::filesystem::rename(state(), pristine_state);
  int at = 1;
  int half = 0;
  // Every third step: each phase has several.
  for (;; at += 3) {
    ASSERT_LT(at, 400);
    std::filesystem::copy_file(pristine, image, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(state());
    std::filesystem::copy(pristine_state, state(), std::filesystem::copy_options::recursive);
    std::vector<std::string> argv = {"/usr/bin/env", "LD_PRELOAD=" VOLSEAL_DIE_AT,
                                     "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
                                     "VOLSEAL_DIE_AT=" + std::to_string(at)};
    const auto program = command({"erase", "default", image.native(), "--yes-really"});
    argv.insert(argv.end(), program.begin(), program.end());
    const auto cut = run(argv);
    if (cut.status == 0) break;
    ASSERT_EQ(cut.status, 99) << at << cut.output;
    const bool begun = !ErasureJournal(state()).unfinished().empty();
    half += begun ? 1 : 0;
    const auto again = begun ? volseal({"erase", "default", image.native()})
                             : volseal({"erase", "default", image.native(), "--yes-really"});
    const bool was_done = !begun && !std::filesystem::exists(state() / "groups/default");
    EXPECT_TRUE(again.status == 0 || was_done) << "step " << at << again.output;
    EXPECT_FALSE(is_luks(image)) << "step " << at;
    EXPECT_FALSE(std::filesystem::exists(state() / "groups/default")) << "step " << at;
    EXPECT_FALSE(counter_is_there(*index)) << "step " << at;
    EXPECT_EQ(certificate().at("complete"), true) << "step " << at;
  }
  EXPECT_GT(half, 3);
}

}  // namespace
}  // namespace volseal
