// The device graph, drawn like a tree: each device below what it is made of. What is made of
// several stands at the left again, and a lane at the right leads to it from each of them.
#include "core/base/human.h"
#include "core/report/markup.h"
#include "core/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace volseal::report {

namespace {

constexpr std::size_t most_rows = 2000;
constexpr std::size_t most_lanes = 8;
constexpr std::size_t deepest_indent = 10;
constexpr std::size_t longest_name = 30;
constexpr int row_height = 40;
constexpr int indent = 18;
constexpr int lane_width = 10;
constexpr int label_width = 236;

struct PictureRow {
  std::size_t device = 0;
  std::size_t depth = 0;
  std::size_t parent = 0;  // row; its own where it has none
};

struct Lane {
  std::vector<std::size_t> from;  // rows
  std::size_t to = 0;             // row
  std::size_t place = 0;
};

class PictureRows {
 public:
  explicit PictureRows(const Report& report)
      : devices_(report.devices), above_(devices_.size()), missing_(devices_.size()) {
    for (std::size_t at = 0; at < devices_.size(); ++at) {
      for (const std::size_t lower : devices_[at].below) above_[lower].push_back(at);
      missing_[at] = devices_[at].below.size();
    }
  }

  std::vector<PictureRow> rows() {
    row_of_.assign(devices_.size(), none);
    for (std::size_t at = 0; at < devices_.size(); ++at) {
      if (devices_[at].below.empty()) place(at);
      while (!ready_.empty()) {
        const std::size_t next = ready_.front();
        ready_.erase(ready_.begin());
        place(next);
      }
    }
    return std::move(rows_);
  }

  std::size_t row_of(std::size_t device) const { return row_of_[device]; }

  static constexpr std::size_t none = ~std::size_t{0};

 private:
  // With all that stands on it alone. A stack of its own: a saved graph may be as deep as it is
  // long.
  void place(std::size_t root) {
    std::vector<PictureRow> stack{{.device = root, .depth = 0, .parent = none}};
    while (!stack.empty()) {
      PictureRow row = stack.back();
      stack.pop_back();
      const std::size_t at = rows_.size();
      if (row.parent == none) row.parent = at;
      rows_.push_back(row);
      row_of_[row.device] = at;
      for (auto upper = above_[row.device].rbegin(); upper != above_[row.device].rend(); ++upper) {
        if (--missing_[*upper] > 0) continue;
        if (devices_[*upper].below.size() == 1) {
          stack.push_back({.device = *upper, .depth = row.depth + 1, .parent = at});
        } else {
          ready_.push_back(*upper);
        }
      }
    }
  }

  const std::vector<ReportDevice>& devices_;
  std::vector<std::vector<std::size_t>> above_;
  std::vector<std::size_t> missing_;  // of what it is made of, how much has no row yet
  std::vector<std::size_t> ready_;
  std::vector<PictureRow> rows_;
  std::vector<std::size_t> row_of_;
};

// At most `longest` characters; the whole is in the title.
std::string shortened(const std::string& text, std::size_t longest) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0U) == 0x80) continue;
    if (++count > longest) return text.substr(0, i) + "\u2026";
  }
  return text;
}

int x_of(const PictureRow& row) {
  return 12 + indent * static_cast<int>(std::min(row.depth, deepest_indent));
}

int y_of(std::size_t row) {
  return row_height * static_cast<int>(row) + row_height / 2;
}

