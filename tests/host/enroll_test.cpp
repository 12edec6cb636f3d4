// The executor on image files: real LUKS headers, a real ext4, a software TPM. What needs
// device-mapper (mapping, mkfs on it) is tried in tests/uml.
#include "core/base/error.h"
#include "core/enroll/executor.h"
#include "core/luks/header.h"
#include "core/unlock/unlocker.h"
#include "tests/support/image.h"
#include "tests/support/swtpm.h"
#include "tpm/connection.h"
#include "tpm/group.h"
#include "tpm/protector.h"

#include <gmock/gmock.h>

#include <map>

namespace volseal {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// What a cut of power looks like to the code: it just ends.
struct Cut {};

class EnrollTest : public ImageTest {
 protected:
  EnrollTest() : protector(swtpm.tcti()) {
    swtpm.extend(7, "firmware");
    policy = parse_policy("", "test");
    policy.header_backups = (folder / "backups").native();
    std::filesystem::create_directory(folder / "etc");
    write_file(settings.crypttab, "# kept\n");
    write_file(settings.fstab, "UUID=1234 / ext4 defaults 0 1\n");
  }

  VolumePlan plan_for(const Path& image, Task task) const {
    VolumePlan plan;
    plan.task = task;
    plan.path = plan.name = image.native();
    plan.mapping = "data";
    plan.group = "default";
    plan.size = std::filesystem::file_size(image);
    plan.content = ContentKind::filesystem;
    plan.content_type = "ext4";
    plan.content_uuid = "7d2a";
    plan.cipher = "aes-xts-plain64";
    plan.key_bits = 512;
    plan.sector_size = 4096;
    plan.filesystem = "none";
    return plan;
  }

  EnrollWorld world(const VolumePlan& plan) {
    return {.scan = [this, plan] { return graph_of(plan); },
            .group =
                [this](const std::string&) {
                  tpm::Connection connection = tpm::Connection::connect(swtpm.tcti());
                  auto group = tpm::open_or_create_group(connection, policy.group("default"),
                                                         settings.state);
                  return GroupMaterial{.sealed = group.sealed, .secret = std::move(group.secret)};
                },
            .protector = &protector,
            .hand_over = [this](const VolumePlan&, const std::string& uuid,
                                const Secret& key) { handed_over[uuid] = key.clone(); },
            .ask_secret = {},
            .on_step =
                [this](const VolumePlan&, const std::string& step) {
                  steps.push_back(step);
                  cut_here();
                },
            .progress =
                [this](const VolumePlan&, std::uint64_t, std::uint64_t) {
                  return progress_calls_left == -1 || progress_calls_left-- > 0;
                },
            .record = [this](const VolumePlan&, const std::string&, const std::string&,
                             const std::string&) { cut_here(); }};
  }

  // The graph as a scan would see the image now.
  DeviceGraph graph_of(const VolumePlan& plan) const {
    Device device;
    device.name = device.path = plan.path;
    device.kind = DeviceKind::file;
    device.size = std::filesystem::file_size(plan.path);
    device.content = {.kind = plan.content, .type = plan.content_type, .uuid = plan.content_uuid};
    if (auto header = read_header(plan.path)) {
      device.luks = *header;
      device.content = {.kind = ContentKind::luks2, .type = "crypto_LUKS", .uuid = header->uuid};
    }
    DeviceGraph graph;
    graph.devices.push_back(device);
    return graph;
  }

  void cut_here() {
    if (cut_after == 0) throw Cut{};
    if (cut_after > 0) --cut_after;
  }

  Executor executor(const VolumePlan& plan) { return {policy, settings, world(plan)}; }

