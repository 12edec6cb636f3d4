#include "core/base/escape.h"
#include "core/base/human.h"
#include "core/base/paragraph.h"
#include "core/plan/plan.h"

#include <fmt/format.h>

#include <algorithm>

namespace volseal {
namespace {

std::string content_of(const VolumePlan& volume) {
  std::string text = volume.content_type.empty() ? std::string(to_string(volume.content))
                                                 : escaped(volume.content_type, 40);
  if (!volume.content_label.empty()) text += fmt::format(" \"{}\"", escaped(volume.content_label));
  return text;
}

// Whose it is, and what stands behind that.
std::string owner_of(const VolumePlan& volume, std::string_view behind) {
  return volume.owner.empty() ? "" : fmt::format("{}{}", volume.owner, behind);
}

std::string_view headline_verb(Task task) {
  switch (task) {
    case Task::encrypt_in_place: return "encrypt in place";
    case Task::resume: return "go on encrypting";
    case Task::format: return "format encrypted";
    case Task::encrypt_swap: return "encrypt the swap";
    case Task::adopt: return "add protectors";
    case Task::convert: return "convert to LUKS2 and add protectors";
    case Task::nothing: return "nothing to do";
    case Task::leave: return "leave";
    case Task::forbid: return "must not be attached";
    case Task::refuse: return "CANNOT be encrypted";
  }
  return "";
}

std::string work_text(const VolumePlan& volume, std::size_t columns) {
  std::string out = wrapped("",
                            fmt::format("{}: {}, as /dev/mapper/{}", escaped(volume.path),
                                        headline_verb(volume.task), escaped(volume.mapping)),
                            columns);
  const std::string decided =
      volume.rule.empty() ? "by default" : fmt::format("by rule '{}'", volume.rule);
  out += wrapped(
      "  ",
      fmt::format("{}, {}; {}; {}group '{}', {}", human_size(volume.size), content_of(volume),
                  volume.why, owner_of(volume, " "), volume.group, decided),
      columns);
  int number = 0;
  for (const std::string& step : volume.steps) {
    out += wrapped(fmt::format("  {:>2}. ", ++number), step, columns);
  }
  out += wrapped("  Risk: ", volume.risk, columns);
  out += wrapped("  Time: ",
                 fmt::format("about {} for {} to read and write{}", human_duration(volume.estimate),
                             human_size(volume.bytes),
                             volume.online ? fmt::format("; out of use for about {} of it",
                                                         human_duration(volume.out_of_use))
                                           : ""),
                 columns);
  return out + "\n";
}

std::string obstacle_text(const VolumePlan& volume, std::size_t columns) {
  std::string out =
      wrapped("",
              fmt::format("{}: {} ({}{}, {})", escaped(volume.path), headline_verb(volume.task),
                          owner_of(volume, ", "), human_size(volume.size), content_of(volume)),
              columns);
  if (volume.task == Task::forbid) out += wrapped("  ", volume.why, columns);
  for (const Obstacle& obstacle : volume.obstacles) {
    out += wrapped("  - ", obstacle.what, columns);
    out += wrapped("    > ", obstacle.advice, columns);
  }
  return out + "\n";
}

std::string quiet_text(const VolumePlan& volume, std::size_t columns) {
  return wrapped("  ",
                 fmt::format("{} ({}{}, {}): {}", escaped(volume.path), owner_of(volume, ", "),
                             human_size(volume.size), content_of(volume), volume.why),
                 columns);
}

std::string volumes_of_number(std::size_t number) {
  return fmt::format("{} volume{}", number, number == 1 ? "" : "s");
}

bool unmount_helps(const VolumePlan& volume) {
  return std::ranges::all_of(volume.obstacles, &Obstacle::by_unmount);
}

std::string summary(const Plan& plan) {
  std::size_t work = 0;
  std::size_t refused = 0;
  std::size_t released = 0;
  std::size_t forbidden = 0;
  std::uint64_t bytes = 0;
  std::chrono::seconds estimate{0};
  for (const VolumePlan& volume : plan.volumes) {
    if (volume.task == Task::refuse) ++refused;
    if (volume.task == Task::refuse && unmount_helps(volume)) ++released;
    if (volume.task == Task::forbid) ++forbidden;
    if (!is_work(volume.task)) continue;
    ++work;
    bytes += volume.bytes;
    estimate += volume.estimate;
  }
  std::string text;
  if (work > 0) {
    text = fmt::format("{} to encrypt: {} to read and write, about {}.", volumes_of_number(work),
                       human_size(bytes), human_duration(estimate));
  } else {
    text = "Nothing to encrypt.";
  }
  if (refused > 0) {
    text += fmt::format(" {} must be encrypted and cannot be", volumes_of_number(refused));
    if (released > 0) text += fmt::format("; with --unmount {} of them can", released);
    text += ".";
  }
  if (forbidden > 0) text += fmt::format(" {} should not be there.", volumes_of_number(forbidden));
  return text;
}

}  // namespace

std::string to_text(const Plan& plan, std::size_t columns) {
  std::string out =
      wrapped("",
              fmt::format("Plan for {}, by the policy {}", escaped(plan.host),
                          plan.policy == "built-in" ? "that is built in" : escaped(plan.policy)),
              columns);
  out += "\n";
  std::string quiet;
  std::string obstacles;
  for (const VolumePlan& volume : plan.volumes) {
    switch (volume.task) {
      case Task::encrypt_in_place:
      case Task::resume:
      case Task::format:
      case Task::encrypt_swap:
      case Task::adopt:
      case Task::convert: out += work_text(volume, columns); break;
      case Task::refuse:
      case Task::forbid: obstacles += obstacle_text(volume, columns); break;
      case Task::nothing:
      case Task::leave: quiet += quiet_text(volume, columns); break;
    }
  }
  out += obstacles;
  if (!quiet.empty()) out += "Stays as it is:\n" + quiet + "\n";
  return out + wrapped("", summary(plan), columns);
}

}  // namespace volseal
