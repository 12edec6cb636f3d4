// After an enrollment and an unlock nothing secret is left in this process's memory: not in what is
// mapped, not in what was freed, not on the stack.
#include "core/enroll/protectors.h"
#include "core/luks/encryption.h"
#include "core/unlock/unlocker.h"
#include "tests/tpm/tpm_test.h"
#include "tpm/approval.h"
#include "tpm/late.h"
#include "tpm/sealing.h"
#include "tpm/state.h"
#include "tpm/storage_root.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

namespace volseal::tpm {
namespace {

constexpr std::size_t window = 12;  // as much of a secret as may not be found

// What is looked for. Kept masked, and compared masked, so that the search does not find itself.
class Needle {
 public:
  Needle(std::string name, const Secret& secret) : name_(std::move(name)) {
    const Secret random = Secret::random(secret.size());
    mask_.assign(random.bytes().begin(), random.bytes().end());
    for (std::size_t i = 0; i < secret.size(); ++i)
      masked_.push_back(static_cast<std::uint8_t>(secret.bytes()[i] ^ mask_[i]));
  }

  const std::string& name() const { return name_; }

  // Its first or last bytes, anywhere in `memory`.
  bool in(std::span<const std::uint8_t> memory) const {
    return part_in(memory, 0) || part_in(memory, masked_.size() - window);
  }

  // For the control only.
  void reveal_to(std::span<std::uint8_t> memory) const {
    for (std::size_t i = 0; i < memory.size() && i < masked_.size(); ++i)
      memory[i] = static_cast<std::uint8_t>(masked_[i] ^ mask_[i]);
  }

 private:
  bool part_in(std::span<const std::uint8_t> memory, std::size_t from) const {
    for (std::size_t at = 0; at + window <= memory.size(); ++at) {
      std::size_t same = 0;
      while (same < window && (memory[at + same] ^ mask_[from + same]) == masked_[from + same])
        ++same;
      if (same == window) return true;
    }
    return false;
  }

  std::string name_;
  Bytes mask_;
  Bytes masked_;
};

// Copies of memory pass through a mapping of its own, which is left out of the search.
class Scan {
 public:
  Scan()
      : buffer_(static_cast<std::uint8_t*>(
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        memory_(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC)) {}
  Scan(const Scan&) = delete;
  Scan& operator=(const Scan&) = delete;
  Scan(Scan&&) = delete;
  Scan& operator=(Scan&&) = delete;
  ~Scan() { ::munmap(buffer_, size); }

  // "NAME in MAPPING" for each that is found.
  std::vector<std::string> found(const std::vector<Needle>& needles) {
    std::vector<std::string> all;
    scanned_ = 0;
    for (const Mapping& mapping : writable_mappings()) {
      for (const Needle& needle : needles) {
        if (holds(mapping, needle)) all.push_back(needle.name() + " in " + mapping.name);
      }
    }
    return all;
  }
  std::size_t scanned() const { return scanned_; }

 private:
  static constexpr std::size_t size = 1U << 20U;
  struct Mapping {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    std::string name;
  };

  std::vector<Mapping> writable_mappings() const {
    std::vector<Mapping> mappings;
    std::ifstream file("/proc/self/maps");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      Mapping mapping;
      char dash = 0;
      std::string flags;
      words >> std::hex >> mapping.begin >> dash >> mapping.end >> flags;
      mapping.name = line.substr(line.rfind(' ') + 1);
      if (mapping.name.empty()) mapping.name = "anonymous memory";
      if (!flags.starts_with("rw") || mapping.name == "[vvar]") continue;
      // Neighbours of one kind are one line there: the buffer is cut out.
      const auto buffer = reinterpret_cast<std::uintptr_t>(buffer_);
      if (mapping.begin <= buffer && buffer < mapping.end) {
        mappings.push_back({.begin = mapping.begin, .end = buffer, .name = mapping.name});
        mapping.begin = buffer + size;
      }
      mappings.push_back(std::move(mapping));
    }
    return mappings;
  }

  bool holds(const Mapping& mapping, const Needle& needle) {
    for (std::uintptr_t at = mapping.begin; at < mapping.end;) {
      const auto want = std::min<std::size_t>(size, mapping.end - at);
      const ssize_t got = ::pread(memory_.get(), buffer_, want, static_cast<off_t>(at));
      if (got <= 0) return false;
      scanned_ += static_cast<std::size_t>(got);
      if (needle.in({buffer_, static_cast<std::size_t>(got)})) return true;
      at += static_cast<std::size_t>(got);
      if (at < mapping.end) at -= window;  // one that lies across
    }
    return false;
  }

  std::uint8_t* buffer_;
  UniqueFd memory_;
  std::size_t scanned_ = 0;
};

class MemoryTest : public TpmTest {
 protected:
  MemoryTest() : pin(hex_of(Secret::random(12))) {
    std::ofstream(image()).close();
    std::filesystem::resize_file(image(), 20U << 20U);
  }

  Path image() const { return state / "image"; }
  GroupState folder() const { return {state, "default"}; }

  // A PIN is asked for on a terminal and comes as a Secret.
  AskPin ask() {
    return [this](const std::string&) { return std::optional(pin.clone()); };
  }

