/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether the servers are where mplex looks for them: on the ports of the routes, in this network
 * namespace, on addresses that clients reach, with sockets that a connection can be handed to.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "check.h"
#include "finding.h"
#include "host.h"
#include "namespace.h"
#include "object.h"
#include "ports.h"
#include "scope.h"
#include "sockets.h"

enum {
	PORTS_TEXT = 160
};

/* What is asked of one protocol's servers. */
struct servers {
	const char *name;
	uint8_t protocol;
	struct ports wanted;   /* by the routes */
	struct ports found;    /* where clients reach them */
	struct ports loopback; /* on loopback addresses alone */
	struct ports mptcp;
	struct ports listen; /* ports of the listeners that no message is passed to */
	struct ports taken;  /* those of `listen` where a server waits */
};

static struct servers servers_of(const struct manifest *manifest, enum manifest_protocol protocol)
{
	struct servers servers = {
		.name = protocol == MANIFEST_TCP ? "tcp" : "udp",
		.protocol = protocol == MANIFEST_TCP ? IPPROTO_TCP : IPPROTO_UDP,
	};

	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];
		bool passed = false;

		if (!(listener->protocols & protocol))
			continue;
		for (size_t j = 0; j < listener->port_count; j++) {
			ports_add(&servers.wanted, listener->ports[j]);
			passed |= listener->ports[j] == listener->port;
		}
		if (!passed)
			ports_add(&servers.listen, listener->port);
	}
	return servers;
}

static bool is_loopback(const struct socket_seen *socket)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct in6_addr address;

	if (socket->family == AF_INET)
		return socket->local[0] == IN_LOOPBACKNET;
	memcpy(&address, socket->local, sizeof(address));
	return IN6_IS_ADDR_LOOPBACK(&address) || (!memcmp(socket->local, mapped, sizeof(mapped)) &&
						  socket->local[12] == IN_LOOPBACKNET);
}

static void sort_out(struct servers *servers, const struct sockets *sockets)
{
	for (size_t i = 0; i < sockets->count; i++) {
		const struct socket_seen *socket = &sockets->list[i];
		uint16_t port = socket->local_port;

		if (is_loopback(socket)) {
			ports_add(&servers->loopback, port);
			continue;
		}
		ports_add(&servers->found, port);
		if (socket->mptcp)
			ports_add(&servers->mptcp, port);
		if (ports_have(&servers->listen, port))
			ports_add(&servers->taken, port);
	}
}

/* The ports of a that are in b, too, or that are not. */
static struct ports select_ports(const struct ports *a, const struct ports *b, bool in)
{
	struct ports selected;

	for (size_t i = 0; i < sizeof(a->bits) / sizeof(*a->bits); i++)
		selected.bits[i] = a->bits[i] & (in ? b->bits[i] : ~b->bits[i]);
	return selected;
}

/*
 * Looks for the missing servers in one other namespace. Those found there are no longer missing.
 */
