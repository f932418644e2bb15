/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The interpreter: the rules applied to one frame, in plain C.
 *
 * It stands beside the compiler's stages, not among them: it reads the same struct rules and knows
 * nothing of plans, emission or templates. That is its worth as an oracle, so it must not borrow
 * from them; it should look wrong to nobody who holds it next to the documents, one function for a
 * step, in their order. interpret() at the end reads like the table of contents.
 */
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "interpret.h"
#include "interpret_packet.h"

enum {
	IPV4_HEADER = 20,
	IPV4_DONT_FRAGMENT = 0x4000,
	IPV6_HEADER = 40,

	UDP_HEADER = 8,
	TCP_HEADER = 20,

	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_ACK = 0x10,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,

	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	OPTION_WINDOW_SCALE = 3,
	OPTION_SACK_PERMITTED = 4,
	OPTION_TIMESTAMPS = 8,
	WINDOW_SCALE_MAX = 14,
	WINDOW_SCALE_NONE = 15,

	NS_PER_MS = 1000000,
	PENDING_MS = 200, /* how long a bound connection's socket may take to appear */
};

/* 32-bit sequence numbers and timestamps wrap around. */
static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

/* ---- Step 1: the headers, as far as the four port bytes ---- */

/* Whether there are port bytes to read; then *packet is filled in. */
static bool parse(const uint8_t *frame, size_t length, struct packet *packet)
{
	return packet_parse(frame, length, packet) &&
	       (packet->protocol == IP_TCP || packet->protocol == IP_UDP);
}

/* ---- Step 1: addressed to us, and to a listener ---- */

static bool mac_is_ours(const struct host *host, const struct packet *packet)
{
	static const uint8_t unset[6];

	if (!memcmp(host->mac, unset, sizeof(unset)))
		return true;
	if (!memcmp(host->mac, packet->frame, sizeof(host->mac)))
		return true;
	return packet->protocol == IP_UDP && packet->frame[0] & 1;
}

static bool in_prefix(const struct address *address, const struct packet *packet)
{
	if (address->family != packet->family)
		return false;
	for (unsigned bit = 0; bit < address->prefix; bit++) {
		uint8_t mask = 0x80 >> bit % 8;

		if ((address->bytes[bit / 8] ^ packet->destination[bit / 8]) & mask)
			return false;
	}
	return true;
}

static bool is_local(const struct host *host, const struct packet *packet)
{
	if (!host->local_known)
		return true;
	if (packet->family == 4) {
		for (uint32_t i = 0; i < host->local_v4_count; i++)
			if (!memcmp(host->local_v4[i], packet->destination, 4))
				return true;
	} else {
		for (uint32_t i = 0; i < host->local_v6_count; i++)
			if (!memcmp(host->local_v6[i], packet->destination, 16))
				return true;
	}
	return false;
}

static const struct listener *find_listener(const struct rules *rules, const struct host *host,
					    const struct packet *packet)
{
	unsigned protocol = packet->protocol == IP_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;

	if (!mac_is_ours(host, packet))
		return NULL;
	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		if (!(listener->protocols & protocol) || listener->port != packet->destination_port)
			continue;
		if (!listener->address_count && is_local(host, packet))
			return listener;
		for (size_t j = 0; j < listener->address_count; j++)
			if (in_prefix(&listener->addresses[j], packet))
				return listener;
	}
	return NULL;
}

/* ---- Steps 3 and 4: lengths ---- */

struct payload {
	const uint8_t *bytes;
	size_t length;
};

/* Whether the packet's lengths agree with each other; then *payload is what it carries. */
static bool find_payload(const struct packet *packet, struct payload *payload)
{
	const uint8_t *transport = packet->frame + packet->transport;
	size_t header = packet->protocol == IP_TCP ? TCP_HEADER : UDP_HEADER;

	if (packet->end > packet->length || packet->transport + header > packet->end)
		return false;

	size_t end = packet->end;

	if (packet->protocol == IP_TCP) {
		header = (size_t)(transport[12] >> 4) * 4;
		if (header < TCP_HEADER || packet->transport + header > end)
			return false;
	} else {
		/* What follows the UDP datagram inside the IP packet belongs to nobody. */
		uint16_t length = get16(transport + 4);

		if (length < UDP_HEADER || packet->transport + length > end)
			return false;
		end = packet->transport + length;
	}
	payload->bytes = transport + header;
	payload->length = end - packet->transport - header;
	return true;
}

