// Long work in a process of its own, so that several can go on at once: neither libcryptsetup nor
// libdevmapper may be used by two threads.
#pragma once

#include "core/base/secret.h"

#include <cstdint>
#include <functional>

namespace volseal {

// Bytes done and in all. False: stop at the next safe point.
using GoOn = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// Returns what `work` returns. `work` gets its own copy of the secret, through a socket, since
// secrets are wiped on fork. Whenever it reports, `go_on` is asked here, in the thread that called,
// and the work waits for the answer. Once this process has died, or go_on has thrown, the answer is
// no. What the work changes in memory is lost. Throws Error as `work` throws it, with code and
// text; Error{internal} where the process ended without a word.
bool run_apart(const Secret& secret, const std::function<bool(const Secret&, const GoOn&)>& work,
               const GoOn& go_on);

// For a process that was forked and may outlive its parent: nothing of the parent's stays open but
// `fd`, or whoever reads the parent's output would wait for the end of this one. Standard streams
// lead to /dev/null.
void keep_only(int fd);

}  // namespace volseal
