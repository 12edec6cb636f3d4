// What both programs in the kernel share: the list of what is denied, and who may all the same.
#pragma once

// clang-format off: the second needs the first.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
// clang-format on

struct number {
  __u32 major;
  __u32 minor;
};

// A control group, as deep in the tree as it is.
struct group {
  __u64 id;
  __s32 level;
  __u32 unused;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __type(key, struct number);
  __type(value, __u32);
} denied SEC(".maps");

// Processes that may all the same, by their number, until that moment of the boot clock: so one
// that was killed leaves no hole to whoever gets its number.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __type(key, __u32);
  __type(value, __u64);
} passes SEC(".maps");

// udevd's: it may read, or it could not go through its rules.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
  __type(key, __u32);
  __type(value, struct group);
} readers SEC(".maps");

static __always_inline int may(__u32 major, __u32 minor, int writes) {
  const struct number number = {.major = major, .minor = minor};
  if (!bpf_map_lookup_elem(&denied, &number)) return 1;
  const __u32 process = bpf_get_current_pid_tgid() >> 32;
  const __u64* until = bpf_map_lookup_elem(&passes, &process);
  if (until && *until > bpf_ktime_get_boot_ns()) return 1;
  if (writes) return 0;
  const __u32 first = 0;
  const struct group* udevd = bpf_map_lookup_elem(&readers, &first);
  return udevd && udevd->id && bpf_get_current_ancestor_cgroup_id(udevd->level) == udevd->id;
}

char terms[] SEC("license") = "Dual BSD/GPL";
