/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interpreter against frames made by hand, one test for each sentence of the rules that it
 * applies. It is the oracle of the differential tests, so what it says is checked here against
 * numbers that come from elsewhere: full checksum sums, and cookies computed by another SipHash.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../compiler/interpret.h"

#define WINDOW_NS (1ull << COOKIE_WINDOW_NS_LOG2)
#define MS	  1000000ull

enum {
	FIN = 0x01,
	SYN = 0x02,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	ECE = 0x40,
	CWR = 0x80,
	FRAME_MAX = 70000,
};

static const uint8_t OUR_MAC[6] = {2, 0, 0, 0, 0, 1}, CLIENT_MAC[6] = {2, 0, 0, 0, 0, 7};
static const uint8_t OUR_V4[4] = {192, 0, 2, 1}, CLIENT_V4[4] = {198, 51, 100, 7};
static const uint8_t OUR_V6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
static const uint8_t CLIENT_V6[16] = {0x20, 1, 0xd, 0xb8, [15] = 7};

/* ---- Rules ---- */

#define EXACT(tag, to)                                                                    \
	{                                                                                 \
		.pattern = {.kind = PATTERN_EXACT, .value = tag, .mask = "\xff\xff\xff"}, \
		.port = (to)                                                              \
	}

static struct route exact_routes[] = {EXACT("600", 5001), EXACT("601", 5002)};

/* A value that every test may change: 290..294 bytes, tag of three at 20, both protocols. */
static struct listener feed(void)
{
	return (struct listener){
		.name = "feed",
		.protocols = PROTOCOL_TCP | PROTOCOL_UDP,
		.port = 5000,
		.length_min = 290,
		.length_max = 294,
		.tag = {.type = TAG_TEXT, .offset = 20, .length = 3},
		.routes = exact_routes,
		.route_count = 2,
		.otherwise = {.kind = ACTION_REFUSE},
		.reset = true,
	};
}

static struct host our_host(void)
{
	struct host host = {
		.local_known = true,
		.local_v4_count = 1,
		.local_v6_count = 1,
		.key = {0x0706050403020100, 0x0f0e0d0c0b0a0908},
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.window = 60000,
		.window_scale = 7,
		.sack = true,
		.timestamps = true,
		.ecn = true,
		.ttl = 61,
		.hop_limit = 62,
	};

	memcpy(host.mac, OUR_MAC, 6);
	memcpy(host.local_v4[0], OUR_V4, 4);
	memcpy(host.local_v6[0], OUR_V6, 16);
	return host;
}

/* ---- Frames ---- */

struct frame {
	size_t length;
	size_t ip, transport, checksum; /* offsets */
	uint8_t bytes[FRAME_MAX];
};

/* Every test speaks of one frame, one set of circumstances and what became of it. */
static struct frame frame;
static uint8_t result[FRAME_MAX];
static struct outcome outcome;
static struct listener listener;
static struct host host;
static struct situation situation;

static int reset_state(void **state)
{
	(void)state;
	memset(&frame, 0, sizeof(frame));
	listener = feed();
	host = our_host();
	situation = (struct situation){.now = 100 * WINDOW_NS + 5 * MS};
	return 0;
}

static void add(const void *bytes, size_t length)
{
	assert_true(frame.length + length <= sizeof(frame.bytes));
	if (length)
		memcpy(frame.bytes + frame.length, bytes, length);
	frame.length += length;
}

static void add_zeros(size_t length)
{
	assert_true(frame.length + length <= sizeof(frame.bytes));
	memset(frame.bytes + frame.length, 0, length);
	frame.length += length;
}

static void add16(unsigned value)
{
	add((uint8_t[]){value >> 8, value & 0xff}, 2);
}

static void add32(uint32_t value)
{
	add16(value >> 16);
	add16(value & 0xffff);
}

static unsigned at16(const uint8_t *bytes)
{
	return bytes[0] << 8 | bytes[1];
}

static uint32_t at32(const uint8_t *bytes)
{
	return (uint32_t)at16(bytes) << 16 | at16(bytes + 2);
}

static void set16(uint8_t *bytes, unsigned value)
{
	bytes[0] = value >> 8;
	bytes[1] = value & 0xff;
}

static void ethernet(unsigned type)
{
	frame.length = 0;
	add(OUR_MAC, 6);
	add(CLIENT_MAC, 6);
	add16(type);
	frame.ip = frame.length;
}

/* Puts a tag before the type and the tags that are there. */
static void vlan(unsigned tpid, unsigned tci)
{
	assert_int_equal(frame.length, frame.ip);
	memmove(frame.bytes + 16, frame.bytes + 12, frame.length - 12);
	set16(frame.bytes + 12, tpid);
	set16(frame.bytes + 14, tci);
	frame.length += 4;
	frame.ip = frame.length;
}

/* Lengths are set by finish(). */
static void ipv4(uint8_t protocol, const void *options, size_t options_length)
{
	uint8_t head[] = {0x45 + options_length / 4, 0, 0, 0, 0x12, 0x34, 0, 0, 64, protocol, 0, 0};

	add(head, sizeof(head));
	add(CLIENT_V4, 4);
	add(OUR_V4, 4);
	add(options, options_length);
	frame.transport = frame.length;
}

static void ipv6(uint8_t next)
{
	uint8_t head[] = {0x6a, 0xb1, 0x23, 0x45, 0, 0, next, 64};

	add(head, sizeof(head));
	add(CLIENT_V6, 16);
	add(OUR_V6, 16);
	frame.transport = frame.length;
}

static void extension(uint8_t next, size_t units)
{
	add((uint8_t[]){next, units}, 2);
	add_zeros(6 + units * 8);
	frame.transport = frame.length;
}

static void udp_header(unsigned port)
{
	frame.checksum = frame.transport + 6;
	add16(40000);
	add16(port);
	add32(0);
}

static void tcp_header(unsigned port, uint8_t flags, uint32_t seq, uint32_t ack,
		       const void *options, size_t options_length)
{
	frame.checksum = frame.transport + 16;
	add16(40000);
	add16(port);
	add32(seq);
	add32(ack);
	add((uint8_t[]){(5 + options_length / 4) << 4, flags}, 2);
	add16(1234);
	add32(0);
	add(options, options_length);
}

static bool is_ipv6(const uint8_t *bytes, size_t ip)
{
	return bytes[ip] >> 4 == 6;
}

