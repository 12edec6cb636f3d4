// The graph as text. Each struct is described once, by describe(), for writing and for reading.
#include "core/base/error.h"
#include "core/base/escape.h"
#include "core/device/device.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <limits>
#include <set>
#include <utility>

namespace volseal {
namespace {

constexpr std::string_view schema = "volseal-graph/1";
constexpr std::size_t most_text = 64U << 20U;
constexpr std::size_t most_devices = 100'000;
constexpr int most_depth = 8;  // the graph itself needs 7

constexpr std::array all_device_kinds = {
    DeviceKind::disk, DeviceKind::partition, DeviceKind::mapped,  DeviceKind::md,
    DeviceKind::loop, DeviceKind::zram,      DeviceKind::optical, DeviceKind::network,
    DeviceKind::file, DeviceKind::other};
constexpr std::array all_content_kinds = {
    ContentKind::blank,           ContentKind::filesystem, ContentKind::swap,
    ContentKind::hibernation,     ContentKind::luks1,      ContentKind::luks2,
    ContentKind::lvm_member,      ContentKind::md_member,  ContentKind::bcache_member,
    ContentKind::partition_table, ContentKind::other,      ContentKind::unknown,
    ContentKind::unreadable};

template <typename T, typename U>
concept Like = std::same_as<std::remove_const_t<T>, U>;

// `always`: written whatever it is, and must be there on reading. The others are left out where
// they are empty, zero or false, which is also what they are where they are absent.
template <typename Archive>
void describe(Archive& archive, Like<Content> auto& content) {
  archive.always("kind", content.kind);
  archive("type", content.type);
  archive("label", content.label);
  archive("uuid", content.uuid);
  archive("detail", content.detail);
  archive("block_size", content.block_size);
  archive("size", content.size);
  archive("used", content.used);
  archive("fscrypt", content.fscrypt);
}

template <typename Archive>
void describe(Archive& archive, Like<Keyslot> auto& keyslot) {
  archive.always("id", keyslot.id);
  archive("type", keyslot.type);
  archive("pbkdf", keyslot.pbkdf);
  archive("cost", keyslot.cost);
  archive("memory", keyslot.memory);
  archive("key_bytes", keyslot.key_bytes);
  archive("fingerprint", keyslot.fingerprint);
}

template <typename Archive>
void describe(Archive& archive, Like<Token> auto& token) {
  archive.always("id", token.id);
  archive("type", token.type);
  archive("keyslots", token.keyslots);
  archive("group", token.group);
  archive("two_factors", token.two_factors);
  archive("parts", token.parts);
  archive("escrowed_keyslot", token.escrowed_keyslot);
  archive("certificates", token.certificates);
  archive("threshold", token.threshold);
  archive("acknowledged", token.acknowledged);
  archive("escrowed_to", token.escrowed_to);
  archive("blob", token.blob);
}

template <typename Archive>
void describe(Archive& archive, Like<LuksSegment> auto& segment) {
  archive.always("type", segment.type);
  archive("offset", segment.offset);
  archive("size", segment.size);
  archive("cipher", segment.cipher);
  archive("sector_size", segment.sector_size);
  archive("integrity", segment.integrity);
}

template <typename Archive>
void describe(Archive& archive, Like<LuksHeader> auto& header) {
  archive.always("version", header.version);
  archive("uuid", header.uuid);
  archive("label", header.label);
  archive("subsystem", header.subsystem);
  archive("key_bytes", header.key_bytes);
  archive("segments", header.segments);
  archive("keyslots", header.keyslots);
  archive("tokens", header.tokens);
  archive("requirements", header.requirements);
  archive("reencryption", header.reencryption);
  archive("encrypted_bytes", header.encrypted_bytes);
  archive("data_bytes", header.data_bytes);
  archive("plaintext", header.plaintext);
  archive("damage", header.damage);
}

template <typename Archive>
void describe(Archive& archive, Like<Segment> auto& segment) {
  archive.always("start", segment.start);
  archive.always("length", segment.length);
  archive.always("target", segment.target);
  archive("cipher", segment.cipher);
  archive("key_bytes", segment.key_bytes);
  archive("key_in_keyring", segment.key_in_keyring);
  archive("sector_size", segment.sector_size);
  archive("integrity", segment.integrity);
  archive("flags", segment.flags);
  archive("devices", segment.devices);
  archive("offsets", segment.offsets);
}

template <typename Archive>
void describe(Archive& archive, Like<Gap> auto& gap) {
  archive.always("start", gap.start);
  archive.always("size", gap.size);
  archive("type", gap.type);
  archive("random", gap.random);
}

template <typename Archive>
void describe(Archive& archive, Like<Sample> auto& sample) {
  archive.always("places", sample.places);
  archive("random", sample.random);
  archive("empty", sample.empty);
  archive("clear", sample.clear);
  archive("signature", sample.signature);
}

template <typename Archive>
void describe(Archive& archive, Like<Device> auto& device) {
  archive.always("name", device.name);
  archive.always("path", device.path);
  archive("links", device.links);
  archive.always("kind", device.kind);
  archive("major", device.major);
  archive("minor", device.minor);
  archive("diskseq", device.diskseq);
  archive.always("size", device.size);
  archive("start", device.start);
  archive.always("logical_sector", device.logical_sector);
  archive.always("physical_sector", device.physical_sector);
  archive("optimal_io", device.optimal_io);
  archive("read_only", device.read_only);
  archive("removable", device.removable);
  archive("rotational", device.rotational);
  archive("bus", device.bus);
  archive("vendor", device.vendor);
  archive("model", device.model);
  archive("serial", device.serial);
  archive("wwn", device.wwn);
  archive("partition_uuid", device.partition_uuid);
  archive("partition_type", device.partition_type);
  archive("partition_label", device.partition_label);
  archive("dm_name", device.dm_name);
  archive("dm_uuid", device.dm_uuid);
  archive("suspended", device.suspended);
  archive("table", device.table);
  archive("md_level", device.md_level);
  archive("backing_file", device.backing_file);
  archive("backing_device", device.backing_device);
  archive("opal", device.opal);
  archive.always("content", device.content);
  archive("luks", device.luks);
  archive("gaps", device.gaps);
  archive("sample", device.sample);
  archive("below", device.below);
  archive("mounts", device.mounts);
  archive("swap_active", device.swap_active);
  archive("in_use", device.in_use);
}

template <typename Archive>
void describe(Archive& archive, Like<CrypttabEntry> auto& entry) {
  archive.always("name", entry.name);
  archive.always("source", entry.source);
  archive("key", entry.key);
  archive("options", entry.options);
}

template <typename Archive>
void describe(Archive& archive, Like<FstabEntry> auto& entry) {
  archive.always("source", entry.source);
  archive.always("target", entry.target);
  archive("type", entry.type);
  archive("options", entry.options);
}

template <typename Archive>
void describe(Archive& archive, Like<SwapFile> auto& file) {
  archive.always("path", file.path);
  archive("device", file.device);
  archive("size", file.size);
}

template <typename Archive>
void describe(Archive& archive, Like<Deviceless> auto& mounted) {
  archive.always("source", mounted.source);
  archive.always("target", mounted.target);
  archive("type", mounted.type);
}

template <typename Archive>
void describe(Archive& archive, Like<Dataset> auto& dataset) {
  archive.always("name", dataset.name);
  archive("encryption", dataset.encryption);
  archive("mount", dataset.mount);
}

template <typename Archive>
void describe(Archive& archive, Like<DeviceGraph> auto& graph) {
  archive("host", graph.host);
  archive("taken_at", graph.taken_at);
  archive("kernel", graph.kernel);
  archive("boot_id", graph.boot_id);
  archive.always("root", graph.root);
  archive.always("devices", graph.devices);
  archive("crypttab", graph.crypttab);
  archive("fstab", graph.fstab);
  archive("swap_files", graph.swap_files);
  archive("deviceless", graph.deviceless);
  archive("datasets", graph.datasets);
  archive("resume", graph.resume);
}

class Writer {
 public:
  explicit Writer(nlohmann::ordered_json& out) : out_(out) {}

