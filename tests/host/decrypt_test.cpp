// Decryption in place on image files: real LUKS headers, libcryptsetup's own crash recovery. What
// needs device-mapper (mounts, crypttab, a volume of which only a part was encrypted) is tried in
// tests/uml.
#include "core/base/error.h"
#include "core/base/handle.h"
#include "core/decrypt/decryption.h"
#include "core/discover/discover.h"
#include "core/enroll/executor.h"
#include "core/luks/backup.h"
#include "core/luks/header.h"
#include "tests/support/image.h"

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>

namespace volseal {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t mib = 1ULL << 20U;
// Where the data begins in most volumes here: the smaller it is, the smaller the pieces that move.
constexpr std::uint64_t offset = 2 * mib;

// What a cut of power looks like to the code: it just ends.
struct Cut {};

class DecryptTest : public ImageTest {
 protected:
  DecryptTest() {
    policy = parse_policy(R"(
[[rule]]
name = "retired"
match = { path = "*" }
action = "leave"
reason = "goes to the museum"
)",
                          "test");
    policy.header_backups = (folder / "backups").native();
    write_file(folder / "key", "passphrase");
  }

  // A volume of somebody else's, all of whose data is noise.
  Path luks2(const std::string& name, std::uint64_t bytes,
             const std::vector<std::string>& options) const {
    const Path image = folder / name;
    run_or_throw({"dd", "if=/dev/urandom", "of=" + image.native(), "bs=1M", "iflag=count_bytes",
                  "count=" + std::to_string(bytes)});
    std::vector<std::string> argv = {
        "cryptsetup", "luksFormat", "-q",     "--type",
        "luks2",      "--pbkdf",    "pbkdf2", "--pbkdf-force-iterations",
        "1000"};
    argv.insert(argv.end(), options.begin(), options.end());
    const auto has = [&](const char* word) { return std::ranges::count(options, word) > 0; };
    if (!has("--offset") && !has("luks1")) {
      argv.insert(argv.end(), {"--offset", std::to_string(offset / 512)});
    }
    argv.push_back(image.native());
    argv.push_back((folder / "key").native());
    run_or_throw(argv);
    return image;
  }

