// A boot that measures into a TPM and keeps the log of it, as firmware does.
#pragma once

#include "core/base/base64.h"
#include "tests/support/swtpm.h"

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace volseal::tpm {

enum class LogFormat { agile, sha1_only };

class MeasuredBoot {
 public:
  explicit MeasuredBoot(test::Swtpm& swtpm, LogFormat format = LogFormat::agile)
      : swtpm_(swtpm), format_(format) {
    if (format == LogFormat::agile) header();
  }

  // Measures `measured`, and logs `data` with it (as a rule the same).
  void measure(int pcr, std::uint32_t type, const std::string& data, const std::string& measured) {
    swtpm_.extend(pcr, measured);
    put(static_cast<std::uint64_t>(pcr), 4);
    put(type, 4);
    if (format_ == LogFormat::agile) {
      put(banks.size(), 4);
      for (const Bank& bank : banks) {
        put(bank.algorithm, 2);
        put_digest(bank.hash(), measured);
      }
    } else {
      put_digest(EVP_sha1(), measured);
    }
    put(data.size(), 4);
    log_ += data;
  }

  // EV_EFI_VARIABLE_DRIVER_CONFIG, _AUTHORITY, _BOOT
  void variable(int pcr, std::uint32_t type, std::string_view name, std::string_view value) {
    std::string data(16, 'G');
    append(data, name.size(), 8);
    append(data, value.size(), 8);
    data += ucs2(name);
    data += value;
    measure(pcr, type, data, data);
  }

  // EV_EFI_BOOT_SERVICES_APPLICATION: what is measured is the image, what is logged is its path.
  void image(int pcr, std::string_view file, const std::string& content) {
    std::string path;
    append(path, 0x0404, 2);  // media, file path
    append(path, 4 + 2 * (file.size() + 1), 2);
    path += ucs2(file) + std::string(2, '\0') + std::string("\x7f\xff\x04\x00", 4);
    std::string data(24, '\0');
    append(data, path.size(), 8);
    measure(pcr, 0x80000003, data + path, content);
  }

  void separator(int pcr) { measure(pcr, 4, std::string(4, '\0'), std::string(4, '\0')); }

  const std::string& log() const { return log_; }

 private:
  struct Bank {
    std::uint16_t algorithm;
    const EVP_MD* (*hash)();
  };
  static constexpr std::array banks = {
      Bank{.algorithm = 0x0004, .hash = EVP_sha1}, Bank{.algorithm = 0x000b, .hash = EVP_sha256},
      Bank{.algorithm = 0x000c, .hash = EVP_sha384}, Bank{.algorithm = 0x000d, .hash = EVP_sha512}};

  static void append(std::string& text, std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i, value >>= 8U) text += static_cast<char>(value & 0xffU);
  }
  void put(std::uint64_t value, int size) { append(log_, value, size); }
  static std::string ucs2(std::string_view text) {
    std::string wide;
    for (const char c : text) append(wide, static_cast<unsigned char>(c), 2);
    return wide;
  }
  void put_digest(const EVP_MD* hash, const std::string& data) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(data.data(), data.size(), digest.data(), &size, hash, nullptr);
    log_.append(digest.begin(), digest.begin() + size);
  }
  void header() {
    std::string data = "Spec ID Event03" + std::string(1, '\0');
    append(data, 0, 4);
    data += std::string("\x00\x02\x00\x02", 4);
    append(data, banks.size(), 4);
    for (const Bank& bank : banks) {
      append(data, bank.algorithm, 2);
      append(data, static_cast<std::uint64_t>(EVP_MD_get_size(bank.hash())), 2);
    }
    append(data, 0, 1);
    put(0, 4);
    put(3, 4);
    log_.append(20, '\0');
    put(data.size(), 4);
    log_ += data;
  }

  test::Swtpm& swtpm_;
  LogFormat format_;
  std::string log_;
};

constexpr std::uint32_t ev_variable_driver_config = 0x80000001;
constexpr std::uint32_t ev_variable_boot = 0x80000002;
constexpr std::uint32_t ev_variable_authority = 0x800000e0;

// A Debian server with Secure Boot. The parts that a test changes are named.
struct DebianBoot {
  std::string secure_boot = std::string(1, '\x01');
  std::string dbx = "revocation list of May";
  std::string shim_path = R"(\EFI\debian\shimx64.efi)";
  std::string shim = "shim 15.7";
  std::string firmware = "firmware 1.0";

  MeasuredBoot in(test::Swtpm& swtpm, LogFormat format = LogFormat::agile) const {
    MeasuredBoot boot(swtpm, format);
    boot.measure(0, 0x8, firmware, firmware);
    boot.variable(7, ev_variable_driver_config, "SecureBoot", secure_boot);
    boot.variable(7, ev_variable_driver_config, "PK", "platform key");
    boot.variable(7, ev_variable_driver_config, "KEK", "key exchange keys");
    boot.variable(7, ev_variable_driver_config, "db", "signature database");
    boot.variable(7, ev_variable_driver_config, "dbx", dbx);
    boot.separator(7);
    boot.variable(7, ev_variable_authority, "db", "Microsoft UEFI CA 2011");
    boot.measure(4, 0x80000007, "Calling EFI Application from Boot Option",
                 "Calling EFI Application from Boot Option");
    boot.separator(4);
    boot.image(4, shim_path, shim);
    boot.image(4, R"(\EFI\debian\grubx64.efi)", "grub 2.06");
    return boot;
  }
};

}  // namespace volseal::tpm