  // The files inside, by decrypting a copy with cryptsetup.
  std::string random_file_of(const Path& volume, const Secret& key) const {
    const Path copy = folder / "copy";
    const Path key_file = folder / "key";
    std::filesystem::copy_file(volume, copy, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(folder / "detached");
    write_secret_file(key_file, key);
    run_or_throw({"cryptsetup", "reencrypt", "-q", "--decrypt", "--force-offline-reencrypt",
                  "--header", (folder / "detached").native(), "--key-file", key_file.native(),
                  copy.native()});
    return file_in_ext4(copy, "/random", folder / "out");
  }

  Attempt open_by_tpm(const Path& volume) {
    Unlocker unlocker(protector, {});
    return unlocker.by_group({.device = volume, .mapping = ""});
  }

  test::Swtpm swtpm;
  TpmGroupProtector protector;
  Policy policy;
  EnrollSettings settings{.state = folder / "state",
                          .crypttab = folder / "etc/crypttab",
                          .fstab = folder / "etc/fstab"};
  std::map<std::string, Secret> handed_over;
  std::vector<std::string> steps;
  int cut_after = -1;            // callbacks until the cut; -1: none
  int progress_calls_left = -1;  // progress calls until "stop"; -1: none
};

TEST_F(EnrollTest, EncryptsAnExt4InPlaceWithBothWaysIn) {
  const Path image = ext4("data.img", 96);
  const std::string random = file_in_ext4(image, "/random", folder / "out");
  ASSERT_EQ(run({"grep", "-qa", "GNU GENERAL PUBLIC LICENSE", image.native()}).status, 0);
  const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
  executor(plan).enroll(plan);

  // Nothing of the old plaintext is left, neither at the head nor where it was moved to.
  EXPECT_NE(run({"grep", "-qa", "GNU GENERAL PUBLIC LICENSE", image.native()}).status, 0);

  ASSERT_THAT(handed_over, SizeIs(1));
  const auto& [uuid, key] = *handed_over.begin();
  const Volume volume = Volume::load(image);
  EXPECT_EQ(volume.uuid(), uuid);
  EXPECT_EQ(volume.opens_with(key), 0);
  const Attempt attempt = open_by_tpm(image);
  EXPECT_EQ(attempt.outcome, Outcome::opened) << attempt.reason;
  EXPECT_THAT(attempt.findings, IsEmpty());
  EXPECT_EQ(find_group_token(volume)->token.binding_scope, "full");
  EXPECT_EQ(random_file_of(image, key), random);
  EXPECT_EQ(read_file(settings.crypttab), "# kept\n") << "an image file is not mapped at boot";
  EXPECT_TRUE(std::filesystem::exists(folder / "backups" / (uuid + ".luks-header")));
  EXPECT_TRUE(std::filesystem::is_empty(executor(plan).journal().folder()));
}

TEST_F(EnrollTest, SurvivesACutAtEveryStep) {
  const Path original = ext4("original.img", 48);
  const std::string random = file_in_ext4(original, "/random", folder / "out");
  const Path image = folder / "data.img";
  int cuts = 0;
  for (int at = 0;; ++at) {
    std::filesystem::copy_file(original, image, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove_all(settings.state);
    handed_over.clear();
    const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
    cut_after = at;
    bool cut = false;
    try {
      executor(plan).enroll(plan);
    } catch (const Cut&) {
      cut = true;
    }
    const bool done = !cut;
    cut_after = -1;
    if (cut) {
      ++cuts;
      Executor next = executor(plan);
      next.journal().remove_strays();
      auto unfinished = next.journal().unfinished();
      if (unfinished.empty()) {
        // Cut before anything was begun: the volume is what it was, or is finished.
        const auto header = read_header(image);
        if (!header) {
          EXPECT_EQ(file_in_ext4(image, "/random", folder / "out"), random) << "cut " << at;
          continue;
        }
      } else {
        ASSERT_THAT(unfinished, SizeIs(1));
        next.resume(std::move(unfinished[0]));
      }
    }
    const Volume volume = Volume::load(image);
    const Secret& key = handed_over.at(volume.uuid());
    EXPECT_TRUE(volume.opens_with(key)) << "cut " << at;
    EXPECT_EQ(open_by_tpm(image).outcome, Outcome::opened) << "cut " << at;
    EXPECT_EQ(random_file_of(image, key), random) << "cut " << at;
    EXPECT_THAT(executor(plan).journal().unfinished(), IsEmpty());
    if (done) break;
  }
  EXPECT_GE(cuts, 10);
}

TEST_F(EnrollTest, StopsAtASafePointAndGoesOn) {
  const Path image = ext4("data.img", 96);
  const std::string random = file_in_ext4(image, "/random", folder / "out");
  const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
  progress_calls_left = 2;
  try {
    executor(plan).enroll(plan);
    FAIL() << "it did not stop";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::interrupted);
  }
  EXPECT_EQ(read_header(image)->reencryption, "encrypt");
  EXPECT_EQ(open_by_tpm(image).outcome, Outcome::opened) << "a half-encrypted volume opens at boot";
  progress_calls_left = -1;
  Executor next = executor(plan);
  next.resume(next.journal().unfinished().at(0));
  EXPECT_EQ(random_file_of(image, handed_over.begin()->second), random);
}

// It was mounted when the power went; nobody has mounted it since.
TEST_F(EnrollTest, ReplaysAJournalBeforeItShrinksAFileSystem) {
  const Path image = ext4("data.img", 96);
  const std::string random = file_in_ext4(image, "/random", folder / "out");
  run_or_throw({"debugfs", "-w", "-R", "feature needs_recovery", image.native()});
  ASSERT_NE(run({"resize2fs", "-P", image.native()}).status, 0);
  const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
  executor(plan).enroll(plan);
  EXPECT_EQ(random_file_of(image, handed_over.begin()->second), random);
}

TEST_F(EnrollTest, LeavesEveryByteWhereTheFileSystemCannotShrink) {
  const Path image = ext4("data.img", 64);
  // Fill it: 64 MiB less 32 MiB cannot hold what is in it.
  run({"sh", "-c", "dd if=/dev/urandom of=" + (folder / "filler").native() + " bs=1M count=45"});
  run_or_throw(
      {"debugfs", "-w", "-R", "write " + (folder / "filler").native() + " filler", image.native()});
  run_or_throw({"e2fsck", "-fy", image.native()}, {0, 1});
  const std::string before = digest(image);
  const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
  try {
    executor(plan).enroll(plan);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::cannot_shrink) << error.what();
  }
  EXPECT_EQ(digest(image), before);
  EXPECT_THAT(handed_over, IsEmpty());
}

TEST_F(EnrollTest, TouchesNothingWithoutATpm) {
  const Path image = ext4("data.img", 96);
  const std::string before = file_in_ext4(image, "/random", folder / "out");
  swtpm.stop();
  const VolumePlan plan = plan_for(image, Task::encrypt_in_place);
  EXPECT_THROW(executor(plan).enroll(plan), Error);
  EXPECT_FALSE(read_header(image));
  EXPECT_THAT(handed_over, IsEmpty());
  EXPECT_EQ(file_in_ext4(image, "/random", folder / "out"), before);
  EXPECT_THAT(executor(plan).journal().unfinished(), IsEmpty());
}

TEST_F(EnrollTest, RefusesToFormatWhatIsNotBlank) {
  const Path image = blank("data.img", 96);
  {
    std::fstream file(image);
    file.seekp(50U << 20U);
    file << "somebody's data without any signature";
  }
  const std::string before = digest(image);
  VolumePlan plan = plan_for(image, Task::format);
  plan.content = ContentKind::blank;
  plan.content_type = plan.content_uuid = "";
  try {
    policy.blank_check = BlankCheck::full;
    executor(plan).enroll(plan);
    FAIL() << "it formatted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsafe);
  }
  EXPECT_EQ(digest(image), before);
}

TEST_F(EnrollTest, FormatsWhatIsBlank) {
  const Path image = blank("data.img", 64);
  VolumePlan plan = plan_for(image, Task::format);
  plan.content = ContentKind::blank;
  plan.content_type = plan.content_uuid = "";
  executor(plan).enroll(plan);
  EXPECT_EQ(open_by_tpm(image).outcome, Outcome::opened);
  EXPECT_EQ(find_group_token(Volume::load(image))->token.binding_scope, "full");
}

TEST_F(EnrollTest, ATamperedHeaderIsNotOpenedByTpm) {
  const Path image = blank("data.img", 64);
  VolumePlan plan = plan_for(image, Task::format);
  plan.content = ContentKind::blank;
  plan.content_type = plan.content_uuid = "";
  executor(plan).enroll(plan);
  // Another volume's token on a header of the attacker's making: the binding names the volume key.
  Volume volume = Volume::load(image);
  auto found = find_group_token(volume);
  found->token.binding[0] ^= 1U;
  volume.set_token(to_json(found->token), found->id);
  EXPECT_EQ(open_by_tpm(image).outcome, Outcome::tampered);
}

TEST_F(EnrollTest, AKeyslotAddedByRootIsAFindingAndNoLockedDoor) {
  const Path image = blank("data.img", 64);
  VolumePlan plan = plan_for(image, Task::format);
  plan.content = ContentKind::blank;
  plan.content_type = plan.content_uuid = "";
  executor(plan).enroll(plan);
  Volume volume = Volume::load(image);
  volume.add_keyslot(handed_over.begin()->second, Secret::copy_of("back door"), Stretch::none);
  const Attempt attempt = open_by_tpm(image);
  EXPECT_EQ(attempt.outcome, Outcome::opened);
  ASSERT_THAT(attempt.findings, SizeIs(1));
  EXPECT_THAT(attempt.findings[0], HasSubstr("keyslot 2"));
}

}  // namespace
}  // namespace volseal