/* The sum that is 0xffff over a packet whose checksum holds. */
static unsigned transport_sum(const uint8_t *bytes, size_t ip, size_t transport, size_t end)
{
	uint32_t sum = is_ipv6(bytes, ip) ? bytes[ip + 6] : bytes[ip + 9];
	size_t addresses = is_ipv6(bytes, ip) ? ip + 8 : ip + 12;
	size_t length = is_ipv6(bytes, ip) ? 32 : 8;

	if (is_ipv6(bytes, ip) && sum != 6)
		sum = 17;
	sum += end - transport;
	for (size_t i = 0; i < length; i += 2)
		sum += at16(bytes + addresses + i);
	for (size_t i = transport; i < end; i++)
		sum += (i - transport) % 2 ? bytes[i] : bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void set_checksum(void)
{
	uint8_t *checksum = frame.bytes + frame.checksum;

	set16(checksum, 0);
	set16(checksum, ~transport_sum(frame.bytes, frame.ip, frame.transport, frame.length));
}

/* Makes the IP length agree with what was added. */
static void finish(void)
{
	uint8_t *ip = frame.bytes + frame.ip;

	if (is_ipv6(frame.bytes, frame.ip))
		set16(ip + 4, frame.length - frame.ip - 40);
	else
		set16(ip + 2, frame.length - frame.ip);
}

static void finish_udp(void)
{
	uint8_t *udp = frame.bytes + frame.transport;

	set16(udp + 4, frame.length - frame.transport);
	finish();
	set_checksum();
}

static void message(size_t length, size_t offset, const char *tag)
{
	size_t start = frame.length;

	add_zeros(length);
	if (offset + strlen(tag) <= length)
		memcpy(frame.bytes + start + offset, tag, strlen(tag));
}

static void udp4(size_t length, const char *tag)
{
	ethernet(0x0800);
	ipv4(17, NULL, 0);
	udp_header(5000);
	message(length, 20, tag);
	finish_udp();
}

static void udp6(size_t length, const char *tag)
{
	ethernet(0x86dd);
	ipv6(17);
	udp_header(5000);
	message(length, 20, tag);
	finish_udp();
}

static void tcp4(uint8_t flags, uint32_t seq, uint32_t ack, const void *options,
		 size_t options_length)
{
	ethernet(0x0800);
	ipv4(6, NULL, 0);
	tcp_header(5000, flags, seq, ack, options, options_length);
	finish();
	set_checksum();
}

static void tcp6(uint8_t flags, uint32_t seq, uint32_t ack, const void *options,
		 size_t options_length)
{
	ethernet(0x86dd);
	ipv6(6);
	tcp_header(5000, flags, seq, ack, options, options_length);
	finish();
	set_checksum();
}

/* ---- Running and judging ---- */

static void run(void)
{
	struct rules rules = {.listeners = &listener, .listener_count = 1, .file = "test.yaml"};
	/* Memory of its own and just as long, so that a sanitizer sees a read behind the end. */
	uint8_t *bytes = malloc(frame.length + 1);

	assert_non_null(bytes);
	memcpy(bytes + 1, frame.bytes, frame.length);
	memset(result, 0xee, sizeof(result));
	assert_int_equal(
		0, interpret(&rules, &host, &situation, bytes + 1, frame.length, &outcome, result));
	free(bytes);
}

static void expect_untouched(void)
{
	assert_int_equal(frame.length, outcome.length);
	assert_memory_equal(frame.bytes, result, frame.length);
}

static void expect_not_ours(void)
{
	run();
	assert_null(outcome.reason);
	assert_null(outcome.listener);
	assert_int_equal(VERDICT_PASS, outcome.verdict);
	expect_untouched();
}

static void expect(enum verdict verdict, const char *reason)
{
	run();
	assert_non_null(outcome.reason);
	assert_string_equal(reason, outcome.reason);
	assert_ptr_equal(&listener, outcome.listener);
	assert_int_equal(verdict, outcome.verdict);
}

static void expect_drop(const char *reason)
{
	expect(VERDICT_DROP, reason);
	assert_int_equal(0, outcome.port);
	expect_untouched();
}

static void expect_pass(const char *reason, unsigned port)
{
	expect(VERDICT_PASS, reason);
	assert_int_equal(port, outcome.port);
}

/* A changed UDP frame: the port, a right checksum, and nothing else. */
static void expect_udp(const char *reason, unsigned port)
{
	size_t checksum = frame.transport + 6;

	expect_pass(reason, port);
	assert_int_equal(frame.length, outcome.length);
	assert_int_equal(port, at16(result + frame.transport + 2));
	assert_memory_equal(frame.bytes, result, frame.transport + 2);
	assert_memory_equal(frame.bytes + frame.transport + 4, result + frame.transport + 4, 2);
	assert_memory_equal(frame.bytes + checksum + 2, result + checksum + 2,
			    frame.length - checksum - 2);
	if (at16(frame.bytes + checksum))
		assert_int_equal(
			0xffff,
			transport_sum(result, frame.ip, frame.transport,
				      frame.transport + at16(frame.bytes + frame.transport + 4)));
	else
		assert_int_equal(0, at16(result + checksum));
}

/* ---- Not ours ---- */

static void test_truncated_frames(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		size_t ports = 14 + 20 + 4;

		if (tcp)
			tcp4(SYN, 1, 0, NULL, 0);
		else
			udp4(292, "600");

		size_t whole = frame.length;

		for (frame.length = 14; frame.length < ports; frame.length++)
			expect_not_ours();
		for (; frame.length < whole; frame.length++)
			expect_drop("malformed");
	}
	for (frame.length = 0; frame.length < 14; frame.length++)
		expect_not_ours();
}

static void test_truncated_extension_headers(void **state)
{
	(void)state;
	ethernet(0x86dd);
	ipv6(0);
	extension(43, 1);
	extension(17, 0);
	udp_header(5000);
	message(292, 20, "600");
	finish_udp();
	expect_udp("routed", 5001);
	for (size_t length = 14; length < frame.transport + 4; length++) {
		frame.length = length;
		expect_not_ours();
	}
	frame.length = frame.transport + 4;
	expect_drop("malformed");
}

static void test_other_types(void **state)
{
	(void)state;
	udp4(292, "600");
	set16(frame.bytes + 12, 0x86dd); /* the version says otherwise */
	expect_not_ours();
	set16(frame.bytes + 12, 0x0806);
	expect_not_ours();
	udp6(292, "600");
	set16(frame.bytes + 12, 0x0800);
	expect_not_ours();
}

static void test_other_protocols_and_ports(void **state)
{
	(void)state;
	udp4(292, "600");
	frame.bytes[frame.ip + 9] = 1;
	expect_not_ours();
	udp4(292, "600");
	set16(frame.bytes + frame.transport + 2, 5001);
	expect_not_ours();
	set16(frame.bytes + frame.transport, 5000); /* a source port is no destination */
	expect_not_ours();
	listener.protocols = PROTOCOL_TCP;
	udp4(292, "600");
	expect_not_ours();
	listener.protocols = PROTOCOL_UDP;
	tcp4(SYN, 1, 0, NULL, 0);
	expect_not_ours();
}

static void test_foreign_mac(void **state)
{
	(void)state;
	udp4(292, "600");
	frame.bytes[5] = 9;
	expect_not_ours();
	memset(host.mac, 0, 6);
	expect_udp("routed", 5001);
	host = our_host();
	memset(frame.bytes, 0xff, 6); /* groups: udp alone */
	expect_udp("routed", 5001);
	memcpy(frame.bytes, (uint8_t[]){1, 0, 0x5e, 0, 0, 1}, 6);
	expect_udp("routed", 5001);
	tcp4(SYN, 1, 0, NULL, 0);
	frame.bytes[0] = 1;
	expect_not_ours();
}

