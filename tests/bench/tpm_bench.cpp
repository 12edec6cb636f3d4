// How many TPM commands an enrollment and an unlock take, for 1, 8 and 64 volumes: volseal, beside
// systemd-cryptenroll with systemd-cryptsetup, and clevis, all through the same counting proxy.
//
//   tpm_bench [MOST]    volumes at most (default 64); peers that are not installed are left out
//
// The job is the same for all: LUKS2 volumes that open with a passphrase get a TPM keyslot bound to
// PCR 7 of the SHA-256 bank, one run of the tool a volume; then, as in a boot, the TPM opens every
// one of them. That it did is counted, too: who does not unseal ends the bench. volseal binds to
// more than the others (the latch, a signature, the revocation counter) and proves each keyslot.
//
// swtpm takes a millisecond a command, a real chip 3 to 300 and more. What real chips would take is
// modelled: the sum of each command's latency, from the fastest and the slowest of six chips as
// wolfTPM publishes them. One TPM does one command at a time, so there is nothing to gain by
// starting all at once.
#include "core/base/error.h"
#include "core/base/process.h"
#include "core/protect/group_protector.h"
#include "core/unlock/unlocker.h"
#include "tests/support/swtpm.h"
#include "tpm/protector.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace volseal {
namespace {

using test::Swtpm;
using test::TpmExchange;

// Milliseconds: the fastest and the slowest chip.
struct Latency {
  double least = 0;
  double most = 0;
};

constexpr Latency key_from_seed = {.least = 52, .most = 231};       // CreatePrimary, P-256
constexpr Latency rsa_from_seed = {.least = 2184, .most = 7455};    // CreatePrimary, RSA-2048
constexpr Latency salted_session = {.least = 29, .most = 247};      // ECDH
constexpr Latency verified_signature = {.least = 37, .most = 265};  // ECDSA P-256
// Create, Load and Unseal among them: nothing is published for these, so they count as cheap for
// every tool.
constexpr Latency other = {.least = 3, .most = 105};

constexpr std::uint32_t create_primary = 0x131;
constexpr std::uint32_t start_auth_session = 0x176;
constexpr std::uint32_t verify_signature = 0x177;
constexpr std::uint32_t unseal = 0x15e;

// TPM2_CreatePrimary (Part 3, 24.1): header, handle, authorisations, inSensitive, inPublic.
bool is_rsa(const Bytes& command) {
  constexpr std::uint16_t rsa = 0x0001;
  const std::size_t sensitive = 18 + test::tpm_u32(command, 14);
  const std::size_t area = sensitive + 2 + test::tpm_u16(command, sensitive);
  return test::tpm_u16(command, area + 2) == rsa;
}

Latency latency_of(const TpmExchange& exchange) {
  constexpr std::uint32_t no_key = 0x40000007;
  switch (exchange.command_code()) {
    case create_primary: return is_rsa(exchange.command) ? rsa_from_seed : key_from_seed;
    case verify_signature: return verified_signature;
    case start_auth_session:
      return test::tpm_u32(exchange.command, 10) == no_key ? other : salted_session;
    default: return other;
  }
}

struct Cost {
  std::size_t commands = 0;
  std::size_t primaries = 0;
  std::size_t unsealed = 0;
  Latency modelled;
  double seconds = 0;
};

Cost measure(Swtpm& swtpm, const std::function<void()>& work) {
  swtpm.proxy().take_exchanges();
  const auto start = std::chrono::steady_clock::now();
  work();
  Cost cost;
  cost.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const TpmExchange& exchange : swtpm.proxy().take_exchanges()) {
    ++cost.commands;
    cost.primaries += exchange.command_code() == create_primary ? 1 : 0;
    cost.unsealed += exchange.command_code() == unseal && exchange.response_code() == 0 ? 1 : 0;
    const Latency latency = latency_of(exchange);
    cost.modelled.least += latency.least / 1000;
    cost.modelled.most += latency.most / 1000;
  }
  return cost;
}

