#include "core/report/controls.h"

#include "core/base/error.h"
#include "core/base/escape.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <set>

namespace volseal {

namespace {

constexpr std::size_t largest_table = 1U << 20U;
constexpr std::size_t most_controls = 1000;
constexpr std::size_t longest_value = 500;

constexpr std::array all_facts = {Fact::encryption, Fact::cipher,    Fact::tpm,
                                  Fact::recovery,   Fact::escrow,    Fact::two_factors,
                                  Fact::tenant,     Fact::exemption, Fact::judged};

// OSCAL's tokens, in ASCII.
bool is_token(std::string_view text) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !text.empty() && text.size() <= 64 && letter(text[0]) &&
         std::ranges::all_of(text, [&](char c) {
           return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-';
         });
}

class ControlsReader {
 public:
  explicit ControlsReader(std::string_view source) : source_(source) {}

  [[noreturn]] void fail(const toml::source_region& where, const std::string& why) const {
    throw Error(Code::bad_policy, "{}:{}: {}", source_, where.begin.line, why);
  }

  Controls read(const toml::table& root) const {
    Controls result{.source = source_, .controls = {}};
    std::set<std::string> ids;
    for (const auto& [key, value] : root) {
      if (key.str() != "control" || !value.is_array_of_tables())
        fail(value.source(),
             fmt::format("\"{}\": only [[control]] is known here", escaped(key.str())));
      if (value.as_array()->size() > most_controls)
        fail(value.source(), fmt::format("more than {} controls", most_controls));
      for (const toml::node& entry : *value.as_array()) {
        result.controls.push_back(control(*entry.as_table()));
        const std::string& id = result.controls.back().id;
        if (!ids.insert(id).second)
          fail(entry.source(), fmt::format("id \"{}\" is there twice", id));
      }
    }
    return result;
  }

 private:
  Control control(const toml::table& entry) const {
    Control result;
    for (const auto& [key, value] : entry) {
      if (key.str() == "id") {
        result.id = text(value, "id");
        if (!is_token(result.id))
          fail(value.source(), "an id is a letter, then letters, digits, '.', '-' and '_'");
      } else if (key.str() == "catalogue") {
        result.catalogue = text(value, "catalogue");
      } else if (key.str() == "reference") {
        result.reference = text(value, "reference");
      } else if (key.str() == "title") {
        result.title = text(value, "title");
      } else if (key.str() == "note") {
        result.note = text(value, "note");
      } else if (key.str() == "facts") {
        result.facts = facts(value);
      } else if (key.str() == "sufficient") {
        if (!value.is_boolean()) fail(value.source(), "\"sufficient\" is true or false");
        result.sufficient = value.as_boolean()->get();
      } else {
        fail(value.source(), fmt::format("unknown key \"{}\"", escaped(key.str())));
      }
    }
    if (result.id.empty() || result.catalogue.empty() || result.reference.empty() ||
        result.title.empty() || result.facts.empty()) {
      fail(entry.source(), "a control has id, catalogue, reference, title and facts");
    }
    return result;
  }

  // One line, as it is printed.
  std::string text(const toml::node& value, std::string_view key) const {
    if (!value.is_string()) fail(value.source(), fmt::format("\"{}\" is not text", key));
    std::string result = value.as_string()->get();
    if (result.empty() || result.size() > longest_value || result.front() == ' ' ||
        result.back() == ' ' || on_one_line(result) != result) {
      fail(value.source(),
           fmt::format("\"{}\" is not one line of 1 to {} bytes", key, longest_value));
    }
    return result;
  }

  std::vector<Fact> facts(const toml::node& value) const {
    std::vector<Fact> result;
    if (!value.is_array()) fail(value.source(), "\"facts\" is not a list");
    for (const toml::node& entry : *value.as_array()) {
      const std::string name = text(entry, "facts");
      const auto* found =
          std::ranges::find(all_facts, name, [](Fact fact) { return to_string(fact); });
      if (found == all_facts.end())
        fail(entry.source(), fmt::format("there is no fact \"{}\"", escaped(name)));
      if (std::ranges::find(result, *found) == result.end()) result.push_back(*found);
    }
    return result;
  }

