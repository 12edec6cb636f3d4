// Which measures of which catalogue a volume is evidence for: a table that others may edit
// (controls.toml), and its application to verdicts.
#pragma once

#include "core/base/file.h"
#include "core/coverage/coverage.h"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace volseal {

// What a volume can show, or fail to show. docs/report.md has the rules.
enum class Fact {
  encryption,
  cipher,
  tpm,
  recovery,
  escrow,
  two_factors,
  tenant,
  exemption,
  judged,
};

struct Control {
  std::string id;         // a token: "sc-28.1"
  std::string catalogue;  // "NIST SP 800-53 Rev. 5"
  std::string reference;  // "SC-28(1)"
  std::string title;
  std::string note;         // what the reader must know, "" for nothing
  std::vector<Fact> facts;  // at least one
  bool sufficient = true;   // false: whatever the report shows, it takes more than that
};

struct Controls {
  std::string source;  // the file's name, or "built-in"
  std::vector<Control> controls;
};

// Throws Error{bad_policy}, "FILE:LINE: what is wrong": unknown keys, unknown facts, ids that are
// there twice or are no tokens. At most 1 MiB, 1000 controls.
Controls parse_controls(std::string_view text, std::string_view source);
// That file; where none is named: /etc/volseal/controls.toml, /usr/share/volseal/controls.toml,
// what is built in.
Controls load_controls(const Path& path);
// What is installed as /usr/share/volseal/controls.toml.
std::string_view default_controls_text();

enum class Support { supported, contradicted, no_evidence };

struct ControlResult {
  Control control;
  Support support = Support::no_evidence;
  std::vector<std::size_t> supporting;     // of Coverage::volumes
  std::vector<std::size_t> contradicting;  // of Coverage::volumes
};

std::vector<ControlResult> apply_controls(const Controls& controls, const Coverage& coverage);

std::string_view to_string(Fact fact);
std::string_view to_string(Support support);

}  // namespace volseal
