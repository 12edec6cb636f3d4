// Where a verb gets its device graph from: this machine, a file, or image files.
#pragma once

#include "core/base/file.h"
#include "core/device/device.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace volseal {

struct GraphSource {
  std::string file;                  // --graph; "-" for standard input; empty: this machine
  std::vector<std::string> volumes;  // devices and image files; empty: all
  Path sysroot;                      // --sysroot: a tree of another machine; empty: this one
  bool sample = false;               // --sample: see ScanOptions
  int patience = 20;                 // --device-timeout: seconds
};

// --graph, --sysroot, --sample and --device-timeout. `source` must live as long as `verb`.
void add_graph_options(CLI::App& verb, GraphSource& source);

// It is this machine that is asked for, and not a saved graph or another's tree.
bool is_live(const GraphSource& source);

// A file, where a device or an image file may be named.
bool is_image(const std::string& name);

// The graph of what was asked for. With devices named: they, what they rest on and what stands on
// them. Throws Error{not_found} for a name that is no device of the graph and no file.
DeviceGraph get_graph(const GraphSource& source);

}  // namespace volseal
