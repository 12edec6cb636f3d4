// What measured events mean to people. Everything in them is hostile until escaped.
#include "core/base/escape.h"
#include "tpm/event_log.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace volseal::tpm {

namespace {

// TCG PC Client Platform Firmware Profile 1.06, table 14.
enum Type : std::uint32_t {
  post_code = 0x1,
  separator = 0x4,
  action = 0x5,
  event_tag = 0x6,
  crtm_contents = 0x7,
  crtm_version = 0x8,
  cpu_microcode = 0x9,
  platform_config_flags = 0xa,
  table_of_devices = 0xb,
  compact_hash = 0xc,
  ipl = 0xd,
  nonhost_code = 0xf,
  nonhost_config = 0x10,
  nonhost_info = 0x11,
  omit_boot_device_events = 0x12,
  post_code2 = 0x13,
  efi_variable_driver_config = 0x80000001,
  efi_variable_boot = 0x80000002,
  efi_boot_services_application = 0x80000003,
  efi_boot_services_driver = 0x80000004,
  efi_runtime_services_driver = 0x80000005,
  efi_gpt_event = 0x80000006,
  efi_action = 0x80000007,
  efi_platform_firmware_blob = 0x80000008,
  efi_handoff_tables = 0x80000009,
  efi_platform_firmware_blob2 = 0x8000000a,
  efi_handoff_tables2 = 0x8000000b,
  efi_variable_boot2 = 0x8000000c,
  efi_gpt_event2 = 0x8000000d,
  efi_variable_authority = 0x800000e0,
};

constexpr std::size_t max_shown = 160;

std::uint64_t little(std::span<const std::uint8_t> bytes, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  if (at > bytes.size() || size > bytes.size() - at) return 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8U | bytes[at + i];
  return value;
}

// UCS-2 to UTF-8, up to a terminator.
std::string from_ucs2(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (std::size_t at = 0; at + 1 < bytes.size() && text.size() < max_shown; at += 2) {
    const auto c = static_cast<unsigned>(little(bytes, at, 2));
    if (c == 0) break;
    const auto put = [&](unsigned byte) { text += static_cast<char>(byte); };
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xc0U | c >> 6U);
      put(0x80U | (c & 0x3fU));
    } else {
      put(0xe0U | c >> 12U);
      put(0x80U | (c >> 6U & 0x3fU));
      put(0x80U | (c & 0x3fU));
    }
  }
  return text;
}

// Paths have backslashes, which escaped() would double into \x5c; they are harmless here.
std::string shown(const std::string& text) {
  std::string out;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto at = rest.find('\\');
    out += escaped(rest.substr(0, at), max_shown);
    if (at == std::string_view::npos) break;
    out += '\\';
    rest.remove_prefix(at + 1);
  }
  return out;
}

struct Variable {
  std::string name;
  std::span<const std::uint8_t> data;
};

// UEFI_VARIABLE_DATA: GUID, two lengths, name, data.
Variable variable_of(const Event& event) {
  constexpr std::size_t header = 32;
  const std::span<const std::uint8_t> bytes(event.data);
  if (bytes.size() < header) return {};
  const auto rest = bytes.subspan(header);
  const std::uint64_t characters = little(bytes, 16, 8);
  const std::uint64_t size = little(bytes, 24, 8);
  if (characters > rest.size() / 2) return {};
  const auto name = rest.first(static_cast<std::size_t>(characters) * 2);
  const auto data = rest.subspan(name.size());
  return {.name = from_ucs2(name), .data = data.first(std::min<std::uint64_t>(size, data.size()))};
}

// UEFI_IMAGE_LOAD_EVENT: three numbers, the length of a device path, the path. Its file, or "".
std::string file_of(const Event& event) {
  constexpr std::size_t header = 32;
  constexpr std::uint8_t media = 4;
  constexpr std::uint8_t file_path = 4;
  constexpr std::uint8_t end = 0x7f;
  std::span<const std::uint8_t> path(event.data);
  if (path.size() < header) return {};
  const std::uint64_t length = little(path, 24, 8);
  path = path.subspan(header);
  path = path.first(std::min<std::uint64_t>(length, path.size()));
  std::string file;
  while (path.size() >= 4 && path[0] != end) {
    const auto size = static_cast<std::size_t>(little(path, 2, 2));
    if (size < 4 || size > path.size()) break;
    if (path[0] == media && path[1] == file_path) file += from_ucs2(path.subspan(4, size - 4));
    path = path.subspan(size);
  }
  return file;
}

// Text as GRUB, shim and firmware write it: printable ASCII up to a terminator, or "".
std::string text_of(const Event& event) {
  std::string text;
  for (const std::uint8_t byte : event.data) {
    if (byte == 0 || text.size() == max_shown) break;
    if (byte < 0x20 || byte > 0x7e) return {};
    text += static_cast<char>(byte);
  }
  return text;
}

bool is_key_list(std::string_view name) {
  return name == "db" || name == "dbx" || name == "dbt" || name == "dbr" || name == "KEK" ||
         name == "PK";
}

std::string quoted_text(const Event& event) {
  const std::string text = text_of(event);
  return text.empty() ? "" : ": " + shown(text);
}

