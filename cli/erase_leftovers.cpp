#include "cli/erase_leftovers.h"

#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/escrow/certificate.h"
#include "tpm/state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ctime>
#include <map>

namespace volseal {

namespace {

// For a command that a person copies.
std::string shell_quoted(const std::string& path) {
  const bool plain = std::ranges::all_of(path, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-:+,@").find(c) != std::string_view::npos;
  });
  if (plain) return path;
  std::string out = "'";
  for (const char c : path) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<Path> files_beginning(const Path& folder, const std::string& begin) {
  std::vector<Path> files;
  if (begin.empty()) return files;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    std::error_code gone;
    if (entry.path().filename().native().starts_with(begin) && entry.is_regular_file(gone))
      files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

void add_header_backups(std::vector<Leftover>& left, const ErasedVolume& volume,
                        const Policy& policy) {
  if (volume.luks_uuid.empty()) return;
  for (const Path& file : files_beginning(policy.header_backups, volume.luks_uuid + ".")) {
    // The record beside a backup has nothing that opens; it goes with it.
    const bool record = file.extension() == ".json" || file.native().ends_with(".json.decrypted");
    left.push_back({.what = record ? "record of a header backup" : "header backup",
                    .where = file.native(),
                    .holders = "",
                    .remove = fmt::format("shred -u {}", shell_quoted(file.native())),
                    .header = !record,
                    .ours = true});
  }
}

// Whose certificates these are, as far as the policy has them.
std::string holders_of(const Token& token, const Policy& policy) {
  std::map<std::string, std::string> subjects;
  for (const Group& group : policy.groups) {
    if (!group.escrow) continue;
    try {
      for (const auto& certificate :
           escrow::read_certificates(group.escrow->certificates, std::time(nullptr))) {
        subjects.emplace(certificate.fingerprint, certificate.subject);
      }
    } catch (const Error&) {
      // Then the fingerprint has to do.
      continue;
    }
  }
  std::vector<std::string> holders;
  for (const std::string& fingerprint : token.certificates) {
    const auto at = subjects.find(fingerprint);
    holders.push_back(at != subjects.end() ? at->second
                                           : "certificate " + fingerprint.substr(0, 16));
  }
  return fmt::format(
      "{}{}", fmt::join(holders, "; "),
      token.threshold > 1 ? fmt::format(" ({} of them together)", token.threshold) : "");
}

void add_escrow(std::vector<Leftover>& left, const LuksHeader& header, const Policy& policy) {
  for (const Token& token : header.tokens) {
    if (token.type != "volseal-escrow") continue;
    const std::string holders = holders_of(token, policy);
    bool found = false;
    for (const Group& group : policy.groups) {
      if (!group.escrow || group.escrow->directory.empty()) continue;
      for (const Path& file : files_beginning(group.escrow->directory, token.blob)) {
        found = true;
        left.push_back({.what = "escrow of the recovery key",
                        .where = file.native(),
                        .holders = holders,
                        .remove = fmt::format("rm {}", shell_quoted(file.native()))});
      }
    }
    if (!found) {
      left.push_back({.what = "escrow of the recovery key",
                      .where = fmt::format("blob {}, by {}", token.blob, token.escrowed_to),
                      .holders = holders,
                      .remove = ""});
    }
  }
}

void add_groups(std::vector<Leftover>& left, const ErasedVolume& volume,
                const std::string& erased_group, const Options& options) {
  for (const std::string& group : volume.groups) {
    if (group == erased_group) continue;
    const auto known = tpm::groups_in(options.state);
    if (std::ranges::find(known, group) == known.end()) continue;
    left.push_back({.what = "secret of its group",
                    .where = fmt::format("group {}, sealed in this machine's TPM", group),
                    .holders = "this machine",
                    .remove = fmt::format("volseal erase {}   # with all its volumes", group)});
  }
}

}  // namespace

std::vector<Leftover> leftovers_of(const ErasedVolume& volume, const LuksHeader& header,
                                   const std::string& erased_group, const Policy& policy,
                                   const Options& options) {
  std::vector<Leftover> left;
  add_header_backups(left, volume, policy);
  add_escrow(left, header, policy);
  add_groups(left, volume, erased_group, options);
  return left;
}

}  // namespace volseal
