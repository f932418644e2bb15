/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Resources that are released when their variable leaves its scope, so that a function can return
 * from anywhere. A function that succeeds hands its result over with TAKE.
 */
#ifndef MPLEX_RUN_SCOPE_H
#define MPLEX_RUN_SCOPE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <bpf/btf.h>

#define SCOPED(release) __attribute__((cleanup(release)))

/* The value of a pointer variable, which then no longer owns it. */
#define TAKE(pointer)                                   \
	({                                              \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = NULL;                       \
		taken_;                                 \
	})

/* The value of a file descriptor variable, which then no longer owns it. */
#define TAKE_FD(fd)                \
	({                         \
		int taken_ = (fd); \
		(fd) = -1;         \
		taken_;            \
	})

static inline void scoped_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void scoped_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void scoped_btf_free(struct btf **btf)
{
	btf__free(*btf);
}

static inline void scoped_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

#endif