static void test_foreign_address(void **state)
{
	(void)state;
	udp4(292, "600");
	frame.bytes[frame.ip + 19] = 2;
	expect_not_ours();
	host.local_known = false;
	expect(VERDICT_PASS, "routed");
	host.local_known = true;
	host.local_v4_count = 0;
	frame.bytes[frame.ip + 19] = 1;
	expect_not_ours();

	udp6(292, "600");
	expect_udp("routed", 5001);
	frame.bytes[frame.ip + 39] = 2;
	expect_not_ours();
}

static void test_addresses(void **state)
{
	struct address addresses[] = {
		{.family = 4, .prefix = 20, .bytes = {10, 1, 16}},
		{.family = 6, .prefix = 0},
	};

	(void)state;
	listener.addresses = addresses;
	listener.address_count = 1;
	udp4(292, "600");
	expect_not_ours();
	memcpy(frame.bytes + frame.ip + 16, (uint8_t[]){10, 1, 31, 255}, 4);
	expect(VERDICT_PASS, "routed");
	frame.bytes[frame.ip + 18] = 32;
	expect_not_ours();
	frame.bytes[frame.ip + 18] = 15;
	expect_not_ours();
	udp6(292, "600");
	expect_not_ours();
	listener.address_count = 2;
	frame.bytes[frame.ip + 24] = 0xff;
	expect(VERDICT_PASS, "routed");
}

static void test_vlan_tags(void **state)
{
	static const unsigned types[][2] = {
		{0x8100, 0x8100}, {0x88a8, 0x8100}, {0x8100, 0x88a8}, {0x88a8, 0x88a8}};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		ethernet(0x0800);
		for (int tags = 1; tags <= 3; tags++) {
			vlan(types[i][tags % 2], 0xe001);
			ipv4(17, NULL, 0);
			udp_header(5000);
			message(292, 20, "601");
			finish_udp();
			if (tags <= 2)
				expect_udp("routed", 5002);
			else
				expect_not_ours();
			frame.length = frame.ip;
		}
	}
	udp4(292, "601");
	set16(frame.bytes + 12, 0x9100);
	expect_not_ours();
}

static void test_ipv4_headers(void **state)
{
	(void)state;
	ethernet(0x0800);
	ipv4(17, (uint8_t[40]){1, 1, 1}, 40);
	udp_header(5000);
	message(292, 20, "600");
	finish_udp();
	expect_udp("routed", 5001);
	udp4(292, "600");
	frame.bytes[frame.ip] = 0x44;
	expect_not_ours();
	frame.bytes[frame.ip] = 0x65;
	expect_not_ours();
}

static void test_ipv6_extension_headers(void **state)
{
	static const uint8_t walked[] = {0, 43, 60, 51, 44, 135, 139, 140};

	(void)state;
	for (size_t i = 0; i < sizeof(walked); i++) {
		for (int count = 1; count <= 9; count++) {
			ethernet(0x86dd);
			ipv6(walked[i]);
			for (int j = 1; j <= count; j++)
				extension(j < count ? walked[i] : 17, 0);
			udp_header(5000);
			message(292, 20, "600");
			finish_udp();
			if (count <= 8)
				expect_udp("routed", 5001);
			else
				expect_not_ours();
		}
	}
	/* Lengths: authentication counts in fours, the rest in eights. */
	ethernet(0x86dd);
	ipv6(51);
	add((uint8_t[]){60, 4}, 2);
	add_zeros(22);
	add((uint8_t[]){17, 2}, 2);
	add_zeros(22);
	frame.transport = frame.length;
	udp_header(5000);
	message(292, 20, "600");
	finish_udp();
	expect_udp("routed", 5001);
	frame.bytes[frame.ip + 6] = 50; /* ESP */
	expect_not_ours();
	frame.bytes[frame.ip + 6] = 59; /* no next header */
	expect_not_ours();
}

/* ---- Fragments and lengths ---- */

static void test_ipv4_fragments(void **state)
{
	(void)state;
	udp4(292, "600");
	set16(frame.bytes + frame.ip + 6, 0xc000); /* reserved, don't fragment */
	expect_udp("routed", 5001);
	set16(frame.bytes + frame.ip + 6, 0x2000);
	expect_drop("fragment");
	set16(frame.bytes + frame.transport + 4, 2000); /* as it is with fragments */
	expect_drop("fragment");
	set16(frame.bytes + frame.ip + 6, 0x2001);
	expect_not_ours();
	set16(frame.bytes + frame.ip + 6, 0x0001);
	expect_not_ours();
	set16(frame.bytes + frame.ip + 6, 0x1000);
	expect_not_ours();
}

static void test_ipv6_fragments(void **state)
{
	static const struct {
		unsigned offset;
		const char *reason;
	} cases[] = {{0x0000, "routed"}, {0x0006, "routed"}, {0x0001, "fragment"},
		     {0x0008, NULL},	 {0x0009, NULL},     {0x8000, NULL}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ethernet(0x86dd);
		ipv6(44);
		extension(17, 0);
		set16(frame.bytes + frame.ip + 42, cases[i].offset);
		udp_header(5000);
		message(292, 20, "600");
		finish_udp();
		if (!cases[i].reason)
			expect_not_ours();
		else if (!strcmp(cases[i].reason, "fragment"))
			expect_drop("fragment");
		else
			expect_udp("routed", 5001);
	}
}

static void test_padding(void **state)
{
	(void)state;
	listener.length_min = listener.length_max = 23;
	udp4(23, "600");
	add_zeros(100);
	expect_udp("routed", 5001);
	udp6(23, "600");
	add_zeros(1);
	expect_udp("routed", 5001);
	/* Bytes between the UDP datagram's end and the IP packet's are nobody's. */
	udp4(23, "600");
	add_zeros(3);
	set16(frame.bytes + frame.ip + 2, frame.length - frame.ip);
	expect_udp("routed", 5001);
}

static void test_contradicting_lengths(void **state)
{
	(void)state;
	udp4(292, "600");
	set16(frame.bytes + frame.ip + 2, 20 + 8 + 293);
	expect_drop("malformed"); /* beyond the frame */
	set16(frame.bytes + frame.ip + 2, 20 + 8 + 291);
	expect_drop("malformed"); /* UDP beyond IP */
	set16(frame.bytes + frame.ip + 2, 19);
	expect_drop("malformed");
	set16(frame.bytes + frame.ip + 2, 0);
	expect_drop("malformed");
	udp4(292, "600");
	set16(frame.bytes + frame.transport + 4, 7);
	expect_drop("malformed");
	set16(frame.bytes + frame.transport + 4, 0);
	expect_drop("malformed");
	set16(frame.bytes + frame.transport + 4, 8);
	expect_drop("length");
	set16(frame.bytes + frame.transport + 4, 301);
	expect_drop("malformed");

	udp6(292, "600");
	set16(frame.bytes + frame.ip + 4, 0);
	expect_drop("malformed");
	set16(frame.bytes + frame.ip + 4, 301);
	expect_drop("malformed");

	tcp4(SYN, 1, 0, NULL, 0);
	frame.bytes[frame.transport + 12] = 0x40;
	expect_drop("malformed");
	frame.bytes[frame.transport + 12] = 0x60;
	expect_drop("malformed");
	add_zeros(4); /* in the frame, but not in the packet */
	expect_drop("malformed");
	finish();
	expect(VERDICT_TX, "syn");
}

