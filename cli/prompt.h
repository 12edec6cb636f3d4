// Asking the person at the terminal. Nothing is asked where there is no terminal.
#pragma once

#include "core/base/file.h"
#include "core/base/secret.h"

#include <optional>
#include <string>
#include <string_view>

namespace volseal {

// There is a controlling terminal to ask at.
bool can_ask();

// Without echo. Nothing: no terminal, or end of file. Throws Error{interrupted} on Ctrl-C.
std::optional<Secret> ask_secret(std::string_view prompt);
// Twice, until both are equal; at most three times.
Secret ask_new_secret(std::string_view what);
// With echo.
std::optional<std::string> ask_line(std::string_view prompt);
// Only "yes" counts.
bool confirm(std::string_view question);

// What opens a volume now: from --key-file, or asked for. Throws Error{usage} where neither can be.
Secret existing_secret(const std::optional<Path>& key_file, std::string_view what);

}  // namespace volseal
