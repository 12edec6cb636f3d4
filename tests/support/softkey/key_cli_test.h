// Verbs that are given FIDO2 keys: the program, in a process of its own.
#pragma once

#include "tests/support/softkey/keys_test.h"
#include "tests/support/terminal.h"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace volseal::test {

struct Result {
  int status = 0;
  std::string out;
  std::string err;
};

class KeyCliTest : public KeysTest {
 protected:
  KeyCliTest() {
    write_file(folder / "policy.toml", "[group.default]\nrecovery = [\"fido2\"]\n");
    write_file(folder / "key", "passphrase");
    write_file(folder / "pin", "1234");
  }

  std::vector<std::string> command(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {"/usr/bin/env",
                                     "LD_PRELOAD=" VOLSEAL_SOFTKEY_PORT,
                                     "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0",
                                     "VOLSEAL_SOFTKEYS=" + keys.native(),
                                     VOLSEAL_BINARY,
                                     "--tcti",
                                     tcti,
                                     "--policy",
                                     (folder / "policy.toml").native(),
                                     "--state",
                                     (folder / "state").native()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }

  Result volseal(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv = {"sh",
                                     "-c",
                                     R"(out=$1; err=$2; shift 2; exec "$@" >"$out" 2>"$err")",
                                     "sh",
                                     (folder / "stdout").native(),
                                     (folder / "stderr").native()};
    const auto program = command(arguments);
    argv.insert(argv.end(), program.begin(), program.end());
    const int status = run(argv).status;
    return {
        .status = status, .out = read_file(folder / "stdout"), .err = read_file(folder / "stderr")};
  }

  Path luks(const std::string& name, const std::string& type = "luks2") const {
    const Path image = blank(name, 32);
    run_or_throw({"cryptsetup", "luksFormat", "-q", "--type", type, "--pbkdf", "pbkdf2",
                  "--pbkdf-force-iterations", "1000", image.native(), key_file()});
    return image;
  }

  std::string key_file() const { return (folder / "key").native(); }
  std::string pin_file() const { return (folder / "pin").native(); }

  Result add(const std::vector<Path>& volumes, const std::vector<std::string>& options = {}) const {
    std::vector<std::string> arguments = {"protector", "add",        "fido2",   "--key-file",
                                          key_file(),  "--pin-file", pin_file()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    for (const Path& volume : volumes) arguments.push_back(volume.native());
    return volseal(arguments);
  }

  nlohmann::json listed(const Path& volume) const {
    return nlohmann::json::parse(
        volseal({"protector", "list", "--json", volume.native()}).out)["protectors"];
  }

  std::string tcti = "swtpm:path=/nowhere";
};

}  // namespace volseal::test
