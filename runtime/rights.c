/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this process may do. */
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

#include "kernel.h"
#include "rights.h"

bool rights_have(int capability)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	return !syscall(SYS_capget, &header, data) &&
	       data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

/*
 * CAP_SYS_ADMIN is for a process that was given it in place of CAP_BPF; the file of the object may
 * be somebody's who lets nobody else read it.
 */
static uint64_t needed(void)
{
	uint64_t capabilities = UINT64_C(1) << CAP_NET_ADMIN | UINT64_C(1) << CAP_DAC_READ_SEARCH;

	if (rights_have(CAP_BPF) && rights_have(CAP_PERFMON))
		return capabilities | UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_PERFMON;
	return capabilities | UINT64_C(1) << CAP_SYS_ADMIN;
}

/* What this process loads later must not fail for a limit that it can raise only now. */
static void raise_locked_memory(void)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};

	if (kernel_limits_locked_memory())
		setrlimit(RLIMIT_MEMLOCK, &none);
}

void rights_reduce(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
	uint64_t keep = needed();

	raise_locked_memory();
	/* Takes CAP_SETPCAP, which goes below; without it there is nothing to drop from. */
	for (int capability = 0; capability < 64; capability++)
		if (!(keep >> capability & 1))
			prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_capget, &header, data))
		return;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= keep >> (32 * i);
		data[i].effective &= keep >> (32 * i);
		data[i].inheritable = 0;
	}
	syscall(SYS_capset, &header, data);
}
