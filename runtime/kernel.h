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

/* Its release, "6.1.0-18-amd64". */
const char *kernel_release(void);

#endif
