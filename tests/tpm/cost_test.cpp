// What an unlock costs the TPM: the same for 64 volumes as for one.
#include "core/enroll/protectors.h"
#include "core/unlock/unlocker.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/state.h"

#include <fstream>

namespace volseal::tpm {
namespace {

using ::testing::SizeIs;

class CostTest : public TpmTest {
 protected:
  // LUKS2 headers of `count` volumes of the group; opened like the volumes themselves.
  std::vector<Path> volumes(int count, const OpenOptions& options = {}) {
    const OpenedGroup opened = open_group(options);
    const GroupMaterial material{.sealed = opened.sealed, .secret = opened.secret.clone()};
    std::vector<Path> all;
    all.reserve(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      all.push_back(state / ("volume" + std::to_string(i)));
      std::ofstream(all.back()).close();
      std::filesystem::resize_file(all.back(), header_bytes);
      Volume volume = Volume::format(all.back(), {.data_device = all.back()});
      add_group_protector(volume, nullptr, "default", material, "full");
    }
    return all;
  }

  std::vector<std::uint32_t> commands_to_open(const std::vector<Path>& all,
                                              const AskPin& ask_pin = {}) {
    swtpm.proxy().take_exchanges();
    {
      TpmGroupProtector protector(swtpm.tcti());
      Unlocker unlocker(protector, ask_pin);
      for (const Path& path : all) {
        const Attempt attempt = unlocker.by_group({.device = path, .mapping = ""});
        EXPECT_EQ(attempt.outcome, Outcome::opened) << path << ": " << attempt.reason;
      }
    }
    std::vector<std::uint32_t> codes;
    for (const auto& exchange : swtpm.proxy().take_exchanges())
      codes.push_back(exchange.command_code());
    return codes;
  }
};

TEST_F(CostTest, SixtyFourVolumesCostWhatOneDoes) {
  const std::vector<Path> all = volumes(64);
  reboot();
  const auto for_one = commands_to_open({all.front()});
  EXPECT_EQ(commands_to_open(all), for_one);
  // StartAuthSession, PolicyPCR, PolicyNV, PolicyAuthorize, Load, Unseal, FlushContext
  EXPECT_THAT(for_one, ::testing::ElementsAre(0x176, 0x17f, 0x149, 0x16a, 0x157, 0x15e, 0x165));
}

TEST_F(CostTest, EightApprovedStatesCostOneCommandMore) {
  const std::vector<Path> all = volumes(1);
  for (int i = 1; i < 8; ++i) {
    swtpm.restart();
    swtpm.extend(7, "policy " + std::to_string(i));
    Connection tpm = connect();
    approve_state(tpm, GroupState(state, "default"));
  }
  Volume volume = Volume::load(all.front());
  bind_fully(volume, {.sealed = GroupState(state, "default").sealed().value_or(""),
                      .secret = open_group().secret});
  EXPECT_THAT(commands_to_open(all), SizeIs(8));
}

TEST_F(CostTest, APinCostsFourMore) {
  const Secret pin = Secret::copy_of("correct horse");
  const std::vector<Path> all = volumes(2, {.pin = &pin, .ask_pin = {}, .late_copy = false});
  reboot();
  // PolicyAuthValue, GetCapability before and after, and Unseal twice: a TPM's first look at a
  // guessable object in a boot is TPM_RC_RETRY, once it has noted that down (Part 1, 19.8.4).
  EXPECT_THAT(commands_to_open(all, pin_is("correct horse")), SizeIs(11));
}

}  // namespace
}  // namespace volseal::tpm
