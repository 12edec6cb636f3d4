#include "cli/recovery_page.h"

#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/qr_code.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/file.h"
#include "core/protect/recovery_key.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

namespace volseal {

namespace {

// Two rows of modules a line of text, in half blocks, light on dark: any telephone reads it.
Secret qr_text(const Secret& key) {
  const QrCode code(key);
  constexpr int border = QrCode::border;
  const int size = code.size();
  const auto light = [&](int x, int y) { return !code.dark(x, y); };
  // Three bytes of UTF-8 a character at the most.
  constexpr std::size_t margins = 8;  // the border on both sides
  const std::size_t side = static_cast<std::size_t>(size) + margins;
  Secret text(side * side * 3);
  std::size_t at = 0;
  const auto put = [&](std::string_view piece) {
    for (const char c : piece) text.bytes()[at++] = static_cast<std::uint8_t>(c);
  };
  for (int y = -border; y < size + border; y += 2) {
    put("  ");
    for (int x = -border; x < size + border; ++x) {
      const bool upper = light(x, y);
      const bool lower = light(x, y + 1);
      put(upper && lower ? "█" : upper ? "▀" : lower ? "▄" : " ");
    }
    put("\n");
  }
  text.truncate(at);
  return text;
}

}  // namespace

void show_recovery_key(int fd, std::string_view volume, std::string_view luks_uuid,
                       const Secret& key, std::string_view together_with) {
  const std::string use =
      together_with.empty()
          ? "It opens the volume without the TPM, on any machine."
          : fmt::format("It opens the volume together with {}, and not alone.", together_with);
  write_all(fd,
            fmt::format("\nRecovery key of {} (LUKS {})\n"
                        "{} It is shown once and kept nowhere.\n\n  ",
                        escaped(volume), luks_uuid, use),
            "the terminal");
  write_all(fd, key.view(), "the terminal");
  write_all(fd, "\n\n", "the terminal");
  write_all(fd, qr_text(key).view(), "the terminal");
  write_all(fd, "\n", "the terminal");
}

void hand_over_on_terminal(std::string_view volume, std::string_view luks_uuid, const Secret& key,
                           std::string_view together_with) {
  const UniqueFd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal) {
    throw Error(Code::usage,
                "hand over the recovery key of {}: there is no terminal; give --recovery-key-dir",
                volume);
  }
  show_recovery_key(terminal.get(), volume, luks_uuid, key, together_with);
  const std::string_view last = key.view().substr(key.size() - 8);
  for (int tries = 0; tries < 3; ++tries) {
    const auto typed = ask_secret("Write it down, then type its last eight letters");
    if (!typed) break;
    if (typed->view() == last) return;
    print_err("volseal: that is not its last group\n");
  }
  throw Error(Code::interrupted,
              "hand over the recovery key of {}: it was not acknowledged; nothing was changed",
              volume);
}

}  // namespace volseal