  template <typename T>
  void always(const char* key, const T& value) {
    out_[key] = written(value);
  }
  template <typename T>
  void operator()(const char* key, const T& value) {
    if (!empty(value)) out_[key] = written(value);
  }

 private:
  template <std::integral T>
  static bool empty(T value) {
    return value == T{};
  }
  static bool empty(const std::string& text) { return text.empty(); }
  template <typename T>
  static bool empty(const std::vector<T>& list) {
    return list.empty();
  }
  template <typename T>
  static bool empty(const std::optional<T>& value) {
    return !value.has_value();
  }

  template <std::integral T>
  static nlohmann::ordered_json written(T value) {
    return value;
  }
  static nlohmann::ordered_json written(const std::string& text) { return to_valid_utf8(text); }
  static nlohmann::ordered_json written(DeviceKind kind) { return to_string(kind); }
  static nlohmann::ordered_json written(ContentKind kind) { return to_string(kind); }
  template <typename T>
  static nlohmann::ordered_json written(const std::vector<T>& list) {
    auto array = nlohmann::ordered_json::array();
    for (const T& item : list) array.push_back(written(item));
    return array;
  }
  template <typename T>
  static nlohmann::ordered_json written(const std::optional<T>& value) {
    return value ? written(*value) : nlohmann::ordered_json();
  }
  template <typename T>
    requires std::is_class_v<T>
  static nlohmann::ordered_json written(const T& value) {
    auto object = nlohmann::ordered_json::object();
    Writer writer(object);
    describe(writer, value);
    return object;
  }

