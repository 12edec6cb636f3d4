// volseal recover: the bad day, step by step. Which ways in exist, one of them walked through, the
// TPM put right, and what was used replaced.
#include "cli/attempt.h"
#include "cli/drills.h"
#include "cli/exit_status.h"
#include "cli/lock_note.h"
#include "cli/lock_trigger.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/recover_open.h"
#include "cli/recover_tpm.h"
#include "cli/recover_used.h"
#include "cli/replace_key.h"
#include "cli/unlock_target.h"
#include "cli/verb.h"
#include "cli/world.h"
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/discover/discover.h"
#include "core/lock/plan.h"
#include "core/luks/header.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace volseal {

namespace {

using Json = nlohmann::ordered_json;

struct RecoverOptions {
  std::vector<std::string> volumes;
  std::string name;
  std::optional<int> keyslot;
  Brought brought;
  NewKeyTo new_key;
  std::string group = "default";
  bool list = false;
  bool json = false;
  bool test = false;
  bool replace = false;
  bool used = false;
  bool keep_key = false;
  bool yes = false;
};

struct Locked {
  Path path;
  std::vector<Way> ways;
  std::vector<Token> escrows;
};

// The easiest first: what is held, then what is typed; two factors before one.
int rank(const Way& way) {
  if (way.kind == "fido2") return 0;
  if (parse_parts(way.kind)) return 1;
  return way.kind == "recovery-key" ? 2 : 3;
}

Locked look_at(const Path& path) {
  auto header = read_header(path);
  if (!header) throw Error(Code::not_luks, "recover {}: it has no LUKS header", path.native());
  Locked locked{.path = path, .ways = ways_in(*header), .escrows = {}};
  std::ranges::stable_sort(locked.ways, {}, rank);
  for (Token& token : header->tokens) {
    if (token.escrowed_keyslot) locked.escrows.push_back(std::move(token));
  }
  return locked;
}

// Named, or every LUKS volume that nothing has opened.
std::vector<Path> chosen_volumes(const RecoverOptions& options) {
  if (!options.volumes.empty()) return {options.volumes.begin(), options.volumes.end()};
  const DeviceGraph graph = scan();
  std::vector<bool> open(graph.devices.size(), false);
  for (const Device& device : graph.devices) {
    for (const DeviceIndex below : device.below) open.at(below) = true;
  }
  std::vector<Path> locked;
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    const auto& luks = graph[at].luks;
    if (!luks || luks->keyslots.empty()) continue;
    // One that was busy when its group was locked is open, and waits for the TPM all the same.
    const bool noted =
        std::ranges::find(luks->tokens, LockNote::type, &Token::type) != luks->tokens.end();
    if (!open[at] || noted) locked.emplace_back(graph[at].path);
  }
  return locked;
}

std::string words_of(const Locked& locked, const Way& way) {
  std::string words;
  if (way.kind == "fido2") words = way.two_factors ? "touch the key, and its PIN" : "touch the key";
  if (way.kind == "recovery-key") words = "from the safe";
  if (parse_parts(way.kind)) words = "all of them together";
  if (way.kind == "tpm") words = "by itself";
  for (const Token& token : locked.escrows) {
    if (token.escrowed_keyslot != way.keyslot) continue;
    words = fmt::format("in escrow with {} of {} certificates, blobs {}*", token.threshold,
                        token.certificates.size(), escaped(token.blob));
  }
  return words;
}

std::string line_of(const Locked& locked, const Way& way) {
  return fmt::format("keyslot {:<2}  {:<20}  {}", way.keyslot, escaped(way.kind),
                     words_of(locked, way));
}

void list_ways(const std::vector<Path>& volumes, bool as_json) {
  Json list = Json::array();
  std::string text;
  for (const Path& volume : volumes) {
    const Locked locked = look_at(volume);
    Json ways = Json::array();
    text += escaped(volume.native()) + "\n";
    for (const Way& way : locked.ways) {
      ways.push_back({{"keyslot", way.keyslot},
                      {"kind", to_valid_utf8(way.kind)},
                      {"factors", way.factors},
                      {"asks", way.asks},
                      {"escrowed", way.escrowed}});
      text += "  " + line_of(locked, way) + "\n";
    }
    list.push_back({{"volume", to_valid_utf8(volume.native())}, {"ways", std::move(ways)}});
  }
  const Json json = {{"schema", "volseal-recover/1"}, {"volumes", std::move(list)}};
  if (volumes.empty()) text = "no LUKS volume is locked\n";
  print_out(as_json ? json.dump(1) + "\n" : text);
}