/* ---- Steps 5 and 6: the message ---- */

struct judgement {
	const char *reason;
	const struct route *route;
	struct action action;
};

/* How many tags a pattern stands for, most significant byte first: up to 256^TAG_MAX. */
struct size {
	uint8_t bytes[TAG_MAX + 1];
};

static void size_scale(struct size *size, unsigned factor, unsigned addend)
{
	for (int i = TAG_MAX; i >= 0; i--) {
		addend += size->bytes[i] * factor;
		size->bytes[i] = (uint8_t)addend;
		addend >>= 8;
	}
}

/* A tag as a number: tags of text are decimal, all others are base 256. */
static struct size tag_number(const struct listener *listener, const uint8_t *tag)
{
	bool text = listener->tag.type == TAG_TEXT;
	bool little = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;
	uint32_t length = listener->tag.length;
	struct size number = {0};

	for (uint32_t i = 0; i < length; i++) {
		uint8_t byte = tag[little ? length - 1 - i : i];

		size_scale(&number, text ? 10 : 256, text ? byte - '0' : byte);
	}
	return number;
}

static struct size pattern_size(const struct listener *listener, const struct pattern *pattern)
{
	struct size size = {0};

	if (pattern->kind == PATTERN_RANGE) {
		struct size first = tag_number(listener, pattern->value);
		int borrow = 0;

		size = tag_number(listener, pattern->last);
		for (int i = TAG_MAX; i >= 0; i--) {
			int difference = size.bytes[i] - first.bytes[i] - borrow;

			borrow = difference < 0;
			size.bytes[i] = (uint8_t)difference;
		}
	}
	size_scale(&size, 1, 1);
	if (pattern->kind == PATTERN_MASK)
		for (uint32_t bit = 0; bit < listener->tag.length * 8; bit++)
			if (!(pattern->mask[bit / 8] >> bit % 8 & 1))
				size_scale(&size, 2, 0);
	return size;
}

/*
 * Patterns that both match and lead to different ports lie one inside the other, so the one with
 * the fewest tags is the innermost.
 */
static const struct route *find_route(const struct listener *listener, const uint8_t *tag)
{
	const struct route *best = NULL;
	struct size best_size;

	for (size_t i = 0; i < listener->route_count; i++) {
		const struct route *route = &listener->routes[i];

		if (!pattern_matches(listener, &route->pattern, tag))
			continue;

		struct size size = pattern_size(listener, &route->pattern);

		if (!best || memcmp(&size, &best_size, sizeof(size)) < 0) {
			best = route;
			best_size = size;
		}
	}
	return best;
}

/* The smallest number of bytes that hold the tag and all that is required. */
static size_t bytes_judged(const struct listener *listener)
{
	size_t end = listener->tag.offset + listener->tag.length;

	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];

		if (require->offset + require->length > end)
			end = require->offset + require->length;
	}
	return end;
}

static bool length_fits(const struct listener *listener, uint8_t protocol, size_t length)
{
	if (protocol == IP_UDP)
		return length >= listener->length_min && length <= listener->length_max;

	/* A long first segment may have been cut or joined on its way. */
	if (length >= FIRST_SEGMENT)
		return length >= bytes_judged(listener);

	/* Whole messages, as many as can be in it: fewer could not reach its length either. */
	size_t messages = length / listener->length_min;

	return messages && length <= messages * listener->length_max;
}

static bool holds(const struct require *require, const struct payload *payload)
{
	for (uint32_t i = 0; i < require->length; i++)
		if ((payload->bytes[require->offset + i] & require->mask[i]) != require->bytes[i])
			return false;
	return true;
}

