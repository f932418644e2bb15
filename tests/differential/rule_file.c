/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random rule files: every key of the language, every type of tag, tables from one tag to
 * thousands, several listeners that share ports by protocol or address. They are text, so that the
 * real front end reads them, and they are right, so that one that it refuses is a finding.
 */
#include <stdlib.h>
#include <string.h>

#include "../../compiler/rules.h"
#include "random.h"
#include "rule_file.h"

enum {
	LISTENERS = 8, /* at most */
	PORT_STRIDE = LISTENERS,
	PATTERNS_MAX = 300, /* of a listener with ranges or '?' */
	TEXT_MAX = 4 * TAG_MAX,
};

/* What the parts of one listener have to know of each other. */
struct draft {
	struct random *random;
	FILE *out;
	bool patterns;
	unsigned number;	   /* of the listener */
	unsigned port, first_port; /* its listen port, and the first listener's */
	bool shared;		   /* the listen port, with others */
	bool alone;		   /* in its rule file */
	unsigned protocols;
	enum tag_type type;
	enum tag_order order;
	uint32_t tag_offset, tag_length;
	uint32_t end;	   /* of the last byte that is looked at */
	uint64_t constant; /* what all of its tags have in common, where they are long */
};

#define DIGITS "0123456789"

static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
/* Printable, but for what makes a pattern. */
static const char PRINTABLE[] = " !\"#$%&'()*+,-/0123456789:;<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				"[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";

static bool is_listen_port(const struct draft *draft, unsigned port)
{
	return (uint16_t)(port - draft->first_port) <= LISTENERS;
}

/*
 * Backend ports of different listeners differ, so that any mode of replies is possible, and none is
 * another's listen port. A listener may lead to its own.
 */
static unsigned backend_port(const struct draft *draft)
{
	unsigned port;

	if (!draft->shared && random_chance(draft->random, 2))
		return draft->port;
	do
		port = (unsigned)random_below(draft->random, 65536 / PORT_STRIDE) * PORT_STRIDE +
		       draft->number;
	while (!port || is_listen_port(draft, port));
	return port;
}

static void write_quoted(FILE *out, const char *text)
{
	putc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('"', out);
}

static void write_route(const struct draft *draft, const char *text)
{
	bool plain = strlen(text) == strspn(text, DIGITS) && random_chance(draft->random, 50);

	fputs("      ", draft->out);
	if (plain)
		fputs(text, draft->out);
	else
		write_quoted(draft->out, text);
	fprintf(draft->out, ": %u\n", backend_port(draft));
}

/* ---- Tags as numbers ---- */

/*
 * Long tags are a random constant, the listener's own, before a number of 62 bits at most: the
 * last `significant` symbols, bytes of a uint, nibbles of hex or characters of text.
 */
struct space {
	const char *alphabet;
	uint64_t base, size;
	uint32_t symbols, significant;
};

static struct space tag_space(const struct draft *draft, const char *alphabet)
{
	struct space space = {.alphabet = alphabet, .size = 1, .symbols = draft->tag_length};

	if (draft->type == TAG_HEX) {
		space.alphabet =
			random_chance(draft->random, 50) ? DIGITS "abcdef" : DIGITS "ABCDEF";
		space.symbols *= 2;
	}
	space.base = draft->type == TAG_UINT ? 256 : strlen(space.alphabet);
	while (space.significant < space.symbols && space.size <= (1ull << 62) / space.base) {
		space.size *= space.base;
		space.significant++;
	}
	return space;
}

static uint64_t constant_symbol(const struct draft *draft, const struct space *space, uint32_t at)
{
	return (draft->constant >> at % 56) % space->base;
}

/* The tag that stands for a number, as a rule file has it. */
static void tag_text(const struct draft *draft, const struct space *space, uint64_t number,
		     char text[TEXT_MAX])
{
	if (draft->type == TAG_UINT) {
		if (space->significant < space->symbols)
			number |= constant_symbol(draft, space, 0) << 56;
		snprintf(text, TEXT_MAX, random_chance(draft->random, 80) ? "%lu" : "0x%lx",
			 (unsigned long)number);
		return;
	}
	for (uint32_t i = space->symbols; i-- > 0;) {
		uint64_t symbol = number % space->base;

		if (i < space->symbols - space->significant)
			symbol = constant_symbol(draft, space, i);
		text[i] = space->alphabet[symbol];
		number /= space->base;
	}
	text[space->symbols] = '\0';
}

/* ---- Route tables ---- */

static void write_exact_routes(const struct draft *draft, size_t count)
{
	static const char *const alphabets[] = {DIGITS, DIGITS, LETTERS, PRINTABLE};
	const char *alphabet = RANDOM_OF(draft->random, alphabets);
	struct space space = tag_space(draft, alphabet);
	char text[TEXT_MAX];

	if (count > space.size)
		count = space.size;

	/* A step that has no factor in common with any base, so that no tag comes twice. */
	uint64_t start = random_below(draft->random, space.size), step = 1;

	if (random_chance(draft->random, 60)) {
		do
			step = random_u64(draft->random) >> 2 | 1;
		while (step % 5 == 0 || step % 13 == 0 || step % strlen(PRINTABLE) == 0 ||
		       step % 3 == 0 || step % 31 == 0);
	}
	for (size_t i = 0; i < count; i++) {
		tag_text(draft, &space,
			 (uint64_t)(((unsigned __int128)step * i + start) % space.size), text);
		write_route(draft, text);
	}
}

static void write_range(const struct draft *draft, const struct space *space, uint64_t first,
			uint64_t last)
{
	char from[TEXT_MAX], to[TEXT_MAX], text[2 * TEXT_MAX + 2];

	tag_text(draft, space, first, from);
	tag_text(draft, space, last, to);
	snprintf(text, sizeof(text), first == last ? "%s" : "%s..%s", from, to);
	write_route(draft, text);
}

/* Ranges and single tags inside first..last, apart or one inside the other, at most *left. */
static void write_ranges(const struct draft *draft, const struct space *space, uint64_t first,
			 uint64_t last, size_t *left, int depth)
{
	struct random *random = draft->random;
	uint64_t at = first;

	while (*left && at <= last) {
		uint64_t width = (last - first) / (1 + random_below(random, 6));
		uint64_t low = at + random_below(random, width / 2 + 1), high;

		if (random_chance(random, 30))
			low = at;
		high = low + (random_chance(random, 40) ? 0 : random_below(random, width + 1));
		if (low > last)
			return;
		if (high > last)
			high = last;
		if (low == first && high == last && depth)
			return; /* the one around it */
		write_range(draft, space, low, high);
		--*left;
		if (high - low > 1 && depth < 3 && random_chance(random, 50))
			write_ranges(draft, space, low, high, left, depth + 1);
		at = high + 1;
	}
}

/* Tags with '?' at the same places, or at the end only, and tags without. */
static void write_masks(const struct draft *draft, size_t count)
{
	struct random *random = draft->random;
	static char seen[PATTERNS_MAX][TEXT_MAX];
	const char *alphabet = random_chance(random, 50) ? DIGITS : LETTERS;
	struct space space = tag_space(draft, alphabet);
	uint64_t places = random_u64(random);
	bool suffixes = random_chance(random, 50);
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		char *text = seen[kept];
		bool known = false;

		tag_text(draft, &space, random_below(random, space.size), text);

		size_t length = strlen(text), from = random_below(random, length + 1);

		for (size_t j = 0; j < length && random_chance(random, suffixes ? 100 : 60); j++)
			if (suffixes ? j >= from : places >> j % 64 & 1)
				text[j] = '?';
		/* Either all of the places or none. */
		if (!suffixes && strchr(text, '?'))
			for (size_t j = 0; j < length; j++)
				if (places >> j % 64 & 1)
					text[j] = '?';
		for (size_t j = 0; j < kept && !known; j++)
			known = !strcmp(seen[j], text);
		if (known)
			continue;
		write_route(draft, text);
		kept++;
	}
}

