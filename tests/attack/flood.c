/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A flood: many frames from many invented hosts, fast. Always bounded in count.
 *
 *	flood IFACE KIND VERSION COUNT RATE PORT SERVER SERVER_MAC PAYLOAD_HEX
 *
 * KIND is what is sent, VERSION 4 or 6:
 *	syn     SYNs
 *	ack     first segments with a guessed cookie
 *	bind    whole handshakes, each with its first segment
 *	replay  the same, then copies of every first segment, over and over (COPIES at most)
 *	udp     datagrams
 *
 * Host number i is 100.64.0.0 + i or 2001:db8:66:: + i. RATE is in frames a second, 0 as fast as
 * can be. Checksums are right, so nothing but the program's own judgement stops a frame. It ends
 * after COUNT or on SIGTERM, and then prints "frames N bound N".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

enum {
	BATCH = 64,
	FRAME = 1514,
	HOSTS = 1 << 22,
	COPIES = 1 << 30,
	TCP_SYN = 1 << 1,
	TCP_PSH = 1 << 3,
	TCP_ACK = 1 << 4,
	RECEIVE_BUFFER = 64 << 20,
};

struct flood {
	int version;
	uint64_t count, rate;
	uint16_t port;
	uint8_t server[16], server_mac[6];
	uint8_t payload[FRAME];
	size_t payload_length;

	int socket;
	struct timespec start;
	uint64_t frames, bound;
	uint64_t random;
	uint32_t *cookies; /* by host: what the SYN-ACK acknowledged with, where it came */

	uint8_t batch[BATCH][FRAME];
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH];
	unsigned batched;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static void put16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void put32(uint8_t *to, uint32_t value)
{
	put16(to, value >> 16);
	put16(to + 2, value & 0xffff);
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3];
}

/* xorshift64 (Marsaglia, 2003) */
static uint64_t draw(struct flood *flood)
{
	flood->random ^= flood->random << 13;
	flood->random ^= flood->random >> 7;
	flood->random ^= flood->random << 17;
	return flood->random;
}

/* ---- Frames ---- */

static uint64_t sum(const uint8_t *bytes, size_t length)
{
	uint64_t total = 0;

	for (size_t i = 0; i + 1 < length; i += 2)
		total += (uint64_t)bytes[i] << 8 | bytes[i + 1];
	return length % 2 ? total + ((uint64_t)bytes[length - 1] << 8) : total;
}

static uint16_t fold(uint64_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

/* Each round over all hosts comes from other ports. */
static uint16_t port_of(uint64_t host)
{
	return (uint16_t)(1024 + (host * 7919 + host / HOSTS * 13) % 64000);
}

static uint32_t isn_of(uint64_t host)
{
	return (uint32_t)host * 2654435761u;
}

static void put_source(const struct flood *flood, uint64_t host, uint8_t *to)
{
	static const uint8_t network[8] = {0x20, 0x01, 0x0d, 0xb8, 0, 0x66};

	if (flood->version == 6) {
		memcpy(to, network, 8);
		to += 12;
	}
	put32(to, (flood->version == 4 ? 0x64400000 : 1) + (uint32_t)(host % HOSTS));
}

/* Headers in front of a segment or datagram of that length; returns where that begins. */
static uint8_t *put_headers(const struct flood *flood, uint64_t host, unsigned protocol,
			    size_t length, uint8_t *frame, uint64_t *pseudo)
{
	static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 2};
	uint8_t *ip = frame + ETH_HLEN, *addresses;
	size_t size;

	memset(frame, 0, ETH_HLEN + 40);
	memcpy(frame, flood->server_mac, 6);
	memcpy(frame + 6, client_mac, 6);
	if (flood->version == 4) {
		put16(frame + 12, ETH_P_IP);
		ip[0] = 0x45;
		put16(ip + 2, (unsigned)(20 + length));
		ip[8] = 64;
		ip[9] = (uint8_t)protocol;
		addresses = ip + 12;
		size = 4;
	} else {
		put16(frame + 12, ETH_P_IPV6);
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)length);
		ip[6] = (uint8_t)protocol;
		ip[7] = 64;
		addresses = ip + 8;
		size = 16;
	}
	put_source(flood, host, addresses);
	memcpy(addresses + size, flood->server, size);
	if (flood->version == 4)
		put16(ip + 10, fold(sum(ip, 20)));
	*pseudo = sum(addresses, 2 * size) + protocol + length;
	return addresses + 2 * size;
}

