// volseal scan: the device tree, and what is on each.
#include "cli/graph.h"
#include "cli/output.h"
#include "cli/verb.h"
#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/table.h"
#include "core/device/device.h"

#include <fmt/format.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace volseal {
namespace {

std::string joined(const std::vector<std::string>& words, const char* between = ", ") {
  std::string text;
  for (const std::string& word : words) {
    if (word.empty()) continue;
    if (!text.empty()) text += between;
    text += word;
  }
  return text;
}

std::string labelled(const Content& content) {
  std::string text = escaped(content.type);
  if (!content.label.empty()) text += " \"" + escaped(content.label, 40) + '"';
  return text;
}

std::string percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? ""
                    : fmt::format("{:.1f} %",
                                  100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string luks_words(const LuksHeader& header) {
  std::vector<std::string> words{fmt::format("LUKS{}", header.version)};
  std::set<std::string> ciphers;
  for (const LuksSegment& segment : header.segments) {
    ciphers.insert(segment.type == "crypt" ? escaped(segment.cipher) : "NOT ENCRYPTED");
  }
  words.insert(words.end(), ciphers.begin(), ciphers.end());
  if (header.key_bytes != 0) words.push_back(fmt::format("{} bit", header.key_bytes * 8));
  words.push_back(
      fmt::format("{} keyslot{}", header.keyslots.size(), header.keyslots.size() == 1 ? "" : "s"));
  std::vector<std::string> tokens;
  tokens.reserve(header.tokens.size());
  for (const Token& token : header.tokens) tokens.push_back(escaped(token.type, 40));
  if (!tokens.empty()) words.push_back("tokens " + joined(tokens));
  if (!header.reencryption.empty()) {
    words.push_back(joined({"being worked on: " + escaped(header.reencryption),
                            percent(header.encrypted_bytes, header.data_bytes)},
                           " "));
  }
  if (!header.plaintext.empty()) {
    words.push_back("BUT " + escaped(header.plaintext) + " lies in the clear");
  }
  if (!header.damage.empty()) words.push_back("DAMAGED: " + escaped(header.damage));
  return joined(words);
}

std::string content_words(const Device& device) {
  std::string text;
  switch (device.content.kind) {
    case ContentKind::blank: text = "blank"; break;
    case ContentKind::filesystem:
    case ContentKind::swap:
    case ContentKind::other: text = labelled(device.content); break;
    case ContentKind::hibernation: text = "swap with a suspended system"; break;
    case ContentKind::luks1:
    case ContentKind::luks2: text = device.luks ? "" : "LUKS"; break;
    case ContentKind::lvm_member: text = "LVM physical volume"; break;
    case ContentKind::md_member: text = "member of an array"; break;
    case ContentKind::bcache_member: text = "member of a bcache"; break;
    case ContentKind::partition_table:
      text = "partition table " + escaped(device.content.type);
      break;
    case ContentKind::unknown: text = "unknown"; break;
    case ContentKind::unreadable: text = "unreadable"; break;
  }
  if (device.luks) text = joined({text, luks_words(*device.luks)});
  return joined({text, escaped(device.content.detail)}, ": ");
}

// The table tells what a mapping does; its UUID only what somebody said.
std::string mapping_words(const Device& device) {
  std::vector<std::string> words;
  for (const Segment& segment : device.table) {
    std::string word = escaped(segment.target);
    if (segment.target == "crypt") {
      word += fmt::format(" {} {} bit", escaped(segment.cipher), segment.key_bytes * 8);
    }
    if (words.empty() || words.back() != word) words.push_back(std::move(word));
  }
  constexpr std::size_t most = 4;
  if (words.size() > most) {
    words.resize(most);
    words.emplace_back("...");
  }
  return words.empty() ? "mapping without a table" : joined(words, " + ");
}

std::string hardware_words(const Device& device) {
  switch (device.kind) {
    case DeviceKind::mapped: return mapping_words(device);
    case DeviceKind::md: return "array " + escaped(device.md_level);
    case DeviceKind::loop: return "loop of " + escaped(device.backing_file);
    case DeviceKind::partition:
      return device.partition_label.empty()
                 ? "partition"
                 : "partition \"" + escaped(device.partition_label) + '"';
    case DeviceKind::disk:
    case DeviceKind::zram:
    case DeviceKind::optical:
    case DeviceKind::network:
    case DeviceKind::file:
    case DeviceKind::other: break;
  }
  return joined({std::string(to_string(device.kind)), escaped(device.bus), escaped(device.vendor),
                 escaped(device.model), escaped(device.serial)},
                " ");
}

std::string use_words(const Device& device) {
  std::vector<std::string> words;
  words.reserve(device.mounts.size());
  for (const std::string& mount : device.mounts) words.push_back(escaped(mount));
  if (device.swap_active) words.emplace_back("[swap]");
  if (device.read_only) words.emplace_back("[read-only]");
  if (!device.in_use.empty()) words.emplace_back("[claimed]");
  return joined(words, " ");
}

class Tree {
 public:
  explicit Tree(const DeviceGraph& graph) : graph_(graph) {
    std::vector<Cell> titles;
    titles.reserve(5);
    for (const char* title : {"DEVICE", "SIZE", "KIND", "CONTENT", "USED"}) {
      titles.push_back({.text = title, .colour = "1"});
    }
    rows_.push_back(std::move(titles));
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
      for (const DeviceIndex lower : graph[at].below) above_[lower].push_back(at);
    }
    for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
      if (graph[at].below.empty()) add(at, "", "");
    }
  }