static void write_routes(const struct draft *draft)
{
	struct random *random = draft->random;
	unsigned kind = (unsigned)random_below(random, 100);
	size_t count = kind < 10   ? 1
		       : kind < 55 ? random_between(random, 2, 8)
		       : kind < 80 ? random_between(random, 9, 64)
		       : kind < 92 ? random_between(random, 65, 300)
		       : kind < 98 ? random_between(random, 301, 1500)
				   : random_between(random, 1501, 6000);
	unsigned patterns = (unsigned)random_below(random, 100);

	fputs("    routes:\n", draft->out);
	if (patterns < 60 || !draft->patterns) {
		write_exact_routes(draft, count);
		return;
	}
	if (count > PATTERNS_MAX)
		count = PATTERNS_MAX;
	if (draft->type == TAG_UINT || patterns < 80) {
		struct space space = tag_space(draft, DIGITS);

		write_ranges(draft, &space, 0, space.size - 1, &count, 0);
	} else {
		write_masks(draft, count);
	}
}

/* ---- The other keys of a listener ---- */

/* How far into the payload the tag may stand. */
static uint32_t random_offset(const struct draft *draft)
{
	struct random *random = draft->random;
	unsigned kind = (unsigned)random_below(random, 100);

	if (kind < 55)
		return (uint32_t)random_below(random, 64);
	if (kind < 80)
		return (uint32_t)random_below(random, 440);
	if (kind < 90)
		return (uint32_t)random_between(random, 440, 530);
	if (draft->protocols & PROTOCOL_TCP)
		return (uint32_t)random_between(random, 530, FIRST_SEGMENT_MAX - 2 * TAG_MAX);
	if (kind < 98)
		return (uint32_t)random_between(random, 530, 9000);
	return (uint32_t)random_between(random, 9000, 60000);
}

