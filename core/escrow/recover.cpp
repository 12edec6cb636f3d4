#include "core/escrow/recover.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/shamir.h"

#include <algorithm>
#include <utility>

namespace volseal::escrow {

namespace {

template <typename... Args>
[[noreturn]] void bad(const OpenedBlob& blob, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(Code::bad_blob, "put the escrow together: {} {}", escaped(blob.name),
              fmt::format(why, std::forward<Args>(args)...));
}

Recovered of(const Content& content, Secret key) {
  return {.luks_uuid = content.luks_uuid,
          .host = content.host,
          .group = content.group,
          .date = content.date,
          .key = std::move(key)};
}

const ShareOf& share_of(const OpenedBlob& blob) {
  if (!blob.content.share) throw Error(Code::internal, "{} has no share", escaped(blob.name));
  return *blob.content.share;
}

// What all shares of one splitting agree on.
bool same_splitting(const ShareOf& a, const ShareOf& b) {
  ShareOf numbered = b;
  numbered.number = a.number;
  return a == numbered;
}

// The blob that most of the others agree with; the first of those.
const OpenedBlob& spokesman(const std::vector<OpenedBlob>& blobs) {
  const auto agreeing = [&](const OpenedBlob& blob) {
    return std::ranges::count_if(blobs, [&](const OpenedBlob& other) {
      return other.content.luks_uuid == blob.content.luks_uuid &&
             same_splitting(share_of(other), share_of(blob));
    });
  };
  return *std::ranges::max_element(blobs, {}, agreeing);
}

void require_fit(const OpenedBlob& blob, const OpenedBlob& to) {
  const Content& content = blob.content;
  if (content.luks_uuid != to.content.luks_uuid) {
    bad(blob, "is of the volume {}, and {} of {}", content.luks_uuid, escaped(to.name),
        to.content.luks_uuid);
  }
  const ShareOf& share = share_of(blob);
  if (share.set != share_of(to).set) {
    bad(blob, "is a share of another key of that volume (of {}; {} is of {})",
        escaped(content.date), escaped(to.name), escaped(to.content.date));
  }
  if (!same_splitting(share, share_of(to))) {
    bad(blob, "was changed: it contradicts {}", escaped(to.name));
  }
  const auto digest = digest_of_share(content.luks_uuid, share, share.number, content.value);
  if (share.share_digests.at(static_cast<std::size_t>(share.number) - 1) != digest) {
    bad(blob, "was changed: share {} is not what the digests in all shares say", share.number);
  }
}

}  // namespace

Recovered recover(const std::vector<OpenedBlob>& blobs) {
  if (blobs.empty()) throw Error(Code::wrong_secret, "put the escrow together: nothing was opened");
  const auto whole = std::ranges::find_if(
      blobs, [](const OpenedBlob& blob) { return !blob.content.share.has_value(); });
  if (whole != blobs.end()) {
    if (blobs.size() > 1) bad(*whole, "has a whole key; give it alone");
    return of(whole->content, whole->content.value.clone());
  }
  const OpenedBlob& leader = spokesman(blobs);
  std::vector<Share> shares;
  for (const OpenedBlob& blob : blobs) {
    require_fit(blob, leader);
    const int number = share_of(blob).number;
    // A second copy of a share is no second share.
    if (std::ranges::find(shares, number, &Share::number) != shares.end()) continue;
    shares.push_back({.number = number, .value = blob.content.value.clone()});
  }
  const ShareOf& splitting = share_of(leader);
  const auto threshold = static_cast<std::size_t>(splitting.threshold);
  if (shares.size() < threshold) {
    throw Error(Code::wrong_secret,
                "put the escrow of {} together: {} of its {} shares are needed, and {} {} opened",
                leader.content.luks_uuid, threshold, splitting.of, shares.size(),
                shares.size() == 1 ? "was" : "were");
  }
  std::vector<const Share*> chosen;
  chosen.reserve(threshold);
  for (std::size_t i = 0; i < threshold; ++i) chosen.push_back(&shares[i]);
  Secret key = combine(chosen);
  if (digest_of_key(leader.content.luks_uuid, key) != splitting.key_digest) {
    throw Error(Code::bad_blob, "put the escrow of {} together: the shares give another key",
                leader.content.luks_uuid);
  }
  return of(leader.content, std::move(key));
}

}  // namespace volseal::escrow