static struct judgement judge(const struct listener *listener, uint8_t protocol,
			      const struct payload *payload)
{
	const struct action refuse = {.kind = ACTION_REFUSE};

	if (!length_fits(listener, protocol, payload->length))
		return (struct judgement){"length", NULL, refuse};
	for (size_t i = 0; i < listener->require_count; i++)
		if (!holds(&listener->requires[i], payload))
			return (struct judgement){"require", NULL, refuse};

	const struct route *route = find_route(listener, payload->bytes + listener->tag.offset);

	if (!route)
		return (struct judgement){"tag", NULL, listener->otherwise};
	return (struct judgement){"routed", route, {ACTION_ROUTE, route->port}};
}

/* The local port an accepted message goes to. */
static uint16_t action_port(const struct listener *listener, const struct action *action)
{
	return action->kind == ACTION_ROUTE ? action->port : listener->port;
}

/* ---- UDP ---- */

static void udp(const struct packet *packet, const struct judgement *judgement,
		struct outcome *outcome, uint8_t *result)
{
	outcome->reason = judgement->reason;
	outcome->route = judgement->route;
	if (judgement->action.kind == ACTION_REFUSE) {
		outcome->verdict = VERDICT_DROP;
		return;
	}
	outcome->port = action_port(outcome->listener, &judgement->action);

	uint8_t *header = result + packet->transport;
	uint16_t checksum = get16(header + 6);

	put16(header + 2, outcome->port);
	if (!checksum)
		return;
	checksum = checksum_update(checksum, packet->destination_port, outcome->port);
	put16(header + 6, checksum ? checksum : 0xffff);
}

/* ---- The cookie ---- */

static void put64_little(uint8_t *bytes, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
}

static int siphash(const uint64_t key[2], const uint8_t *message, size_t length, uint64_t *hash)
{
	unsigned int size = 8;
	const OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_SIZE, &size),
		OSSL_PARAM_construct_end(),
	};
	uint8_t key_bytes[16], digest[8];
	size_t digest_length;

	put64_little(key_bytes, key[0]);
	put64_little(key_bytes + 8, key[1]);
	if (!EVP_Q_mac(NULL, "SIPHASH", NULL, NULL, parameters, key_bytes, sizeof(key_bytes),
		       message, length, digest, sizeof(digest), &digest_length) ||
	    digest_length != sizeof(digest))
		return -EIO;

	uint64_t value = 0;

	for (int i = 7; i >= 0; i--)
		value = value << 8 | digest[i];
	*hash = value;
	return 0;
}

int cookie_make(const struct host *host, const struct tuple *tuple, uint32_t isn, uint64_t window,
		uint8_t options, uint32_t *cookie)
{
	uint8_t message[16 + 16 + 8 + 8];
	size_t address = tuple->family == 4 ? 4 : 16;
	uint8_t *at = message;
	uint64_t hash;

	memcpy(at, tuple->source, address);
	at += address;
	memcpy(at, tuple->destination, address);
	at += address;
	memcpy(at, tuple->source_port, 2);
	memcpy(at + 2, tuple->destination_port, 2);
	for (int i = 0; i < 4; i++)
		at[4 + i] = (uint8_t)(isn >> 8 * i);
	put64_little(at + 8, window << 16 | options);
	at += 16;

	int err = siphash(host->key, message, (size_t)(at - message), &hash);

	if (err)
		return err;
	*cookie = (uint32_t)(hash >> 43) << 11 |
		  (uint32_t)(window & COOKIE_COUNTER) << COOKIE_COUNTER_SHIFT | options;
	return 0;
}

/* ---- TCP ---- */

struct options {
	bool has_mss, has_window_scale, has_sack, has_timestamps;
	uint16_t mss;
	uint8_t window_scale;
	uint32_t timestamp, timestamp_echo;
};

struct segment {
	const struct packet *packet;
	struct payload payload;
	struct tuple tuple;
	uint32_t seq, ack;
	uint8_t flags;
	struct options options;
};

static struct options parse_options(const uint8_t *bytes, size_t length)
{
	struct options options = {0};
	size_t size;

