/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the running kernel can do. It is asked, not guessed from its version: distributions carry
 * features back.
 */
#include <errno.h>
#include <stdint.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "kernel.h"
#include "scope.h"

/* Newer than the headers that this is compiled with. */
enum {
	TCX_INGRESS = 46 /* BPF_TCX_INGRESS */
};

bool kernel_has_btf(void)
{
	return !access("/sys/kernel/btf/vmlinux", R_OK);
}

bool kernel_has_kfunc(const char *name)
{
	SCOPED(scoped_btf_free) struct btf *btf = btf__load_vmlinux_btf();

	return btf && btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) >= 0;
}

/* Loads a program that does nothing: a file descriptor, or -errno. */
static int load_nothing(uint32_t flags)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = flags);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "mplex_probe", "Dual BSD/GPL", pass, 2, &options);
}

bool kernel_has_frags(void)
{
	SCOPED(scoped_close) int fd = load_nothing(BPF_F_XDP_HAS_FRAGS);

	return fd >= 0;
}

int kernel_has_jit(void)
{
	SCOPED(scoped_close) int fd = load_nothing(0);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	return info.jited_prog_len > 0;
}

int kernel_has_tcx(unsigned ifindex)
{
	uint32_t count = 0;
	/* Asks for the programs there, of a kind of attachment that others do not know. */
	int err = bpf_prog_query(ifindex, (enum bpf_attach_type)TCX_INGRESS, 0, NULL, NULL, &count);

	return err == -EINVAL ? 0 : err ? err : 1;
}

bool kernel_limits_locked_memory(void)
{
	/* The function came with the kernel that has accounted maps otherwise since. */
	return libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_ktime_get_coarse_ns, NULL) == 0;
}

const char *kernel_release(void)
{
	static struct utsname names;

	uname(&names);
	return names.release;
}

int kernel_wait_for_programs(void)
{
	/*
	 * The kernel does so before it returns from a change of a map of maps, so that whoever made
	 * it can rely on it (maybe_wait_bpf_programs of kernel/bpf/syscall.c, since Linux 4.19).
	 */
	SCOPED(scoped_close)
	int inner = bpf_map_create(BPF_MAP_TYPE_ARRAY, "mplex_inner", 4, 4, 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = inner);
	SCOPED(scoped_close) int outer = -1;

	if (inner < 0)
		return inner;
	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "mplex_outer", 4, 4, 1, &options);
	if (outer < 0)
		return outer;
	return bpf_map_update_elem(outer, &(uint32_t){0}, &inner, BPF_ANY) ? -errno : 0;
}
