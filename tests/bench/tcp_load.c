/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Both ends of the TCP measurements: servers, and clients that count and time.
 *
 *	tcp_load serve PORT…
 *	tcp_load connections ADDRESS PORT SECONDS PARALLEL TAG:SERVER_PORT…
 *	tcp_load exchanges ADDRESS PORT SECONDS TAG:SERVER_PORT
 *	tcp_load download|upload ADDRESS PORT SECONDS TAG:SERVER_PORT
 *
 * PORT is where the client connects to; 0: directly to the port of the tag's server.
 *
 * A request is a message of 292 printable bytes that begins with two numbers of eight hex digits:
 * how many MiB the server shall give, and how many it shall take. The server answers with its port,
 * eight bytes; then comes what it gives, or it takes, and then answers once more. A connection may
 * carry any number of requests. The message comes first and alone, as every contender needs it.
 *
 * Threads that block are enough here: each connection is one system call after the other on either
 * end, and an event loop would add its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	MESSAGE = 292,
	TAG_OFFSET = 20,
	TAG_LENGTH = 3,
	NUMBER = 8,   /* digits */
	ANSWER = 8,   /* bytes: the server's port in decimal, ended by a NUL */
	WORKERS = 16, /* per server port: more than there are clients at once */
	BACKLOG = 1024,
	BUFFER = 256 << 10,
	BULK_MIB = 16, /* per request */
	PATIENCE = 5,  /* seconds until a client gives up */
	ROUTES_MAX = 16,
	PARALLEL_MAX = 64,
	LATENCIES_MAX = 1 << 20,
};

static void die(const char *what)
{
	fprintf(stderr, "tcp_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool send_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		data += sent;
		length -= sent;
	}
	return true;
}

static bool receive_all(int fd, char *data, size_t length)
{
	return recv(fd, data, length, MSG_WAITALL) == (ssize_t)length;
}

static bool send_bulk(int fd, const char *buffer, uint64_t length)
{
	for (; length >= BUFFER; length -= BUFFER)
		if (!send_all(fd, buffer, BUFFER))
			return false;
	return true;
}

static bool receive_bulk(int fd, char *buffer, uint64_t length)
{
	while (length) {
		ssize_t got = recv(fd, buffer, length < BUFFER ? length : BUFFER, 0);

		if (got <= 0)
			return false;
		length -= got;
	}
	return true;
}

/* ---- servers ------------------------------------------------------------------------------------
 */

struct server {
	int listener;
	char answer[ANSWER];
};

static uint64_t read_mib(const char *digits)
{
	char number[NUMBER + 1] = "";

	memcpy(number, digits, NUMBER);
	return strtoull(number, NULL, 16) << 20;
}

static bool serve_request(const struct server *server, int fd, char *buffer)
{
	char message[MESSAGE];
	uint64_t give, take;

	if (!receive_all(fd, message, sizeof(message)))
		return false;
	give = read_mib(message);
	take = read_mib(message + NUMBER);
	if (!send_all(fd, server->answer, ANSWER))
		return false;
	if (take)
		return receive_bulk(fd, buffer, take) && send_all(fd, server->answer, ANSWER);
	return send_bulk(fd, buffer, give);
}

static void set_nodelay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void *serve(void *argument)
{
	const struct server *server = argument;
	char *buffer = calloc(1, BUFFER);

	if (!buffer)
		die("no memory");
	while (true) {
		int fd = accept(server->listener, NULL, NULL);

		if (fd < 0)
			continue;
		set_nodelay(fd);
		while (serve_request(server, fd, buffer))
			;
		close(fd);
	}
	return NULL;
}

static void start_server(struct server *server, uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	pthread_t thread;

	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(server->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(server->listener, BACKLOG))
		die("cannot listen");
	snprintf(server->answer, sizeof(server->answer), "%u", port);
	for (int worker = 0; worker < WORKERS; worker++)
		if (pthread_create(&thread, NULL, serve, server))
			die("cannot start a thread");
}

