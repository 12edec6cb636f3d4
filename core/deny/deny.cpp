#include "core/deny/deny.h"

#include "core/base/error.h"
#include "core/base/log.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

// The programs, as clang compiled them.
#define VOLSEAL_EMBED(name, file)   \
  __asm__(                          \
      ".pushsection .rodata\n"      \
      ".balign 8\n" name            \
      "_begin:\n"                   \
      ".incbin \"" file "\"\n" name \
      "_end:\n"                     \
      ".popsection\n")
VOLSEAL_EMBED("volseal_deny_device", VOLSEAL_DENY_DEVICE);
VOLSEAL_EMBED("volseal_deny_file", VOLSEAL_DENY_FILE);
// NOLINTBEGIN(*-avoid-c-arrays)
extern "C" const char volseal_deny_device_begin[];
extern "C" const char volseal_deny_device_end[];
extern "C" const char volseal_deny_file_begin[];
extern "C" const char volseal_deny_file_end[];
// NOLINTEND(*-avoid-c-arrays)

namespace volseal {

namespace {

using BpfObject = Handle<bpf_object, bpf_object__close>;
using BpfLink = Handle<bpf_link, bpf_link__destroy>;

// As deny.bpf.c has it.
struct Group {
  std::uint64_t id = 0;
  std::int32_t level = 0;
  std::uint32_t unused = 0;
};

struct Hook {
  const char* function;
  const char* pin;
};

// One object of programs. Each is loaded by itself: one that this kernel refuses must not cost the
// other.
struct Mechanism {
  const char* name;
  bool lsm;
  std::string_view object;
  std::span<const Hook> hooks;
};

constexpr std::array<Hook, 1> on_devices = {{{.function = "device", .pin = "on-device"}}};
constexpr std::array<Hook, 3> on_files = {{{.function = "open_file", .pin = "on-open"},
                                           {.function = "use_file", .pin = "on-use"},
                                           {.function = "map_file", .pin = "on-map"}}};

std::array<Mechanism, 2> mechanisms() {
  return {{{.name = "bpf-cgroup",
            .lsm = false,
            .object = {volseal_deny_device_begin, volseal_deny_device_end},
            .hooks = on_devices},
           {.name = "bpf-lsm",
            .lsm = true,
            .object = {volseal_deny_file_begin, volseal_deny_file_end},
            .hooks = on_files}}};
}

constexpr std::array<const char*, 3> maps = {"denied", "passes", "readers"};

int to_log(libbpf_print_level level, const char* format, va_list words) {
  if (level == LIBBPF_DEBUG) return 0;
  std::array<char, 1024> text{};
  const int length = std::vsnprintf(text.data(), text.size(), format, words);
  if (length > 0) {
    std::string_view line(text.data(), std::min(static_cast<std::size_t>(length), text.size() - 1));
    while (line.ends_with('\n')) line.remove_suffix(1);
    log::detail("{}", line);
  }
  return length;
}

bool is_mounted(const Path& folder, std::uint64_t magic) {
  struct statfs info{};
  return ::statfs(folder.c_str(), &info) == 0 && static_cast<std::uint64_t>(info.f_type) == magic;
}

bool has_bpf_lsm() {
  try {
    const std::string all = "," + read_file_if_any("/sys/kernel/security/lsm").value_or("") + ",";
    return all.contains(",bpf,") && std::filesystem::exists("/sys/kernel/btf/vmlinux");
  } catch (const Error&) {
    return false;
  }
}

UniqueFd pinned(const Path& pin) {
  return UniqueFd(::bpf_obj_get(pin.c_str()));
}

std::set<DeviceNumber> numbers_in(int map) {
  std::set<DeviceNumber> numbers;
  DeviceNumber at;
  DeviceNumber next;
  const void* from = nullptr;
  // One that is taken out meanwhile makes it begin anew, at worst.
  for (int i = 0; i < 100'000 && ::bpf_map_get_next_key(map, from, &next) == 0; ++i) {
    numbers.insert(next);
    at = next;
    from = &at;
  }
  return numbers;
}

std::uint64_t boot_clock_ns() {
  timespec now{};
  if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) throw_errno(errno, "read the boot clock");
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string reason_of(int error) {
  return std::strerror(error);  // NOLINT(concurrency-mt-unsafe): glibc's is safe for known errors
}

void remove_links(const Path& folder) {
  for (const Mechanism& mechanism : mechanisms()) {
    for (const Hook& hook : mechanism.hooks) ::unlink((folder / hook.pin).c_str());
  }
}

void remove_pins(const Path& folder) {
  remove_links(folder);
  for (const char* map : maps) ::unlink((folder / map).c_str());
  ::rmdir(folder.c_str());
}

}  // namespace

struct Deny::Loaded {
  struct Object {
    Mechanism mechanism;
    BpfObject object;
  };
  std::vector<Object> objects;
  std::vector<BpfLink> links;

