/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The namespace, its routes, and connections within it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* <netinet/tcp.h> has none of the TCP_REPAIR constants that are needed here. */
#include <linux/sock_diag.h>
#include <linux/tcp.h>

#include "network.h"

#define INTERFACE     "mplexdt0"
#define OTHER	      "mplexdt1"
#define NEIGHBOUR_MAC "02:00:00:00:00:42"

/*
 * For ip -batch. What local sockets send is local, whatever the address; what arrives at the
 * interface is routed, by a rule that leads past the main table. A host may route by source, so
 * packets must not claim to be from nowhere.
 */
static const char ipv4_commands[] =
	"link set lo up\n"
	"link add " INTERFACE " type veth peer name " OTHER "\n"
	"link set " INTERFACE " up\n"
	"link set " OTHER " up\n"
	"rule add pref 100 iif lo lookup 100\n"
	"route add local 0.0.0.0/0 dev lo table 100\n"
	"rule add pref 102 lookup 101\n"
	"rule add pref 101 from 0.0.0.0/32 prohibit\n"
	"route add 198.51.100.0/24 dev " INTERFACE " table 101\n"
	"route add 203.0.113.0/24 via 198.51.100.7 dev " INTERFACE " onlink table 101\n"
	"route add 10.66.0.0/16 dev " OTHER " table 101\n"
	"neigh add 198.51.100.7 lladdr " NEIGHBOUR_MAC " dev " INTERFACE "\n";
static const char ipv6_commands[] =
	"rule add pref 100 iif lo lookup 100\n"
	"route add local ::/0 dev lo table 100\n"
	"rule add pref 102 lookup 101\n"
	"rule add pref 101 from ::/128 prohibit\n"
	"route add 2001:db8:ffff::/64 dev " INTERFACE " table 101\n"
	"route add 2001:db8:fffe::/64 via 2001:db8:ffff::7 dev " INTERFACE " onlink table 101\n"
	"route add 2001:db8:fffd::/64 dev " OTHER " table 101\n"
	"neigh add 2001:db8:ffff::7 lladdr " NEIGHBOUR_MAC " dev " INTERFACE "\n";

static const uint8_t neighbour_mac[6] = {2, 0, 0, 0, 0, 0x42};

static const char *const sysctls[][2] = {
	{"net/ipv4/conf/" INTERFACE "/forwarding", "1"},
	{"net/ipv6/conf/" INTERFACE "/forwarding", "1"},
	{"net/ipv4/conf/lo/forwarding", "0"},
	{"net/ipv6/conf/lo/forwarding", "0"},
	{"net/ipv4/conf/all/rp_filter", "0"},
	{"net/ipv4/conf/lo/rp_filter", "0"},
};

static int set_sysctl(const char *name, const char *value)
{
	char path[128];
	ssize_t written;
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	written = write(fd, value, strlen(value));
	close(fd);
	return written < 0 ? -EIO : 0;
}

static int run_commands(const char *ip, const char *commands)
{
	FILE *in = popen(ip, "we");

	if (!in)
		return -errno;
	fputs(commands, in);
	if (pclose(in)) {
		fprintf(stderr, "%s failed on one of these:\n%s", ip, commands);
		return -EIO;
	}
	return 0;
}

int network_open(void)
{
	int err;

	if (unshare(CLONE_NEWNET))
		return -errno;
	err = run_commands("ip -batch -", ipv4_commands);
	if (!err)
		err = run_commands("ip -6 -batch -", ipv6_commands);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(sysctls) / sizeof(*sysctls); i++) {
		err = set_sysctl(sysctls[i][0], sysctls[i][1]);
		if (err) {
			fprintf(stderr, "failed: %s = %s\n", sysctls[i][0], sysctls[i][1]);
			return err;
		}
	}
	return 0;
}

int network_interface(void)
{
	return (int)if_nametoindex(INTERFACE);
}

void network_client(struct random *random, enum way_back way, uint8_t family, uint8_t address[16],
		    struct situation *situation)
{
	static const uint8_t ipv4[WAYS][3] = {
		[WAY_SENDER] = {100, 64, 0},	[WAY_NEIGHBOUR] = {198, 51, 100},
		[WAY_UNKNOWN] = {198, 51, 100}, [WAY_GATEWAY] = {203, 0, 113},
		[WAY_OTHER] = {10, 66, 0},	[WAY_NONE] = {172, 31, 0},
	};
	static const uint8_t ipv6[WAYS] = {
		[WAY_SENDER] = 0xff,  [WAY_NEIGHBOUR] = 0xff, [WAY_UNKNOWN] = 0xff,
		[WAY_GATEWAY] = 0xfe, [WAY_OTHER] = 0xfd,     [WAY_NONE] = 0xfc,
	};
	static const uint8_t prefix[] = {0x20, 0x01, 0x0d, 0xb8, 0xff};
	uint8_t host = (uint8_t)(way == WAY_NEIGHBOUR ? 7 : random_between(random, 8, 250));

