// RFC 4180.
#pragma once

#include <string>
#include <vector>

namespace volseal {

// Every cell in quotes, and none a formula to a spreadsheet.
std::string csv_record(const std::vector<std::string>& cells);

}  // namespace volseal
