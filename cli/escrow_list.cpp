#include "cli/escrow_list.h"

#include "cli/exit_status.h"
#include "cli/graph.h"
#include "cli/output.h"
#include "core/base/clock.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/table.h"
#include "core/escrow/certificate.h"
#include "core/policy/policy.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <optional>
#include <set>
#include <sstream>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

// Whole days since an RFC 3339 time; nothing for what is none.
std::optional<long> days_since(const std::string& time) {
  std::istringstream text(time.substr(0, 10));
  std::chrono::year_month_day date{};
  int year = 0;
  unsigned month = 0;
  unsigned day = 0;
  char dash = 0;
  if (!(text >> year >> dash >> month >> dash >> day)) return std::nullopt;
  date = std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
  if (!date.ok()) return std::nullopt;
  const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
  return (today - std::chrono::sys_days(date)).count();
}

// The certificates of a group, by fingerprint; or why they cannot be used.
struct PolicyCertificates {
  std::map<std::string, escrow::Certificate> by_fingerprint;
  std::string failure;
};

PolicyCertificates certificates_of(const EscrowPolicy& policy) {
  PolicyCertificates found;
  try {
    for (auto& certificate : escrow::read_certificates(policy.certificates, std::time(nullptr))) {
      const std::string fingerprint = certificate.fingerprint;
      found.by_fingerprint.emplace(fingerprint, std::move(certificate));
    }
  } catch (const Error& error) {
    found.failure = error.what();
  }
  return found;
}

struct Row {
  std::string volume;
  std::string luks_uuid;
  std::string group;
  std::optional<Token> escrow;  // nothing: the header has no record
  std::string state;            // "good", or what is wrong with it
};