/* ---- The message ---- */

static void test_length_window(void **state)
{
	(void)state;
	for (size_t length = 0; length < 400; length++) {
		udp4(length, "600");
		if (length < 290 || length > 294)
			expect_drop("length");
		else
			expect_udp("routed", 5001);
	}
}

static void test_require(void **state)
{
	struct require requires[] = {
		{.offset = 0, .length = 2, .bytes = {0xca, 0xf0}, .mask = {0xff, 0xf0}},
		{.offset = 289, .length = 1, .bytes = {0x80}, .mask = {0x80}},
	};

	(void)state;
	listener.requires = requires;
	listener.require_count = 2;
	udp4(290, "600");
	expect_drop("require");
	frame.bytes[frame.transport + 8] = 0xca;
	frame.bytes[frame.transport + 9] = 0xf7;
	expect_drop("require");
	frame.bytes[frame.transport + 8 + 289] = 0xc1;
	set_checksum();
	expect_udp("routed", 5001);
	frame.bytes[frame.transport + 9] = 0xe7;
	expect_drop("require");
	udp4(289, "600");
	expect_drop("length");
}

static void test_otherwise(void **state)
{
	(void)state;
	udp4(290, "999");
	expect_drop("tag");
	assert_null(outcome.route);
	listener.otherwise = (struct action){ACTION_ROUTE, 5009};
	expect_udp("tag", 5009);
	assert_null(outcome.route);
	listener.otherwise = (struct action){ACTION_PASS, 0};
	expect_pass("tag", 5000);
	expect_untouched();
	udp4(290, "601");
	expect_udp("routed", 5002);
	assert_ptr_equal(&exact_routes[1], outcome.route);
}

static void test_innermost_pattern(void **state)
{
	/* Sorted as rules.h says, which is not by size. */
	struct route routes[] = {
		{.pattern = {PATTERN_RANGE, "000", "\xff\xff\xff", "999"}, .port = 1},
		{.pattern = {PATTERN_MASK, "6", "\xff", ""}, .port = 2},
		{.pattern = {PATTERN_RANGE, "600", "\xff\xff\xff", "609"}, .port = 3},
		{.pattern = {PATTERN_EXACT, "605", "\xff\xff\xff", ""}, .port = 4},
	};
	static const struct {
		const char *tag;
		unsigned port;
	} cases[] = {{"605", 4}, {"604", 3}, {"6xx", 2}, {"599", 1}};

	(void)state;
	listener.routes = routes;
	listener.route_count = 4;
	for (size_t i = 0; i < 4; i++) {
		udp4(290, cases[i].tag);
		expect_udp("routed", cases[i].port);
	}
	udp4(290, "59x");
	expect_drop("tag");
	/* 610 is in both 000..999 and 6??: the mask has 65536 tags, the range 1000. */
	routes[1].pattern.mask[1] = 0xff;
	routes[1].pattern.value[1] = '1';
	udp4(290, "610");
	expect_udp("routed", 2);
}

/* Sizes are those of numbers in the base and order of the tag's type. */
static void test_innermost_number(void **state)
{
	struct route routes[] = {
		{.pattern = {PATTERN_RANGE, {0x00, 0x01, 0}, "\xff\xff\xff", {0x00, 0x03, 0}},
		 .port = 1}, /* big 0x000100..0x000300, little 0x000100..0x000300 */
		{.pattern = {PATTERN_RANGE, {0x00, 0x02, 0}, "\xff\xff\xff", {0x00, 0x02, 1}},
		 .port = 2}, /* big 0x000200..0x000201, little 0x000200..0x010200 */
	};

	(void)state;
	listener.tag.type = TAG_UINT;
	listener.routes = routes;
	listener.route_count = 2;
	udp4(290, "");
	frame.bytes[frame.transport + 8 + 21] = 2;
	set_checksum();
	expect_udp("routed", 2);
	listener.tag.order = ORDER_LITTLE;
	expect_udp("routed", 1);
	listener.tag.type = TAG_HEX; /* which knows no order */
	expect_udp("routed", 2);
}

static void test_udp_checksum(void **state)
{
	(void)state;
	udp4(292, "600");
	set16(frame.bytes + frame.transport + 6, 0);
	expect_udp("routed", 5001);
	assert_int_equal(0, at16(result + frame.transport + 6));

	/* The payload that makes the new sum 0xffff, whose complement is written as 0xffff. */
	udp4(292, "600");
	set16(frame.bytes + frame.transport + 2, 5001);
	set_checksum();
	set16(frame.bytes + frame.transport + 8, at16(frame.bytes + frame.transport + 6));
	set16(frame.bytes + frame.transport + 2, 5000);
	set_checksum();
	expect_udp("routed", 5001);
	assert_int_equal(0xffff, at16(result + frame.transport + 6));

	/* A wrong checksum stays as wrong as it was. */
	udp4(292, "600");
	set16(frame.bytes + frame.transport + 6, at16(frame.bytes + frame.transport + 6) - 5);
	expect(VERDICT_PASS, "routed");
	assert_int_equal(0xffff - 5,
			 transport_sum(result, frame.ip, frame.transport, frame.length));
}

/* ---- TCP ---- */

static struct tuple our_tuple(int family)
{
	struct tuple tuple = {.family = family,
			      .source_port = {40000 >> 8, 40000 & 0xff},
			      .destination_port = {5000 >> 8, 5000 & 0xff}};

	memcpy(tuple.source, family == 4 ? CLIENT_V4 : CLIENT_V6, family == 4 ? 4 : 16);
	memcpy(tuple.destination, family == 4 ? OUR_V4 : OUR_V6, family == 4 ? 4 : 16);
	return tuple;
}

static uint32_t cookie(uint32_t isn, unsigned age, uint8_t options)
{
	struct tuple tuple = our_tuple(4);
	uint32_t value;

	assert_int_equal(0, cookie_make(&host, &tuple, isn,
					(situation.now >> COOKIE_WINDOW_NS_LOG2) - age, options,
					&value));
	return value;
}

static const uint8_t TS[12] = {1, 1, 8, 10, 0, 0, 0x11, 0x22, 0, 0, 0, 0};

enum {
	ISN = 0x12345678
};

/* A segment of a client that got its cookie some windows ago. */
static void segment(uint8_t flags, uint32_t seq, unsigned age, size_t length, const char *tag)
{
	ethernet(0x0800);
	ipv4(6, NULL, 0);
	tcp_header(5000, flags, seq, cookie(ISN, age, 0x5d) + 1, NULL, 0);
	message(length, 20, tag);
	finish();
	set_checksum();
}