  // What cryptsetup makes of a copy.
  std::string decrypted_by_cryptsetup(const Path& image) const {
    const Path copy = folder / "copy";
    std::filesystem::copy_file(image, copy, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(folder / "detached");
    const std::uint64_t room = Volume::load(image).data_offset();
    run_or_throw({"cryptsetup", "reencrypt", "-q", "--decrypt", "--force-offline-reencrypt",
                  "--header", (folder / "detached").native(), "--key-file",
                  (folder / "key").native(), copy.native()});
    std::filesystem::resize_file(copy, std::filesystem::file_size(image) - room);
    return digest(copy);
  }

  // The data, which must be followed by zeros to the end.
  std::string data_of(const Path& image, std::uint64_t room = offset) const {
    const std::uint64_t data = std::filesystem::file_size(image) - room;
    const std::string zeros = "head -c " + std::to_string(room) + " /dev/zero | sha256sum";
    EXPECT_EQ(digest(image, data), run_or_throw({"sh", "-c", zeros}).output);
    const Path copy = folder / "data";
    std::filesystem::copy_file(image, copy, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(copy, data);
    return digest(copy);
  }

  DeviceGraph graph_of(const Path& image) const {
    DeviceGraph graph;
    graph.devices.push_back(scan_image(image));
    return graph;
  }

  DecryptionPlan plan_for(const Path& image) const {
    return plan_decryption(graph_of(image), policy,
                           {.volume = image.native(), .today = "2026-01-01"});
  }

  Decryption decryption(const Path& image) {
    return {policy,
            {.state = folder / "state", .crypttab = folder / "crypttab", .fstab = folder / "fstab"},
            {.scan = [this, image] { return graph_of(image); },
             .open_with = [this](const DecryptionPlan&,
                                 const Volume&) { return Secret::copy_of(passphrase); },
             .on_step =
                 [this](const DecryptionPlan&, const std::string& step) {
                   steps.push_back(step);
                   cut_here();
                 },
             .progress =
                 [this](std::uint64_t done, std::uint64_t total) {
                   left = total - done;
                   return !stop_below || left > *stop_below;
                 },
             .record =
                 [this](const DecryptionPlan&, const std::string& action, const std::string&) {
                   actions.push_back(action);
                   cut_here();
                 }}};
  }

  void cut_here() {
    if (cut_after == 0) throw Cut{};
    if (cut_after > 0) --cut_after;
  }

  Path resume(const Path& image) {
    Decryption next = decryption(image);
    next.journal().remove_strays();
    auto unfinished = next.journal().unfinished();
    EXPECT_THAT(unfinished, SizeIs(1));
    return next.resume(unfinished.at(0));
  }

  // In a process of its own, which the kernel kills at the first byte beyond `bytes` of any file:
  // in the middle of a write. Returns the signal.
  template <typename F>
  static int killed_beyond(std::uint64_t bytes, F work) {
    const pid_t child = ::fork();
    if (child == 0) {
      const rlimit none{.rlim_cur = 0, .rlim_max = 0};
      ::setrlimit(RLIMIT_CORE, &none);
      const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      try {
        work();
      } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
      }
      ::_exit(1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

  std::size_t files_in_state() const {
    std::size_t files = 0;
    for (const auto& file : std::filesystem::directory_iterator(folder / "state/decrypt")) {
      files += file.is_regular_file() ? 1 : 0;
    }
    return files;
  }

  Policy policy;
  std::string passphrase = "passphrase";
  std::vector<std::string> steps;
  std::vector<std::string> actions;
  int cut_after = -1;                       // callbacks until the cut; -1: none
  std::optional<std::uint64_t> stop_below;  // progress says stop when fewer bytes are left
  std::uint64_t left = 0;
};

TEST_F(DecryptTest, GivesTheSameBytesAsCryptsetupForEverySizeAndSectorSize) {
  struct Case {
    std::uint64_t bytes;
    std::vector<std::string> options;
  };
  const std::string ours = std::to_string(header_bytes / 512);
  const std::vector<Case> cases = {
      {50 * mib, {"--sector-size", "4096", "--offset", ours}},
      {33 * mib + 512, {"--sector-size", "512", "--offset", ours}},
      {4 * mib, {"--sector-size", "4096"}},  // nothing behind the piece that moves
      {5 * mib + 4096, {"--sector-size", "4096"}},
      {11 * mib + 512, {"--sector-size", "512"}},
      {9 * mib, {"--sector-size", "512", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}},
  };
  int number = 0;
  for (const Case& one : cases) {
    const Path image = luks2("volume" + std::to_string(number++), one.bytes, one.options);
    const std::string wanted = decrypted_by_cryptsetup(image);
    const Volume volume = Volume::load(image);
    const std::uint64_t room = volume.data_offset();
    const Path backup = Path(policy.header_backups) / (volume.uuid() + ".luks-header");
    const DecryptionPlan plan = plan_for(image);
    ASSERT_THAT(plan.obstacles, IsEmpty());
    const Path aside = decryption(image).decrypt(plan);
    EXPECT_EQ(data_of(image, room), wanted) << one.bytes;
    EXPECT_FALSE(read_header(image));
    EXPECT_EQ(files_in_state(), 0U);
    EXPECT_EQ(aside, Path(backup) += ".decrypted");
    EXPECT_FALSE(std::filesystem::exists(backup));
    EXPECT_EQ(read_backup(aside).flaw, "");
  }
  EXPECT_THAT(actions, Contains("decrypt.start"));
  EXPECT_THAT(actions, Contains("decrypt.finish"));
}

TEST_F(DecryptTest, SurvivesACutAtEveryStep) {
  const Path original = luks2("original", 5 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(original);
  const Path image = folder / "volume";
  int cuts = 0;
  for (int at = 0;; ++at) {
    std::filesystem::copy_file(original, image, std::filesystem::copy_options::overwrite_existing);
    const std::string before = digest(image);
    std::filesystem::remove_all(folder / "state");
    cut_after = at;
    bool cut = false;
    try {
      decryption(image).decrypt(plan_for(image));
    } catch (const Cut&) {
      cut = true;
    }
    cut_after = -1;
    if (cut) {
      ++cuts;
      if (decryption(image).journal().unfinished().empty()) {
        // Nothing was begun, or all is done.
        if (read_header(image)) {
          EXPECT_EQ(digest(image), before) << "cut " << at;
          continue;
        }
      } else {
        resume(image);
      }
    }
    EXPECT_EQ(data_of(image), wanted) << "cut " << at;
    EXPECT_EQ(files_in_state(), 0U) << "cut " << at;
    if (!cut) break;
  }
  EXPECT_GE(cuts, 8);
}

TEST_F(DecryptTest, StopsAtASafePointAndGoesOn) {
  const Path image = luks2("volume", 12 * mib, {"--sector-size", "512"});
  const std::string wanted = decrypted_by_cryptsetup(image);
  stop_below = 5 * mib;
  try {
    decryption(image).decrypt(plan_for(image));
    FAIL() << "it did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::interrupted);
  }
  EXPECT_THROW(refuse_while_decrypting(folder / "state", "enroll"), Error);
  EXPECT_THROW(Volume::load(image), Error) << "the header is in the file only";
  stop_below.reset();
  resume(image);
  EXPECT_EQ(data_of(image), wanted);
  EXPECT_NO_THROW(refuse_while_decrypting(folder / "state", "enroll"));
}

// Where its header was there is data, which a header backup would overwrite for good.
TEST_F(DecryptTest, OtherVerbsKeepTheirHandsOffAHalfDecryptedVolume) {
  const Path image = luks2("volume", 8 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(image);
  stop_below = 6 * mib;
  EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
  const std::string before = digest(image);
  write_file(folder / "policy.toml",
             "[volumes]\nheader_backups = \"" + policy.header_backups + "\"\n");
  const auto volseal = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {VOLSEAL_BINARY, "--state", (folder / "state").native(),
                                         "--policy", (folder / "policy.toml").native()});
    arguments.push_back(image.native());
    return run(arguments);
  };
  const std::string key = (folder / "key").native();
  EXPECT_EQ(volseal({"header", "restore", "--yes", "--key-file", key}).status, 5);
  EXPECT_EQ(volseal({"enroll", "--yes", "--recovery-key-dir", folder.native()}).status, 5);
  EXPECT_THAT(volseal({"plan"}).output, HasSubstr("half decrypted: touch nothing"));
  EXPECT_EQ(volseal({"decrypt", "--key-file", "/dev/null"}).status, 64);
  EXPECT_EQ(digest(image), before);

  const ProcessResult done = volseal({"decrypt", "--key-file", key, "--json"});
  EXPECT_EQ(done.status, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr(R"("outcome": "done")"));
  EXPECT_EQ(data_of(image), wanted);
  EXPECT_THAT(read_file(folder / "state/audit.log"), HasSubstr(R"("decrypt.finish")"));
}

TEST_F(DecryptTest, SurvivesBeingKilledInTheMiddleOfAHotZone) {
  const Path original = luks2("original", 12 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(original);
  const Path image = folder / "volume";
  for (const std::uint64_t bytes : {2 * mib + 4096, 3 * mib + 8192, 6 * mib, 10 * mib - 4096}) {
    std::filesystem::copy_file(original, image, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(folder / "state");
    stop_below = 12 * mib;  // before the first zone
    EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
    EXPECT_EQ(decryption(image).journal().unfinished().at(0).phase, DecryptPhase::decrypting);
    stop_below.reset();
    ASSERT_EQ(killed_beyond(bytes, [&] { resume(image); }), SIGXFSZ) << bytes;
    resume(image);
    EXPECT_EQ(data_of(image), wanted) << bytes;
  }
}

TEST_F(DecryptTest, SurvivesBeingKilledWhileTheHeaderGivesWay) {
  const Path image = luks2("volume", 8 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(image);
  // The header's copies are 16 MiB, too: made before, so that nothing else is as large.
  cut_after = 0;
  const DecryptionPlan plan = plan_for(image);
  for (int at = 0; decryption(image).journal().unfinished().empty(); ++at) {
    cut_after = at;
    EXPECT_THROW(decryption(image).decrypt(plan), Cut);
  }
  cut_after = -1;
  auto entry = decryption(image).journal().unfinished().at(0);
  const int signal = killed_beyond(9 * mib / 8, [&] {
    const Path working = decryption(image).journal().working_header(entry.id);
    InPlaceDecryption::begin(working, image, Secret::copy_of(passphrase));
  });
  ASSERT_EQ(signal, SIGXFSZ);
  EXPECT_THROW(Volume::load(image), Error) << "half of the header is overwritten";
  entry.phase = DecryptPhase::moving;
  entry.head = fingerprint(image, offset, 64U << 10U);
  decryption(image).journal().write(entry);
  resume(image);
  EXPECT_EQ(data_of(image), wanted);
}

TEST_F(DecryptTest, SurvivesBeingKilledInTheLastHotZoneOfAll) {
  const Path image = luks2("volume", 8 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(image);
  // libcryptsetup tells of a zone when the next one is done, too.
  stop_below = 4 * mib;
  EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
  ASSERT_EQ(left, 4 * mib);
  stop_below.reset();
  ASSERT_EQ(killed_beyond(3 * mib / 4, [&] { resume(image); }), SIGXFSZ);
  resume(image);
  EXPECT_EQ(data_of(image), wanted);
}

// All zones are synced, but the header file still speaks of a decryption: libcryptsetup would do
// the first once more.
TEST_F(DecryptTest, SurvivesBeingCutOffBehindTheLastZone) {
  const Path image = luks2("volume", 8 * mib, {"--sector-size", "4096"});
  const std::string wanted = decrypted_by_cryptsetup(image);
  stop_below = 8 * mib;  // before the first zone
  EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
  stop_below.reset();
  const auto entry = decryption(image).journal().unfinished().at(0);
  const Path working = decryption(image).journal().working_header(entry.id);
  const Path header = folder / "header";
  const Path data = folder / "data";
  InPlaceDecryption::run(working, image, Secret::copy_of(passphrase),
                         [&](std::uint64_t done, std::uint64_t total) {
                           if (done == total) {
                             std::filesystem::copy_file(working, header);
                             std::filesystem::copy_file(image, data);
                           }
                           return true;
                         });
  EXPECT_FALSE(read_header(header)->requirements.empty());
  std::filesystem::copy_file(header, working, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::copy_file(data, image, std::filesystem::copy_options::overwrite_existing);
  resume(image);
  EXPECT_EQ(data_of(image), wanted);
}

TEST_F(DecryptTest, AnotherVolumeInItsPlaceIsLeftAlone) {
  const Path image = luks2("volume", 8 * mib, {"--sector-size", "4096"});
  stop_below = 5 * mib;
  EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
  stop_below.reset();
  std::filesystem::rename(image, folder / "kept");
  luks2("volume", 8 * mib, {"--sector-size", "4096"});
  const std::string before = digest(image);
  try {
    resume(image);
    FAIL() << "it went on with another disk";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::not_found) << error.what();
  }
  EXPECT_EQ(digest(image), before);
}

TEST_F(DecryptTest, AWrongKeyChangesNothing) {
  const Path image = luks2("volume", 6 * mib, {});
  const std::string before = digest(image);
  passphrase = "another";
  try {
    decryption(image).decrypt(plan_for(image));
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("does not open"));
  }
  EXPECT_EQ(digest(image), before);
  EXPECT_EQ(files_in_state(), 0U);
}

// Its keyslots area has no room for what a decryption notes: known before anything is written.
TEST_F(DecryptTest, WhatLibcryptsetupWouldRefuseIsRehearsedAndRefused) {
  const Path image = luks2("volume", 40 * mib,
                           {"--sector-size", "512", "--luks2-keyslots-size", "256k", "--offset",
                            std::to_string(header_bytes / 512)});
  const std::string before = digest(image);
  EXPECT_THROW(decryption(image).decrypt(plan_for(image)), Error);
  EXPECT_EQ(digest(image), before);
  EXPECT_EQ(files_in_state(), 0U);
}

TEST_F(DecryptTest, RefusesWhatItShouldNotOrCannotDecrypt) {
  const Path luks1 = luks2("luks1", 6 * mib, {"--type", "luks1"});
  EXPECT_THAT(plan_for(luks1).obstacles.at(0).what, HasSubstr("LUKS1"));

  const Path image = luks2("volume", 6 * mib, {});
  DecryptionOptions options{.volume = image.native(), .today = "2026-01-01"};
  EXPECT_THROW(plan_decryption(graph_of(image), policy, {.volume = "/dev/none"}), Error);
  policy.rules.clear();
  EXPECT_THAT(plan_decryption(graph_of(image), policy, options).obstacles.at(0).what,
              HasSubstr("no rule exempts it"));
  options.despite_policy = "sold";
  EXPECT_THAT(plan_decryption(graph_of(image), policy, options).obstacles, IsEmpty());
  options.despite_policy.clear();
  policy.rules.push_back(
      {.name = "old", .action = Action::leave, .reason = "until then", .until = "2025-12-31"});
  EXPECT_THAT(plan_decryption(graph_of(image), policy, options).obstacles.at(0).what,
              HasSubstr("has run out"));

  // The plan is of a volume that is not the same any more.
  options.despite_policy = "sold";
  const DecryptionPlan plan = plan_decryption(graph_of(image), policy, options);
  luks2("volume", 6 * mib, {});
  const std::string before = digest(image);
  EXPECT_THROW(decryption(image).decrypt(plan), Error);
  EXPECT_EQ(digest(image), before);
}

TEST_F(DecryptTest, RefusesWhatIsInUseOrNeeded) {
  const Path image = luks2("volume", 6 * mib, {});
  DeviceGraph graph = graph_of(image);
  Device opened;
  opened.name = "dm-0";
  opened.path = "/dev/mapper/data";
  opened.dm_name = "data";
  opened.dm_uuid = "CRYPT-LUKS2-1-data";
  opened.mounts = {"/srv"};
  opened.below = {0};
  graph.devices.push_back(opened);
  DecryptionOptions options{.volume = "/dev/mapper/data", .today = "2026-01-01"};
  const auto obstacles = [&] { return plan_decryption(graph, policy, options).obstacles; };
  ASSERT_THAT(obstacles(), SizeIs(1));
  EXPECT_TRUE(obstacles()[0].by_unmount);
  options.unmount = true;
  EXPECT_THAT(obstacles(), IsEmpty());
  // Where our own journal or the header backups lie.
  options.needed.emplace_back("/srv/backups");
  EXPECT_THAT(obstacles(), SizeIs(1));
  options.needed.pop_back();
  graph.devices[1].mounts = {"/"};
  EXPECT_THAT(obstacles().at(0).what, HasSubstr("running system"));
  graph.devices[1].mounts.clear();
  Device volume;
  volume.name = "dm-1";
  volume.path = "/dev/vg/lv";
  volume.below = {1};
  graph.devices.push_back(volume);
  EXPECT_THAT(obstacles().at(0).what, HasSubstr("/dev/vg/lv stands on it"));
}

}  // namespace
}  // namespace volseal
