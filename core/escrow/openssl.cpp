#include "core/escrow/openssl.h"

#include "core/base/error.h"

#include <openssl/err.h>

namespace volseal::escrow {

Bio reader_of(std::span<const std::uint8_t> bytes) {
  Bio bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
  if (!bio) throw Error(Code::internal, "read from memory: OpenSSL has none");
  return bio;
}

Bio reader_of(std::string_view text) {
  return reader_of({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

Bio writer() {
  Bio bio(BIO_new(BIO_s_mem()));
  if (!bio) throw Error(Code::internal, "write to memory: OpenSSL has none");
  return bio;
}

std::string_view written_to(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  if (data == nullptr || size <= 0) return {};
  return {data, static_cast<std::size_t>(size)};
}

std::string openssl_reason() {
  const unsigned long error = ERR_peek_last_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  std::string text = reason == nullptr ? "OpenSSL does not say why" : reason;
  ERR_clear_error();
  return text;
}

}  // namespace volseal::escrow