	for (size_t i = 0; i < length; i += size) {
		uint8_t kind = bytes[i];

		if (kind == OPTION_END)
			break;
		if (kind == OPTION_NOP) {
			size = 1;
			continue;
		}
		if (i + 1 == length)
			break;
		size = bytes[i + 1];
		if (size < 2 || i + size > length)
			break;
		if (kind == OPTION_MSS && size == 4) {
			options.mss = get16(bytes + i + 2);
			options.has_mss = options.mss; /* 0 says nothing */
		} else if (kind == OPTION_WINDOW_SCALE && size == 3) {
			options.has_window_scale = true;
			options.window_scale = bytes[i + 2];
			if (options.window_scale > WINDOW_SCALE_MAX)
				options.window_scale = WINDOW_SCALE_MAX;
		} else if (kind == OPTION_SACK_PERMITTED && size == 2) {
			options.has_sack = true;
		} else if (kind == OPTION_TIMESTAMPS && size == 10) {
			options.has_timestamps = true;
			options.timestamp = get32(bytes + i + 2);
			options.timestamp_echo = get32(bytes + i + 6);
		}
	}
	return options;
}

static struct segment parse_segment(const struct packet *packet, const struct payload *payload)
{
	const uint8_t *header = packet->frame + packet->transport;

	return (struct segment){
		.packet = packet,
		.payload = *payload,
		.tuple = packet_tuple(packet),
		.seq = get32(header + 4),
		.ack = get32(header + 8),
		.flags = header[13],
		.options = parse_options(header + TCP_HEADER,
					 (size_t)(header[12] >> 4) * 4 - TCP_HEADER),
	};
}

/* What the program sends back: a TCP header, in place of the frame that came. */
struct answer {
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t window;
	uint8_t options[20];
	size_t options_length;
	const uint8_t *next_hop;
};

static size_t write_ipv4(const struct host *host, const struct packet *packet, uint8_t *ip,
			 size_t tcp_length)
{
	memset(ip, 0, IPV4_HEADER);
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)(IPV4_HEADER + tcp_length));
	put16(ip + 6, IPV4_DONT_FRAGMENT);
	ip[8] = host->ttl ? host->ttl : 64;
	ip[9] = IP_TCP;
	memcpy(ip + 12, packet->destination, 4);
	memcpy(ip + 16, packet->source, 4);
	put16(ip + 10, checksum_fold(checksum_add(0, ip, IPV4_HEADER)));
	return IPV4_HEADER;
}

static size_t write_ipv6(const struct host *host, const struct packet *packet, uint8_t *ip,
			 size_t tcp_length)
{
	const uint8_t *theirs = packet->frame + packet->ip;

	put32(ip, 6u << 28 | (get32(theirs) & 0xfffff));
	put16(ip + 4, (uint16_t)tcp_length);
	ip[6] = IP_TCP;
	ip[7] = host->hop_limit ? host->hop_limit : 64;
	memcpy(ip + 8, packet->destination, 16);
	memcpy(ip + 24, packet->source, 16);
	return IPV6_HEADER;
}

static void send_answer(const struct host *host, const struct segment *segment,
			const struct answer *answer, struct outcome *outcome, uint8_t *result)
{
	const struct packet *packet = segment->packet;
	size_t tcp_length = TCP_HEADER + answer->options_length;
	size_t address = packet->family == 4 ? 4 : 16;

	memcpy(result, answer->next_hop, 6);
	memcpy(result + 6, packet->frame, 6);
	memcpy(result + 12, packet->frame + 12, packet->ip - 12); /* VLAN tags and type */

	uint8_t *ip = result + packet->ip;
	uint8_t *tcp = ip + (packet->family == 4 ? write_ipv4(host, packet, ip, tcp_length)
						 : write_ipv6(host, packet, ip, tcp_length));

	put16(tcp, packet->destination_port);
	put16(tcp + 2, packet->source_port);
	put32(tcp + 4, answer->seq);
	put32(tcp + 8, answer->ack);
	tcp[12] = (uint8_t)(tcp_length / 4 << 4);
	tcp[13] = answer->flags;
	put16(tcp + 14, answer->window);
	put32(tcp + 16, 0); /* checksum and urgent pointer */
	memcpy(tcp + TCP_HEADER, answer->options, answer->options_length);

	uint32_t sum = IP_TCP + (uint32_t)tcp_length;

	sum = checksum_add(sum, packet->source, address);
	sum = checksum_add(sum, packet->destination, address);
	put16(tcp + 16, checksum_fold(checksum_add(sum, tcp, tcp_length)));

	outcome->verdict = host->redirect ? VERDICT_REDIRECT : VERDICT_TX;
	outcome->length = (size_t)(tcp + tcp_length - result);
}

