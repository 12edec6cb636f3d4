#include "core/enroll/filesystem.h"

#include "core/base/error.h"
#include "core/base/human.h"
#include "core/base/process.h"

#include <charconv>
#include <string_view>

namespace volseal {

namespace {

std::uint64_t number_after(std::string_view text, std::string_view key, const Path& device) {
  const auto at = text.find(key);
  if (at != std::string_view::npos) {
    text.remove_prefix(at + key.size());
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    std::uint64_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{})
      return value;
  }
  throw Error(Code::program_failed, "ask e2fsprogs about {}: no '{}' in its answer",
              device.native(), key);
}

}  // namespace

void require_sound_ext(const Path& device) {
  if (run({"e2fsck", "-f", "-n", device.native()}).status != 0) check_ext(device);
}

void check_ext(const Path& device) {
  // 1: something was mended. 2: and the machine should reboot, which concerns mounted file systems.
  const ProcessResult result = run({"e2fsck", "-f", "-p", device.native()});
  if (result.status != 0 && result.status != 1) {
    throw Error(
        Code::unsafe,
        "check the file system on {}: e2fsck ends with status {}; run 'e2fsck -f {}' by hand",
        device.native(), result.status, device.native());
  }
}

void require_ext_fits(const Path& device, std::uint64_t bytes) {
  const std::string header = run_or_throw({"dumpe2fs", "-h", device.native()}).output;
  const std::uint64_t block = number_after(header, "Block size:", device);
  const std::string answer = run_or_throw({"resize2fs", "-P", device.native()}).output;
  const std::uint64_t smallest =
      number_after(answer, "Estimated minimum size of the filesystem:", device) * block;
  if (smallest > bytes) {
    throw Error(Code::cannot_shrink,
                "make room for the LUKS header on {}: the file system needs {} and would get {}",
                device.native(), human_size(smallest), human_size(bytes));
  }
}

void shrink_ext(const Path& device, std::uint64_t bytes) {
  const bool image = std::filesystem::is_regular_file(device);
  const std::uintmax_t size = image ? std::filesystem::file_size(device) : 0;
  check_ext(device);
  run_or_throw({"resize2fs", device.native(), std::to_string(bytes / 1024) + "K"});
  // resize2fs cuts image files off at the end of the file system.
  if (image) std::filesystem::resize_file(device, size);
  run_or_throw({"e2fsck", "-f", "-n", device.native()});
}

void make_ext4(const Path& device, const std::string& label) {
  std::vector<std::string> argv = {"mkfs.ext4", "-q", "-F"};
  if (!label.empty()) {
    argv.emplace_back("-L");
    argv.push_back(label.substr(0, 16));
  }
  argv.push_back(device.native());
  run_or_throw(argv);
}

void make_swap(const Path& device, const std::string& uuid, const std::string& label) {
  std::vector<std::string> argv = {"mkswap"};
  if (!uuid.empty()) argv.insert(argv.end(), {"-U", uuid});
  if (!label.empty()) argv.insert(argv.end(), {"-L", label});
  argv.push_back(device.native());
  run_or_throw(argv);
}

}  // namespace volseal
