// Any saved graph can be planned for: nothing that holds data is formatted, nothing is both refused
// and done, and what is printed cannot play with a terminal.
#include "core/base/error.h"
#include "core/plan/plan.h"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace volseal;

void require(bool holds) {
  if (!holds) std::abort();
}

bool safe_to_print(const std::string& text) {
  return std::ranges::none_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n') || byte == 0x7f;
  });
}

void check(const VolumePlan& volume) {
  if (volume.task == Task::format) require(volume.content == ContentKind::blank);
  if (volume.task == Task::encrypt_swap) require(volume.content == ContentKind::swap);
  require((volume.task == Task::refuse) == !volume.obstacles.empty());
  if (volume.obstacles.empty()) return;
  require(volume.steps.empty() && volume.bytes == 0 && volume.mapping.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Policy policy = parse_policy(default_policy_text(), "built-in");
  DeviceGraph graph;
  try {
    graph = graph_from_json({reinterpret_cast<const char*>(data), size});
  } catch (const Error&) {
    return 0;
  }
  for (const bool unmount : {false, true}) {
    const Plan plan = make_plan(graph, policy, {.today = "2030-05-01", .unmount = unmount});
    for (const VolumePlan& volume : plan.volumes) {
      check(volume);
      require(what_changed(volume, graph).size() < 10'000);
    }
    require(safe_to_print(to_text(plan, 80)) && safe_to_print(to_json(plan)));
  }
  return 0;
}