// Whether the event's data is what was hashed; nothing where the profile does not say so.
bool data_matches(const Event& event, std::string_view bank) {
  const auto digest = event.digests.find(std::string(bank));
  if (digest == event.digests.end()) return true;
  const EVP_MD* hash = bank == "sha1"     ? EVP_sha1()
                       : bank == "sha256" ? EVP_sha256()
                       : bank == "sha384" ? EVP_sha384()
                       : bank == "sha512" ? EVP_sha512()
                                          : nullptr;
  if (hash == nullptr) return true;
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> value{};
  unsigned size = 0;
  if (EVP_Digest(event.data.data(), event.data.size(), value.data(), &size, hash, nullptr) != 1)
    return true;
  return std::ranges::equal(digest->second, std::span(value).first(size));
}

std::string driver_config_change(const Event& event, std::string_view bank) {
  const Variable variable = variable_of(event);
  if (variable.name.empty()) return "a Secure Boot variable changed";
  // The profile (10.4.1) has these hashed whole: a name that is not what was measured is a lie.
  if (!data_matches(event, bank)) {
    return "a Secure Boot variable changed (the log's description of it is not what was measured)";
  }
  if (variable.name == "SecureBoot") {
    return variable.data.size() == 1 && variable.data[0] == 1 ? "Secure Boot was turned on"
                                                              : "Secure Boot was turned off";
  }
  if (is_key_list(variable.name)) return fmt::format("{} was updated", variable.name);
  return fmt::format("the variable {} changed", shown(variable.name));
}

std::string image(std::string_view what, const Event& event) {
  const std::string file = file_of(event);
  return file.empty() ? std::string(what) : fmt::format("{}, {}", what, shown(file));
}

}  // namespace

std::string describe(const Event& event) {
  switch (event.type) {
    case efi_variable_driver_config:
    case efi_variable_boot:
    case efi_variable_boot2:
    case efi_variable_authority: {
      const std::string name = variable_of(event).name;
      return name.empty() ? "a variable" : shown(name);
    }
    case efi_boot_services_application: return image("the boot loader", event);
    case efi_boot_services_driver:
    case efi_runtime_services_driver: return image("the driver", event);
    case separator: return "the separator";
    default: {
      const std::string text = text_of(event);
      return text.empty() ? fmt::format("an event of type {:#x}", event.type) : shown(text);
    }
  }
}

std::string describe_change(const Event& event, std::string_view bank) {
  switch (event.type) {
    case efi_variable_driver_config: return driver_config_change(event, bank);
    case efi_variable_authority: {
      const std::string name = variable_of(event).name;
      return name.empty() ? "the boot loader was verified with another certificate"
                          : fmt::format("the boot loader was verified with another entry of {}",
                                        shown(name));
    }
    case efi_variable_boot:
    case efi_variable_boot2: {
      const std::string name = variable_of(event).name;
      if (name == "BootOrder") return "the boot order changed";
      return name.empty() ? "a boot option changed"
                          : fmt::format("the boot option {} changed", shown(name));
    }
    case efi_boot_services_application: return image("a different boot loader", event);
    case efi_boot_services_driver:
    case efi_runtime_services_driver: return image("a different driver or option ROM", event);
    case efi_gpt_event:
    case efi_gpt_event2: return "the partition table of the boot disk changed";
    case efi_platform_firmware_blob:
    case efi_platform_firmware_blob2:
    case crtm_contents:
    case crtm_version:
    case post_code:
    case post_code2:
      return "the firmware changed" + (event.type == crtm_version ? "" : quoted_text(event));
    case cpu_microcode: return "the processor's microcode changed";
    case platform_config_flags:
    case table_of_devices:
    case efi_handoff_tables:
    case efi_handoff_tables2:
    case nonhost_code:
    case nonhost_config:
    case nonhost_info: return "the firmware's configuration or the hardware changed";
    case separator: return "the firmware reported an error, or ended its measurements differently";
    case action:
    case efi_action: return "the boot took another way" + quoted_text(event);
    case omit_boot_device_events: return "the firmware left out its boot device events";
    case ipl:
    case event_tag:
    case compact_hash: {
      const std::string text = quoted_text(event);
      return text.empty() ? "the boot loader measured something else"
                          : "the boot loader measured something else" + text;
    }
    default: return fmt::format("an event of type {:#x} changed{}", event.type, quoted_text(event));
  }
}

std::string_view meaning_of_pcr(int pcr) {
  switch (pcr) {
    case 0: return "firmware code";
    case 1: return "firmware configuration and hardware";
    case 2: return "option ROMs";
    case 3: return "configuration of option ROMs";
    case 4: return "boot loader";
    case 5: return "boot loader configuration and partition table";
    case 6: return "vendor's own";
    case 7: return "Secure Boot policy";
    case 8: return "boot loader commands and kernel command line";
    case 9: return "files that the boot loader read, and the initramfs";
    case 10: return "files measured by the kernel (IMA)";
    case 11: return "unified kernel image";
    case 12: return "kernel command line and system extensions";
    case 13: return "system extensions";
    case 14: return "machine owner keys (shim)";
    case 15: return "latch";
    default: return "";
  }
}

}  // namespace volseal::tpm
