#include "cli/filter_options.h"

#include <string>
#include <vector>

namespace volseal {

void add_filter_options(CLI::App& verb, Filter& filter) {
  // One name an option: a second word is the next argument, and no name.
  const auto add = [&](const char* option, std::vector<std::string>& names, const char* what) {
    verb.add_option_function<std::string>(
            option, [&names](const std::string& name) { names.push_back(name); }, what)
        ->trigger_on_parse()
        ->type_name("NAME");
  };
  add("--tenant", filter.tenants, "only its volumes, '' for those of none; given twice: of either");
  add("--environment", filter.environments, "only its volumes, in the same way");
  add("--group", filter.groups, "only those that the policy puts into it, in the same way");
}

}  // namespace volseal
