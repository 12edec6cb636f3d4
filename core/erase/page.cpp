// The certificate as a page to print and to sign by hand. No scripts; what devices say is text.
#include "core/base/digest.h"
#include "core/base/human.h"
#include "core/erase/certificate.h"
#include "core/report/markup.h"

#include <fmt/format.h>

namespace volseal {

namespace {

using report::plain_markup;

constexpr std::string_view certificate_style = R"(
@page { margin: 2cm }
body { font: 11pt serif; color: #000; background: #fff; max-width: 18cm; margin: 1cm auto }
table { border-collapse: collapse; width: 100%; margin: 0.4em 0 1em }
th { text-align: left; vertical-align: top; padding: 0.15em 1em 0.15em 0; font-weight: normal; white-space: nowrap }
td { font-family: monospace; overflow-wrap: anywhere; padding: 0.15em 0 }
h2 { font-size: 13pt; break-after: avoid; border-top: 1px solid #000; padding-top: 0.5em }
.verdict { border: 2px solid #000; padding: 0.6em; font-weight: bold }
.sign { margin-top: 2cm; display: flex; justify-content: space-between }
.sign span { border-top: 1px solid #000; width: 45%; padding-top: 0.3em }
li { margin-bottom: 0.4em }
code { font-family: monospace; overflow-wrap: anywhere }
)";

std::string row(std::string_view title, std::string_view text) {
  if (text.empty()) return "";
  return fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", title, plain_markup(text));
}

std::string disk_rows(const ErasedDisk& disk) {
  std::string what = disk.vendor;
  for (const std::string* part : {&disk.model, &disk.bus}) {
    if (!part->empty()) what += (what.empty() ? "" : " ") + *part;
  }
  return row("Disk", disk.path) + row("Model", what) + row("Serial number", disk.serial) +
         row("WWN", disk.wwn);
}

std::string volume_part(const ErasedVolume& volume) {
  std::string out = fmt::format("<h2>{}</h2>\n<table>\n", plain_markup(volume.path));
  out += row("LUKS UUID", volume.luks_uuid) + row("Label", volume.label);
  out += row("Encryption",
             fmt::format("LUKS{}, {}, {} bits", volume.version, volume.cipher, volume.key_bits));
  out += row("Size", fmt::format("{} ({} bytes)", human_size(volume.size), volume.size));
  if (volume.header != volume.path) out += row("Header in", volume.header);
  for (const ErasedDisk& disk : volume.disks) out += disk_rows(disk);
  out += row("Erased at", volume.erased_at);
  for (const std::string& way : volume.ways) out += row("Destroyed", way);
  for (const ErasedArea& area : volume.areas) {
    out += row("Overwritten",
               fmt::format("{}: {} bytes at byte {}, read back {}{}", area.what, area.bytes,
                           area.offset, area.direct ? "from the device" : "through the page cache",
                           area.secure_discard ? ", after a secure discard" : ""));
    out += row("SHA-256 there", area.sha256);
  }
  return out + "</table>\n";
}

std::string left_part(const ErasureCertificate& certificate) {
  std::string items;
  for (const ErasedVolume& volume : certificate.entry.volumes) {
    for (const Leftover& left : volume.left) {
      items += fmt::format("<li>{} of {}: <code>{}</code>{}{}</li>\n", plain_markup(left.what),
                           plain_markup(volume.luks_uuid), plain_markup(left.where),
                           left.holders.empty() ? "" : "; held by " + plain_markup(left.holders),
                           left.remove.empty() ? ""
                                               : fmt::format("; removed by <code>{}</code>",
                                                             plain_markup(left.remove)));
    }
  }
  const auto& cleared = certificate.entry.cleared;
  if (cleared && cleared->tpm != "cleared") {
    items += fmt::format(
        "<li>In the TPM of the machine, which did not answer: revocation counter {}</li>\n",
        plain_markup(cleared->index));
  }
  if (items.empty()) return "";
  return "<h2>What still exists</h2>\n<p>With a copy of the header and one of the old keys the "
         "data "
         "opens. These are known:</p>\n<ul>\n" +
         items + "</ul>\n";
}

}  // namespace

std::string erasure_page(const ErasureCertificate& certificate, std::string_view json,
                         const std::vector<CertificateSignature>& signatures,
                         std::string_view envelope) {
  const ErasureEntry& entry = certificate.entry;
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'sha256-{}'; base-uri 'none'; form-action 'none'\">\n"
      "<title>Certificate of erasure</title>\n<style>{}</style></head><body>\n"
      "<h1>Certificate of erasure</h1>\n",
      report::digest_base64(certificate_style), certificate_style);
  out +=
      fmt::format("<p class=\"verdict\">{}</p>\n<table>\n",
                  certificate.complete()
                      ? "The keys were destroyed, and that was proven. "
                        "No copy of a header is known."
                      : "The keys on the device were destroyed, and that was "
                        "proven. Copies of a header, or what is in a TPM, still exist: see below.");
  out += row(entry.group.empty() ? "Volume" : "Group", entry.target) +
         row("Machine", certificate.host) + row("Begun", entry.started_at) +
         row("Certified", certificate.made_at);
  for (const auto& [key, value] : certificate.who) out += row(plain_markup(key), value);
  out += row("By", "volseal " + certificate.version) + row("Number", entry.id) + "</table>\n";
  for (const ErasedVolume& volume : entry.volumes) out += volume_part(volume);
  if (entry.cleared) {
    out += "<h2>The group's secret</h2>\n<table>\n" + row("TPM", entry.cleared->tpm) +
           row("Revocation counter",
               fmt::format("{} {}", entry.cleared->index, entry.cleared->counter));
    for (const std::string& path : entry.cleared->destroyed) out += row("Destroyed", path);
    out += "</table>\n";
  }
  out += left_part(certificate);
  out +=
      "<h2>How it was proven</h2>\n<p>Each area was overwritten with random bytes and flushed, "
      "then read again from the device and compared byte by byte. What was read has the SHA-256 "
      "above; the same area read today has it still, unless it was written since. After that "
      "neither volseal nor libcryptsetup found a LUKS header.</p>\n"
      "<h2>What can and cannot be promised</h2>\n<ul>\n";
  for (const std::string& limit : erasure_limits(entry))
    out += fmt::format("<li>{}</li>\n", plain_markup(limit));
  out += "</ul>\n<h2>Signatures</h2>\n<table>\n";
  for (const CertificateSignature& signature : signatures) out += row(signature.by, signature.key);
  out += row("SHA-256 of the certificate", sha256_hex(json)) + "</table>\n";
  out += fmt::format(
      "<p>The signed form is <code>{}</code>; <code>volseal evidence verify --key KEY {}</code> "
      "checks it on any machine. This page itself is not signed.</p>\n",
      plain_markup(envelope), plain_markup(envelope));
  return out +
         "<p class=\"sign\"><span>Date, who did it</span><span>Date, who was there</span></p>\n"
         "</body></html>\n";
}

}  // namespace volseal