/* An answer to a frame over IPv4: everything but the TCP header's own fields. */
static const uint8_t *expect_answer(const char *reason, size_t header, uint8_t flags)
{
	size_t ip = frame.ip, tcp = ip + 20;

	expect(VERDICT_TX, reason);
	assert_int_equal(tcp + header, outcome.length);
	assert_memory_equal(CLIENT_MAC, result, 6);
	assert_memory_equal(OUR_MAC, result + 6, 6);
	assert_memory_equal(frame.bytes + 12, result + 12, ip - 12);
	assert_int_equal(0x45, result[ip]);
	assert_int_equal(0, result[ip + 1]);
	assert_int_equal(20 + header, at16(result + ip + 2));
	assert_int_equal(0, at16(result + ip + 4));
	assert_int_equal(0x4000, at16(result + ip + 6));
	assert_int_equal(61, result[ip + 8]);
	assert_memory_equal(OUR_V4, result + ip + 12, 4);
	assert_memory_equal(CLIENT_V4, result + ip + 16, 4);

	uint32_t sum = 0;

	for (size_t i = 0; i < 20; i += 2)
		sum += at16(result + ip + i);
	assert_int_equal(0xffff, (sum & 0xffff) + (sum >> 16));
	assert_int_equal(5000, at16(result + tcp));
	assert_int_equal(40000, at16(result + tcp + 2));
	assert_int_equal(header / 4 << 4, result[tcp + 12]);
	assert_int_equal(flags, result[tcp + 13]);
	assert_int_equal(0, at16(result + tcp + 18));
	assert_int_equal(0xffff, transport_sum(result, ip, tcp, outcome.length));
	return result + tcp;
}

static void test_cookie_vectors(void **state)
{
	struct tuple v4 = our_tuple(4), v6 = our_tuple(6);
	uint32_t value;

	(void)state;
	assert_int_equal(0, cookie_make(&host, &v4, 0x12345678, 0x123456789, 0x5d, &value));
	assert_int_equal(0x16bbf95d, value);
	assert_int_equal(0, cookie_make(&host, &v6, 0xfffffffe, 5, 0xff, &value));
	assert_int_equal(0xd7d5ddff, value);
}

static void test_syn(void **state)
{
	static const uint8_t all[20] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2,
					3, 4, 0,    0,	  0, 0, 1, 3,  3, 9};
	static const uint8_t sack_and_scale[12] = {4, 2, 3, 3, 9, 2, 4, 0x05, 0xb4};
	const uint8_t *tcp;

	(void)state;
	tcp4(SYN | ECE | CWR, ISN, 0, all, sizeof(all));
	tcp = expect_answer("syn", 40, SYN | ACK | ECE);
	assert_int_equal(cookie(ISN, 0, COOKIE_ECN | COOKIE_SACK | 9 << 2 | 2), at32(tcp + 4));
	assert_int_equal(ISN + 1, at32(tcp + 8));
	assert_int_equal(60000, at16(tcp + 14));
	assert_memory_equal(((uint8_t[]){2, 4, 1460 >> 8, 1460 & 0xff, 4, 2, 8, 10}), tcp + 20, 8);
	assert_int_equal((uint32_t)(situation.now / MS), at32(tcp + 28));
	assert_int_equal(0x01020304, at32(tcp + 32));
	assert_memory_equal(((uint8_t[]){1, 3, 3, 7}), tcp + 36, 4);

	/* Offered by us, but not by the client. */
	tcp4(SYN | ECE, ISN, 0, NULL, 0);
	tcp = expect_answer("syn", 20, SYN | ACK);
	assert_int_equal(cookie(ISN, 0, 15 << 2), at32(tcp + 4));

	/* Each in a word of its own where there are no timestamps. */
	tcp4(SYN, ISN, 0, sack_and_scale, sizeof(sack_and_scale));
	tcp = expect_answer("syn", 32, SYN | ACK);
	assert_int_equal(cookie(ISN, 0, COOKIE_SACK | 9 << 2 | 2), at32(tcp + 4));
	assert_memory_equal(((uint8_t[]){2, 4, 1460 >> 8, 1460 & 0xff, 1, 1, 4, 2, 1, 3, 3, 7}),
			    tcp + 20, 12);

	/* Offered by the client, but not by us. */
	host.sack = host.timestamps = host.ecn = false;
	host.window_scale = 255;
	tcp4(SYN | ECE | CWR, ISN, 0, all, sizeof(all));
	tcp = expect_answer("syn", 24, SYN | ACK);
	assert_int_equal(cookie(ISN, 0, 15 << 2 | 2), at32(tcp + 4));
	assert_memory_equal(((uint8_t[]){2, 4, 1460 >> 8, 1460 & 0xff}), tcp + 20, 4);
}

static void test_syn_mss(void **state)
{
	static const struct {
		unsigned mss, v4, v6;
	} cases[] = {{0, 0, 0},	   {535, 0, 0},	 {536, 0, 0},  {1219, 0, 0}, {1220, 0, 0},
		     {1299, 0, 0}, {1300, 1, 0}, {1379, 1, 0}, {1380, 1, 1}, {1439, 1, 1},
		     {1440, 1, 2}, {1459, 1, 2}, {1460, 2, 2}, {8939, 2, 2}, {8940, 2, 3},
		     {8959, 2, 3}, {8960, 3, 3}, {65535, 3, 3}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint8_t mss[4] = {2, 4, cases[i].mss >> 8, cases[i].mss & 0xff};

		tcp4(SYN, ISN, 0, mss, 4);
		expect(VERDICT_TX, "syn");
		assert_int_equal(cases[i].v4, result[14 + 20 + 7] & 3);
		tcp6(SYN, ISN, 0, mss, 4);
		expect(VERDICT_TX, "syn");
		assert_int_equal(cases[i].v6, result[14 + 40 + 7] & 3);
	}
	tcp6(SYN, ISN, 0, NULL, 0);
	expect(VERDICT_TX, "syn");
	assert_int_equal(0, result[14 + 40 + 7] & 3);
}

static void test_syn_options(void **state)
{
	static const struct {
		uint8_t bytes[12];
		uint8_t cookie; /* its option bits */
	} cases[] = {
		{{1, 1, 3, 3, 14, 4, 2}, COOKIE_SACK | 14 << 2},
		{{3, 3, 15, 0}, 14 << 2},
		{{3, 3, 255, 3, 3, 2}, 2 << 2},		     /* the last one counts */
		{{0, 4, 2, 3, 3, 1}, 15 << 2},		     /* behind the end */
		{{4, 1, 3, 3, 1}, 15 << 2},		     /* too short */
		{{3, 4, 1, 1, 4, 2}, COOKIE_SACK | 15 << 2}, /* of another length: skipped */
		{{30, 11, 3, 3, 1, 4, 2}, 15 << 2},	     /* unknown, skipped */
		{{30, 5, 3, 3, 1, 4, 2}, COOKIE_SACK | 15 << 2},
		{{30, 2, 30, 3, 1, 30, 4, 35, 200}, 15 << 2},	 /* of lengths that others have */
		{{4, 3, 2, 2, 5, 8, 4, 5, 100}, 15 << 2},	 /* of kinds that others have */
		{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 3}, 15 << 2}, /* beyond the header */
		{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4}, 15 << 2}, /* its length too */
		{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4, 2}, COOKIE_SACK | 15 << 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		tcp4(SYN, ISN, 0, cases[i].bytes, 12);
		expect(VERDICT_TX, "syn");
		assert_int_equal(cases[i].cookie, result[14 + 20 + 7]);
	}
}

