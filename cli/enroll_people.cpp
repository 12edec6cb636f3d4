#include "cli/enroll_people.h"

#include "cli/hints.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/protector.h"
#include "core/base/escape.h"
#include "core/coverage/ways.h"
#include "core/luks/header.h"
#include "core/protect/all_of_token.h"

#include <algorithm>
#include <map>
#include <utility>

namespace volseal {

namespace {

bool opens_by(const Path& volume, const std::string& kind) {
  const auto header = read_header(volume);
  return header &&
         std::ranges::any_of(ways_in(*header), [&](const Way& way) { return way.kind == kind; });
}

bool wants_fido2(const std::string& kind) {
  const auto parts = parse_parts(kind);
  return kind == "fido2" || (parts && std::ranges::find(*parts, Part::fido2) != parts->end());
}

}  // namespace

void add_what_people_have(const std::vector<VolumePlan>& volumes, bool may_ask,
                          const Session& session) {
  std::map<std::pair<std::string, std::string>, std::vector<Path>> wanted;  // group, kind
  for (const VolumePlan& volume : volumes) {
    for (const std::string& kind : volume.recovery) {
      if (kind != "recovery-key" && !opens_by(volume.path, kind))
        wanted[{volume.group, kind}].emplace_back(volume.path);
    }
  }
  for (const auto& [what, paths] : wanted) {
    const auto& [group, kind] = what;
    std::string names;
    for (const Path& path : paths) names += " " + escaped(path.native());
    if (may_ask && can_ask() && (!wants_fido2(kind) || Fido2::is_plugged_in())) {
      try {
        print_err("volseal: the policy asks for {}, of:{}\n", kind, names);
        ProtectorOptions options;
        options.kind = kind;
        options.volumes = paths;
        options.group = group;
        add_protector_to(options, session);
        continue;
      } catch (const Error& error) {
        static_cast<void>(report_error(error));
      }
    }
    print_err("volseal: the policy asks for {0}: 'volseal protector add {0}{1}'\n", kind, names);
  }
}

}  // namespace volseal