static int run_servers(int count, char **ports)
{
	static struct server servers[ROUTES_MAX];

	if (count > ROUTES_MAX)
		return 2;
	for (int at = 0; at < count; at++)
		start_server(&servers[at], atoi(ports[at]));
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

/* ---- clients ------------------------------------------------------------------------------------
 */

struct route {
	char tag[TAG_LENGTH];
	uint16_t port; /* of its server */
};

struct load {
	struct in_addr address;
	uint16_t port; /* 0: the server's own */
	double end;    /* on the monotonic clock */
	struct route routes[ROUTES_MAX];
	int route_count;
};

struct client {
	const struct load *load;
	pthread_t thread;
	unsigned first; /* route */
	uint64_t right, wrong, failed;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void write_message(char message[static MESSAGE], const struct route *route, unsigned give,
			  unsigned take)
{
	char numbers[2 * NUMBER + 1];

	memset(message, 'x', MESSAGE);
	snprintf(numbers, sizeof(numbers), "%08x%08x", give, take);
	memcpy(message, numbers, 2 * NUMBER);
	memcpy(message + TAG_OFFSET, route->tag, TAG_LENGTH);
}

/* Connects to where a message of this route is sent. Returns a socket, or -1. */
static int open_connection(const struct load *load, const struct route *route)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_addr = load->address,
				 .sin_port = htons(load->port ?: route->port)};
	struct timeval patience = {.tv_sec = PATIENCE};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	set_nodelay(fd);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Returns the port of the server that answered, or -1. */
static int ask(int fd, const struct route *route, unsigned give, unsigned take)
{
	char message[MESSAGE], answer[ANSWER];

	write_message(message, route, give, take);
	if (!send_all(fd, message, sizeof(message)) || !receive_all(fd, answer, sizeof(answer)))
		return -1;
	answer[ANSWER - 1] = '\0';
	return atoi(answer);
}

/* One connection after the other, each with one request. */
static void *connect_often(void *argument)
{
	struct client *client = argument;
	const struct load *load = client->load;

	for (unsigned at = client->first; now() < load->end; at++) {
		const struct route *route = &load->routes[at % load->route_count];
		int fd = open_connection(load, route), port = fd < 0 ? -1 : ask(fd, route, 0, 0);

		client->right += port == route->port;
		client->wrong += port >= 0 && port != route->port;
		client->failed += port < 0;
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static int run_connections(struct load *load, unsigned parallel)
{
	struct client clients[PARALLEL_MAX] = {0};
	uint64_t right = 0, wrong = 0, failed = 0;
	double begin = now(), seconds;

	if (!parallel || parallel > PARALLEL_MAX)
		return 2;
	for (unsigned at = 0; at < parallel; at++) {
		clients[at] = (struct client){.load = load, .first = at};
		if (pthread_create(&clients[at].thread, NULL, connect_often, &clients[at]))
			die("cannot start a thread");
	}
	for (unsigned at = 0; at < parallel; at++) {
		pthread_join(clients[at].thread, NULL);
		right += clients[at].right;
		wrong += clients[at].wrong;
		failed += clients[at].failed;
	}
	seconds = now() - begin;
	printf("{\"seconds\": %.6f, \"right\": %llu, \"wrong\": %llu, \"failed\": %llu}\n", seconds,
	       (unsigned long long)right, (unsigned long long)wrong, (unsigned long long)failed);
	return 0;
}

static int compare_floats(const void *first, const void *second)
{
	float a = *(const float *)first, b = *(const float *)second;

	return (a > b) - (a < b);
}

/* Requests and answers on one connection, each timed. */
static int run_exchanges(struct load *load)
{
	static float latencies[LATENCIES_MAX]; /* microseconds */
	const struct route *route = load->routes;
	int fd = open_connection(load, route);
	size_t count = 0;
	double begin = now(), last = begin;

	while (fd >= 0 && last < load->end && count < LATENCIES_MAX) {
		double time;

		if (ask(fd, route, 0, 0) < 0)
			break;
		time = now();
		latencies[count++] = (time - last) * 1e6;
		last = time;
	}
	if (fd < 0 || last < load->end || !count)
		die("an exchange failed");
	close(fd);
	qsort(latencies, count, sizeof(*latencies), compare_floats);
	printf("{\"seconds\": %.6f, \"count\": %zu, \"p50\": %.3f, \"p99\": %.3f}\n", last - begin,
	       count, latencies[count / 2], latencies[count * 99 / 100]);
	return 0;
}

/* Much data on one connection. */
static int run_bulk(struct load *load, unsigned give, unsigned take)
{
	const struct route *route = load->routes;
	int fd = open_connection(load, route);
	char *buffer = calloc(1, BUFFER), answer[ANSWER];
	double begin = now();
	uint64_t bytes = 0;

	if (fd < 0 || !buffer)
		die("cannot connect");
	while (now() < load->end) {
		bool done = ask(fd, route, give, take) >= 0;

		if (done && take)
			done = send_bulk(fd, buffer, (uint64_t)take << 20) &&
			       receive_all(fd, answer, sizeof(answer));
		else if (done)
			done = receive_bulk(fd, buffer, (uint64_t)give << 20);
		if (!done)
			die("a transfer failed");
		bytes += (uint64_t)(give + take) << 20;
	}
	printf("{\"seconds\": %.6f, \"bytes\": %llu}\n", now() - begin, (unsigned long long)bytes);
	close(fd);
	free(buffer);
	return 0;
}

static bool read_routes(struct load *load, int count, char **words)
{
	if (count < 1 || count > ROUTES_MAX)
		return false;
	for (int at = 0; at < count; at++) {
		const char *colon = strchr(words[at], ':');

		if (!colon || colon - words[at] != TAG_LENGTH)
			return false;
		memcpy(load->routes[at].tag, words[at], TAG_LENGTH);
		load->routes[at].port = atoi(colon + 1);
	}
	load->route_count = count;
	return true;
}

static int run_clients(int argc, char **argv)
{
	bool parallel = !strcmp(argv[1], "connections");
	int routes = parallel ? 6 : 5;
	struct load load = {0};

	if (argc <= routes || inet_pton(AF_INET, argv[2], &load.address) != 1 ||
	    !read_routes(&load, argc - routes, argv + routes))
		return 2;
	load.port = atoi(argv[3]);
	load.end = now() + atof(argv[4]);
	if (parallel)
		return run_connections(&load, atoi(argv[5]));
	if (!strcmp(argv[1], "exchanges"))
		return run_exchanges(&load);
	if (!strcmp(argv[1], "download"))
		return run_bulk(&load, BULK_MIB, 0);
	if (!strcmp(argv[1], "upload"))
		return run_bulk(&load, 0, BULK_MIB);
	return 2;
}

int main(int argc, char **argv)
{
	int status = 2;

	if (argc > 2 && !strcmp(argv[1], "serve"))
		status = run_servers(argc - 2, argv + 2);
	else if (argc > 2)
		status = run_clients(argc, argv);
	if (status == 2)
		fputs("tcp_load: wrong usage, see its source\n", stderr);
	return status;
}
