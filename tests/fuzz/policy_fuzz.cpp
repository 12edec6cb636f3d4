// Any text is a policy or one clear Error{bad_policy}; nothing else, and no crash.
#include "core/base/error.h"
#include "core/policy/policy.h"

#include <cstdlib>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace volseal;
  try {
    const Policy policy = parse_policy({reinterpret_cast<const char*>(data), size}, "fuzz.toml");
    for (const Rule& rule : policy.rules) {
      if (policy.group(rule.group).recovery.empty()) std::abort();
      if (rule.action != Action::encrypt && rule.reason.empty()) std::abort();
    }
  } catch (const Error& error) {
    if (error.code() != Code::bad_policy) std::abort();
  }
  return 0;
}
