/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rule tests: the rule file's own examples, judged by the interpreter.
 *
 * An example is a payload and what should become of it. Here it gets the plainest frame that can
 * carry it: by udp a datagram, by tcp the first segment of a connection, with a cookie that holds.
 * `mplexc --test` ends here; nothing of this reaches the emitted program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "interpret.h"
#include "rules.h"
#include "source.h"
#include "testing.h"

enum {
	ETHERNET_HEADER = 14,
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	UDP_HEADER = 8,
	TCP_HEADER = 20,
	TCP_ACK = 0x10,
	IP_LENGTH_MAX = 65535,
	CLIENT_PORT = 40000,
	CLIENT_ISN = 1000,
	FRAME_MAX = ETHERNET_HEADER + IPV6_HEADER + IP_LENGTH_MAX,
};

/* Any key will do, as long as there is one; addresses are not compared. */
static const struct host HOST = {.key = {1, 2}};
static const struct situation SITUATION = {0};

/* What running the tests takes, once for all of them. */
struct bench {
	uint8_t payload[PAYLOAD_MAX];
	uint8_t frame[FRAME_MAX], result[FRAME_MAX];
};

static void put16(uint8_t *bytes, unsigned value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
	put16(bytes, value >> 16);
	put16(bytes + 2, value & 0xffff);
}

/* Zeros, then what every message must have, then what this one has. */
static void make_payload(const struct listener *listener, const struct test *test, uint8_t *payload)
{
	memset(payload, 0, test->length);
	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];

		for (uint32_t j = 0; j < require->length; j++)
			if (require->offset + j < test->length)
				payload[require->offset + j] |= require->bytes[j];
	}
	for (size_t i = 0; i < test->at_count; i++)
		memcpy(payload + test->at[i].offset, test->at[i].bytes, test->at[i].length);
}

/* The IP header, to the first address of the listener; returns its length. */
static size_t make_ip(const struct listener *listener, uint8_t protocol, size_t length,
		      struct tuple *tuple, uint8_t *ip)
{
	const struct address *address = listener->address_count ? &listener->addresses[0] : NULL;

	tuple->family = address ? address->family : 4;
	if (address)
		memcpy(tuple->destination, address->bytes, sizeof(tuple->destination));
	if (tuple->family == 6) {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)length);
		ip[6] = protocol;
		memcpy(ip + 24, tuple->destination, 16);
		return IPV6_HEADER;
	}
	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(IPV4_HEADER + length));
	ip[9] = protocol;
	memcpy(ip + 16, tuple->destination, 4);
	return IPV4_HEADER;
}

static int make_frame(const struct listener *listener, enum protocol protocol,
		      const uint8_t *payload, size_t length, uint8_t *frame, size_t *frame_length)
{
	bool tcp = protocol == PROTOCOL_TCP;
	size_t header = tcp ? TCP_HEADER : UDP_HEADER;
	struct tuple tuple = {0};

	/* A segment over IPv4 holds less than a datagram; what a stream has more comes later. */
	if (length > IP_LENGTH_MAX - IPV4_HEADER - header)
		length = IP_LENGTH_MAX - IPV4_HEADER - header;

	uint8_t *ip = frame + ETHERNET_HEADER;

	memset(frame, 0, ETHERNET_HEADER + IPV6_HEADER + header);

	uint8_t *transport = ip + make_ip(listener, tcp ? 6 : 17, header + length, &tuple, ip);

	put16(frame + 12, tuple.family == 4 ? 0x0800 : 0x86dd);
	put16(tuple.source_port, CLIENT_PORT);
	put16(tuple.destination_port, listener->port);
	memcpy(transport, tuple.source_port, 2);
	memcpy(transport + 2, tuple.destination_port, 2);
	if (tcp) {
		uint32_t cookie;
		int err = cookie_make(&HOST, &tuple, CLIENT_ISN, 0, 0, &cookie);

		if (err)
			return err;
		put32(transport + 4, CLIENT_ISN + 1);
		put32(transport + 8, cookie + 1);
		transport[12] = TCP_HEADER / 4 << 4;
		transport[13] = TCP_ACK;
	} else {
		put16(transport + 4, (unsigned)(UDP_HEADER + length));
	}
	memcpy(transport + header, payload, length);
	*frame_length = (size_t)(transport - frame) + header + length;
	return 0;
}

/* `pass` is the listen port by another name. 0 is no port: refused. */
static uint16_t expected_port(const struct listener *listener, const struct action *expect)
{
	switch (expect->kind) {
	case ACTION_ROUTE:
		return expect->port;
	case ACTION_PASS:
		return listener->port;
	case ACTION_REFUSE:
		break;
	}
	return 0;
}

static void describe(const struct listener *listener, uint16_t port, FILE *out)
{
	if (!port)
		fputs("refuse", out);
	else if (port == listener->port)
		fputs("pass", out);
	else
		fprintf(out, "port %u", port);
}

static void report(const struct listener *listener, const struct test *test, enum protocol protocol,
		   const struct outcome *outcome, const struct source *source, FILE *out)
{
	struct position position = source_position(source, test->place.offset);

	fprintf(out, "%s:%zu:%zu: test failed by %s: expected ", source->path, position.line,
		position.column, protocol == PROTOCOL_TCP ? "tcp" : "udp");
	describe(listener, expected_port(listener, &test->expect), out);
	fputs(", got ", out);
	describe(listener, outcome->port, out);
	if (outcome->route)
		fprintf(out, " (tag %s)\n", outcome->route->text);
	else
		fprintf(out, " (reason: %s)\n", outcome->reason);
}

/* Returns 1 when the test fails, 0 when it passes, or a negative errno. */
static int run(const struct rules *rules, const struct listener *listener, const struct test *test,
	       enum protocol protocol, const struct source *source, struct bench *bench, FILE *out)
{
	struct outcome outcome;
	size_t length;
	int err =
		make_frame(listener, protocol, bench->payload, test->length, bench->frame, &length);

	if (!err)
		err = interpret(rules, &HOST, &SITUATION, bench->frame, length, &outcome,
				bench->result);
	if (err)
		return err;
	if (outcome.port == expected_port(listener, &test->expect))
		return 0;
	report(listener, test, protocol, &outcome, source, out);
	return 1;
}

static void free_bench(struct bench **bench)
{
	free(*bench);
}

int rule_tests_run(const struct rules *rules, const struct source *source, FILE *out)
{
	__attribute__((cleanup(free_bench))) struct bench *bench = malloc(sizeof(*bench));
	static const enum protocol protocols[] = {PROTOCOL_TCP, PROTOCOL_UDP};
	size_t count = 0;
	int failed = 0;

	if (!bench)
		return -ENOMEM;
	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		count += listener->test_count;
		for (size_t j = 0; j < listener->test_count; j++) {
			const struct test *test = &listener->tests[j];
			bool fails = false;

			make_payload(listener, test, bench->payload);
			for (size_t k = 0; k < 2; k++) {
				if (!(listener->protocols & protocols[k]))
					continue;

				int err = run(rules, listener, test, protocols[k], source, bench,
					      out);

				if (err < 0)
					return err;
				fails |= err;
			}
			failed += fails;
		}
	}
	if (!count)
		fprintf(out, "%s: no tests\n", source->path);
	else if (failed)
		fprintf(out, "%s: %d of %zu tests failed\n", source->path, failed, count);
	else
		fprintf(out, "%s: %zu %s passed\n", source->path, count,
			count == 1 ? "test" : "tests");
	return failed;
}