  nlohmann::ordered_json& out_;
};

[[noreturn]] void refuse(const std::string& where, std::string_view why) {
  throw Error(Code::bad_graph, "reading a device graph: {}{}{}", where, where.empty() ? "" : ": ",
              why);
}

class Reader {
 public:
  Reader(const nlohmann::json& in, std::string where) : in_(in), where_(std::move(where)) {
    if (!in_.is_object()) refuse(where_, "is no object");
  }

  template <typename T>
  void always(const char* key, T& value) {
    if (!in_.contains(key)) refuse(where_ + "." + key, "is missing");
    (*this)(key, value);
  }
  template <typename T>
  void operator()(const char* key, T& value) {
    const auto at = in_.find(key);
    if (at == in_.end()) return;
    ++known_;
    known_keys_.insert(key);
    read(*at, value, where_.empty() ? key : where_ + "." + key);
  }

  // Called last: what is there and was not asked for is no part of a graph.
  void no_more() const {
    if (known_ == in_.size()) return;
    for (const auto& [key, value] : in_.items()) {
      if (!known_keys_.contains(key)) refuse(where_, "unknown key \"" + escaped(key, 64) + '"');
    }
  }

 private:
  static void read(const nlohmann::json& in, bool& value, const std::string& where) {
    if (!in.is_boolean()) refuse(where, "is neither true nor false");
    value = in.get<bool>();
  }
  template <std::integral T>
  static void read(const nlohmann::json& in, T& value, const std::string& where) {
    if (in.is_number_unsigned() && std::in_range<T>(in.get<std::uint64_t>())) {
      value = static_cast<T>(in.get<std::uint64_t>());
    } else if (in.is_number_integer() && !in.is_number_unsigned() &&
               std::in_range<T>(in.get<std::int64_t>())) {
      value = static_cast<T>(in.get<std::int64_t>());
    } else {
      refuse(where, "is no whole number in range");
    }
  }
  static void read(const nlohmann::json& in, std::string& value, const std::string& where) {
    if (!in.is_string()) refuse(where, "is no text");
    value = in.get_ref<const std::string&>();
  }
  static void read(const nlohmann::json& in, DeviceKind& value, const std::string& where) {
    read_name(in, value, all_device_kinds, where);
  }
  static void read(const nlohmann::json& in, ContentKind& value, const std::string& where) {
    read_name(in, value, all_content_kinds, where);
  }
  template <typename T, std::size_t Count>
  static void read_name(const nlohmann::json& in, T& value, const std::array<T, Count>& all,
                        const std::string& where) {
    std::string name;
    read(in, name, where);
    const auto* at = std::ranges::find(all, std::string_view(name),
                                       [](T candidate) { return to_string(candidate); });
    if (at == all.end()) refuse(where, "unknown kind \"" + escaped(name, 64) + '"');
    value = *at;
  }
  template <typename T>
  static void read(const nlohmann::json& in, std::vector<T>& value, const std::string& where) {
    if (!in.is_array()) refuse(where, "is no list");
    if (in.size() > most_devices) refuse(where, "has too many entries");
    value.clear();
    for (const auto& item : in) {
      const std::string place = where + '[' + std::to_string(value.size()) + ']';
      read(item, value.emplace_back(), place);
    }
  }
  template <typename T>
  static void read(const nlohmann::json& in, std::optional<T>& value, const std::string& where) {
    read(in, value.emplace(), where);
  }
  template <typename T>
    requires std::is_class_v<T>
  static void read(const nlohmann::json& in, T& value, const std::string& where) {
    Reader reader(in, where);
    describe(reader, value);
    reader.no_more();
  }