static uint32_t timestamp_now(const struct situation *situation)
{
	return (uint32_t)(situation->now / NS_PER_MS);
}

static void put_timestamps(uint8_t *option, const struct situation *situation,
			   const struct segment *segment)
{
	option[0] = OPTION_TIMESTAMPS;
	option[1] = 10;
	put32(option + 2, timestamp_now(situation));
	put32(option + 6, segment->options.timestamp);
}

/* Whether a source address is one that no host can have, and no answer may go to. */
static bool is_impossible(const struct tuple *tuple)
{
	const uint8_t *source = tuple->source;

	if (!memcmp(source, tuple->destination, sizeof(tuple->source)))
		return true;
	if (tuple->family == 4)
		return source[0] == 0 || source[0] == 127 || source[0] >= 224;

	/* :: and ::1 */
	static const uint8_t zeros[15];

	return source[0] == 0xff || (!memcmp(source, zeros, sizeof(zeros)) && source[15] <= 1);
}

static uint16_t announced_window(const struct host *host)
{
	return host->window ? host->window : 65535;
}

static bool offers_window_scale(const struct host *host)
{
	return host->window_scale <= WINDOW_SCALE_MAX;
}

/* Row "SYN": a SYN-ACK that carries the cookie. */

/* What a cookie can say of the client's MSS, by address family. */
static const uint16_t *cookie_mss(uint8_t family)
{
	static const uint16_t ipv4[] = {536, 1300, 1460, 8960}, ipv6[] = {1220, 1380, 1440, 8940};

	return family == 4 ? ipv4 : ipv6;
}

static uint8_t cookie_options(const struct host *host, const struct segment *segment)
{
	const uint16_t *table = cookie_mss(segment->tuple.family);
	const struct options *options = &segment->options;
	bool ipv4 = segment->tuple.family == 4;
	uint16_t mss = options->has_mss ? options->mss : ipv4 ? 536 : 1220;
	uint8_t bits = 0;

	for (uint8_t i = 1; i < 4; i++)
		if (table[i] <= mss)
			bits = i;

	uint8_t scale = WINDOW_SCALE_NONE;

	if (options->has_window_scale && offers_window_scale(host))
		scale = options->window_scale;
	bits |= (uint8_t)(scale << COOKIE_WINDOW_SCALE_SHIFT);
	if (options->has_sack && host->sack)
		bits |= COOKIE_SACK;
	if (segment->flags & TCP_ECE && segment->flags & TCP_CWR && host->ecn)
		bits |= COOKIE_ECN;
	return bits;
}

/* A packet with VLAN tags, or from a link-local address, goes back where it came from. */
static bool is_routed(const struct packet *packet)
{
	bool link_local = packet->family == 6 && packet->source[0] == 0xfe &&
			  (packet->source[1] & 0xc0) == 0x80;

	return packet->ip == ETHERNET_HEADER && !link_local;
}