static void test_syn_answer_headers(void **state)
{
	(void)state;
	/* IPv4 options go, VLAN tags stay, a known neighbour is the next hop. */
	ethernet(0x0800);
	vlan(0x8100, 0x6005);
	ipv4(6, (uint8_t[4]){1, 1, 1, 1}, 4);
	tcp_header(5000, SYN, ISN, 0, NULL, 0);
	add_zeros(6);
	finish();
	expect_answer("syn", 20, SYN | ACK);

	/* So do IPv6 extension headers; the flow label stays. */
	reset_state(NULL);
	ethernet(0x86dd);
	ipv6(60);
	extension(6, 1);
	tcp_header(5000, SYN, ISN, 0, (uint8_t[]){2, 4, 2, 0}, 4);
	finish();
	host.redirect = true;
	expect(VERDICT_REDIRECT, "syn");
	assert_int_equal(14 + 40 + 24, outcome.length);
	assert_int_equal(0x60012345, at32(result + 14));
	assert_int_equal(24, at16(result + 18));
	assert_int_equal(6, result[20]);
	assert_int_equal(62, result[21]);
	assert_memory_equal(OUR_V6, result + 22, 16);
	assert_memory_equal(CLIENT_V6, result + 38, 16);
	assert_int_equal(0xffff, transport_sum(result, 14, 54, outcome.length));
	assert_int_equal(1440, at16(result + 54 + 22));
}

static void test_way_back(void **state)
{
	static const uint8_t hop[6] = {2, 0, 0, 0, 0, 0x33};

	(void)state;
	situation.way_back.neighbour_known = true;
	memcpy(situation.way_back.next_hop, hop, 6);
	tcp4(SYN, ISN, 0, NULL, 0);
	expect(VERDICT_TX, "syn");
	assert_memory_equal(hop, result, 6);
	assert_memory_equal(OUR_MAC, result + 6, 6);
	situation.way_back.other_interface = true;
	expect_drop("no-way-back");
	tcp6(SYN, ISN, 0, NULL, 0);
	expect_drop("no-way-back");

	/* Not asked: link-local, and VLAN tags. */
	memcpy(frame.bytes + frame.ip + 8, (uint8_t[]){0xfe, 0x80}, 2);
	expect(VERDICT_TX, "syn");
	assert_memory_equal(CLIENT_MAC, result, 6);
	frame.bytes[frame.ip + 9] = 0xbf;
	expect(VERDICT_TX, "syn");
	frame.bytes[frame.ip + 9] = 0xc0;
	expect_drop("no-way-back");
	memcpy(frame.bytes + frame.ip + 8, (uint8_t[]){0x20, 0x80}, 2);
	expect_drop("no-way-back");
	ethernet(0x0800);
	vlan(0x8100, 5);
	ipv4(6, NULL, 0);
	tcp_header(5000, SYN, ISN, 0, NULL, 0);
	finish();
	expect_answer("syn", 20, SYN | ACK);

	/* Nor for anything but a SYN. */
	segment(ACK, ISN, 0, 0, "");
	expect_answer("keepalive", 20, ACK);
}

static void test_unset_constants(void **state)
{
	const uint8_t *tcp;

	(void)state;
	host.mss_v4 = host.mss_v6 = host.window = 0;
	host.ttl = host.hop_limit = host.window_scale = 0;
	tcp4(SYN, ISN, 0, (uint8_t[]){3, 3, 5, 2, 4, 2, 0, 0}, 8);
	expect(VERDICT_TX, "syn");
	tcp = result + 34;
	assert_int_equal(64, result[14 + 8]);
	assert_int_equal(65535, at16(tcp + 14));
	assert_int_equal(536, at16(tcp + 22));
	assert_memory_equal(((uint8_t[]){1, 3, 3, 0}), tcp + 24, 4);
	tcp6(SYN, ISN, 0, (uint8_t[]){2, 4, 2, 0}, 4);
	expect(VERDICT_TX, "syn");
	assert_int_equal(64, result[14 + 7]);
	assert_int_equal(1220, at16(result + 54 + 22));
	host.key[0] = 0; /* half a key is one */
	expect(VERDICT_TX, "syn");
	host.key[1] = 0;
	expect_drop("no-key");
	tcp4(RST, ISN, 0, NULL, 0);
	expect_drop("no-key");
	situation.socket.state = SOCKET_LIVE;
	expect_pass("established", 0);
	expect_untouched();
}

static void test_stray(void **state)
{
	static const uint8_t flags[] = {0,
					RST,
					RST | ACK,
					FIN,
					SYN | ACK,
					SYN | FIN,
					SYN | RST,
					PSH,
					ACK,
					SYN | ACK | FIN,
					FIN | ACK | PSH};

	(void)state;
	for (size_t i = 0; i < sizeof(flags); i++) {
		tcp4(flags[i], ISN, 77, NULL, 0);
		expect_drop("stray");
		situation.socket.state = SOCKET_LIVE;
		expect_pass("established", 0);
		situation.socket.state = SOCKET_TIME_WAIT;
		expect_pass("established", 0);
		situation.socket.state = SOCKET_NONE;
	}
	/* Flags with a right cookie. */
	segment(RST | ACK, ISN + 1, 0, 290, "600");
	expect_drop("stray");
	segment(SYN | ACK, ISN + 1, 0, 290, "600");
	expect_drop("stray");
	segment(PSH, ISN + 1, 0, 290, "600");
	expect_drop("stray");
	situation.socket.state = SOCKET_LIVE;
	tcp4(SYN, ISN, 0, NULL, 0);
	expect_pass("established", 0);
}

static void test_first_segment(void **state)
{
	(void)state;
	segment(ACK | PSH, ISN + 1, 0, 290, "601");
	expect_pass("routed", 5002);
	assert_ptr_equal(&exact_routes[1], outcome.route);
	expect_untouched();
	segment(ACK | FIN, ISN + 1, 1, 290, "600");
	expect_pass("routed", 5001);
	segment(ACK, ISN + 2, 0, 290, "600");
	expect_drop("stray");
	segment(ACK, ISN + 1, 0, 290, "600");
	frame.bytes[frame.transport + 8] ^= 0x80;
	expect_drop("stray");
	segment(ACK, ISN + 1, 0, 290, "600");
	frame.bytes[frame.transport] ^= 1; /* another tuple */
	expect_drop("stray");
	/* The three counter bits, so also an hour ago. */
	segment(ACK, ISN + 1, 8, 290, "600");
	expect_drop("stray");
}