static void write_tag(struct draft *draft)
{
	struct random *random = draft->random;
	static const uint32_t lengths[] = {1, 2, 3, 3,	3,  4,	4,  5,	6,  7,
					   8, 8, 9, 12, 15, 16, 17, 24, 31, 32};

	draft->type = (enum tag_type)random_below(random, 3);
	draft->tag_length = RANDOM_OF(random, lengths);
	draft->order = random_chance(random, 50) ? ORDER_LITTLE : ORDER_BIG;
	if (draft->type == TAG_UINT)
		draft->tag_length = (uint32_t)random_between(random, 1, TAG_UINT_MAX);
	draft->tag_offset = random_offset(draft);
	draft->end = draft->tag_offset + draft->tag_length;
	fprintf(draft->out, "    tag:\n      offset: %u\n", draft->tag_offset);
	if (draft->type == TAG_HEX)
		fputs("      type: hex\n", draft->out);
	if (draft->type == TAG_UINT)
		fprintf(draft->out, "      type: uint\n      order: %s\n",
			draft->order == ORDER_LITTLE ? "little" : "big");
	if (draft->type == TAG_UINT || random_chance(random, 20))
		fprintf(draft->out, "      length: %u\n", draft->tag_length);
}

static void write_hex(const struct draft *draft, const uint8_t *bytes, size_t length)
{
	putc('"', draft->out);
	for (size_t i = 0; i < length; i++)
		fprintf(draft->out, "%02x", bytes[i]);
	putc('"', draft->out);
}

/*
 * Requires may overlap each other where they agree, so all of them are cut out of one random
 * message. They keep off the tag, whose bytes are the routes'.
 */