static int answer_syn(const struct host *host, const struct situation *situation,
		      const struct segment *segment, struct outcome *outcome, uint8_t *result)
{
	bool routed = is_routed(segment->packet);

	if (routed && situation->way_back.other_interface) {
		outcome->reason = "no-way-back";
		outcome->verdict = VERDICT_DROP;
		return 0;
	}

	const struct options *options = &segment->options;
	uint8_t bits = cookie_options(host, segment);
	uint32_t cookie;
	int err = cookie_make(host, &segment->tuple, segment->seq,
			      situation->now >> COOKIE_WINDOW_NS_LOG2, bits, &cookie);

	if (err)
		return err;

	struct answer answer = {
		.flags = TCP_SYN | TCP_ACK | (bits & COOKIE_ECN ? TCP_ECE : 0),
		.seq = cookie,
		.ack = segment->seq + 1,
		.window = announced_window(host),
		.next_hop = routed && situation->way_back.neighbour_known
				    ? situation->way_back.next_hop
				    : segment->packet->frame + 6,
	};
	uint16_t mss = segment->tuple.family == 4 ? host->mss_v4 : host->mss_v6;

	if (!mss)
		mss = segment->tuple.family == 4 ? 536 : 1220;
	memset(answer.options, OPTION_NOP, sizeof(answer.options));
	/* Only what the SYN has, in whole words, so that the answer is never longer. */
	uint8_t *option = answer.options;

	if (options->has_mss) {
		option[0] = OPTION_MSS;
		option[1] = 4;
		put16(option + 2, mss);
		option += 4;
	}
	if (options->has_timestamps && host->timestamps) {
		put_timestamps(option + 2, situation, segment);
		if (bits & COOKIE_SACK) {
			option[0] = OPTION_SACK_PERMITTED;
			option[1] = 2;
		}
		option += 12;
	} else if (bits & COOKIE_SACK) {
		option[2] = OPTION_SACK_PERMITTED;
		option[3] = 2;
		option += 4;
	}
	if (options->has_window_scale && offers_window_scale(host)) {
		option[1] = OPTION_WINDOW_SCALE;
		option[2] = 3;
		option[3] = host->window_scale;
		option += 4;
	}
	answer.options_length = option - answer.options;
	outcome->reason = "syn";
	send_answer(host, segment, &answer, outcome, result);
	return 0;
}

/* An ACK, of a FIN, too, for a connection that exists only in its cookie. */
static void answer_ack(const struct host *host, const struct situation *situation,
		       const struct segment *segment, uint8_t flags, uint32_t cookie,
		       struct outcome *outcome, uint8_t *result)
{
	struct answer answer = {
		.flags = flags,
		.seq = segment->ack,
		.ack = segment->seq + 1,
		.window = announced_window(host),
		.next_hop = segment->packet->frame + 6,
	};
	uint8_t scale = (cookie & COOKIE_WINDOW_SCALE) >> COOKIE_WINDOW_SCALE_SHIFT;

	if (scale != WINDOW_SCALE_NONE && offers_window_scale(host)) {
		answer.window >>= host->window_scale;
		if (!answer.window)
			answer.window = 1;
	}
	if (segment->options.has_timestamps && host->timestamps) {
		answer.options[0] = answer.options[1] = OPTION_NOP;
		put_timestamps(answer.options + 2, situation, segment);
		answer.options_length = 12;
	}
	send_answer(host, segment, &answer, outcome, result);
}

static void answer_reset(const struct host *host, const struct segment *segment,
			 struct outcome *outcome, uint8_t *result)
{
	const struct answer answer = {
		.flags = TCP_RST,
		.seq = segment->ack,
		.next_hop = segment->packet->frame + 6,
	};

	send_answer(host, segment, &answer, outcome, result);
}

/*
 * Whether the acknowledged cookie is the one that a client with this initial sequence number got,
 * and how many windows ago.
 */
static int check_cookie(const struct host *host, const struct situation *situation,
			const struct segment *segment, uint32_t isn, bool *right, unsigned *age)
{
	uint32_t cookie = segment->ack - 1, expected;
	uint64_t now = situation->now >> COOKIE_WINDOW_NS_LOG2;
	unsigned windows = (unsigned)(now - (cookie >> COOKIE_COUNTER_SHIFT)) & COOKIE_COUNTER;
	int err = cookie_make(host, &segment->tuple, isn, now - windows, cookie & COOKIE_OPTIONS,
			      &expected);

	if (err)
		return err;
	*right = cookie == expected;
	*age = windows;
	return 0;
}

static bool pending_is_fresh(const struct situation *situation)
{
	return situation->pending.present &&
	       situation->now - situation->pending.bound < (uint64_t)PENDING_MS * NS_PER_MS;
}

static void drop(struct outcome *outcome, const char *reason)
{
	outcome->reason = reason;
	outcome->verdict = VERDICT_DROP;
}

static void pass(struct outcome *outcome, const char *reason)
{
	outcome->reason = reason;
	outcome->verdict = VERDICT_PASS;
}

/*
 * The kernel ends TIME_WAIT on a RST at the sequence it expects; the client's retransmission then
 * finds the tuple free.
 */
