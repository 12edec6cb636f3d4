// How many TPM commands an enrollment and an unlock take, for 1, 8 and 64 volumes: volseal, beside
// systemd-cryptenroll with systemd-cryptsetup, and clevis, all through the same counting proxy.
//
//   tpm_bench [MOST]    volumes at most (default 64); peers that are not installed are left out
//
// swtpm takes a millisecond a command, a real chip 3 to 300 and more. What real chips would take is
// modelled: the sum of each command's latency, from the fastest and the slowest of six chips as
// wolfTPM publishes them. One TPM does one command at a time, so there is nothing to gain by
// starting all at once.
#include "core/base/error.h"
#include "core/base/process.h"
#include "core/luks/encryption.h"
#include "core/luks/volume.h"
#include "core/policy/policy.h"
#include "core/protect/group_protector.h"
#include "core/unlock/unlocker.h"
#include "tests/support/swtpm.h"
#include "tpm/connection.h"
#include "tpm/group.h"
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

Latency latency_of(const TpmExchange& exchange) {
  constexpr std::uint32_t create_primary = 0x131;
  constexpr std::uint32_t create_loaded = 0x191;
  constexpr std::uint32_t verify_signature = 0x177;
  constexpr std::uint32_t start_auth_session = 0x176;
  constexpr std::uint32_t no_key = 0x40000007;
  switch (exchange.command_code()) {
    case create_primary:
    case create_loaded: return {.least = 52, .most = 231};     // P-256 key from a seed
    case verify_signature: return {.least = 37, .most = 265};  // ECDSA P-256
    case start_auth_session:
      if (test::tpm_u32(exchange.command, 10) != no_key) return {.least = 29, .most = 247};  // ECDH
      return {.least = 3, .most = 105};
    default: return {.least = 3, .most = 105};
  }
}

struct Cost {
  std::size_t commands = 0;
  std::size_t create_primary = 0;
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
    cost.create_primary += exchange.command_code() == 0x131 ? 1 : 0;
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

// --- volseal
// ----------------------------------------------------------------------------------------

void enroll_volume(const Path& image, const Path& header, const tpm::OpenedGroup& group) {
  Volume volume = Volume::format(blank(header, 16), {.data_device = image});
  GroupToken token;
  token.group = "default";
  const Secret salt = Secret::random(32);
  token.salt.assign(salt.bytes().begin(), salt.bytes().end());
  const Secret passphrase = group_passphrase(volume, token, group.secret);
  token.keyslots = {volume.add_first_keyslot(passphrase, Stretch::none)};
  token.known_keyslots = token.keyslots;
  token.binding_scope = "full";
  token.binding = binding_mac(group.secret, volume.binding_text("full"));
  token.sealed = group.sealed;
  volume.set_token(to_json(token));
  install_header(header, image, false);
  std::filesystem::remove(header);
}

Result volseal_cost(Swtpm& swtpm, int volumes) {
  const Folder folder;
  std::vector<Path> images;
  for (int i = 0; i < volumes; ++i)
    images.push_back(blank(folder / ("volume" + std::to_string(i)), 32));
  Group policy;
  policy.name = "default";
  Result result;
  result.enroll = measure(swtpm, [&] {
    tpm::Connection connection = tpm::Connection::connect(swtpm.tcti());
    const auto group = tpm::open_or_create_group(connection, policy, folder / "state");
    for (const Path& image : images) enroll_volume(image, folder / "header", group);
  });
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

// What the kernel's resource manager does when a program closes the device, and the peers rely on:
// nothing that they left stays. Not counted.
void flush_leftovers(Swtpm& swtpm) {
  for (const std::uint8_t range : std::initializer_list<std::uint8_t>{0x80, 0x02, 0x03}) {
    // TPM2_GetCapability(HANDLES, range, 64), TPM2_FlushContext
    const Bytes handles = swtpm.command(
        {0x80, 0x01, 0, 0, 0, 22, 0, 0, 0x01, 0x7a, 0, 0, 0, 1, range, 0, 0, 0, 0, 0, 0, 64});
    for (std::uint32_t i = 0; i < test::tpm_u32(handles, 15); ++i) {
      Bytes flush = {0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65};
      const std::ptrdiff_t at = 19 + 4 * static_cast<std::ptrdiff_t>(i);
      flush.insert(flush.end(), handles.begin() + at, handles.begin() + at + 4);
      swtpm.command(flush);
    }
  }
}

// --- the peers
// ---------------------------------------------------------------------------------------

constexpr const char* passphrase = "a passphrase for the bench";

Path formatted(const Path& image, const Path& key) {
  blank(image, 20);
  run_or_throw({"cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2",
                "--pbkdf-force-iterations", "1000", "--key-file", key.native(), image.native()});
  return image;
}

Result systemd_cost(Swtpm& swtpm, int volumes) {
  const Folder folder;
  write_file(folder / "key", passphrase);
  std::vector<Path> images;
  for (int i = 0; i < volumes; ++i) {
    images.push_back(formatted(folder / ("volume" + std::to_string(i)), folder / "key"));
  }
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
  write_file(folder / "key", passphrase);
  std::vector<Path> images;
  for (int i = 0; i < volumes; ++i) {
    images.push_back(formatted(folder / ("volume" + std::to_string(i)), folder / "key"));
  }
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

// -----------------------------------------------------------------------------------------------------

bool installed(const std::string& program) {
  return run({"sh", "-c", "command -v " + program + " >/dev/null"}).status == 0;
}

void print_row(std::string_view tool, int volumes, std::string_view job, const Cost& cost) {
  fmt::print("{:8}  {:7}  {:6}  {:8}  {:13}  {:6.2f} - {:<6.2f}  {:9.2f}\n", tool, volumes, job,
             cost.commands, cost.create_primary, cost.modelled.least, cost.modelled.most,
             cost.seconds);
}

int bench(int most) {
  using Tool = std::pair<std::string, Result (*)(Swtpm&, int)>;
  std::vector<Tool> tools = {{"volseal", volseal_cost}};
  if (installed("systemd-cryptenroll")) tools.emplace_back("systemd", systemd_cost);
  if (installed("clevis")) tools.emplace_back("clevis", clevis_cost);
  fmt::print("{:8}  {:>7}  {:6}  {:>8}  {:>13}  {:>15}  {:>9}\n", "TOOL", "VOLUMES", "JOB",
             "COMMANDS", "CREATEPRIMARY", "REAL CHIPS, S", "HERE, S");
  for (const auto& [name, cost] : tools) {
    for (const int volumes : {1, 8, 64}) {
      if (volumes > most) continue;
      // A TPM of its own each time; the first row of volseal includes making the storage root key.
      Swtpm swtpm;
      swtpm.extend(7, "secure boot policy");
      const Result result = cost(swtpm, volumes);
      print_row(name, volumes, "enroll", result.enroll);
      print_row(name, volumes, "unlock", result.unlock);
    }
  }
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
