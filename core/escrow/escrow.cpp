#include "core/escrow/escrow.h"

#include "core/base/base64.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/escrow/cms.h"
#include "core/escrow/content.h"
#include "core/escrow/delivery.h"
#include "core/escrow/shamir.h"

#include <algorithm>
#include <chrono>

namespace volseal::escrow {

namespace {

// "2026-05-01T12:34:56.789Z" as a part of a file's name: "20260501T123456Z".
std::string in_a_name(const std::string& time) {
  std::string text = time.substr(0, time.find('.')) + "Z";
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

std::vector<const Certificate*> all_of(const std::vector<Certificate>& certificates) {
  std::vector<const Certificate*> all;
  all.reserve(certificates.size());
  for (const Certificate& certificate : certificates) all.push_back(&certificate);
  return all;
}

// Each share to one certificate.
std::vector<SealedBlob> seal_shares(Content content, const Secret& key, int threshold,
                                    const std::vector<Certificate>& certificates,
                                    const std::string& name) {
  const int count = static_cast<int>(certificates.size());
  const std::vector<Share> shares = split(key, threshold, count);
  ShareOf of{.set = to_hex(Secret::random(8).bytes()),
             .of = count,
             .threshold = threshold,
             .key_digest = digest_of_key(content.luks_uuid, key)};
  for (const Share& share : shares) {
    of.share_digests.push_back(digest_of_share(content.luks_uuid, of, share.number, share.value));
  }
  std::vector<SealedBlob> blobs;
  for (const Share& share : shares) {
    of.number = share.number;
    content.share = of;
    content.value = share.value.clone();
    const auto at = static_cast<std::size_t>(share.number) - 1;
    blobs.push_back({.name = fmt::format("{}-share-{}-of-{}.cms", name, share.number, count),
                     .pem = seal(to_json(content), {&certificates[at]})});
  }
  return blobs;
}

}  // namespace

Escrow::Escrow(const EscrowPolicy& policy, std::time_t now, std::optional<int> descriptor)
    : policy_(policy),
      certificates_(read_certificates(policy.certificates, now)),
      descriptor_(descriptor) {
  if (descriptor_) return;
  if (policy_.command.empty()) {
    require_directory(policy_.directory);
  } else {
    require_command(policy_.command);
  }
}

EscrowReceipt Escrow::deposit(const Of& of, const Secret& key) const {
  const std::string date = utc_now();
  // Two keys of a volume may be made within a second.
  const std::string name =
      fmt::format("{}-{}-{}", of.luks_uuid, in_a_name(date), to_hex(Secret::random(4).bytes()));
  Content content{.luks_uuid = of.luks_uuid, .host = of.host, .group = of.group, .date = date};
  std::vector<SealedBlob> blobs;
  if (policy_.threshold > 1) {
    blobs = seal_shares(std::move(content), key, policy_.threshold, certificates_, name);
  } else {
    content.value = key.clone();
    blobs.push_back({.name = name + ".cms", .pem = seal(to_json(content), all_of(certificates_))});
  }

  EscrowReceipt receipt{.threshold = policy_.threshold, .blob = name};
  for (const Certificate& certificate : certificates_) {
    receipt.certificates.push_back(certificate.fingerprint);
  }
  if (descriptor_) {
    receipt.to = "descriptor";
    deliver_to_descriptor(*descriptor_, blobs);
  } else if (!policy_.command.empty()) {
    receipt.to = "command";
    deliver_to_command(policy_.command, std::chrono::seconds(policy_.timeout),
                       {.luks_uuid = of.luks_uuid, .group = of.group}, blobs);
  } else {
    receipt.to = "directory";
    deliver_to_directory(policy_.directory, blobs);
  }
  receipt.acknowledged = utc_now();
  return receipt;
}

}  // namespace volseal::escrow
