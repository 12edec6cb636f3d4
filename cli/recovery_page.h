// Showing a recovery key to the one person who will keep it.
#pragma once

#include "core/base/secret.h"

#include <string_view>

namespace volseal {

// The key as text and as a QR code, on the terminal `fd`. `together_with`: "fido2", where it opens
// nothing alone.
void show_recovery_key(int fd, std::string_view volume, std::string_view luks_uuid,
                       const Secret& key, std::string_view together_with = {});

// Shows it on the controlling terminal, then asks for its last group, so that it is not scrolled
// away unread, and clears nothing. Throws Error{usage} without a terminal, Error{interrupted} when
// the person gives up.
void hand_over_on_terminal(std::string_view volume, std::string_view luks_uuid, const Secret& key,
                           std::string_view together_with = {});

}  // namespace volseal