  const nlohmann::json& in_;
  std::string where_;
  std::size_t known_ = 0;
  std::set<std::string, std::less<>> known_keys_;
};

// A key that stands twice would let two readers of the same file see two graphs.
nlohmann::json parse_strictly(std::string_view text) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if (depth > most_depth) refuse("", "is nested too deeply");
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
      refuse("", "key \"" + escaped(parsed.get_ref<const std::string&>(), 64) + "\" stands twice");
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::parse_error& error) {
    refuse("", "is no JSON, at byte " + std::to_string(error.byte));
  } catch (const nlohmann::json::out_of_range&) {
    refuse("", "a number is too large");
  }
}

// Takes away, again and again, what stands on nothing that is left; a cycle is what remains.
void refuse_cycles(const DeviceGraph& graph) {
  const std::size_t count = graph.devices.size();
  std::vector<std::size_t> waiting(count, 0);
  std::vector<std::vector<DeviceIndex>> above(count);
  for (DeviceIndex at = 0; at < count; ++at) {
    waiting[at] = graph[at].below.size();
    for (const DeviceIndex lower : graph[at].below) {
      if (lower >= count) {
        refuse("devices[" + std::to_string(at) + "].below",
               "no device has the index " + std::to_string(lower));
      }
      above[lower].push_back(at);
    }
  }
  std::vector<DeviceIndex> free;
  for (DeviceIndex at = 0; at < count; ++at) {
    if (waiting[at] == 0) free.push_back(at);
  }
  std::size_t taken = 0;
  while (!free.empty()) {
    const DeviceIndex at = free.back();
    free.pop_back();
    ++taken;
    for (const DeviceIndex upper : above[at]) {
      if (--waiting[upper] == 0) free.push_back(upper);
    }
  }
  if (taken == count) return;
  const auto stuck = std::ranges::find_if(waiting, [](std::size_t left) { return left != 0; });
  refuse("devices[" + std::to_string(stuck - waiting.begin()) + "]", "rests on itself");
}

}  // namespace

std::string to_json(const DeviceGraph& graph, int indent) {
  nlohmann::ordered_json out;
  out["schema"] = schema;
  Writer writer(out);
  describe(writer, graph);
  return out.dump(indent);
}

DeviceGraph graph_from_json(std::string_view text) {
  if (text.size() > most_text) refuse("", "is larger than 64 MiB");
  const nlohmann::json in = parse_strictly(text);
  Reader reader(in, "");
  std::string said;
  reader.always("schema", said);
  if (said != schema) {
    refuse("schema", "is \"" + escaped(said, 64) + "\", and this volseal reads \"" +
                         std::string(schema) + '"');
  }
  DeviceGraph graph;
  describe(reader, graph);
  reader.no_more();
  refuse_cycles(graph);
  return graph;
}

}  // namespace volseal