  std::string source_;
};

enum class Bearing { none, supports, contradicts };

bool is_opened_by(const VolumeVerdict& volume, std::string_view protector) {
  return std::ranges::find(volume.protectors, protector) != volume.protectors.end();
}

Bearing bearing_of_encryption(const VolumeVerdict& volume) {
  switch (volume.verdict) {
    case Verdict::covered:
    case Verdict::covered_weak:
    case Verdict::suspended: return Bearing::supports;
    case Verdict::converting:
    case Verdict::unknown:
    case Verdict::not_covered: return Bearing::contradicts;
    case Verdict::exempt: return Bearing::none;
  }
  return Bearing::none;
}

// What guards an encrypted volume says nothing of one that is not.
Bearing bearing_if_encrypted(const VolumeVerdict& volume, bool good, Bearing otherwise) {
  if (bearing_of_encryption(volume) != Bearing::supports) return Bearing::none;
  return good ? Bearing::supports : otherwise;
}

Bearing bearing_of(Fact fact, const VolumeVerdict& volume) {
  // Swap with a random key and memory have no keyslot, and nothing that could be recovered.
  const bool has_keyslots = !volume.protectors.empty();
  switch (fact) {
    case Fact::encryption: return bearing_of_encryption(volume);
    case Fact::cipher:
      // AES-128-XTS has 256 bits of key.
      if (volume.cipher.empty()) return Bearing::none;
      return bearing_if_encrypted(volume,
                                  volume.key_bits >= 256 &&
                                      volume.cipher.find("ecb") == std::string::npos &&
                                      volume.cipher.find("null") == std::string::npos,
                                  Bearing::contradicts);
    case Fact::tpm: return bearing_if_encrypted(volume, is_opened_by(volume, "tpm"), Bearing::none);
    case Fact::recovery:
      if (!has_keyslots) return Bearing::none;
      return bearing_if_encrypted(
          volume, is_opened_by(volume, "recovery-key") || is_opened_by(volume, "fido2"),
          Bearing::contradicts);
    case Fact::escrow: return bearing_if_encrypted(volume, !volume.escrows.empty(), Bearing::none);
    case Fact::two_factors:
      return bearing_if_encrypted(volume, is_opened_by(volume, "fido2"), Bearing::none);
    case Fact::tenant: return bearing_if_encrypted(volume, !volume.tenant.empty(), Bearing::none);
    case Fact::exemption:
      return volume.verdict == Verdict::exempt ? Bearing::supports : Bearing::none;
    case Fact::judged:
      return volume.verdict == Verdict::unknown ? Bearing::contradicts : Bearing::supports;
  }
  return Bearing::none;
}

Bearing bearing_of(const Control& control, const VolumeVerdict& volume) {
  Bearing result = Bearing::none;
  for (const Fact fact : control.facts) {
    const Bearing one = bearing_of(fact, volume);
    if (one == Bearing::contradicts) return one;
    if (one == Bearing::supports) result = one;
  }
  return result;
}

}  // namespace

std::string_view to_string(Fact fact) {
  switch (fact) {
    case Fact::encryption: return "encryption";
    case Fact::cipher: return "cipher";
    case Fact::tpm: return "tpm";
    case Fact::recovery: return "recovery";
    case Fact::escrow: return "escrow";
    case Fact::two_factors: return "two-factors";
    case Fact::tenant: return "tenant";
    case Fact::exemption: return "exemption";
    case Fact::judged: return "judged";
  }
  return "";
}

std::string_view to_string(Support support) {
  switch (support) {
    case Support::supported: return "supported";
    case Support::contradicted: return "contradicted";
    case Support::no_evidence: return "no-evidence";
  }
  return "";
}

Controls parse_controls(std::string_view text, std::string_view source) {
  const ControlsReader reader(source);
  if (text.size() > largest_table)
    throw Error(Code::bad_policy, "{}: larger than {} bytes", source, largest_table);
  try {
    return reader.read(toml::parse(text, source));
  } catch (const toml::parse_error& error) {
    reader.fail(error.source(), std::string(error.description()));
  }
}

Controls load_controls(const Path& path) {
  if (!path.empty()) return parse_controls(read_file(path, largest_table), path.native());
  for (const char* place : {"/etc/volseal/controls.toml", "/usr/share/volseal/controls.toml"}) {
    if (const auto text = read_file_if_any(place, largest_table))
      return parse_controls(*text, place);
  }
  return parse_controls(default_controls_text(), "built-in");
}

std::vector<ControlResult> apply_controls(const Controls& controls, const Coverage& coverage) {
  std::vector<ControlResult> results;
  for (const Control& control : controls.controls) {
    ControlResult result{.control = control};
    for (std::size_t at = 0; at < coverage.volumes.size(); ++at) {
      switch (bearing_of(control, coverage.volumes[at])) {
        case Bearing::none: break;
        case Bearing::supports: result.supporting.push_back(at); break;
        case Bearing::contradicts: result.contradicting.push_back(at); break;
      }
    }
    if (!result.contradicting.empty()) {
      result.support = Support::contradicted;
    } else if (!result.supporting.empty()) {
      result.support = Support::supported;
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace volseal
