/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The network namespace of the differential test: what routes and sockets a program meets there.
 *
 * The program runs by BPF_PROG_TEST_RUN, so no frame crosses an interface. Its look-ups go to the
 * namespace of the process that tests it. There every address is local to local sockets (so that a
 * connection can be made between any two), and one interface forwards, with routes to clients.
 */
#ifndef MPLEX_TESTS_NETWORK_H
#define MPLEX_TESTS_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "../../compiler/interpret.h"
#include "traffic.h"

/*
 * Moves the process into a namespace of its own and sets that up; it goes with the process. Returns
 * 0 or a negative errno.
 */
int network_open(void);

/* The index of the interface that forwards. */
int network_interface(void);

/* A client's address in one direction, and what the program is to find out about it. */
void network_client(struct random *random, enum way_back way, uint8_t family, uint8_t address[16],
		    struct situation *situation);

/* Whether the kernel routes between these addresses nowhere, whatever the routes say. */
bool network_refuses(const struct tuple *tuple);

/* Whether a rule of this host, where it forwards, prohibits answers from the destination. */
bool network_prohibits(const struct tuple *tuple);

/* Whether a connection can be made to the destination, whatever the routes say. */
bool network_connects(const struct tuple *tuple);

/* Both ends of a connection. */
struct connection {
	int server, client; /* -1: closed */
};

/*
 * Connects a client to a server. tuple has the server's address and port and the client's address;
 * the client's port is filled in. Returns 0 or a negative errno.
 */
int connection_open(struct tuple *tuple, bool timestamps, struct connection *connection);

/*
 * Closes the connection, the server's end first, which is then in TIME_WAIT; says in *situation
 * what it expects next. Returns 0 or a negative errno.
 */
int connection_finish(struct connection *connection, const struct tuple *tuple, bool timestamps,
		      struct situation *situation);

/* Closes what is open, without TIME_WAIT. */
void connection_abort(struct connection *connection);

/* A server that listens on a port of all addresses, in one of the ways that matter to TC. */
enum server_kind {
	SERVER_NONE,
	SERVER_PLAIN,
	SERVER_GROUP, /* SO_REUSEPORT */
	SERVER_MPTCP,
	SERVER_FULL, /* its accept queue */
	SERVER_KINDS,
};

struct server {
	enum server_kind kind;
	int listener, client; /* -1: none */
};

/* Returns 0 or a negative errno: -EPROTONOSUPPORT where the kernel has no such server. */
int server_open(enum server_kind kind, uint16_t port, struct server *server);

/*
 * Opens a connection to the server's own port from the port of the tuple's client that reads as 1
 * in memory, if that can be: a look-up of the listener must not find it.
 */
void server_join(struct server *server, const struct tuple *tuple, uint16_t port);

/* How many connections its listener has dropped. */
uint32_t server_drops(const struct server *server);

void server_close(struct server *server);

#endif