/* Returns the frame's length. */
static size_t make_tcp(const struct flood *flood, uint64_t host, unsigned flags, uint32_t seq,
		       uint32_t ack_seq, uint8_t *frame)
{
	/* MSS 1460, SACK, window scale 7 */
	static const uint8_t options[12] = {2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7};
	size_t option_bytes = flags & TCP_SYN ? sizeof(options) : 0;
	size_t payload = flags & TCP_SYN ? 0 : flood->payload_length;
	size_t length = 20 + option_bytes + payload;
	uint64_t pseudo;
	uint8_t *tcp = put_headers(flood, host, IPPROTO_TCP, length, frame, &pseudo);

	put16(tcp, port_of(host));
	put16(tcp + 2, flood->port);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack_seq);
	tcp[12] = (uint8_t)((20 + option_bytes) / 4 << 4);
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 64000);
	put32(tcp + 16, 0);
	memcpy(tcp + 20, options, option_bytes);
	memcpy(tcp + 20 + option_bytes, flood->payload, payload);
	put16(tcp + 16, fold(pseudo + sum(tcp, length)));
	return (size_t)(tcp + length - frame);
}

static size_t make_udp(const struct flood *flood, uint64_t host, uint8_t *frame)
{
	size_t length = 8 + flood->payload_length;
	uint64_t pseudo;
	uint8_t *udp = put_headers(flood, host, IPPROTO_UDP, length, frame, &pseudo);
	uint16_t check;

	put16(udp, port_of(host));
	put16(udp + 2, flood->port);
	put16(udp + 4, (unsigned)length);
	put16(udp + 6, 0);
	memcpy(udp + 8, flood->payload, flood->payload_length);
	check = fold(pseudo + sum(udp, length));
	put16(udp + 6, check ? check : 0xffff);
	return (size_t)(udp + length - frame);
}

/* ---- Sending ---- */