class List {
 public:
  List(const DeviceGraph& graph, const Policy& policy) : graph_(graph), policy_(policy) {
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
      if (const auto& luks = graph[at].luks) add(at, *luks);
    }
  }

  int exit_status() const {
    const bool good = std::ranges::all_of(
        rows_, [](const Row& row) { return row.state == "good" || row.state == "not asked for"; });
    return good ? exit_status::good : exit_status::warnings;
  }

  std::string json() const {
    Json volumes = Json::array();
    for (const Row& row : rows_) {
      Json out = {{"volume", to_valid_utf8(row.volume)},
                  {"luks_uuid", to_valid_utf8(row.luks_uuid)},
                  {"group", row.group},
                  {"state", to_valid_utf8(row.state)},
                  {"escrow", Json()}};
      if (row.escrow) out["escrow"] = json_of(*row.escrow);
      volumes.push_back(std::move(out));
    }
    const Json root = {{"schema", "volseal-escrow-list/1"},
                       {"exit_status", exit_status()},
                       {"volumes", std::move(volumes)}};
    return root.dump(1) + "\n";
  }

  std::string text() const {
    std::vector<std::vector<Cell>> table(1);
    for (const char* title : {"VOLUME", "KEYSLOT", "OPENED BY", "TO", "SINCE", "STATE"}) {
      table.front().push_back({.text = title, .colour = "1"});
    }
    for (const Row& row : rows_) {
      if (!row.escrow) {
        table.push_back({{.text = escaped(row.volume)},
                         {.text = "-"},
                         {.text = "-"},
                         {.text = "-"},
                         {.text = "-"},
                         {.text = escaped(row.state)}});
        continue;
      }
      const Token& escrow = *row.escrow;
      const auto age = days_since(escrow.acknowledged);
      table.push_back(
          {{.text = escaped(row.volume)},
           {.text = escrow.escrowed_keyslot ? std::to_string(*escrow.escrowed_keyslot) : "gone"},
           {.text = fmt::format("{} of {}", escrow.threshold, escrow.certificates.size())},
           {.text = escaped(escrow.escrowed_to)},
           {.text = fmt::format("{} ({} d)", escaped(escrow.acknowledged.substr(0, 10)),
                                age ? std::to_string(*age) : "?")},
           {.text = escaped(row.state)}});
    }
    return render_table(table, columns(STDOUT_FILENO), may_colour(STDOUT_FILENO)) + people();
  }

 private:
  void add(DeviceIndex at, const LuksHeader& luks) {
    const Rule* rule = deciding_rule(policy_, graph_, at);
    Row row{.volume = graph_[at].path,
            .luks_uuid = luks.uuid,
            .group = rule == nullptr ? "default" : rule->group};
    const Group& group = policy_.group(row.group);
    const EscrowPolicy* wanted = nullptr;
    if (group.escrow && (rule == nullptr || rule->action == Action::encrypt)) {
      wanted = &*group.escrow;
      if (!certificates_.contains(row.group))
        certificates_.emplace(row.group, certificates_of(*wanted));
    }
    bool any = false;
    for (const Token& token : luks.tokens) {
      if (token.type != "volseal-escrow") continue;
      row.escrow = token;
      row.state = state_of(token, row.group, wanted);
      rows_.push_back(row);
      any = true;
    }
    if (any) return;
    row.state = wanted != nullptr ? "not in escrow" : "not asked for";
    rows_.push_back(row);
  }

  std::string state_of(const Token& token, const std::string& group,
                       const EscrowPolicy* escrow) const {
    if (!token.escrowed_keyslot) return "its keyslot is gone or another's";
    if (escrow == nullptr) return "good";
    const PolicyCertificates& wanted = certificates_.at(group);
    if (!wanted.failure.empty()) return wanted.failure;
    std::set<std::string> fingerprints;
    for (const auto& [fingerprint, certificate] : wanted.by_fingerprint) {
      fingerprints.insert(fingerprint);
    }
    if (std::set(token.certificates.begin(), token.certificates.end()) != fingerprints) {
      return "with other certificates than the policy's";
    }
    if (static_cast<int>(token.threshold) != escrow->threshold) {
      return fmt::format("{} open it, and the policy says {}", token.threshold, escrow->threshold);
    }
    return "good";
  }

  static Json json_of(const Token& token) {
    const auto age = days_since(token.acknowledged);
    Json certificates = Json::array();
    for (const std::string& fingerprint : token.certificates) {
      certificates.push_back(to_valid_utf8(fingerprint));
    }
    return {{"keyslot", token.escrowed_keyslot ? Json(*token.escrowed_keyslot) : Json()},
            {"certificates", std::move(certificates)},
            {"threshold", token.threshold},
            {"acknowledged", to_valid_utf8(token.acknowledged)},
            {"age_days", age ? Json(*age) : Json()},
            {"to", to_valid_utf8(token.escrowed_to)},
            {"blob", to_valid_utf8(token.blob)}};
  }

  // Who the fingerprints are, as far as the policy knows them; and the blobs' names.
  std::string people() const {
    std::string text;
    for (const Row& row : rows_) {
      if (!row.escrow) continue;
      text += fmt::format("\n{}: blob {}\n", escaped(row.volume), escaped(row.escrow->blob));
      for (const std::string& fingerprint : row.escrow->certificates) {
        text += "  " + escaped(fingerprint);
        for (const auto& [group, certificates] : certificates_) {
          const auto at = certificates.by_fingerprint.find(fingerprint);
          if (at == certificates.by_fingerprint.end()) continue;
          text += fmt::format(" {}, {}, until {}", escaped(at->second.subject), at->second.key,
                              at->second.not_after);
          break;
        }
        text += '\n';
      }
    }
    return text;
  }

  const DeviceGraph& graph_;
  const Policy& policy_;
  std::map<std::string, PolicyCertificates> certificates_;  // by group
  std::vector<Row> rows_;
};

}  // namespace

int list_escrows(const std::vector<std::string>& volumes, bool json, const Options& options) {
  const DeviceGraph graph = get_graph({.volumes = volumes});
  const Policy policy = load_policy(options.policy);
  const List list(graph, policy);
  print_out(json ? list.json() : list.text());
  return list.exit_status();
}

}  // namespace volseal
