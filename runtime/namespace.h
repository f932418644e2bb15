/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_NAMESPACE_H
#define MPLEX_RUN_NAMESPACE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Another network namespace of this machine. */
struct namespace
{
	uint64_t inode;
	char path[128]; /* opens it */
	char owner[96]; /* "process 42 (nginx)" or "ip netns blue", for sentences */
};

struct namespaces {
	struct namespace *list;
	size_t count;
	bool partial; /* some could not be looked at, for want of rights */
};

/*
 * Finds the namespaces that a process lives in or that `ip netns` keeps, but this process's own.
 * Returns 0 or -errno, and then *out is untouched. Free with namespaces_free.
 */
int namespaces_list(struct namespaces *out);

void namespaces_free(struct namespaces *namespaces);

/*
 * The number that the kernel gives the network namespace of a socket and never gives again
 * (SO_NETNS_COOKIE, Linux 5.14); 0 where it does not tell.
 */
uint64_t namespace_cookie(int socket);

/*
 * A socket that belongs to the namespace; this process stays where it is. Returns the descriptor or
 * -errno.
 */
int namespace_socket(const struct namespace *namespace, int domain, int type, int protocol);

#endif
