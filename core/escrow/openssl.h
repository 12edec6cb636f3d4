// OpenSSL's objects with their owners, and its reasons in words. For this folder's sources only.
#pragma once

#include "core/base/handle.h"
#include "core/base/secret.h"

// clang-format off: cms.h declares its PEM functions only behind pem.h.
#include <openssl/pem.h>
#include <openssl/cms.h>
// clang-format on

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <span>
#include <string>
#include <string_view>

namespace volseal::escrow {

using Bio = Handle<BIO, BIO_free_all>;
using Cms = Handle<CMS_ContentInfo, CMS_ContentInfo_free>;
using Certificate509 = Handle<X509, X509_free>;

// Reads what is there, and copies nothing. It must outlive the BIO.
Bio reader_of(std::span<const std::uint8_t> bytes);
Bio reader_of(std::string_view text);
// Grows by clearing what it outgrew; what it holds is wiped when it is freed.
Bio writer();
// What was written so far; valid until the next write.
std::string_view written_to(const Bio& bio);

// The reason of the latest failure in this thread, and forgets all of them.
std::string openssl_reason();

}  // namespace volseal::escrow
