#include "core/escrow/content.h"

#include "core/base/digest.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/openssl.h"
#include "core/escrow/shamir.h"
#include "core/protect/recovery_key.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace volseal::escrow {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view schema = "volseal-escrow/1";
constexpr std::size_t largest = 16U << 10U;
constexpr std::size_t digest_digits = 64;
constexpr std::size_t set_digits = 16;
constexpr std::size_t uuid_length = 36;
constexpr std::size_t key_length = 71;

[[noreturn]] void bad(const char* what) {
  throw Error(Code::bad_blob, "read what is in an escrow blob: {}", what);
}

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_uuid(std::string_view text) {
  if (text.size() != uuid_length) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !is_hex(text.substr(i, 1), 1)) return false;
  }
  return true;
}

const Json& member(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) bad("a member is missing");
  return *at;
}

std::string text_of(const Json& object, const char* key, std::size_t limit) {
  const Json& value = member(object, key);
  if (!value.is_string()) bad("a member is no string");
  auto text = value.get<std::string>();
  if (text.size() > limit) bad("a member is too long");
  return text;
}

std::string hex_of(const Json& object, const char* key, std::size_t digits) {
  std::string text = text_of(object, key, digits);
  if (!is_hex(text, digits)) bad("a member is not hexadecimal");
  return text;
}

int number_of(const Json& object, const char* key, int least, int most) {
  const Json& value = member(object, key);
  if (!value.is_number_integer() || value < least || value > most) bad("a number is out of range");
  return value.get<int>();
}

// The JSON library's copy of a secret is wiped here; those that its parser made are when they are
// freed.
Secret taken_from(Json& object, const char* key) {
  if (!member(object, key).is_string()) bad("the secret is no string");
  auto& text = object[key].get_ref<std::string&>();
  Secret secret = Secret::copy_of(text);
  wipe(text.data(), text.size());
  return secret;
}

Secret from_hex_digits(const Secret& digits) {
  if (digits.size() != 2 * key_length) bad("the share has the wrong length");
  const auto nibble = [](std::uint8_t c) -> unsigned {
    if (c >= '0' && c <= '9') return c - unsigned{'0'};
    if (c >= 'a' && c <= 'f') return c - unsigned{'a'} + 10;
    bad("the share is not hexadecimal");
  };
  Secret value(key_length);
  for (std::size_t i = 0; i < value.size(); ++i) {
    value.bytes()[i] = static_cast<std::uint8_t>(nibble(digits.bytes()[2 * i]) << 4U |
                                                 nibble(digits.bytes()[2 * i + 1]));
  }
  return value;
}

ShareOf share_of(const Json& object) {
  ShareOf share;
  share.set = hex_of(object, "set", set_digits);
  share.of = number_of(object, "of", 2, most_shares);
  share.number = number_of(object, "number", 1, share.of);
  share.threshold = number_of(object, "threshold", 2, share.of);
  share.key_digest = hex_of(object, "key_digest", digest_digits);
  const Json& digests = member(object, "share_digests");
  if (!digests.is_array() || digests.size() != static_cast<std::size_t>(share.of)) {
    bad("there is not one digest for each share");
  }
  for (const Json& digest : digests) {
    if (!digest.is_string() || !is_hex(digest.get_ref<const std::string&>(), digest_digits)) {
      bad("a digest is not hexadecimal");
    }
    share.share_digests.push_back(digest.get<std::string>());
  }
  return share;
}

void only(const Json& object, const std::set<std::string_view>& known) {
  if (object.size() != known.size()) bad("it has a member too many or too few");
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key)) bad("it has an unknown member");
  }
}

std::string digest_of(std::string_view prefix, const Secret& secret) {
  Secret text(prefix.size() + secret.size());
  const auto end = std::ranges::copy(prefix, text.bytes().begin()).out;
  std::ranges::copy(secret.bytes(), end);
  return sha256_hex(text.bytes());
}

}  // namespace

std::string digest_of_key(const std::string& luks_uuid, const Secret& key) {
  return digest_of(fmt::format("volseal/escrow-key/1\n{}\n", luks_uuid), key);
}

std::string digest_of_share(const std::string& luks_uuid, const ShareOf& share, int number,
                            const Secret& value) {
  return digest_of(fmt::format("volseal/escrow-share/1\n{}\n{}\n{} of {}, {} open\n", luks_uuid,
                               share.set, number, share.of, share.threshold),
                   value);
}

Secret to_json(const Content& content) {
  Json json = {{"schema", schema},
               {"what", content.share ? "share" : "recovery-key"},
               {"luks_uuid", content.luks_uuid},
               {"host", to_valid_utf8(content.host)},
               {"group", content.group},
               {"date", content.date}};
  if (content.share) {
    json["set"] = content.share->set;
    json["number"] = content.share->number;
    json["of"] = content.share->of;
    json["threshold"] = content.share->threshold;
    json["key_digest"] = content.share->key_digest;
    json["share_digests"] = content.share->share_digests;
  }
  // The secret is the last member, put in here: the JSON library would copy it about.
  std::string head = json.dump(1);
  head.resize(head.size() - std::string_view("\n}").size());
  head += content.share ? ",\n \"share\": \"" : ",\n \"recovery_key\": \"";
  constexpr std::string_view tail = "\"\n}\n";
  const Secret value = content.share ? hex_of(content.value) : content.value.clone();
  Secret text(head.size() + value.size() + tail.size());
  auto at = std::ranges::copy(head, text.bytes().begin()).out;
  at = std::ranges::copy(value.bytes(), at).out;
  std::ranges::copy(tail, at);
  return text;
}

Content parse_content(const Secret& text) {
  if (text.size() > largest) bad("it is too long");
  Json json = Json::parse(text.view(), nullptr, false);
  if (json.is_discarded() || !json.is_object()) bad("it is no JSON object");
  if (text_of(json, "schema", schema.size()) != schema) bad("its schema is not known");
  const std::string what = text_of(json, "what", 16);
  Content content;
  if (what == "share") {
    only(json, {"schema", "what", "luks_uuid", "host", "group", "date", "set", "number", "of",
                "threshold", "key_digest", "share_digests", "share"});
    content.share = share_of(json);
    content.value = from_hex_digits(taken_from(json, "share"));
  } else if (what == "recovery-key") {
    only(json, {"schema", "what", "luks_uuid", "host", "group", "date", "recovery_key"});
    content.value = taken_from(json, "recovery_key");
    const auto normal = normalized_recovery_key(content.value);
    if (!normal || !normal->equal(content.value)) bad("what it has is no recovery key");
  } else {
    bad("it is neither a recovery key nor a share");
  }
  content.luks_uuid = text_of(json, "luks_uuid", uuid_length);
  if (!is_uuid(content.luks_uuid)) bad("it names no volume");
  content.host = text_of(json, "host", 255);
  content.group = text_of(json, "group", 64);
  content.date = text_of(json, "date", 32);
  return content;
}

}  // namespace volseal::escrow