static void test_binding(void **state)
{
	static const uint8_t timestamps[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};

	(void)state;
	segment(ACK, ISN + 1, 0, 290, "600"); /* cookie 0x5d: SACK, scale 7, MSS 1 */
	expect_pass("routed", 5001);
	assert_true(outcome.binds);
	assert_int_equal(ISN, outcome.binding.isn);
	assert_int_equal(1300, outcome.binding.mss);
	assert_true(outcome.binding.scaling);
	assert_int_equal(7, outcome.binding.client_scale);
	assert_int_equal(7, outcome.binding.server_scale);
	assert_true(outcome.binding.sack);
	assert_false(outcome.binding.ecn);
	assert_false(outcome.binding.timestamps);
	assert_int_equal(20 + 20 + 290, outcome.bytes);

	ethernet(0x0800);
	ipv4(6, NULL, 0);
	tcp_header(5000, ACK, ISN + 1, cookie(ISN, 1, COOKIE_ECN | 15 << 2 | 3) + 1, timestamps,
		   sizeof(timestamps));
	message(290, 20, "600");
	finish();
	expect_pass("routed", 5001);
	assert_int_equal(8960, outcome.binding.mss);
	assert_false(outcome.binding.scaling);
	assert_false(outcome.binding.sack);
	assert_true(outcome.binding.ecn);
	assert_true(outcome.binding.timestamps);
	assert_int_equal(0x01020304, outcome.binding.tsval);
	assert_int_equal(0x05060708, outcome.binding.tsecr);
	host.timestamps = false;
	expect_pass("routed", 5001);
	assert_false(outcome.binding.timestamps);
	segment(ACK, ISN + 1, 0, 0, "");
	expect_drop("handshake");
	assert_false(outcome.binds);
}

static void test_refused_first_segment(void **state)
{
	const uint8_t *tcp;

	(void)state;
	segment(ACK, ISN + 1, 0, 290, "999");
	tcp = expect_answer("tag", 20, RST);
	assert_int_equal(cookie(ISN, 0, 0x5d) + 1, at32(tcp + 4));
	assert_int_equal(0, at32(tcp + 8));
	assert_int_equal(0, at16(tcp + 14));
	listener.reset = false;
	expect_drop("tag");
	listener.otherwise.kind = ACTION_PASS;
	expect_pass("tag", 5000);
	expect_untouched();
	segment(ACK, ISN + 1, 0, 289, "600");
	expect_drop("length");
}

static void test_first_segment_lengths(void **state)
{
	(void)state;
	listener.length_min = 100;
	listener.length_max = 130;
	for (size_t length = 1; length < 600; length++) {
		bool fits = (length >= 100 && length <= 130) || (length >= 200 && length <= 260) ||
			    (length >= 300 && length <= 390) || length >= 400;

		segment(ACK, ISN + 1, 0, length, "600");
		if (fits)
			expect_pass("routed", 5001);
		else
			expect_answer("length", 20, RST);
	}
	/* A long one need not be whole, but must hold what is looked at. */
	listener.length_min = listener.length_max = 3000;
	listener.tag.offset = 400;
	struct require require = {.offset = 596, .length = 4, .mask = {0xff}};
	listener.requires = &require;
	listener.require_count = 1;
	segment(ACK, ISN + 1, 0, 495, "");
	expect_answer("length", 20, RST);
	segment(ACK, ISN + 1, 0, 599, "");
	expect_answer("length", 20, RST);
	segment(ACK, ISN + 1, 0, 600, "");
	expect_answer("tag", 20, RST);
	memcpy(frame.bytes + frame.transport + 20 + 400, "600", 3);
	expect_pass("routed", 5001);
	listener.require_count = 0;
	segment(ACK, ISN + 1, 0, 496, "");
	expect_answer("tag", 20, RST);
}

static void test_handshake_and_close(void **state)
{
	const uint8_t *tcp;

	(void)state;
	segment(ACK, ISN + 1, 1, 0, "");
	expect_drop("handshake");
	segment(FIN | ACK, ISN + 1, 0, 0, "");
	tcp = expect_answer("close", 20, FIN | ACK);
	assert_int_equal(cookie(ISN, 0, 0x5d) + 1, at32(tcp + 4));
	assert_int_equal(ISN + 2, at32(tcp + 8));
	assert_int_equal(60000 >> 7, at16(tcp + 14));
	tcp4(FIN | ACK, ISN + 1, cookie(ISN, 0, 15 << 2 | 3) + 1, NULL, 0);
	tcp = expect_answer("close", 20, FIN | ACK);
	assert_int_equal(60000, at16(tcp + 14));
}

static void test_keepalive(void **state)
{
	const uint8_t *tcp;

	(void)state;
	for (size_t length = 0; length <= 1; length++) {
		segment(ACK, ISN, length, length, "");
		tcp = expect_answer("keepalive", 20, ACK);
		assert_int_equal(cookie(ISN, length, 0x5d) + 1, at32(tcp + 4));
		assert_int_equal(ISN + 1, at32(tcp + 8));
		assert_int_equal(60000 >> 7, at16(tcp + 14));
	}
	segment(ACK, ISN, 0, 2, "");
	expect_drop("stray");
	host.window = 100;
	segment(ACK, ISN, 0, 0, "");
	tcp = expect_answer("keepalive", 20, ACK);
	assert_int_equal(1, at16(tcp + 14));

	/* No scaling in force; a timestamp is answered. */
	tcp4(ACK, ISN, cookie(ISN, 0, 15 << 2 | 3) + 1, TS, sizeof(TS));
	host.window = 60000;
	tcp = expect_answer("keepalive", 32, ACK);
	assert_int_equal(60000, at16(tcp + 14));
	assert_memory_equal(TS, tcp + 20, 4);
	assert_int_equal((uint32_t)(situation.now / MS), at32(tcp + 24));
	assert_int_equal(0x1122, at32(tcp + 28));
	host.timestamps = false;
	expect_answer("keepalive", 20, ACK);
	host.timestamps = true;
	tcp4(ACK, ISN, cookie(ISN, 0, 15 << 2) + 1, (uint8_t[12]){30, 10}, 12);
	expect_answer("keepalive", 20, ACK); /* another option of the same length */
}

static void test_late(void **state)
{
	(void)state;
	for (unsigned age = 2; age < 8; age++) {
		segment(ACK, ISN + 1, age, 290, "600");
		expect_answer("late", 20, RST);
		segment(ACK, ISN + 1, age, 0, "");
		expect_answer("late", 20, RST);
		segment(FIN | ACK, ISN + 1, age, 0, "");
		expect_answer("late", 20, RST);
		segment(ACK, ISN, age, 1, "");
		expect_answer("late", 20, RST);
		segment(ACK, ISN, age, 2, "");
		expect_drop("stray");
		segment(RST | ACK, ISN + 1, age, 0, "");
		expect_drop("stray");
	}
}