	memset(address, 0, 16);
	if (family == 4) {
		memcpy(address, ipv4[way], 3);
		address[3] = host;
	} else {
		memcpy(address, prefix, sizeof(prefix));
		address[5] = ipv6[way];
		address[15] = host;
	}
	situation->way_back.other_interface = way == WAY_OTHER || way == WAY_NONE;
	situation->way_back.neighbour_known = way == WAY_NEIGHBOUR || way == WAY_GATEWAY;
	memcpy(situation->way_back.next_hop, neighbour_mac, sizeof(neighbour_mac));
}

static bool needs_interface(const uint8_t *address)
{
	struct in6_addr in6;

	memcpy(&in6, address, sizeof(in6));
	return IN6_IS_ADDR_MULTICAST(&in6) || IN6_IS_ADDR_LINKLOCAL(&in6) ||
	       IN6_IS_ADDR_LOOPBACK(&in6);
}

bool network_prohibits(const struct tuple *tuple)
{
	static const uint8_t nowhere[16];

	return !memcmp(tuple->destination, nowhere, tuple->family == 4 ? 4 : 16);
}

bool network_refuses(const struct tuple *tuple)
{
	return tuple->family == 6 &&
	       (needs_interface(tuple->source) || needs_interface(tuple->destination));
}

/* The addresses that every TCP socket may have. */
bool network_connects(const struct tuple *tuple)
{
	const uint8_t *to = tuple->destination;

	if (tuple->family == 4)
		return to[0] != 0 && to[0] != 127 && to[0] < 224;
	return to[0] >> 5 == 1; /* 2000::/3 */
}

/* ---- Connections ---- */

static socklen_t to_sockaddr(uint8_t family, const uint8_t *address, const uint8_t *port,
			     struct sockaddr_storage *storage)
{
	memset(storage, 0, sizeof(*storage));
	if (family == 4) {
		struct sockaddr_in *in = (void *)storage;

		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, address, 4);
		memcpy(&in->sin_port, port, 2);
		return sizeof(*in);
	}

	struct sockaddr_in6 *in6 = (void *)storage;

	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, address, 16);
	memcpy(&in6->sin6_port, port, 2);
	return sizeof(*in6);
}

/* A socket that may have any address. */
static int open_socket(uint8_t family, const uint8_t *address, const uint8_t *port)
{
	struct sockaddr_storage storage;
	socklen_t length = to_sockaddr(family, address, port, &storage);
	const struct timeval patience = {.tv_sec = 1};
	const int on = 1;
	int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    (family == 4 ? setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on))
			 : setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof(on))) ||
	    bind(fd, (void *)&storage, length)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int connect_ends(int listener, int client, const struct tuple *tuple)
{
	struct sockaddr_storage storage;
	socklen_t length =
		to_sockaddr(tuple->family, tuple->destination, tuple->destination_port, &storage);
	int server;

	if (listen(listener, 1) || connect(client, (void *)&storage, length))
		return -errno;
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return server < 0 ? -errno : server;
}

static void read_port(int fd, uint8_t *port)
{
	struct sockaddr_storage storage = {0};
	socklen_t length = sizeof(storage);

	if (getsockname(fd, (void *)&storage, &length))
		return;
	if (storage.ss_family == AF_INET)
		memcpy(port, &((struct sockaddr_in *)&storage)->sin_port, 2);
	else
		memcpy(port, &((struct sockaddr_in6 *)&storage)->sin6_port, 2);
}

int connection_open(struct tuple *tuple, bool timestamps, struct connection *connection)
{
	static const uint8_t any_port[2];
	int err = set_sysctl("net/ipv4/tcp_timestamps", timestamps ? "1" : "0");

	if (err)
		return err;

	int listener = open_socket(tuple->family, tuple->destination, tuple->destination_port);

	if (listener < 0)
		return listener;

	int client = open_socket(tuple->family, tuple->source, any_port);
	int server = client < 0 ? client : connect_ends(listener, client, tuple);

	close(listener);
	if (server < 0) {
		if (client >= 0)
			close(client);
		return server;
	}
	read_port(client, tuple->source_port);
	*connection = (struct connection){.server = server, .client = client};
	return 0;
}

static int read_rcv_nxt(int fd, uint32_t *rcv_nxt)
{
	const int on = TCP_REPAIR_ON, off = TCP_REPAIR_OFF_NO_WP, queue = TCP_RECV_QUEUE;
	socklen_t length = sizeof(*rcv_nxt);

	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) ||
	    getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, rcv_nxt, &length) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))) /* which repair takes away */
		return -errno;
	return 0;
}

