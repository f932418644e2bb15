/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_KERNEL_H
#define MPLEX_RUN_KERNEL_H

#include <stdbool.h>

/* Whether the running kernel describes its types. */
bool kernel_has_btf(void);

/* Whether it has the function for BPF programs to call. */
bool kernel_has_kfunc(const char *name);

/* Whether it lets XDP programs see packets of several buffers (Linux 5.18). */
bool kernel_has_frags(void);

/* Whether it compiles BPF programs rather than interpret them: 1, 0 or -errno. */
int kernel_has_jit(void);

/* Whether TC programs are attached to an interface by links (Linux 6.6): 1, 0 or -errno. */
int kernel_has_tcx(unsigned ifindex);

/* Whether maps count as locked memory (before Linux 5.11), which is limited. */
bool kernel_limits_locked_memory(void);

/* Its release, "6.1.0-18-amd64". */
const char *kernel_release(void);

/*
 * Waits until every BPF program that runs now on some CPU has ended. Returns 0 or -errno.
 */
int kernel_wait_for_programs(void);

#endif