static void end_time_wait(const struct situation *situation, const struct segment *segment,
			  struct outcome *outcome, uint8_t *result)
{
	uint8_t *header = result + segment->packet->transport;
	uint16_t before[3] = {get16(header + 4), get16(header + 6), get16(header + 12)};
	uint16_t checksum = get16(header + 16);

	put32(header + 4, situation->socket.rcv_nxt);
	header[12] = TCP_HEADER / 4 << 4;
	header[13] = TCP_RST;
	checksum = checksum_update(checksum, before[0], get16(header + 4));
	checksum = checksum_update(checksum, before[1], get16(header + 6));
	checksum = checksum_update(checksum, before[2], get16(header + 12));
	put16(header + 16, checksum);
	pass(outcome, "time-wait");
}

static struct binding make_binding(const struct host *host, const struct segment *segment)
{
	uint32_t cookie = segment->ack - 1;
	uint8_t scale = (cookie & COOKIE_WINDOW_SCALE) >> COOKIE_WINDOW_SCALE_SHIFT;
	struct binding binding = {
		.isn = segment->seq - 1,
		.mss = cookie_mss(segment->tuple.family)[cookie & COOKIE_MSS],
		.scaling = scale != WINDOW_SCALE_NONE,
		.sack = cookie & COOKIE_SACK,
		.ecn = cookie & COOKIE_ECN,
		.timestamps = segment->options.has_timestamps && host->timestamps,
	};

	if (binding.scaling) {
		binding.client_scale = scale;
		binding.server_scale = host->window_scale;
	}
	if (binding.timestamps) {
		binding.tsval = segment->options.timestamp;
		binding.tsecr = segment->options.timestamp_echo;
	}
	return binding;
}

/* Row "cookie valid for seq-1, data": the first segment of a connection. */
static void first_data(const struct host *host, const struct situation *situation,
		       const struct segment *segment, struct outcome *outcome, uint8_t *result)
{
	if (situation->pending.present && !situation->pending.waiting &&
	    situation->pending.isn == segment->seq - 1) {
		pass(outcome, "pending");
		return;
	}

	struct judgement judgement = judge(outcome->listener, IP_TCP, &segment->payload);

	outcome->reason = judgement.reason;
	outcome->route = judgement.route;
	if (judgement.action.kind == ACTION_REFUSE) {
		outcome->forgets = host->observe;
		if (outcome->listener->reset)
			answer_reset(host, segment, outcome, result);
		else
			outcome->verdict = VERDICT_DROP;
		return;
	}
	if (situation->socket.state == SOCKET_TIME_WAIT) {
		outcome->route = NULL;
		end_time_wait(situation, segment, outcome, result);
		return;
	}
	outcome->port = action_port(outcome->listener, &judgement.action);
	outcome->binds = true;
	outcome->binding = make_binding(host, segment);
}

/* Observing: whether a segment is where the first data is expected, or a probe before it. */
static bool is_awaited(const struct situation *situation, const struct segment *segment)
{
	return situation->pending.present && situation->pending.waiting &&
	       (segment->seq == situation->pending.isn ||
		segment->seq == situation->pending.isn + 1);
}

/* The cookie of a segment, or what stands for it while the program only observes. */
static int check_opening(const struct host *host, const struct situation *situation,
			 const struct segment *segment, uint32_t isn, bool *right, unsigned *age)
{
	uint64_t windows = (situation->now >> COOKIE_WINDOW_NS_LOG2) -
			   (situation->pending.bound >> COOKIE_WINDOW_NS_LOG2);

	if (!host->observe)
		return check_cookie(host, situation, segment, isn, right, age);
	*right = situation->pending.present && situation->pending.waiting &&
		 situation->pending.isn == isn && windows <= COOKIE_COUNTER;
	*age = *right ? (unsigned)windows : 0;
	return 0;
}

/* A newer connection may take the tuple of one in TIME_WAIT (RFC 6191). */
static bool is_newer(const struct situation *situation, const struct segment *segment)
{
	if (after(segment->seq, situation->socket.rcv_nxt))
		return true;
	return segment->options.has_timestamps && situation->socket.ts_recent &&
	       after(segment->options.timestamp, situation->socket.ts_recent);
}

