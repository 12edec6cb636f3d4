#include "core/enroll/mapping_node.h"

#include "core/base/process.h"

namespace volseal {

void remove_mapping(const std::string& name) {
  if (run({"dmsetup", "info", name}).status != 0) return;
  run_or_throw({"dmsetup", "remove", "--retry", name});
}

Path node_of_mapping(const std::string& name) {
  std::string kernel_name =
      run_or_throw({"dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", name}).output;
  kernel_name.erase(kernel_name.find_last_not_of(" \n") + 1);
  return Path("/dev") / kernel_name;
}

}  // namespace volseal