class RecoverRun {
 public:
  RecoverRun(const RecoverOptions& options, const Session& session)
      : options_(options),
        session_(session),
        policy_(load_policy(session.options.policy)),
        groups_(session.options, policy_),
        brought_(options.brought),
        opener_(brought_, groups_),
        replacer_(session, policy_, options.new_key),
        tpm_(session.options, groups_, options.yes),
        audit_(audit_log_of(session.options), "recover") {}

  int one(const Path& path) {
    Volume volume = Volume::load(path);
    volume.refuse_unsafe();
    replacer_.finish(volume);
    const Locked locked = look_at(path);
    const auto note = lock_of(session_.options.state, volume);
    if (note && options_.replace)
      throw LockedError("replace the recovery key of " + path.native(), *note);
    if (note)
      print_out(fmt::format("{}: {}\n", escaped(path.native()), escaped(to_text(*note), 800)));
    const auto token = volume.version() == 2 ? find_group_token(volume) : std::nullopt;
    std::optional<Attempt> tpm;
    if (token && !options_.replace && !note) {
      tpm = opener_.by_tpm(path);
      if (tpm->outcome == Outcome::tampered || tpm->outcome == Outcome::forged)
        return report_attempt(*tpm, "opens");
      if (tpm->outcome == Outcome::opened) {
        print_out(
            fmt::format("{}: the TPM opens it, so there is nothing to recover: 'volseal "
                        "unlock {}'\n",
                        escaped(path.native()), escaped(path.native())));
        return exit_status::good;
      }
      print_out(fmt::format("{}: the TPM does not open it: {}\n", escaped(path.native()),
                            escaped(tpm->reason)));
    }
    announce(volume);
    const OpenedBy opened = walk_through(volume, locked, note);
    if (!opened.opened()) return exit_status_for(opened.attempt.outcome);
    const std::string group = token ? token->token.group : options_.group;
    if (!options_.replace) map(volume, opened);
    if (note) {
      tpm_.open_again(volume, *note, opened.passphrase);
      volume = Volume::load(path);
    }
    if (tpm) {
      tpm_.put_right(volume, *tpm, opened.passphrase);
      // Its token may have been written by others meanwhile.
      volume = Volume::load(path);
    }
    if (opened.used_recovery_key()) replace(volume, opened, group);
    return exit_status::good;
  }

  const std::vector<Attempt>& told() const { return told_; }

 private:
  // Until one opens, or the person gives up. Where the group is locked, until two factors have: by
  // one way, or by several of different kinds.
  OpenedBy walk_through(const Volume& volume, const Locked& locked,
                        const std::optional<LockNote>& note) {
    std::vector<Way> ways;
    for (const Way& way : locked.ways) {
      if (note && !without_tpm(way)) continue;
      if (options_.keyslot ? way.keyslot == *options_.keyslot : way.asks) ways.push_back(way);
    }
    if (ways.empty()) {
      throw Error(
          Code::not_found, "recover {}: it has no {}", volume.path().native(),
          options_.keyslot ? fmt::format("keyslot {}", *options_.keyslot) : "way in for people");
    }
    OpenedBy last;
    std::vector<Given> given;
    std::vector<OpenedBy> opened;
    for (;;) {
      const auto choice = choose(locked, ways);
      if (!choice && note && !given.empty()) refuse_one_factor(volume, *note);
      if (!choice) return last;
      const Way way = ways[*choice];
      if (way.escrowed) ask_for_escrow();
      OpenedBy now = opener_.open(volume, way);
      log_attempt(now.attempt);
      record_drill(session_.options, "recover", volume.path(), way.keyslot, now.attempt.outcome);
      report_attempt(now.attempt, "opens");
      const bool by_escrow = !brought_.escrow.blobs.empty();
      // What was wrong is asked for anew.
      if (!now.opened()) brought_.escrow = options_.brought.escrow;
      const bool once = options_.keyslot || options_.brought.key_file;
      if (now.opened() && note) {
        given.push_back({.kind = way.kind, .factors = factors_shown(way, by_escrow)});
        opened.push_back(std::move(now));
        if (factors_of(given) >= recovery_factors) {
          // A recovery key that was used is replaced.
          const auto by_key = std::ranges::find_if(opened, &OpenedBy::used_recovery_key);
          return std::move(by_key == opened.end() ? opened.back() : *by_key);
        }
        std::erase_if(ways, [&](const Way& other) { return other.kind == way.kind; });
        if (once || ways.empty()) refuse_one_factor(volume, *note);
        print_err(
            "volseal: that is one factor, and the group is locked: a way in of another kind, "
            "too\n");
        continue;
      }
      if (now.opened() || once) return now;
      last = std::move(now);
    }
  }