static void write_requires(struct draft *draft)
{
	struct random *random = draft->random;
	uint64_t message = random_u64(random);
	size_t count = random_between(random, 1, random_chance(random, 20) ? REQUIRES_MAX : 4);

	fputs("    require:\n", draft->out);
	for (size_t i = 0; i < count; i++) {
		uint32_t length = (uint32_t)random_between(random, 1,
							   random_chance(random, 20) ? TAG_MAX : 4);
		uint32_t offset = random_offset(draft);
		uint8_t bytes[TAG_MAX], mask[TAG_MAX];
		bool masked = random_chance(random, 40);

		if (random_chance(random, 20))
			offset = draft->tag_offset + draft->tag_length; /* next to the tag */
		if (offset < draft->tag_offset + draft->tag_length &&
		    offset + length > draft->tag_offset)
			offset = draft->tag_offset + draft->tag_length;
		for (uint32_t j = 0; j < length; j++) {
			mask[j] = (uint8_t)(masked ? random_u64(random) : 0xff);
			bytes[j] = (uint8_t)(message >> (offset + j) % 57) & mask[j];
		}
		if (masked && !mask[0])
			mask[0] = bytes[0] = 0x80;
		if (mask[0] == 0x80 && masked)
			bytes[0] = (uint8_t)(message >> offset % 57) & 0x80;
		fprintf(draft->out, "      - {offset: %u, bytes: ", offset);
		write_hex(draft, bytes, length);
		if (masked) {
			fputs(", mask: ", draft->out);
			write_hex(draft, mask, length);
		}
		fputs("}\n", draft->out);
		if (offset + length > draft->end)
			draft->end = offset + length;
	}
}

static void write_length(const struct draft *draft)
{
	struct random *random = draft->random;
	uint32_t min = draft->end, max;

	if (random_chance(random, 70))
		min += (uint32_t)random_below(random, min < 1000 ? 60 : 1000);
	if (random_chance(random, 10) && min < 4000)
		min += 3000;
	max = min;
	if (random_chance(random, 75))
		max += (uint32_t)random_below(random, random_chance(random, 80) ? 20 : 3000);
	if (random_chance(random, 3))
		max = PAYLOAD_MAX;
	if (min == max)
		fprintf(draft->out, "    length: %u\n", min);
	else
		fprintf(draft->out, "    length: %u..%u\n", min, max);
}

