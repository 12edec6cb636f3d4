// Where a verb gets its device graph from: this machine, a file, or image files.
#pragma once

#include "core/device/device.h"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace volseal {

struct GraphSource {
  std::string file;                  // --graph; "-" for standard input; empty: this machine
  std::vector<std::string> volumes;  // devices and image files; empty: all
  bool sample = false;               // --sample: see ScanOptions
  int patience = 20;                 // --device-timeout: seconds
};

// --graph, --sample and --device-timeout. `source` must live as long as `verb`.
void add_graph_options(CLI::App& verb, GraphSource& source);

// A file, where a device or an image file may be named.
bool is_image(const std::string& name);

// The graph of what was asked for. With devices named: they, what they rest on and what stands on
// them. Throws Error{not_found} for a name that is no device of the graph and no file.
DeviceGraph get_graph(const GraphSource& source);

}  // namespace volseal