  // A key that is in escrow is two factors to who had to open the escrow; typed, it is one.
  static int factors_shown(const Way& way, bool by_escrow) {
    return way.kind == "recovery-key" && !by_escrow ? 1 : way.factors;
  }

  [[noreturn]] void refuse_one_factor(const Volume& volume, const LockNote& note) const {
    audit_.record({.action = "recover",
                   .outcome = "refused",
                   .volume = volume.path().native(),
                   .luks_uuid = volume.uuid(),
                   .group = note.group,
                   .detail = {{"reason", "the group is locked, and one factor was given"}}});
    throw LockedError(
        fmt::format("recover {}: one factor was given, and it takes two", volume.path().native()),
        note);
  }

  std::optional<std::size_t> choose(const Locked& locked, const std::vector<Way>& ways) const {
    if (options_.keyslot) return 0;
    if (!can_ask()) {
      throw Error(Code::usage,
                  "recover {}: there is no terminal to choose a way in at; name one with --keyslot "
                  "('volseal recover --list')",
                  locked.path.native());
    }
    std::string menu = fmt::format("Ways into {}:\n", escaped(locked.path.native()));
    for (std::size_t i = 0; i < ways.size(); ++i)
      menu += fmt::format("  {:>2}  {}\n", i + 1, line_of(locked, ways[i]));
    print_err("{}", menu);
    for (;;) {
      const auto answer = ask_line("Which one (its number; empty: none)");
      if (!answer || answer->empty()) return std::nullopt;
      std::size_t number = 0;
      const char* const last = answer->data() + answer->size();
      const auto [stop, error] = std::from_chars(answer->data(), last, number);
      if (error == std::errc{} && stop == last && number >= 1 && number <= ways.size())
        return number - 1;
      print_err("volseal: that is none of the numbers\n");
    }
  }

  // Their names, where they were not given on the command line; the key itself may be typed too.
  void ask_for_escrow() {
    if (!brought_.escrow.blobs.empty() || brought_.key_file || !can_ask()) return;
    brought_.escrow.blobs =
        words_in(ask_line("Files from the escrow, blanks between them (empty: type the key)"));
    if (brought_.escrow.blobs.empty()) return;
    brought_.escrow.keys =
        words_in(ask_line("Private keys (PEM files or pkcs11: URIs), blanks between them"));
  }

  static std::vector<std::string> words_in(const std::optional<std::string>& line) {
    std::vector<std::string> words;
    std::istringstream in(line.value_or(""));
    for (std::string word; in >> word;) words.push_back(word);
    return words;
  }

  // Before anything is tried. Throws Error{no_space} where the policy wants that.
  void announce(const Volume& volume) const {
    audit_.record({.action = "recover",
                   .outcome = std::string(audit_started),
                   .volume = volume.path().native(),
                   .luks_uuid = volume.uuid(),
                   .group = "",
                   .detail = {}});
  }

  void log_attempt(const Attempt& attempt) {
    told_.push_back(attempt);
    audit_.record({.action = "recover",
                   .outcome = std::string(to_string(attempt.outcome)),
                   .volume = attempt.device.native(),
                   .luks_uuid = attempt.luks_uuid,
                   .detail = {{"protector", attempt.protector}, {"reason", attempt.reason}}});
  }

  void map(Volume& volume, const OpenedBy& opened) {
    const Path& path = volume.path();
    if (options_.test || !is_block_device(path)) return;
    const UnlockTarget target = unlock_target(path.native(), options_.name);
    if (is_mapping_of(target.mapping, volume.uuid())) {
      print_out(fmt::format("{} is open as {}\n", escaped(path.native()), target.mapping));
      return;
    }
    volume.activate(target.mapping, opened.passphrase, target.options, opened.attempt.keyslot);
    print_out(fmt::format("{} opened as {}\n", escaped(path.native()), target.mapping));
  }

  void replace(Volume& volume, const OpenedBy& opened, const std::string& group) {
    if (options_.keep_key) {
      print_err(
          "volseal: the recovery key was used and stays: 'volseal recover --replace {}' makes a "
          "new one\n",
          escaped(volume.path().native()));
      return;
    }
    replacer_.replace(volume, opened, group);
  }