/* Of a listener that is alone: any prefix, down to all addresses. */
static void write_any_prefix(const struct draft *draft, bool ipv4)
{
	struct random *random = draft->random;
	unsigned prefix = (unsigned)random_between(random, 0, ipv4 ? 32 : 128);
	uint8_t bytes[16];

	random_fill(random, bytes, sizeof(bytes));
	for (unsigned bit = prefix; bit < 128; bit++)
		bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	fputs("    addresses:\n      - ", draft->out);
	if (ipv4)
		fprintf(draft->out, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
	else
		for (int i = 0; i < 16; i += 2)
			fprintf(draft->out, "%s%x", i ? ":" : "", bytes[i] << 8 | bytes[i + 1]);
	fprintf(draft->out, "/%u\n", prefix);
}

/* Prefixes of different listeners differ in their third byte, so that none overlap. */
static void write_addresses(const struct draft *draft, bool ipv4, bool ipv6)
{
	struct random *random = draft->random;
	size_t count = random_between(random, 1, random_chance(random, 10) ? 12 : 3);

	fputs("    addresses:\n", draft->out);
	for (size_t i = 0; i < count; i++) {
		unsigned prefix = (unsigned)random_between(random, 24, 32);
		uint32_t host = (uint32_t)random_below(random, 256);

		if (ipv4 && (!ipv6 || random_chance(random, 50))) {
			host = prefix == 32 ? host : host >> (32 - prefix) << (32 - prefix);
			fprintf(draft->out, "      - 192.%u.%u.%u", (unsigned)(i % 2 ? 0 : 168),
				draft->number * 16 + (unsigned)i, host & 0xff);
			if (prefix < 32 || random_chance(random, 30))
				fprintf(draft->out, "/%u", prefix);
		} else {
			prefix = (unsigned)random_between(random, 48, 128);
			fprintf(draft->out,
				"      - 2001:db8:%x::", draft->number * 16 + (unsigned)i);
			if (prefix == 128)
				fprintf(draft->out, "%x", host);
			else
				fprintf(draft->out, "/%u", prefix);
		}
		putc('\n', draft->out);
	}
}

static void write_otherwise(const struct draft *draft)
{
	switch (random_below(draft->random, 4)) {
	case 0:
		fputs("    otherwise: refuse\n", draft->out);
		break;
	case 1:
		fputs("    otherwise: pass\n", draft->out);
		break;
	case 2:
		fprintf(draft->out, "    otherwise: %u\n", backend_port(draft));
		break;
	}
}

static const char *protocol_text(struct random *random, unsigned protocols)
{
	if (protocols == PROTOCOL_TCP)
		return "tcp";
	if (protocols == PROTOCOL_UDP)
		return "udp";
	return random_chance(random, 50) ? "[tcp, udp]" : "[udp, tcp]";
}

static void write_listener(struct draft *draft, unsigned port, bool addresses, bool ipv4, bool ipv6)
{
	static const char *const names[] = {
		"a",  "entities", "int",  "if",
		"u",  "listener", "port", "telemetry_feed_of_the_north_gate",
		"x_", "l0"};
	static const char *const replies[] = {"tracked", "stateless", "none"};
	struct random *random = draft->random;
	const char *name = RANDOM_OF(random, names);

	/* A number keeps them apart, and the length below what is allowed. */
	fprintf(draft->out, "  %.30s%u:\n", name, draft->number);
	fprintf(draft->out, "    protocol: %s\n", protocol_text(random, draft->protocols));
	fprintf(draft->out, "    port: %u\n", port);
	if (addresses && draft->alone && random_chance(random, 50))
		write_any_prefix(draft, ipv4 && (!ipv6 || random_chance(random, 50)));
	else if (addresses)
		write_addresses(draft, ipv4, ipv6);
	write_tag(draft);
	if (random_chance(random, 40))
		write_requires(draft);
	write_length(draft);
	if (random_chance(random, 70))
		write_otherwise(draft);
	if (draft->protocols & PROTOCOL_TCP && random_chance(random, 50))
		fprintf(draft->out, "    refuse: %s\n",
			random_chance(random, 50) ? "drop" : "reset");
	if (draft->protocols & PROTOCOL_UDP && random_chance(random, 60))
		fprintf(draft->out, "    replies: %s\n", RANDOM_OF(random, replies));
	write_routes(draft);
}

void rule_file_write(struct random *random, bool patterns, bool tcp, FILE *out)
{
	static const unsigned edges[] = {1, 80, 255, 256, 5000, 32768, 65280, 65535};
	unsigned kind = (unsigned)random_below(random, 100);
	unsigned count = kind < 55   ? 1
			 : kind < 90 ? (unsigned)random_between(random, 2, 4)
				     : (unsigned)random_between(random, 5, LISTENERS);
	unsigned port = random_chance(random, 40) ? RANDOM_OF(random, edges)
						  : (unsigned)random_between(random, 1, 65535);
	/* Several on one port tell each other apart by address. */
	bool shared = count > 1 && random_chance(random, 30);
	bool by_address = shared || random_chance(random, 30);
	unsigned first_port = port;
	unsigned families = (unsigned)random_between(random, 1, 3);

	fputs("version: 1\nlisteners:\n", out);
	for (unsigned i = 0; i < count; i++) {
		struct draft draft = {
			.random = random,
			.out = out,
			.patterns = patterns,
			.number = i,
			.first_port = first_port,
			.shared = shared,
			.alone = count == 1,
			.protocols = (unsigned)random_between(random, 1, 3),
			.constant = random_u64(random),
		};

		if (!tcp)
			draft.protocols = PROTOCOL_UDP;
		if (i && !shared)
			port = port % 65535 + 1;
		draft.port = port;
		write_listener(&draft, port, by_address, families & 1, families & 2);
	}
}
