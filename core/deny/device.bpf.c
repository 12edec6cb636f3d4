// Every open of a block device in the kernel passes the device check of control groups: by a
// program, but by mount(2), device-mapper or swapon(2) as well. It needs to know nothing of the
// kernel's own structures, so it runs where there is no BTF.
#include "deny.bpf.h"

SEC("cgroup/dev")
int device(struct bpf_cgroup_dev_ctx* context) {
  const __u32 access = context->access_type >> 16;
  if ((context->access_type & 0xffff) != BPF_DEVCG_DEV_BLOCK || access == BPF_DEVCG_ACC_MKNOD)
    return 1;
  return may(context->major, context->minor, access & BPF_DEVCG_ACC_WRITE);
}
