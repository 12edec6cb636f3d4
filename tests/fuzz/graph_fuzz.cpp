// A saved graph is refused with Error{bad_graph}, or it is a graph: then what is written of it is
// read back as the same, and walking it ends.
#include "core/base/error.h"
#include "core/device/device.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  DeviceGraph graph;
  try {
    graph = graph_from_json({reinterpret_cast<const char*>(data), size});
  } catch (const Error& error) {
    if (error.code() != Code::bad_graph) std::abort();
    return 0;
  }
  const std::string text = to_json(graph);
  if (to_json(graph_from_json(text)) != text) std::abort();
  for (DeviceIndex at = 0; at < graph.devices.size(); ++at) {
    if (graph.disks_below(at).empty()) std::abort();
  }
  return 0;
}