static void test_pending(void **state)
{
	(void)state;
	situation.pending.present = true;
	situation.pending.isn = ISN;
	situation.pending.bound = situation.now - 199 * MS;
	segment(ACK, ISN + 291, 0, 290, "???");
	expect_pass("pending", 0);
	expect_untouched();
	segment(ACK, ISN + 1, 5, 290, "600"); /* the newer connection may still be in the making */
	expect_pass("pending", 0);
	tcp4(RST, ISN, 0, NULL, 0);
	expect_drop("stray");
	situation.pending.bound = situation.now - 200 * MS;
	segment(ACK, ISN + 291, 0, 290, "???");
	expect_drop("stray");
	segment(ACK, ISN + 1, 5, 290, "600");
	expect_answer("late", 20, RST);
}

static void test_copy_of_first_segment(void **state)
{
	(void)state;
	situation.pending.present = true;
	situation.pending.isn = ISN;
	situation.pending.bound = situation.now - 199 * MS;
	segment(ACK, ISN + 1, 0, 290, "600");
	expect_pass("pending", 0);
	assert_false(outcome.binds);
	expect_untouched();
	situation.pending.bound = 0; /* long ago */
	expect_pass("pending", 0);
	situation.pending.isn = ISN + 1; /* another connection of the same tuple */
	expect_pass("routed", 5001);
	situation.pending.isn = ISN;
	segment(ACK, ISN + 1, 0, 0, "");
	expect_drop("handshake");
}

static void test_impossible_sources(void **state)
{
	static const uint8_t ipv4[][4] = {{0, 1, 2, 3},	  {127, 0, 0, 1},	{224, 0, 0, 1},
					  {240, 1, 1, 1}, {255, 255, 255, 255}, {192, 0, 2, 1}};
	static const uint8_t fine[][4] = {{1, 0, 0, 0},
					  {126, 255, 255, 255},
					  {128, 0, 0, 1},
					  {223, 255, 255, 255},
					  {192, 0, 2, 2}};
	static const uint8_t ipv6[][16] = {
		{0}, {[15] = 1}, {0xff, 2, [15] = 1}, {0x20, 1, 0xd, 0xb8, [15] = 1}};
	static const uint8_t fine6[][16] = {{[15] = 2}, {[0] = 0xfe, [15] = 1}, {[14] = 1}};

	(void)state;
	tcp4(SYN, ISN, 0, NULL, 0);
	for (size_t i = 0; i < sizeof(ipv4) / sizeof(*ipv4); i++) {
		memcpy(frame.bytes + frame.ip + 12, ipv4[i], 4);
		expect_drop("stray");
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		memcpy(frame.bytes + frame.ip + 12, fine[i], 4);
		expect(VERDICT_TX, "syn");
	}
	tcp6(SYN, ISN, 0, NULL, 0);
	for (size_t i = 0; i < sizeof(ipv6) / sizeof(*ipv6); i++) {
		memcpy(frame.bytes + frame.ip + 8, ipv6[i], 16);
		expect_drop("stray");
	}
	for (size_t i = 0; i < sizeof(fine6) / sizeof(*fine6); i++) {
		memcpy(frame.bytes + frame.ip + 8, fine6[i], 16);
		expect(VERDICT_TX, "syn");
	}
}

static void test_time_wait(void **state)
{
	(void)state;
	situation.socket.state = SOCKET_TIME_WAIT;
	situation.socket.rcv_nxt = 0x80001234;

	/* A SYN: newer by sequence, */
	tcp4(SYN, 0x80001235, 0, NULL, 0);
	expect(VERDICT_TX, "syn");
	tcp4(SYN, 0x80001234, 0, NULL, 0);
	expect_pass("established", 0);
	tcp4(SYN, 0x00001233, 0, NULL, 0);
	expect(VERDICT_TX, "syn");
	/* or by timestamp. */
	tcp4(SYN, 0x80001234, 0, TS, sizeof(TS));
	situation.socket.ts_recent = 0x1121;
	expect(VERDICT_TX, "syn");
	situation.socket.ts_recent = 0; /* it had none */
	expect_pass("established", 0);
	situation.socket.ts_recent = 0x1122;
	expect_pass("established", 0);

	/* The first data ends the state, by a RST to ourselves. */
	segment(ACK | PSH, ISN + 1, 0, 290, "600");
	expect_pass("time-wait", 0);
	assert_null(outcome.route);
	assert_int_equal(frame.length, outcome.length);
	assert_int_equal(0x80001234, at32(result + 34 + 4));
	assert_memory_equal(frame.bytes + 34 + 8, result + 34 + 8, 4);
	assert_int_equal(0x5004, at16(result + 34 + 12));
	assert_memory_equal(frame.bytes + 34 + 18, result + 34 + 18, frame.length - 34 - 18);
	assert_int_equal(0xffff, transport_sum(result, 14, 34, frame.length));
	situation.pending.present = true;
	situation.pending.isn = ISN;
	expect_pass("pending", 0);
	expect_untouched();
	situation.pending.present = false;

	/* Garbage is refused, and everything else is the kernel's. */
	segment(ACK, ISN + 1, 0, 290, "999");
	expect_answer("tag", 20, RST);
	segment(ACK, ISN + 1, 2, 290, "600");
	expect_pass("established", 0);
	segment(ACK, ISN, 2, 0, "");
	expect_pass("established", 0);
	segment(ACK, ISN + 1, 0, 0, "");
	expect_drop("handshake");
	segment(ACK | FIN, ISN + 1, 0, 0, "");
	expect_answer("close", 20, FIN | ACK);
	segment(ACK, ISN, 0, 1, "");
	expect_answer("keepalive", 20, ACK);
	situation.pending.present = true;
	situation.pending.bound = situation.now;
	segment(ACK, ISN + 291, 0, 290, "600");
	expect_pass("established", 0);
	segment(RST | ACK, ISN + 1, 0, 290, "600");
	expect_pass("established", 0);
	expect_untouched();
}

#define TEST(name) cmocka_unit_test_setup(name, reset_state)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_truncated_frames),
		TEST(test_truncated_extension_headers),
		TEST(test_other_types),
		TEST(test_other_protocols_and_ports),
		TEST(test_foreign_mac),
		TEST(test_foreign_address),
		TEST(test_addresses),
		TEST(test_vlan_tags),
		TEST(test_ipv4_headers),
		TEST(test_ipv6_extension_headers),
		TEST(test_ipv4_fragments),
		TEST(test_ipv6_fragments),
		TEST(test_padding),
		TEST(test_contradicting_lengths),
		TEST(test_length_window),
		TEST(test_require),
		TEST(test_otherwise),
		TEST(test_innermost_pattern),
		TEST(test_innermost_number),
		TEST(test_udp_checksum),
		TEST(test_cookie_vectors),
		TEST(test_syn),
		TEST(test_syn_mss),
		TEST(test_syn_options),
		TEST(test_syn_answer_headers),
		TEST(test_way_back),
		TEST(test_unset_constants),
		TEST(test_stray),
		TEST(test_first_segment),
		TEST(test_binding),
		TEST(test_refused_first_segment),
		TEST(test_first_segment_lengths),
		TEST(test_handshake_and_close),
		TEST(test_keepalive),
		TEST(test_late),
		TEST(test_pending),
		TEST(test_copy_of_first_segment),
		TEST(test_impossible_sources),
		TEST(test_time_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