class Folder {
 public:
  Folder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "volseal-bench.XXXXXX").native();
    path_ = ::mkdtemp(pattern.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Folder(Folder&&) = delete;
  Folder& operator=(Folder&&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Path operator/(const std::string& name) const { return path_ / name; }

 private:
  Path path_;
};

Path blank(const Path& path, std::uint64_t mebibytes) {
  std::ofstream(path).close();
  std::filesystem::resize_file(path, mebibytes << 20U);
  return path;
}

struct Result {
  Cost enroll;
  Cost unlock;
};

constexpr const char* passphrase = "a passphrase for the bench";

// Volumes that open with the passphrase in `folder`/key.
std::vector<Path> formatted(const Folder& folder, int volumes) {
  write_file(folder / "key", passphrase);
  std::vector<Path> images;
  images.reserve(static_cast<std::size_t>(volumes));
  for (int i = 0; i < volumes; ++i) {
    images.push_back(blank(folder / ("volume" + std::to_string(i)), 20));
    run_or_throw({"cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf",
                  "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file",
                  (folder / "key").native(), images.back().native()});
  }
  return images;
}

// --- volseal ----------------------------------------------------------------------------------

Result volseal_cost(Swtpm& swtpm, int volumes) {
  const Folder folder;
  const std::vector<Path> images = formatted(folder, volumes);
  write_file(folder / "policy.toml", "");
  Result result;
  result.enroll = measure(swtpm, [&] {
    for (const Path& image : images) {
      run_or_throw({VOLSEAL_BINARY, "--tcti", swtpm.tcti(), "--policy",
                    (folder / "policy.toml").native(), "--state", (folder / "state").native(),
                    "protector", "add", "tpm", image.native(), "--key-file",
                    (folder / "key").native()});
    }
  });
  // As 'volseal unlock' does before it maps.
  result.unlock = measure(swtpm, [&] {
    TpmGroupProtector protector(swtpm.tcti());
    Unlocker unlocker(protector, {});
    for (const Path& image : images) {
      const Attempt attempt = unlocker.by_group({.device = image, .mapping = ""});
      if (attempt.outcome != Outcome::opened) throw Error(Code::internal, "{}", attempt.reason);
    }
  });
  return result;
}

// --- the peers ----------------------------------------------------------------------------------

// What the kernel's resource manager does when a program closes the device, and the peers rely on:
// nothing that they left stays. Not counted.
void flush_leftovers(Swtpm& swtpm) {
  for (const std::uint8_t range : std::initializer_list<std::uint8_t>{0x80, 0x02, 0x03}) {
    // TPM2_GetCapability(HANDLES, range, 64), TPM2_FlushContext
    const Bytes handles = swtpm.command(
        {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1, range, 0, 0, 0, 0, 0, 0, 64});
    for (std::uint32_t i = 0; i < test::tpm_u32(handles, 15); ++i) {
      const std::size_t at = 19 + 4 * std::size_t{i};
      const Bytes flush = {0x80,
                           0x01,
                           0,
                           0,
                           0,
                           14,
                           0,
                           0,
                           0x01,
                           0x65,
                           handles.at(at),
                           handles.at(at + 1),
                           handles.at(at + 2),
                           handles.at(at + 3)};
      swtpm.command(flush);
    }
  }
}

Result systemd_cost(Swtpm& swtpm, int volumes) {
  const Folder folder;
  const std::vector<Path> images = formatted(folder, volumes);
  Result result;
  result.enroll = measure(swtpm, [&] {
    for (const Path& image : images) {
      run_or_throw({"env", std::string("PASSWORD=") + passphrase, "systemd-cryptenroll",
                    "--tpm2-device=" + swtpm.tcti(), "--tpm2-pcrs=7", image.native()});
      flush_leftovers(swtpm);
    }
  });
  result.unlock = measure(swtpm, [&] {
    for (const Path& image : images) {
      // Without device-mapper the mapping itself fails, after all that the TPM has to do.
      run({"/lib/systemd/systemd-cryptsetup", "attach", "volseal-bench", image.native(), "-",
           "headless=1,tries=1,tpm2-device=" + swtpm.tcti()});
      flush_leftovers(swtpm);
    }
  });
  return result;
}

Result clevis_cost(Swtpm& swtpm, int volumes) {
  const Folder folder;
  const std::vector<Path> images = formatted(folder, volumes);
  const std::string tcti = "TPM2TOOLS_TCTI=" + swtpm.tcti();
  Result result;
  result.enroll = measure(swtpm, [&] {
    for (const Path& image : images) {
      run_or_throw({"env", tcti, "clevis", "luks", "bind", "-f", "-k", (folder / "key").native(),
                    "-d", image.native(), "tpm2", R"({"pcr_bank":"sha256","pcr_ids":"7"})"});
      flush_leftovers(swtpm);
    }
  });
  result.unlock = measure(swtpm, [&] {
    for (const Path& image : images) {
      // What 'clevis luks unlock' does before it maps.
      run_or_throw({"env", tcti, "clevis", "luks", "pass", "-d", image.native(), "-s", "1"});
      flush_leftovers(swtpm);
    }
  });
  return result;
}

// ------------------------------------------------------------------------------------------------

bool installed(const std::string& program) {
  return run({"sh", "-c", "command -v " + program + " >/dev/null"}).status == 0;
}

void print_row(std::string_view tool, int volumes, std::string_view job, const Cost& cost) {
  fmt::print("{:8}  {:7}  {:6}  {:8}  {:13}  {:6.2f} - {:<6.2f}  {:9.2f}\n", tool, volumes, job,
             cost.commands, cost.primaries, cost.modelled.least, cost.modelled.most, cost.seconds);
}

struct Tool {
  std::string name;
  Result (*cost)(Swtpm&, int);
  bool unseals_each;  // or once for all
};

int bench(int most) {
  std::vector<Tool> tools = {{.name = "volseal", .cost = volseal_cost, .unseals_each = false}};
  if (installed("systemd-cryptenroll"))
    tools.push_back({.name = "systemd", .cost = systemd_cost, .unseals_each = true});
  if (installed("clevis"))
    tools.push_back({.name = "clevis", .cost = clevis_cost, .unseals_each = true});
  fmt::print("{:8}  {:>7}  {:6}  {:>8}  {:>13}  {:>15}  {:>9}\n", "TOOL", "VOLUMES", "JOB",
             "COMMANDS", "CREATEPRIMARY", "REAL CHIPS, S", "HERE, S");
  for (const Tool& tool : tools) {
    for (const int volumes : {1, 8, 64}) {
      if (volumes > most) continue;
      // A TPM of its own each time; the first row of volseal includes making the storage root key.
      Swtpm swtpm;
      swtpm.extend(7, "secure boot policy");
      const Result result = tool.cost(swtpm, volumes);
      const auto expected = static_cast<std::size_t>(tool.unseals_each ? volumes : 1);
      if (result.unlock.unsealed != expected) {
        throw Error(Code::internal, "{} unsealed {} times for {} volumes", tool.name,
                    result.unlock.unsealed, volumes);
      }
      print_row(tool.name, volumes, "enroll", result.enroll);
      print_row(tool.name, volumes, "unlock", result.unlock);
    }
  }
  fmt::print(
      "\nReal chips: modelled, the fastest and the slowest of six (ms a command): P-256 key from "
      "its seed {} - {},\nECDH {} - {}, ECDSA verify {} - {}, every other command {} - {}.\n",
      key_from_seed.least, key_from_seed.most, salted_session.least, salted_session.most,
      verified_signature.least, verified_signature.most, other.least, other.most);
  return 0;
}

}  // namespace
}  // namespace volseal

int main(int argc, char** argv) {
  try {
    return volseal::bench(argc > 1 ? std::atoi(argv[1])
                                   : 64);  // NOLINT(cert-err34-c): a developer types it
  } catch (const std::exception& error) {
    fmt::print(stderr, "tpm_bench: {}\n", error.what());
    return 1;
  }
}