/* Whether the kernel's list has the server's end in TIME_WAIT (state 06). */
static bool in_time_wait(const struct tuple *tuple)
{
	FILE *list = fopen(tuple->family == 4 ? "/proc/thread-self/net/tcp"
					      : "/proc/thread-self/net/tcp6",
			   "re");
	unsigned local = tuple->destination_port[0] << 8 | tuple->destination_port[1];
	unsigned remote = tuple->source_port[0] << 8 | tuple->source_port[1];
	unsigned from, to, state;
	char line[256];
	bool found = false;

	while (list && !found && fgets(line, sizeof(line), list))
		found = sscanf(line, " %*u: %*32[0-9A-F]:%x %*32[0-9A-F]:%x %x", &from, &to,
			       &state) == 3 &&
			from == local && to == remote && state == 6;
	if (list)
		fclose(list);
	return found;
}

int connection_finish(struct connection *connection, const struct tuple *tuple, bool timestamps,
		      struct situation *situation)
{
	uint32_t rcv_nxt, timestamp = 0;
	socklen_t length = sizeof(timestamp);
	int err = read_rcv_nxt(connection->server, &rcv_nxt);

	if (!err && timestamps &&
	    getsockopt(connection->client, IPPROTO_TCP, TCP_TIMESTAMP, &timestamp, &length))
		err = -errno;
	if (err)
		return err;
	close(connection->server);
	close(connection->client);
	connection->server = connection->client = -1;
	for (int tries = 0; !in_time_wait(tuple); tries++) {
		if (tries == 1000)
			return -ETIMEDOUT;
		usleep(1000);
	}
	situation->socket.state = SOCKET_TIME_WAIT;
	situation->socket.rcv_nxt = rcv_nxt + 1; /* behind the client's FIN */
	situation->socket.ts_recent = timestamp;
	return 0;
}

void connection_abort(struct connection *connection)
{
	const struct linger now = {.l_onoff = 1};
	int *ends[] = {&connection->client, &connection->server};

	for (size_t i = 0; i < 2; i++) {
		if (*ends[i] < 0)
			continue;
		setsockopt(*ends[i], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(*ends[i]);
		*ends[i] = -1;
	}
}

/* ---- Servers ---- */

static int listen_on(enum server_kind kind, uint16_t port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	const int on = 1, off = 0;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC,
			kind == SERVER_MPTCP ? IPPROTO_MPTCP : IPPROTO_TCP);
	int err;

	if (fd < 0)
		return kind == SERVER_MPTCP ? -EPROTONOSUPPORT : -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof(on)) ||
	    (kind == SERVER_GROUP && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on))) ||
	    bind(fd, (void *)&any, sizeof(any)) || listen(fd, kind == SERVER_FULL ? 0 : 8)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* One connection that is never accepted. */
static int fill_queue(uint16_t port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (connect(fd, (void *)&to, sizeof(to))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int server_open(enum server_kind kind, uint16_t port, struct server *server)
{
	struct server opened = {.kind = kind, .listener = -1, .client = -1};

	if (kind != SERVER_NONE) {
		opened.listener = listen_on(kind, port);
		if (opened.listener < 0)
			return opened.listener;
	}
	if (kind == SERVER_FULL) {
		opened.client = fill_queue(port);
		if (opened.client < 0) {
			close(opened.listener);
			return opened.client;
		}
	}
	*server = opened;
	return 0;
}

void server_join(struct server *server, const struct tuple *tuple, uint16_t port)
{
	static const uint16_t one = 1;
	const uint8_t *from = (const uint8_t *)&one;
	const uint8_t to[] = {(uint8_t)(port >> 8), (uint8_t)port};
	struct sockaddr_storage storage;
	socklen_t length = to_sockaddr(tuple->family, tuple->destination, to, &storage);

	server->client = open_socket(tuple->family, tuple->source, from);
	if (server->client >= 0 && connect(server->client, (void *)&storage, length)) {
		close(server->client);
		server->client = -1;
	}
}

uint32_t server_drops(const struct server *server)
{
	uint32_t numbers[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(numbers);

	if (server->listener < 0 ||
	    getsockopt(server->listener, SOL_SOCKET, SO_MEMINFO, numbers, &length))
		return 0;
	return numbers[SK_MEMINFO_DROPS];
}

void server_close(struct server *server)
{
	const struct linger now = {.l_onoff = 1};

	if (server->client >= 0) {
		setsockopt(server->client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(server->client);
	}
	if (server->listener >= 0)
		close(server->listener);
}
