// volseal operators: what people who are not root see and open of their groups.
#include "cli/attempt.h"
#include "cli/exit_status.h"
#include "cli/operator_peer.h"
#include "cli/operator_view.h"
#include "cli/output.h"
#include "cli/report_of.h"
#include "cli/unlock_target.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/base/log.h"
#include "core/discover/discover.h"
#include "core/operators/request.h"
#include "core/unlock/boot_list.h"
#include "core/unlock/unlocker.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;
using namespace std::chrono_literals;

constexpr auto patience = 5s;

// What is longer than any request is read on so far, for the answer to arrive: the kernel resets a
// connection that is closed with something unread in it.
constexpr std::size_t most_read = 64 * OperatorRequest::max_text;

// A line, from who has five seconds for it; nothing where they send none, or more.
std::optional<std::string> read_request(int socket) {
  const auto due = std::chrono::steady_clock::now() + patience;
  std::string text;
  std::array<char, OperatorRequest::max_text> buffer{};
  while (text.size() < most_read && !text.ends_with('\n')) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        due - std::chrono::steady_clock::now());
    pollfd wait{.fd = socket, .events = POLLIN};
    if (left <= 0ms || ::poll(&wait, 1, static_cast<int>(left.count())) != 1) return std::nullopt;
    const ssize_t got = ::read(socket, buffer.data(), buffer.size());
    if (got <= 0) return std::nullopt;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  if (text.size() > OperatorRequest::max_text) return std::nullopt;
  return text;
}

class Serving {
 public:
  Serving(int socket, const Session& session)
      : socket_(socket),
        session_(session),
        policy_(load_policy(session.options.policy)),
        peer_(peer_of(socket)),
        audit_(audit_log_of(session.options), actor_of(peer_.pid, peer_.uid, "operators")),
        groups_(session.options, policy_) {}

  void serve() {
    require_private(policy_, session_.options.policy);
    const auto text = read_request(socket_);
    const auto request = text ? parse_operator_request(*text) : std::nullopt;
    if (!request) {
      record("refused", "", "", "no request that there is", text.value_or(""));
      answer({{"outcome", "bad-request"}});
      return;
    }
    const auto groups = groups_operated_by(policy_, peer_.unix_groups);
    const DeviceGraph graph = scan({.claim = false, .patience = 10s});
    const auto permitted = permitted_volume(graph, policy_, groups, request->volume);
    if (!permitted) {
      record("refused", "", "", "no volume of a group of theirs", request->volume);
      // The same for what is not there and for what is others'.
      answer({{"outcome", "unknown-volume"}});
      return;
    }
    open(graph[permitted->device], permitted->group, request->volume);
  }

 private:
  void open(const Device& device, const std::string& group, const std::string& asked) {
    record(std::string(audit_started), device.path, group, "", asked);
    const UnlockTarget target = unlock_target(device.path, "");
    if (device.luks && is_mapping_of(target.mapping, device.luks->uuid)) {
      record("ok", device.path, group, "it is open", asked);
      answer({{"outcome", "open"}, {"volume", device.path}, {"mapping", target.mapping}});
      return;
    }
    // Nobody is asked for anything: what the TPM does not open is root's to open.
    Unlocker unlocker(groups_.protector(), AskPin());
    const Attempt attempt = unlocker.by_group(target);
    audit_.record({.action = "unlock",
                   .outcome = std::string(to_string(attempt.outcome)),
                   .volume = device.path,
                   .luks_uuid = attempt.luks_uuid,
                   .group = group,
                   .detail = {{"stage", "operator"},
                              {"protector", attempt.protector},
                              {"mapping", attempt.mapping},
                              {"reason", attempt.reason},
                              {"milliseconds", std::to_string(attempt.took.count())}}});
    answer({{"outcome", to_string(attempt.outcome)},
            {"volume", to_valid_utf8(device.path)},
            {"mapping", to_valid_utf8(attempt.mapping)},
            {"reason", to_valid_utf8(attempt.reason)},
            {"milliseconds", attempt.took.count()}});
    publish_again();
  }

  // What they look at next shows that it is open.
  void publish_again() const {
    try {
      publish(session_.options, policy_, machine_report({}, session_.options).report);
    } catch (const Error& error) {
      log::warning("what operators see is not up to date: {}", error.what());
    }
  }

  void record(const std::string& outcome, const std::string& volume, const std::string& group,
              const std::string& reason, const std::string& asked) const {
    audit_.record({.action = "operator.unlock",
                   .outcome = outcome,
                   .volume = volume,
                   .group = group,
                   .detail = {{"user", peer_.user},
                              {"unix_groups", fmt::format("{}", fmt::join(peer_.unix_groups, " "))},
                              {"asked_for", asked},
                              {"reason", reason}}});
  }

  void answer(const Json& json) const {
    Json whole = {{"schema", "volseal-operator/1"}};
    whole.update(json);
    const std::string line = whole.dump(-1, ' ', true) + "\n";
    // Who has gone away does not read it, and that is no failure of ours.
    if (::write(socket_, line.data(), line.size()) < 0) log::detail("nobody waits for the answer");
  }

  int socket_;
  const Session& session_;
  Policy policy_;
  OperatorPeer peer_;
  AuditLog audit_;
  Groups groups_;
};

int publish_now(const Session& session) {
  const MadeReport made = machine_report({}, session.options);
  if (!made.graph.root) throw Error(Code::denied, "publish to operators: only root can");
  return publish(session.options, made.policy, made.report) ? exit_status::good
                                                            : exit_status::warnings;
}

}  // namespace

void add_operators(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("operators", "what members of a Unix group see and open of its volumes");
  verb->require_subcommand(1);
  CLI::App* publishing =
      verb->add_subcommand("publish", "write what each may see; the timer does this");
  publishing->footer("Exit status: 0 done, 1 a Unix group of the policy is not there.");
  publishing->callback([&session] { session.status = publish_now(session); });
  CLI::App* serving = verb->add_subcommand(
      "serve", "answer who connected to standard input; volseal-operators@.service does this");
  serving->callback([&session] { Serving(STDIN_FILENO, session).serve(); });
}

}  // namespace volseal