static void look_elsewhere(const struct namespace *namespace, const struct servers *here,
			   struct ports *missing, struct findings *findings)
{
	SCOPED(sockets_free) struct sockets sockets = {};
	SCOPED(scoped_close)
	int fd = namespace_socket(namespace, AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	struct ports there = {};
	char text[PORTS_TEXT];

	if (fd < 0 || sockets_waiting(fd, here->protocol, &sockets))
		return;
	for (size_t i = 0; i < sockets.count; i++)
		ports_add(&there, sockets.list[i].local_port);
	there = select_ports(missing, &there, true);
	if (!ports_count(&there))
		return;
	*missing = select_ports(missing, &there, false);
	/* It may be somebody else's. */
	found(findings, "server", VERDICT_WARNING,
	      "nobody serves %s %s here, but in another network namespace, that of %s, somebody "
	      "does, and mplex does not find servers there: start it in this namespace (a container: "
	      "with the host's network)",
	      here->name, ports_text(&there, text, sizeof(text)), namespace->owner);
}

static void look_for_missing(const struct servers *servers, struct findings *findings)
{
	SCOPED(namespaces_free) struct namespaces namespaces = {};
	struct ports missing = select_ports(&servers->wanted, &servers->found, false);
	struct ports loopback = select_ports(&missing, &servers->loopback, true);
	char text[PORTS_TEXT];

	if (ports_count(&loopback)) {
		found(findings, "server", VERDICT_PROBLEM,
		      "the servers of %s %s listen on loopback addresses alone, which clients "
		      "cannot reach: let them listen on the address that clients send to",
		      servers->name, ports_text(&loopback, text, sizeof(text)));
		missing = select_ports(&missing, &loopback, false);
	}
	if (!ports_count(&missing))
		return;
	if (namespaces_list(&namespaces))
		namespaces.partial = true;
	for (size_t i = 0; i < namespaces.count && ports_count(&missing); i++)
		look_elsewhere(&namespaces.list[i], servers, &missing, findings);
	if (!ports_count(&missing))
		return;
	found(findings, "server", VERDICT_WARNING,
	      "nobody serves %s %s%s: %s until a server is started there", servers->name,
	      ports_text(&missing, text, sizeof(text)),
	      namespaces.partial ? " in the namespaces that could be looked at" : "",
	      servers->protocol == IPPROTO_TCP ? "connections with such a message are reset"
					       : "such messages are refused by ICMP");
}

static void look_at_found(const struct servers *servers, struct findings *findings)
{
	struct ports wanted = select_ports(&servers->wanted, &servers->found, true);
	struct ports mptcp = select_ports(&servers->wanted, &servers->mptcp, true);
	char text[PORTS_TEXT];

	if (ports_count(&mptcp)) {
		found(findings, "mptcp", VERDICT_PROBLEM,
		      "the servers of tcp %s listen with MPTCP, which no connection can be handed "
		      "to: switch it off in the server (Go: GODEBUG=multipathtcp=0), or for this "
		      "namespace and start the server again",
		      ports_text(&mptcp, text, sizeof(text)));
		mended_by(findings, "sysctl -w net.mptcp.enabled=0");
	}
	if (ports_count(&wanted))
		found(findings, "server", VERDICT_OK, "servers wait on %s %s", servers->name,
		      ports_text(&wanted, text, sizeof(text)));
	if (ports_count(&servers->taken))
		found(findings, "taken", VERDICT_WARNING,
		      "a server waits on %s %s itself: while mplex is attached it gets nothing new "
		      "(\"otherwise: pass\" in the rule file gives it what has no route)",
		      servers->name, ports_text(&servers->taken, text, sizeof(text)));
}

void check_servers(const struct subject *subject, struct findings *findings)
{
	static const enum manifest_protocol protocols[] = {MANIFEST_TCP, MANIFEST_UDP};
	const struct manifest *manifest = subject->manifest;

	for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++) {
		SCOPED(sockets_free) struct sockets sockets = {};
		SCOPED(scoped_close) int fd = -1;
		struct servers servers;
		int err;

		if (!manifest_has(manifest, protocols[i]))
			continue;
		servers = servers_of(manifest, protocols[i]);
		fd = sockets_open();
		err = fd < 0 ? fd : sockets_waiting(fd, servers.protocol, &sockets);
		if (err) {
			found(findings, "server", VERDICT_UNKNOWN,
			      "cannot list the %s sockets of this host: %s", servers.name,
			      strerror(-err));
			continue;
		}
		sort_out(&servers, &sockets);
		look_at_found(&servers, findings);
		look_for_missing(&servers, findings);
	}
}

/* Connections of this host to itself: both ends have one of its own addresses. */
static bool is_own(const struct socket_seen *socket, const struct addresses *own)
{
	if (socket->family == AF_INET && socket->remote[0] == IN_LOOPBACKNET)
		return true;
	for (size_t i = 0; socket->family == AF_INET && i < own->v4_count; i++) {
		if (!memcmp(socket->remote, own->v4[i], sizeof(own->v4[i])))
			return true;
	}
	for (size_t i = 0; socket->family == AF_INET6 && i < own->v6_count; i++) {
		if (!memcmp(socket->remote, own->v6[i], sizeof(own->v6[i])))
			return true;
	}
	return false;
}

void check_local_clients(const struct subject *subject, struct findings *findings)
{
	const struct manifest *manifest = subject->manifest;
	SCOPED(addresses_free) struct addresses own = {};
	SCOPED(scoped_close) int fd = sockets_open();
	struct ports ports = {};
	char text[PORTS_TEXT];

	if (fd < 0 || host_addresses(subject->interface, &own, text, sizeof(text)))
		return;
	for (size_t i = 0; i < manifest->listener_count; i++) {
		SCOPED(sockets_free) struct sockets sockets = {};
		const struct manifest_listener *listener = &manifest->listeners[i];

		if (!(listener->protocols & MANIFEST_TCP) ||
		    sockets_connected_to(fd, listener->port, &sockets))
			continue;
		for (size_t j = 0; j < sockets.count; j++) {
			if (is_own(&sockets.list[j], &own))
				ports_add(&ports, listener->port);
		}
	}
	if (ports_count(&ports))
		found(findings, "lo", VERDICT_WARNING,
		      "clients on this host are connected to its own tcp %s: they use lo, where "
		      "mplex does not see them",
		      ports_text(&ports, text, sizeof(text)));
	else
		found(findings, "lo", VERDICT_OK,
		      "no client on this host is connected to a listener; one that is uses lo, "
		      "where mplex does not see it");
}
