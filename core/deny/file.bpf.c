// The LSM sees each open by path, and each read and write: so it also stops who opened the node
// before. The kernel's structures are named here as far as they are needed; their offsets come from
// the running kernel's BTF.
#include "deny.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define S_IFMT 00170000
#define S_IFBLK 0060000
#define FMODE_WRITE 0x2
#define MAY_WRITE 0x2

struct inode {
  unsigned short i_mode;
  __u32 i_rdev;
} __attribute__((preserve_access_index));

struct file {
  struct inode* f_inode;
  unsigned int f_mode;
} __attribute__((preserve_access_index));

static __always_inline int verdict_on(struct file* file, int writes) {
  struct inode* inode = file->f_inode;
  if ((inode->i_mode & S_IFMT) != S_IFBLK) return 0;
  const __u32 number = inode->i_rdev;
  return may(number >> 20, number & 0xfffff, writes) ? 0 : -EPERM;
}

SEC("lsm/file_open")
int BPF_PROG(open_file, struct file* file) {
  return verdict_on(file, file->f_mode & FMODE_WRITE);
}

SEC("lsm/file_permission")
int BPF_PROG(use_file, struct file* file, int mask) {
  return verdict_on(file, mask & MAY_WRITE);
}

SEC("lsm/mmap_file")
int BPF_PROG(map_file, struct file* file) {
  return file ? verdict_on(file, 0) : 0;
}
