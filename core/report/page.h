// Parts of the HTML page; for core/report/*.cpp.
#pragma once

#include "core/report/report.h"

#include <string>
#include <string_view>

namespace volseal::report {

// What stands between <style> and </style>: page.css.
std::string_view page_style();

// The shapes of the verdicts, to be used by shape(): colour alone tells a tenth of all men nothing.
std::string shapes();
// A verdict's name in classes and ids: "not-covered".
std::string shape(Verdict verdict);

// The device graph as SVG: a row a device, what it is made of above it.
std::string picture(const Report& report);

}  // namespace volseal::report