std::vector<Lane> lanes_of(const Report& report, const PictureRows& places,
                           const std::vector<PictureRow>& rows) {
  std::vector<Lane> lanes;
  std::vector<std::size_t> busy_until;  // of each place, the last row
  for (std::size_t at = 0; at < rows.size(); ++at) {
    const std::vector<std::size_t>& below = report.devices[rows[at].device].below;
    if (below.size() < 2) continue;
    Lane lane{.from = {}, .to = at};
    for (const std::size_t lower : below) lane.from.push_back(places.row_of(lower));
    std::ranges::sort(lane.from);
    lanes.push_back(std::move(lane));
  }
  std::ranges::sort(lanes, {}, [](const Lane& lane) { return lane.from.front(); });
  for (Lane& lane : lanes) {
    const auto found = std::ranges::find_if(
        busy_until, [&](std::size_t until) { return until < lane.from.front(); });
    lane.place = static_cast<std::size_t>(found - busy_until.begin());
    if (found == busy_until.end()) busy_until.push_back(0);
    busy_until[lane.place] = lane.to;
  }
  return lanes;
}

class Picture {
 public:
  explicit Picture(const Report& report) : report_(report), places_(report), rows_(places_.rows()) {
    std::size_t deepest = 0;
    for (const PictureRow& row : rows_)
      deepest = std::max(deepest, std::min(row.depth, deepest_indent));
    right_ = 12 + indent * static_cast<int>(deepest) + 16 + label_width;
  }

  std::string svg() {
    const std::size_t shown = std::min(rows_.size(), most_rows);
    std::string drawn = edges(shown);
    for (std::size_t at = 0; at < shown; ++at) drawn += node(at);
    const std::string first = fmt::format(
        "<svg class=\"picture\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" role=\"img\" aria-label=\"The device graph\">\n",
        right_ + lane_width * static_cast<int>(lanes_used_) + 8,
        row_height * static_cast<int>(shown));
    std::string text = first + drawn + "</svg>\n";
    if (rows_.size() > shown)
      text += fmt::format("<p class=\"dim\">{} more devices are not drawn.</p>\n",
                          rows_.size() - shown);
    return text;
  }

 private:
  std::string edges(std::size_t shown) {
    std::string out;
    for (std::size_t at = 0; at < shown; ++at) {
      if (rows_[at].parent == at) continue;
      out +=
          fmt::format("<path class=\"edge\" d=\"M{} {}V{}H{}\"/>\n", x_of(rows_[rows_[at].parent]),
                      y_of(rows_[at].parent) + 9, y_of(at), x_of(rows_[at]) - 9);
    }
    for (const Lane& lane : lanes_of(report_, places_, rows_)) {
      if (lane.to >= shown || lane.place >= most_lanes) continue;
      lanes_used_ = std::max(lanes_used_, lane.place + 1);
      const int x = right_ + lane_width * static_cast<int>(lane.place) + 4;
      std::string d;
      for (const std::size_t from : lane.from)
        d += fmt::format("M{} {}H{}", text_end(from), y_of(from) - 6, x);
      const int y = y_of(lane.to) - 6;
      d += fmt::format("M{} {}V{}H{}", x, y_of(lane.from.front()) - 6, y, text_end(lane.to) + 5);
      out += fmt::format(
          "<path class=\"edge\" d=\"{}\"/><path class=\"arrow\" d=\"M{} {}l7 -4v8z\"/>\n", d,
          text_end(lane.to), y);
    }
    return out;
  }

  std::string name_line(const ReportDevice& device) const {
    const std::string name = device.path.starts_with("/dev/") ? device.path.substr(5) : device.path;
    std::string line = plain(name);
    if (!device.mounts.empty()) line += " \u2192 " + plain(device.mounts.front());
    return line;
  }