static void keep_rate(const struct flood *flood)
{
	struct timespec until = flood->start;
	uint64_t nanoseconds;

	if (!flood->rate)
		return;
	nanoseconds = (uint64_t)until.tv_nsec + flood->frames * 1000000000 / flood->rate;
	until.tv_sec += (time_t)(nanoseconds / 1000000000);
	until.tv_nsec = (long)(nanoseconds % 1000000000);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void send_batch(struct flood *flood)
{
	unsigned sent = 0;

	while (sent < flood->batched && !stopped) {
		int done =
			sendmmsg(flood->socket, flood->messages + sent, flood->batched - sent, 0);

		if (done > 0) {
			sent += (unsigned)done;
		} else if (errno == ENOBUFS || errno == EAGAIN || errno == EINTR) {
			usleep(100);
		} else {
			perror("flood: sendmmsg");
			exit(1);
		}
	}
	flood->frames += sent;
	flood->batched = 0;
	keep_rate(flood);
}

static uint8_t *next_frame(struct flood *flood)
{
	return flood->batch[flood->batched];
}

static void add_frame(struct flood *flood, size_t length)
{
	flood->vectors[flood->batched].iov_len = length;
	if (++flood->batched == BATCH)
		send_batch(flood);
}

/* ---- Handshakes ---- */

/* The host that a frame of the server's goes to, if it is a SYN-ACK to one of ours. */
static bool read_syn_ack(const struct flood *flood, const uint8_t *frame, size_t length,
			 uint32_t *host, uint32_t *cookie)
{
	size_t ip = flood->version == 4 ? 20 : 40;
	const uint8_t *tcp = frame + ETH_HLEN + ip;

	if (length < ETH_HLEN + ip + 20 ||
	    frame[ETH_HLEN + (flood->version == 4 ? 9 : 6)] != IPPROTO_TCP ||
	    frame[ETH_HLEN] >> 4 != flood->version || (tcp[13] & 0x3f) != (TCP_SYN | TCP_ACK))
		return false;
	*host = get32(tcp - 4) - (flood->version == 4 ? 0x64400000 : 1);
	*cookie = get32(tcp + 4);
	return *host < HOSTS && *host < flood->count;
}

static void add_first_segment(struct flood *flood, uint64_t host)
{
	add_frame(flood, make_tcp(flood, host, TCP_PSH | TCP_ACK, isn_of(host) + 1,
				  flood->cookies[host] + 1, next_frame(flood)));
}

/* Answers all SYN-ACKs that have come. */
static void answer(struct flood *flood)
{
	uint8_t frame[256];
	uint32_t host, cookie;
	ssize_t length;

	while (!stopped && (length = recv(flood->socket, frame, sizeof(frame), MSG_DONTWAIT)) > 0) {
		if (!read_syn_ack(flood, frame, (size_t)length, &host, &cookie))
			continue;
		flood->cookies[host] = cookie;
		add_first_segment(flood, host);
		flood->bound++;
	}
}

static void bind_all(struct flood *flood)
{
	for (uint64_t host = 0; host < flood->count && !stopped; host++) {
		add_frame(flood,
			  make_tcp(flood, host, TCP_SYN, isn_of(host), 0, next_frame(flood)));
		if (host % BATCH == BATCH - 1)
			answer(flood);
	}
	send_batch(flood);
	for (int i = 0; i < 100 && !stopped; i++) {
		usleep(1000);
		answer(flood);
		send_batch(flood);
	}
}

static void replay_all(struct flood *flood)
{
	bind_all(flood);
	for (uint64_t i = 0; i < COPIES && flood->bound && !stopped; i++)
		if (flood->cookies[i % flood->count])
			add_first_segment(flood, i % flood->count);
}

/* ---- The rest ---- */

static void send_syns(struct flood *flood)
{
	for (uint64_t host = 0; host < flood->count && !stopped; host++)
		add_frame(flood,
			  make_tcp(flood, host, TCP_SYN, isn_of(host), 0, next_frame(flood)));
}

static void send_guesses(struct flood *flood)
{
	for (uint64_t host = 0; host < flood->count && !stopped; host++)
		add_frame(flood, make_tcp(flood, host, TCP_PSH | TCP_ACK, isn_of(host) + 1,
					  (uint32_t)(draw(flood) >> 32), next_frame(flood)));
}

static void send_datagrams(struct flood *flood)
{
	for (uint64_t host = 0; host < flood->count && !stopped; host++)
		add_frame(flood, make_udp(flood, host, next_frame(flood)));
}

static const struct {
	const char *name;
	void (*run)(struct flood *);
} kinds[] = {
	{"syn", send_syns},	{"ack", send_guesses},	 {"bind", bind_all},
	{"replay", replay_all}, {"udp", send_datagrams},
};

static void open_socket(struct flood *flood, const char *interface)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(interface),
	};
	int on = 1, size = RECEIVE_BUFFER;

	flood->socket = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	if (flood->socket < 0 ||
	    setsockopt(flood->socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    setsockopt(flood->socket, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) ||
	    setsockopt(flood->socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) ||
	    bind(flood->socket, (struct sockaddr *)&address, sizeof(address))) {
		perror("flood");
		exit(1);
	}
	for (unsigned i = 0; i < BATCH; i++) {
		flood->vectors[i].iov_base = flood->batch[i];
		flood->messages[i].msg_hdr.msg_iov = &flood->vectors[i];
		flood->messages[i].msg_hdr.msg_iovlen = 1;
	}
}

static bool read_hex(const char *text, uint8_t *bytes, size_t room, size_t *length)
{
	for (*length = 0; *text; text += 2)
		if (*length == room || sscanf(text, "%2hhx", &bytes[(*length)++]) != 1)
			return false;
	return true;
}

static bool read_arguments(char **argv, struct flood *flood)
{
	size_t length;

	flood->version = atoi(argv[3]);
	flood->count = strtoull(argv[4], NULL, 10);
	flood->rate = strtoull(argv[5], NULL, 10);
	flood->port = (uint16_t)atoi(argv[6]);
	return inet_pton(flood->version == 4 ? AF_INET : AF_INET6, argv[7], flood->server) == 1 &&
	       read_hex(argv[8], flood->server_mac, 6, &length) && length == 6 &&
	       read_hex(argv[9], flood->payload, 1400, &flood->payload_length);
}

int main(int argc, char **argv)
{
	static struct flood flood = {.random = 0x9e3779b97f4a7c15};
	const struct sigaction action = {.sa_handler = stop};

	if (argc != 10 || !read_arguments(argv, &flood)) {
		fputs("flood: see the top of flood.c\n", stderr);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	open_socket(&flood, argv[1]);
	flood.cookies = calloc(HOSTS, sizeof(*flood.cookies));
	if (!flood.cookies)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &flood.start);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, argv[2]))
			kinds[i].run(&flood);
	send_batch(&flood);
	printf("frames %llu bound %llu\n", (unsigned long long)flood.frames,
	       (unsigned long long)flood.bound);
	free(flood.cookies);
	return 0;
}
