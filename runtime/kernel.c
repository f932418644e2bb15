/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the running kernel can do. It is asked, not guessed from its version: distributions carry
 * features back.
 */
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>

#include "kernel.h"
#include "scope.h"

static void scoped_btf_free(struct btf **btf)
{
	btf__free(*btf);
}

bool kernel_has_btf(void)
{
	return !access("/sys/kernel/btf/vmlinux", R_OK);
}

bool kernel_has_kfunc(const char *name)
{
	SCOPED(scoped_btf_free) struct btf *btf = btf__load_vmlinux_btf();

	return btf && btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) >= 0;
}

bool kernel_has_frags(void)
{
	static const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = BPF_F_XDP_HAS_FRAGS);
	SCOPED(scoped_close)
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "mplex_probe", "Dual BSD/GPL", pass, 2, &options);

	return fd >= 0;
}

const char *kernel_release(void)
{
	static struct utsname names;

	uname(&names);
	return names.release;
}