  // Where a line may begin beside the name; letters of a proportional font, so it is a guess.
  int text_end(std::size_t row) const {
    const ReportDevice& device = report_.devices[rows_[row].device];
    const std::string line = shortened(name_line(device), longest_name);
    const auto letters = std::ranges::count_if(
        line, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; });
    return std::min(x_of(rows_[row]) + 16 + 8 * static_cast<int>(letters) + 12, right_ - 6);
  }

  std::string more_line(const ReportDevice& device) const {
    std::string line =
        fmt::format("{}, {}, {}", device.kind, human_size(device.size), plain(device.content));
    if (device.below.size() > 1) {
      line += " on ";
      for (std::size_t i = 0; i < device.below.size(); ++i)
        line +=
            fmt::format("{}{}", i == 0 ? "" : ", ", plain(report_.devices[device.below[i]].name));
    }
    return line;
  }

  std::string node(std::size_t at) const {
    const ReportDevice& device = report_.devices[rows_[at].device];
    const int x = x_of(rows_[at]);
    const int y = y_of(at);
    std::string title = fmt::format("{}\n{}", name_line(device), more_line(device));
    if (!device.model.empty() || !device.serial.empty())
      title += fmt::format("\n{} {}", plain(device.model), plain(device.serial));
    std::string mark = fmt::format(R"(<circle class="dot" cx="{}" cy="{}" r="4"/>)", x, y);
    if (device.volume) {
      const std::string name = shape(report_.coverage.volumes[*device.volume].verdict);
      title += "\n" + name;
      mark =
          fmt::format(R"(<use href="#v-{0}" class="{0}" x="{1}" y="{2}" width="18" height="18"/>)",
                      name, x - 9, y - 9);
    }
    return fmt::format(
        "<g><title>{}</title>{}<text class=\"name\" x=\"{}\" y=\"{}\">{}</text>"
        "<text class=\"more\" x=\"{}\" y=\"{}\">{}</text></g>\n",
        markup(title), mark, x + 16, y - 2, markup(shortened(name_line(device), longest_name)),
        x + 16, y + 13, markup(shortened(more_line(device), longest_name + 6)));
  }

  const Report& report_;
  PictureRows places_;
  std::vector<PictureRow> rows_;
  int right_ = 0;
  std::size_t lanes_used_ = 0;
};

}  // namespace

std::string shape(Verdict verdict) {
  return std::string(to_string(verdict));
}

std::string shapes() {
  return R"(<svg width="0" height="0" aria-hidden="true"><defs>
<symbol id="v-covered" viewBox="0 0 18 18"><circle class="mark" cx="9" cy="9" r="8"/><path class="sign" d="M5.2 9.4l2.6 2.6 5-5.6"/></symbol>
<symbol id="v-covered-weak" viewBox="0 0 18 18"><path class="mark" d="M9 1.2L17.4 16.4H.6z"/><path class="sign" d="M9 6.6v4.4M9 13.6v.2"/></symbol>
<symbol id="v-converting" viewBox="0 0 18 18"><circle class="ring" cx="9" cy="9" r="7.2"/><path class="mark" d="M9 1.8a7.2 7.2 0 0 1 0 14.4z"/></symbol>
<symbol id="v-suspended" viewBox="0 0 18 18"><rect class="ring" x="1.8" y="1.8" width="14.4" height="14.4" rx="7"/><path class="sign-on-paper" d="M7 6v6M11 6v6"/></symbol>
<symbol id="v-unknown" viewBox="0 0 18 18"><path class="mark" d="M9 .6L17.4 9 9 17.4.6 9z"/><path class="sign" d="M7 7.2a2 2 0 1 1 2.8 1.9c-.6.3-.8.6-.8 1.3M9 12.7v.2"/></symbol>
<symbol id="v-not-covered" viewBox="0 0 18 18"><path class="mark" d="M5.8 1.2h6.4l4.6 4.6v6.4l-4.6 4.6H5.8L1.2 12.2V5.8z"/><path class="sign" d="M6.2 6.2l5.6 5.6M11.8 6.2l-5.6 5.6"/></symbol>
<symbol id="v-exempt" viewBox="0 0 18 18"><rect class="ring" x="2" y="2" width="14" height="14" rx="3"/><path class="sign-on-paper" d="M6 9h6"/></symbol>
</defs></svg>
)";
}

std::string picture(const Report& report) {
  return Picture(report).svg();
}

}  // namespace volseal::report