static int tcp(const struct host *host, const struct situation *situation,
	       const struct segment *segment, struct outcome *outcome, uint8_t *result)
{
	bool time_wait = situation->socket.state == SOCKET_TIME_WAIT;
	bool data = segment->payload.length;
	uint8_t kind = segment->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);

	if (situation->socket.state == SOCKET_LIVE &&
	    !(host->observe && is_awaited(situation, segment))) {
		outcome->ends = kind & (TCP_FIN | TCP_RST);
		pass(outcome, "established");
		return 0;
	}
	if (!host->key[0] && !host->key[1]) {
		drop(outcome, "no-key");
		return 0;
	}
	if (kind == TCP_SYN && is_impossible(&segment->tuple)) {
		drop(outcome, "stray");
		return 0;
	}
	if (kind == TCP_SYN) {
		if (!time_wait || is_newer(situation, segment)) {
			int err = answer_syn(host, situation, segment, outcome, result);

			outcome->waits = host->observe && !strcmp(outcome->reason, "syn");
			outcome->binding.isn = segment->seq;
			return err;
		}
		pass(outcome, "established");
		return 0;
	}
	if ((kind & (TCP_SYN | TCP_RST | TCP_ACK)) != TCP_ACK) {
		if (time_wait)
			pass(outcome, "established");
		else
			drop(outcome, "stray");
		return 0;
	}

	/* seq is where the data begins, one behind the client's initial sequence number. */
	bool right, probe_right;
	unsigned age, probe_age;
	int err = check_opening(host, situation, segment, segment->seq - 1, &right, &age);

	if (!err)
		err = check_opening(host, situation, segment, segment->seq, &probe_right,
				    &probe_age);
	if (err)
		return err;

	bool binds = right && age <= COOKIE_BINDS;

	/* A probe repeats the byte before the data, or none. */
	probe_right &= segment->payload.length <= 1;

	if (binds && data) {
		first_data(host, situation, segment, outcome, result);
	} else if (binds && kind & TCP_FIN) {
		outcome->reason = "close";
		answer_ack(host, situation, segment, TCP_FIN | TCP_ACK, segment->ack - 1, outcome,
			   result);
	} else if (binds) {
		drop(outcome, "handshake");
	} else if (probe_right && probe_age <= COOKIE_BINDS) {
		outcome->reason = "keepalive";
		answer_ack(host, situation, segment, TCP_ACK, segment->ack - 1, outcome, result);
	} else if (time_wait) {
		pass(outcome, "established");
	} else if (pending_is_fresh(situation)) {
		pass(outcome, "pending");
	} else if ((right && age > COOKIE_BINDS) || (probe_right && probe_age > COOKIE_BINDS)) {
		outcome->reason = "late";
		answer_reset(host, segment, outcome, result);
	} else {
		drop(outcome, "stray");
	}
	return 0;
}

int interpret(const struct rules *rules, const struct host *host, const struct situation *situation,
	      const uint8_t *frame, size_t length, struct outcome *outcome, uint8_t *result)
{
	struct outcome o = {.verdict = VERDICT_PASS, .length = length};
	struct packet packet;
	struct payload payload;
	int err = 0;

	memcpy(result, frame, length);
	if (parse(frame, length, &packet))
		o.listener = find_listener(rules, host, &packet);
	if (o.listener) {
		o.tuple = packet_tuple(&packet);
		o.bytes = packet.end - packet.ip;
	}
	if (!o.listener) {
		/* Not ours. */
	} else if (packet.first_fragment) {
		drop(&o, "fragment");
	} else if (!find_payload(&packet, &payload)) {
		drop(&o, "malformed");
	} else if (packet.protocol == IP_UDP) {
		struct judgement judgement = judge(o.listener, IP_UDP, &payload);

		udp(&packet, &judgement, &o, result);
	} else {
		struct segment segment = parse_segment(&packet, &payload);

		err = tcp(host, situation, &segment, &o, result);
	}
	if (host->observe && o.listener) {
		memcpy(result, frame, length);
		o.length = length;
		o.verdict = VERDICT_PASS;
		o.binding.delivered = true;
		if (!o.binds)
			o.port = 0;
	}
	if (!err)
		*outcome = o;
	return err;
}