  const RecoverOptions& options_;
  const Session& session_;
  Policy policy_;
  Groups groups_;
  Brought brought_;
  RecoverOpener opener_;
  KeyReplacer replacer_;
  TpmRecovery tpm_;
  AuditLog audit_;
  std::vector<Attempt> told_;
};

int recover(const RecoverOptions& options, const Session& session) {
  if (options.json && !options.list) throw Error(Code::usage, "recover: --json goes with --list");
  if (options.used) {
    if (!options.volumes.empty() || options.list || options.replace || options.keyslot)
      throw Error(Code::usage, "recover: --used is about this boot, and goes with no volume");
    return replace_used(options.new_key, session);
  }
  const std::vector<Path> volumes = chosen_volumes(options);
  if (options.list) {
    list_ways(volumes, options.json);
    return exit_status::good;
  }
  const bool one = options.volumes.size() == 1;
  if (!one && (options.keyslot || options.brought.key_file ||
               !options.brought.escrow.blobs.empty() || options.replace || !options.name.empty())) {
    throw Error(Code::usage,
                "recover: --keyslot, --key-file, --blob, --replace and --name go with one volume");
  }
  if (options.brought.key_file && !options.keyslot)
    throw Error(Code::usage, "recover: --key-file is for one way in; say which with --keyslot");
  if (options.brought.escrow.blobs.empty() != options.brought.escrow.keys.empty())
    throw Error(Code::usage, "recover: --blob and --key go together");
  if (volumes.empty()) print_out("no LUKS volume is locked\n");
  int status = exit_status::good;
  std::vector<Attempt> attempts;
  {
    RecoverRun run(options, session);
    for (const Path& volume : volumes) {
      try {
        status = std::max(status, run.one(volume));
      } catch (const Error& error) {
        // One broken disk keeps no other one locked.
        if (volumes.size() == 1) throw;
        print_err("volseal: {}\n", error.what());
        status = std::max(status, exit_status::failed);
      }
    }
    attempts = run.told();
  }
  follow_attempts(session.options, attempts);
  return status;
}

}  // namespace

void add_recover(CLI::App& app, Session& session) {
  CLI::App* verb = app.add_subcommand(
      "recover", "when the TPM does not open: ways in, one by one; then put right what was used");
  const auto options = std::make_shared<RecoverOptions>();
  verb->add_option("VOLUME", options->volumes,
                   "devices or image files; all locked ones by default");
  verb->add_flag("--list", options->list, "only say which ways in there are");
  verb->add_flag("--json", options->json, "with --list: as JSON");
  verb->add_option("--keyslot", options->keyslot, "this way in, without asking which");
  verb->add_flag("--replace", options->replace,
                 "only make a new recovery key in the place of the one that opens it");
  verb->add_flag("--used", options->used,
                 "only replace the recovery keys that were typed in this boot's initramfs");
  verb->add_flag("--keep-key", options->keep_key, "do not replace a recovery key that was used");
  verb->add_flag("--test", options->test, "map nothing; the rest is done");
  verb->add_flag("--yes", options->yes, "approve or re-enroll the TPM without asking");
  verb->add_option("--name", options->name,
                   "name under /dev/mapper; else crypttab's, else luks-UUID");
  verb->add_option("--key-file", options->brought.key_file,
                   "with --keyslot: what would be typed, from a file; - for standard input");
  verb->add_option("--blob", options->brought.escrow.blobs,
                   "what was escrowed, for a recovery key; of shares as many as are needed")
      ->allow_extra_args(false)
      ->type_name("FILE");
  verb->add_option("--key", options->brought.escrow.keys,
                   "of --blob: a private key, a PEM file or pkcs11:URI; once for each")
      ->allow_extra_args(false)
      ->type_name("FILE|URI");
  verb->add_option("--pin-file", options->brought.pin_file,
                   "the FIDO2 key's PIN, from a file; - for standard input");
  verb->add_option("--recovery-key-dir", options->new_key.folder,
                   "write the new recovery key into a file there");
  add_page_options(*verb, options->new_key.page);
  add_escrow_fd(*verb, options->new_key.escrow_fd);
  verb->add_option("--group", options->group, "its group, where the volume does not say it")
      ->capture_default_str();
  verb->footer(
      "Exit status: 0 open, 4 failed, 5 refused, 6 what was given opens nothing, 7 TPM or "
      "FIDO2.");
  verb->callback([options, &session] { session.status = recover(*options, session); });
}

}  // namespace volseal
