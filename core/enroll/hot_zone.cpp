#include "core/enroll/hot_zone.h"

#include "core/base/error.h"
#include "core/base/process.h"
#include "core/enroll/mapping_node.h"

#include <fmt/format.h>

namespace volseal {

namespace {

// As reencrypt_context_set_names() in libcryptsetup's luks2_reencrypt.c names them; encrypting
// with a data shift goes backwards.
std::string overlay_of(const std::string& mapping) {
  return mapping + "-overlay";
}

std::string hot_zone_of(const std::string& mapping) {
  return mapping + "-hotzone-backward";
}

std::string column(const std::string& name, const char* field) {
  std::string text = run({"dmsetup", "info", "-c", "--noheadings", "-o", field, name}).output;
  text.erase(text.find_last_not_of(" \n") + 1);
  return text;
}

}  // namespace

bool has_hot_zone(const std::string& mapping) {
  return run({"dmsetup", "info", overlay_of(mapping)}).status == 0;
}

void give_up_hot_zone(const std::string& mapping) {
  const std::string name = hot_zone_of(mapping);
  if (run({"dmsetup", "info", name}).status != 0) return;
  if (column(name, "suspended") != "Suspended") return;
  const std::string table = run_or_throw({"dmsetup", "table", name}).output;
  // "0 327680 linear 98:0 32768"
  const auto begin = table.find(' ');
  const auto end = table.find(' ', begin + 1);
  if (begin == std::string::npos || end == std::string::npos) {
    throw Error(Code::program_failed, "give up the hot zone of {}: dmsetup says '{}'", mapping,
                table);
  }
  const std::string sectors = table.substr(begin + 1, end - begin - 1);
  run_or_throw({"dmsetup", "load", name, "--table", fmt::format("0 {} error", sectors)});
  run_or_throw({"dmsetup", "resume", "--noudevsync", name});
}

void remove_hot_zone(const std::string& mapping) {
  remove_mapping(overlay_of(mapping));
  remove_mapping(hot_zone_of(mapping));
}

}  // namespace volseal