  void enroll() {
    std::ofstream(state / "header").close();
    std::filesystem::resize_file(state / "header", header_bytes);
    Volume volume = Volume::format(state / "header", {.data_device = image()});
    const OpenedGroup opened = open_or_create_group(
        held, group, state, {.pin = &pin, .ask_pin = ask(), .late_copy = true});
    const GroupMaterial material{.sealed = opened.sealed, .secret = opened.secret.clone()};
    add_group_protector(volume, nullptr, "default", material, "full");
    bind_fully(volume, material);
    install_header(state / "header", image(), false);
    remember(Volume::load(image()), opened);
  }

  // What there is to be found, while it is at hand.
  void remember(const Volume& volume, const OpenedGroup& opened) {
    const SealedGroup sealed = parse_sealed(opened.sealed);
    const auto token = find_group_token(volume);
    needles.emplace_back("group secret", opened.secret);
    needles.emplace_back("group secret in hex", hex_of(opened.secret));
    needles.emplace_back("PIN", pin);
    needles.emplace_back("stretched PIN", stretched(pin, sealed.pin.value_or(PinStretch{})));
    needles.emplace_back("keyslot passphrase",
                         group_passphrase(volume, token->token, opened.secret));
    needles.emplace_back("late auth value", folder().late_auth().value_or(Secret()));
    needles.emplace_back("policy key", folder().policy_key()->to_pem());
  }

  void forget_pin() { pin = Secret(); }

  Secret pin;
  Connection held = connect();  // lives on: its buffers are searched too
  std::vector<Needle> needles;
};

TEST_F(MemoryTest, TheSearchFindsWhatIsThere) {
  const std::vector<Needle> planted = {{"planted", Secret::random(32)}};
  Scan scan;
  EXPECT_THAT(scan.found(planted), ::testing::IsEmpty());
  EXPECT_GT(scan.scanned(), std::size_t{1} << 20U);
  std::vector<std::uint8_t> on_the_heap(100);
  planted.front().reveal_to(std::span(on_the_heap).subspan(40, 32));
  EXPECT_THAT(scan.found(planted), ::testing::ElementsAre("planted in [heap]"));
  wipe(on_the_heap.data(), on_the_heap.size());
  std::array<std::uint8_t, 64> on_the_stack{};
  planted.front().reveal_to(std::span(on_the_stack).first(16));
  EXPECT_THAT(scan.found(planted), ::testing::ElementsAre("planted in [stack]"));
  wipe(on_the_stack.data(), on_the_stack.size());
  EXPECT_THAT(scan.found(planted), ::testing::IsEmpty());
}

TEST_F(MemoryTest, WhatIsFreedIsWiped) {
  const std::vector<Needle> planted = {{"planted", Secret::random(32)}};
  {
    std::string text(200, ' ');
    planted.front().reveal_to(
        std::span(reinterpret_cast<std::uint8_t*>(text.data()), text.size()).subspan(100));
  }
  EXPECT_THAT(Scan().found(planted), ::testing::IsEmpty());
}

TEST_F(MemoryTest, NothingStaysAfterAnEnrollment) {
  enroll();
  forget_pin();
  EXPECT_THAT(Scan().found(needles), ::testing::IsEmpty());
}

TEST_F(MemoryTest, NothingStaysAfterAnUnlockWhileTheProtectorLives) {
  enroll();
  reboot();
  TpmGroupProtector protector(swtpm.tcti());
  {
    Unlocker unlocker(protector, ask());
    const Attempt attempt = unlocker.by_group({.device = image(), .mapping = ""});
    ASSERT_EQ(attempt.outcome, Outcome::opened) << attempt.reason;
  }
  forget_pin();
  EXPECT_THAT(Scan().found(needles), ::testing::IsEmpty());
}

TEST_F(MemoryTest, NothingStaysInAConnectionThatSealedOrUnsealedLast) {
  Secret secret = Secret::random(32);
  Secret auth = Secret::random(32);
  needles.emplace_back("sealed", secret);
  needles.emplace_back("auth value", auth);
  const StorageRoot root = open_or_make_storage_root(held.impl());
  seal(held.impl(), root, secret, auth, {.auth_policy = {}, .by_auth = true});
  OpenedGroup made = open_group();
  needles.emplace_back("unsealed", made.secret);
  TpmGroupProtector protector(swtpm.tcti());
  EXPECT_EQ(protector.recover(made.sealed, {}).outcome, Outcome::opened);
  secret = Secret();
  auth = Secret();
  made.secret = Secret();
  EXPECT_THAT(Scan().found(needles), ::testing::IsEmpty());
}

TEST_F(MemoryTest, NothingStaysAfterTheLateCopyAndAWrongPin) {
  enroll();
  Secret wrong = hex_of(Secret::random(12));
  needles.emplace_back("wrong PIN", wrong);
  {
    const SealedGroup sealed = load_group(folder());
    needles.emplace_back("stretched wrong PIN",
                         stretched(wrong, sealed.pin.value_or(PinStretch{})));
    const AskPin ask_wrong = [&](const std::string&) { return std::optional(wrong.clone()); };
    EXPECT_EQ(recover(to_json(sealed), ask_wrong).outcome, Outcome::wrong_pin);
  }
  EXPECT_EQ(recover_late(held, folder()).outcome, Outcome::opened);
  forget_pin();
  wrong = Secret();
  EXPECT_THAT(Scan().found(needles), ::testing::IsEmpty());
}

}  // namespace
}  // namespace volseal::tpm
