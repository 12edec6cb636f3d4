#include "cli/recovery_print.h"

#include "cli/output.h"
#include "cli/qr_code.h"
#include "cli/recovery_page.h"
#include "cli/world.h"
#include "core/base/clock.h"
#include "core/base/escape.h"
#include "core/base/log.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace volseal {

namespace {

// For text between tags.
std::string in_html(std::string_view text) {
  std::string safe;
  for (const char c : escaped(text)) {
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      default: safe += c;
    }
  }
  return safe;
}

// Text that is put together in a secret, which has room for it from the start.
class Writer {
 public:
  explicit Writer(std::size_t room) : text_(room) {}

  void put(std::string_view piece) {
    std::ranges::copy(piece, text_.bytes().subspan(size_, piece.size()).begin());
    size_ += piece.size();
  }
  Secret take() {
    text_.truncate(size_);
    return std::move(text_);
  }

 private:
  Secret text_;
  std::size_t size_ = 0;
};

// One square a dark module. The numbers are formatted on the stack, and wiped.
void put_qr_code(Writer& out, const QrCode& code) {
  const int side = code.size() + 2 * QrCode::border;
  out.put(
      fmt::format("<svg viewBox=\"0 0 {0} {0}\" role=\"img\" aria-label=\"QR code\" "
                  "shape-rendering=\"crispEdges\"><rect width=\"{0}\" height=\"{0}\" "
                  "fill=\"#fff\"/><path d=\"",
                  side));
  std::array<char, 24> square{};
  for (int y = 0; y < code.size(); ++y) {
    for (int x = 0; x < code.size(); ++x) {
      if (!code.dark(x, y)) continue;
      const auto end =
          fmt::format_to(square.data(), "M{} {}h1v1h-1z", x + QrCode::border, y + QrCode::border);
      out.put({square.data(), static_cast<std::size_t>(end - square.data())});
    }
  }
  wipe(square.data(), square.size());
  out.put("\"/></svg>\n");
}

// Four groups of eight letters a line.
void put_key(Writer& out, const Secret& key) {
  constexpr std::size_t half = 36;  // four groups, each with its dash
  const std::string_view text = key.view();
  out.put("<p class=\"key\">");
  out.put(text.substr(0, half));
  if (text.size() > half) {
    out.put("<br>");
    out.put(text.substr(half));
  }
  out.put("</p>\n");
}

constexpr std::string_view head = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Recovery key</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
@page { margin: 2cm }
body { font: 12pt serif; color: #000; background: #fff; max-width: 17cm; margin: 1cm auto }
th { text-align: left; padding-right: 1em; font-weight: normal }
td { font-family: monospace }
.key { font: bold 15pt monospace; border: 2px solid #000; padding: 0.6em; text-align: center }
svg { width: 6cm; height: 6cm; display: block; margin: 0.5cm auto }
code { font-family: monospace }
</style></head><body>
<h1>Recovery key</h1>
)";

constexpr std::string_view tail =
    R"(<p>Whoever has this key and the disk reads the data. Keep it in a safe, away from the machine; once it
was used, replace it. On any Linux it opens the volume, letters and dashes as they stand here:</p>
)";

constexpr std::string_view part_tail =
    R"(<p>It is one part of a way in. Keep it in a safe, away from the machine and from the other parts;
once it was used, replace it. With all of them at hand:</p>
)";

}  // namespace

void add_page_options(CLI::App& verb, PageOptions& options) {
  verb.add_option("--recovery-page-dir", options.folder,
                  "write each recovery key there as a page to print, instead of showing it");
  verb.add_flag("--no-host-name", options.no_host_name, "leave this machine's name off that page");
}

Secret to_html(const RecoveryPage& page, const Secret& key) {
  const QrCode code(key);
  constexpr std::size_t words = 16U << 10U;
  constexpr std::size_t square = 24;
  const auto side = static_cast<std::size_t>(code.size());
  Writer out(words + side * side * square);
  out.put(head);
  out.put(fmt::format("<table><tr><th>Volume</th><td>{}</td></tr>\n", in_html(page.volume)));
  out.put(fmt::format("<tr><th>LUKS UUID</th><td>{}</td></tr>\n", in_html(page.luks_uuid)));
  if (!page.host.empty())
    out.put(fmt::format("<tr><th>Machine</th><td>{}</td></tr>\n", in_html(page.host)));
  out.put(fmt::format("<tr><th>Made on</th><td>{}</td></tr></table>\n", in_html(page.date)));
  put_key(out, key);
  put_qr_code(out, code);
  const bool alone = page.together_with.empty();
  if (!alone) {
    out.put(fmt::format("<p>It opens the volume together with: <b>{}</b></p>\n",
                        in_html(page.together_with)));
  }
  out.put(alone ? tail : part_tail);
  out.put(fmt::format("<p><code>{}/dev/disk/by-uuid/{}{}</code></p>\n</body></html>\n",
                      alone ? "cryptsetup open " : "volseal unlock ", in_html(page.luks_uuid),
                      alone ? " data" : ""));
  return out.take();
}

void write_recovery_page(const PageOptions& options, RecoveryPage page, const Secret& key) {
  const Path folder = options.folder.value_or(".");
  make_folder(folder);
  const Path file = folder / (page.luks_uuid + ".recovery-key.html");
  const std::size_t day = sizeof("YYYY-MM-DD") - 1;
  page.host = options.no_host_name ? "" : host_name();
  page.date = utc_now().substr(0, day);
  write_secret_file(file, to_html(page, key));
  log::warning(
      "{} has the recovery key of {} in the clear: print it, then move it off this machine or "
      "'shred -u' it",
      file.native(), escaped(page.volume));
}

void show_new_recovery_key(const PageOptions& options, const RecoveryPage& page,
                           const Secret& key) {
  if (options.folder) {
    write_recovery_page(options, page, key);
  } else if (is_terminal(STDOUT_FILENO)) {
    show_recovery_key(STDOUT_FILENO, page.volume, page.luks_uuid, key, page.together_with);
  } else {
    write_all(STDOUT_FILENO, key.view(), "standard output");
    write_all(STDOUT_FILENO, "\n", "standard output");
  }
}

}  // namespace volseal
