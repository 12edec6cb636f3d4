#include "core/coverage/json.h"

#include "core/base/escape.h"

namespace volseal {

using Json = nlohmann::ordered_json;

namespace {

Json texts(const std::vector<std::string>& list) {
  Json json = Json::array();
  for (const std::string& text : list) json.push_back(to_valid_utf8(text));
  return json;
}

Json escrows_of(const VolumeVerdict& volume) {
  Json list = Json::array();
  for (const EscrowRecord& escrow : volume.escrows) {
    list.push_back({{"keyslot", escrow.keyslot},
                    {"certificates", texts(escrow.certificates)},
                    {"threshold", escrow.threshold},
                    {"acknowledged", to_valid_utf8(escrow.acknowledged)},
                    {"to", to_valid_utf8(escrow.to)}});
  }
  return list;
}

Json drills_of(const VolumeVerdict& volume) {
  Json list = Json::array();
  for (const DrillAge& age : volume.drills) {
    list.push_back({{"keyslot", age.keyslot},
                    {"kind", to_valid_utf8(age.kind)},
                    {"opened", to_valid_utf8(age.opened)},
                    {"person", to_valid_utf8(age.person)},
                    {"days", age.days ? Json(*age.days) : Json()},
                    {"overdue", age.overdue}});
  }
  return list;
}

Json bytes_of(const ByteCount& bytes) {
  return {{"encrypted", bytes.encrypted},
          {"converting", bytes.converting},
          {"plaintext", bytes.plaintext},
          {"unknown", bytes.unknown},
          {"unused", bytes.unused}};
}

Json shares_of(const std::vector<ByteShare>& shares) {
  Json list = Json::array();
  for (const ByteShare& share : shares)
    list.push_back({{"name", to_valid_utf8(share.name)}, {"bytes", bytes_of(share.bytes)}});
  return list;
}

Json owners_of(const std::vector<ByteShare>& shares) {
  Json list = shares_of(shares);
  for (std::size_t at = 0; at < shares.size(); ++at)
    list[at]["environment"] = to_valid_utf8(shares[at].environment);
  return list;
}

// Nothing, in JSON, for all volumes; else each list, with nothing for one that says nothing.
Json json_of(const Filter& filter) {
  if (filter.is_all()) return {};
  const auto list = [](const std::vector<std::string>& names) {
    return names.empty() ? Json() : texts(names);
  };
  return {{"tenants", list(filter.tenants)},
          {"environments", list(filter.environments)},
          {"groups", list(filter.groups)}};
}

}  // namespace

Json json_of(const Coverage& coverage) {
  Json volumes = Json::array();
  for (const VolumeVerdict& volume : coverage.volumes) {
    volumes.push_back(
        {{"path", to_valid_utf8(volume.path)},
         {"name", to_valid_utf8(volume.name)},
         {"subject", to_string(volume.subject)},
         {"verdict", to_string(volume.verdict)},
         {"reasons", texts(volume.reasons)},
         {"content", to_valid_utf8(volume.content)},
         {"mounts", texts(volume.mounts)},
         {"size", volume.size},
         {"percent", volume.verdict == Verdict::converting ? Json(volume.percent) : Json()},
         {"cipher", to_valid_utf8(volume.cipher)},
         {"key_bits", volume.key_bits},
         {"sector_size", volume.sector_size},
         {"integrity", to_valid_utf8(volume.integrity)},
         {"bytes", bytes_of(volume.bytes)},
         {"opened", to_valid_utf8(volume.opened)},
         {"header_backup", to_valid_utf8(volume.header_backup)},
         {"recovery_proven", to_valid_utf8(volume.recovery_proven)},
         {"protectors", texts(volume.protectors)},
         {"escrows", escrows_of(volume)},
         {"drills", drills_of(volume)},
         {"group", to_valid_utf8(volume.group)},
         {"policy_group", to_valid_utf8(volume.policy_group)},
         {"tenant", to_valid_utf8(volume.tenant)},
         {"environment", to_valid_utf8(volume.environment)},
         {"rule", to_valid_utf8(volume.rule)},
         {"until", to_valid_utf8(volume.until)},
         {"luks_uuid", to_valid_utf8(volume.luks_uuid)}});
  }
  return {{"schema", "volseal-coverage/1"},
          {"host", to_valid_utf8(coverage.host)},
          {"taken_at", to_valid_utf8(coverage.taken_at)},
          {"policy", to_valid_utf8(coverage.policy)},
          {"filter", json_of(coverage.filter)},
          {"exit_status", coverage.exit_status()},
          {"bytes", bytes_of(coverage.bytes)},
          {"disks", shares_of(coverage.disks)},
          {"shared_disks", texts(coverage.shared_disks)},
          {"tenants", owners_of(coverage.tenants)},
          {"volumes", std::move(volumes)}};
}

std::string to_json(const Coverage& coverage, int indent) {
  return json_of(coverage).dump(indent) + "\n";
}

}  // namespace volseal