  const std::vector<std::vector<Cell>>& rows() const { return rows_; }

 private:
  // More than any machine stacks; a saved graph may say anything.
  static constexpr std::size_t deepest = 64;

  // A device that stands on several is spelt out under the first of them.
  void add(DeviceIndex at, const std::string& branch, const std::string& indent) {
    const Device& device = graph_[at];
    const bool again = !shown_.insert(at).second;
    rows_.push_back({{.text = branch + escaped(device.path), .whole = true},
                     {.text = again ? "" : human_size(device.size)},
                     {.text = again ? "see above" : hardware_words(device)},
                     {.text = again ? "" : content_words(device)},
                     {.text = again ? "" : use_words(device)}});
    if (again) return;
    if (indent.size() > deepest * 2) {
      rows_.push_back({{.text = indent + "..."}});
      return;
    }
    const auto& uppers = above_[at];
    for (std::size_t i = 0; i < uppers.size(); ++i) {
      const bool last = i + 1 == uppers.size();
      add(uppers[i], indent + (last ? "└─" : "├─"), indent + (last ? "  " : "│ "));
    }
  }

  const DeviceGraph& graph_;
  std::map<DeviceIndex, std::vector<DeviceIndex>> above_;
  std::set<DeviceIndex> shown_;
  std::vector<std::vector<Cell>> rows_;
};

void print_scan(const GraphSource& source, bool json) {
  const DeviceGraph graph = get_graph(source);
  if (json) {
    print_out(to_json(graph) + "\n");
    return;
  }
  std::string text =
      render_table(Tree(graph).rows(), columns(STDOUT_FILENO), may_colour(STDOUT_FILENO));
  if (!graph.root) text += "Taken without root's rights: most contents could not be read.\n";
  print_out(text);
}

}  // namespace

void add_scan(CLI::App& app, Session& session) {
  CLI::App* verb =
      app.add_subcommand("scan", "show the devices of this machine and what is on each");
  const auto source = std::make_shared<GraphSource>();
  const auto json = std::make_shared<bool>(false);
  verb->add_option("VOLUME", source->volumes, "devices or image files; all devices by default");
  add_graph_options(*verb, *source);
  verb->add_flag("--json", *json, "the whole graph as JSON, to be saved and used with --graph");
  verb->callback([&session, source, json] {
    print_scan(*source, *json);
    session.status = 0;
  });
}

}  // namespace volseal