  int map(const char* name) const {
    return ::bpf_object__find_map_fd_by_name(objects.front().object.get(), name);
  }
};

Deny::Deny(DenyPlaces places) : places_(std::move(places)) {
  ::libbpf_set_print(to_log);
  std::error_code error;
  const bool groups = is_mounted(places_.groups, CGROUP2_SUPER_MAGIC);
  if (!is_mounted(places_.pins.parent_path(), BPF_FS_MAGIC)) {
    problem_ = fmt::format("no bpffs is mounted on {}", places_.pins.parent_path().native());
  } else if (!groups) {
    problem_ = fmt::format("no control groups of version 2 on {}", places_.groups.native());
  } else if (!std::filesystem::exists(places_.udevd, error)) {
    // It must be told from others, for it has to read.
    problem_ = "udevd has no control group of its own";
  } else {
    load();
  }
}

// The pins hold what is to hold.
Deny::~Deny() {
  if (loaded_ && last_.empty()) remove_pins(places_.pins);
}

void Deny::load() {
  auto loaded = std::make_unique<Loaded>();
  // An earlier release may have left maps of another shape: then everything is made anew.
  for (const bool anew : {false, true}) {
    if (anew) remove_pins(places_.pins);
    for (const Mechanism& mechanism : mechanisms()) {
      if (mechanism.lsm && !has_bpf_lsm()) continue;
      bpf_object_open_opts options{};
      options.sz = sizeof options;
      options.object_name = "volseal";
      options.pin_root_path = places_.pins.c_str();
      BpfObject object(
          ::bpf_object__open_mem(mechanism.object.data(), mechanism.object.size(), &options));
      if (!object || ::bpf_object__load(object.get()) != 0) {
        problem_ = fmt::format("the kernel refuses the program: {}", reason_of(errno));
        continue;
      }
      loaded->objects.push_back({.mechanism = mechanism, .object = std::move(object)});
    }
    if (loaded->objects.empty()) continue;
    loaded_ = std::move(loaded);
    problem_.clear();
    return;
  }
}

bool Deny::attach() {
  const UniqueFd group(::open(places_.groups.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::vector<BpfLink> links;
  for (const auto& [mechanism, object] : loaded_->objects) {
    for (const Hook& hook : mechanism.hooks) {
      const bpf_program* program = ::bpf_object__find_program_by_name(object.get(), hook.function);
      BpfLink link(mechanism.lsm ? ::bpf_program__attach_lsm(program)
                                 : ::bpf_program__attach_cgroup(program, group.get()));
      if (!link) {
        log::warning("the kernel does not let {} ({}) run: {}", mechanism.name, hook.function,
                     reason_of(errno));
        continue;
      }
      // The one of an earlier watch goes only now: there is no moment without.
      const Path pin = places_.pins / hook.pin;
      ::unlink(pin.c_str());
      if (::bpf_link__pin(link.get(), pin.c_str()) != 0) {
        log::warning("what the kernel denies ends with this watch: pin {}: {}", pin.native(),
                     reason_of(errno));
      }
      links.push_back(std::move(link));
    }
  }
  loaded_->links = std::move(links);
  return !loaded_->links.empty();
}

void Deny::detach() {
  remove_links(places_.pins);
  loaded_->links.clear();
}

// Others can take it off its place without any word.
bool Deny::is_attached() const {
  return std::ranges::all_of(loaded_->links, [](const BpfLink& link) {
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    if (::bpf_obj_get_info_by_fd(::bpf_link__fd(link.get()), &info, &size) != 0) return true;
    return info.type != BPF_LINK_TYPE_CGROUP || info.cgroup.cgroup_id != 0;
  });
}

// Another udevd has another group.
void Deny::name_udevd() const {
  struct stat info{};
  if (::stat(places_.udevd.c_str(), &info) != 0) return;
  const Path below = places_.udevd.lexically_relative(places_.groups);
  const Group group{.id = info.st_ino,
                    .level = static_cast<std::int32_t>(std::distance(below.begin(), below.end()))};
  const std::uint32_t first = 0;
  ::bpf_map_update_elem(loaded_->map("readers"), &first, &group, BPF_ANY);
}

Deny::Change Deny::set(const std::set<DeviceNumber>& numbers) {
  Change change;
  if (!loaded_) return change;
  name_udevd();
  const int map = loaded_->map("denied");
  const std::set<DeviceNumber> before = numbers_in(map);
  for (const DeviceNumber& number : before) {
    if (numbers.contains(number)) continue;
    ::bpf_map_delete_elem(map, &number);
    change.freed.insert(number);
  }
  const std::uint32_t yes = 1;
  for (const DeviceNumber& number : numbers) {
    if (before.contains(number)) continue;
    if (::bpf_map_update_elem(map, &number, &yes, BPF_ANY) != 0)
      log::warning("the kernel does not deny {}:{}: {}", number.major, number.minor,
                   reason_of(errno));
    if (last_.contains(number)) change.broken.insert(number);
  }
  if (numbers.empty()) {
    detach();
  } else if (loaded_->links.empty()) {
    if (!attach()) problem_ = "the kernel does not let the program run";
  } else if (!is_attached()) {
    change.broken = last_;
    attach();
  }
  last_ = numbers;
  return change;
}

Denied what_is_denied(const DenyPlaces& places) {
  Denied denied;
  const UniqueFd map = pinned(places.pins / "denied");
  if (!map) return denied;
  denied.numbers = numbers_in(map.get());
  std::error_code error;
  for (const Mechanism& mechanism : mechanisms()) {
    for (const Hook& hook : mechanism.hooks) {
      if (std::filesystem::exists(places.pins / hook.pin, error)) denied.by.insert(mechanism.name);
    }
  }
  return denied;
}

void allow_again(const std::set<DeviceNumber>& numbers, const DenyPlaces& places) {
  const UniqueFd map = pinned(places.pins / "denied");
  if (!map) {
    if (errno == ENOENT) return;
    throw_errno(errno, "open {}", (places.pins / "denied").native());
  }
  for (const DeviceNumber& number : numbers) {
    if (::bpf_map_delete_elem(map.get(), &number) != 0 && errno != ENOENT)
      throw_errno(errno, "let the kernel open {}:{} again", number.major, number.minor);
  }
  if (numbers_in(map.get()).empty()) remove_pins(places.pins);
}

void pass_the_denial(std::chrono::seconds time, const DenyPlaces& places) {
  const UniqueFd map = pinned(places.pins / "passes");
  if (!map) return;
  const auto process = static_cast<std::uint32_t>(::getpid());
  const std::uint64_t until =
      boot_clock_ns() + static_cast<std::uint64_t>(
                            std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  ::bpf_map_update_elem(map.get(), &process, &until, BPF_ANY);
}

}  // namespace volseal
