/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_SOCKETS_H
#define MPLEX_RUN_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A socket of some process. Ports are in host order, addresses in the order of the wire. */
struct socket_seen {
	uint8_t family;	   /* AF_INET or AF_INET6 */
	uint8_t local[16]; /* 4 or 16 bytes; zeros: any address */
	uint8_t remote[16];
	uint16_t local_port, remote_port;
	bool v6_only;
	bool mptcp; /* known only with CAP_NET_ADMIN */
};

struct sockets {
	struct socket_seen *list;
	size_t count;
};

/* A socket to ask on, in this namespace; another namespace's comes from namespace_socket. */
int sockets_open(void);

/*
 * Adds the sockets that wait for clients: tcp ones that listen, or bound udp ones that are
 * connected to nobody. protocol is IPPROTO_TCP or IPPROTO_UDP. Returns 0 or -errno. Free with
 * sockets_free.
 */
int sockets_waiting(int fd, uint8_t protocol, struct sockets *sockets);

/* Adds the established tcp connections to a remote port. Otherwise like sockets_waiting. */
int sockets_connected_to(int fd, uint16_t port, struct sockets *sockets);

void sockets_free(struct sockets *sockets);

#endif
