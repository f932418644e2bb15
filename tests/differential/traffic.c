/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Random traffic.
 *
 * Noise would only ever test the first check, so frames start from what the rules expect and go
 * wrong in one place or two: a field at its edge, a length off by one, a tag that nearly has a
 * route, a cookie that nearly holds. A frame is described in a struct packet first, then written
 * out, then damaged.
 */
#include <errno.h>
#include <string.h>

#include "network.h"
#include "traffic.h"

enum {
	SYN = 0x02,
	FIN = 0x01,
	RST = 0x04,
	PSH = 0x08,
	ACK = 0x10,
	ECE = 0x40,
	CWR = 0x80,
	VLANS_MAX = 3,
	EXTENSIONS_MAX = 10,
	MS = 1000000,
	WINDOW_SCALE_NONE = 15,
	PAYLOAD_SENT_MAX = 65000, /* so that headers fit every IP length */
	LINEAR_MIN = 1536,	  /* all headers and the first 1024 bytes: so all drivers do */
};

static const uint8_t OUR_MAC[6] = {2, 0, 0, 0, 0, 1};

struct packet {
	uint8_t to[6], from[6];
	unsigned vlan_count;
	uint16_t tpids[VLANS_MAX], tcis[VLANS_MAX];
	uint16_t ethertype;
	struct tuple tuple;
	uint8_t version, traffic_class, ttl;
	uint16_t id, fragment; /* as in the IPv4 header */
	uint32_t flow_label;
	uint8_t ip_options[40];
	size_t ip_options_length;
	unsigned extension_count;
	uint8_t extensions[EXTENSIONS_MAX];
	uint8_t extension_units[EXTENSIONS_MAX];
	uint16_t extension_fragment; /* of fragment headers */
	int ip_length_change;
	uint8_t protocol; /* IP's number */
	/* UDP */
	int udp_length_change;
	enum {
		CHECKSUM_RIGHT,
		CHECKSUM_NONE,
		CHECKSUM_WRONG,
		CHECKSUM_TURNS_ZERO, /* when `likely_port` takes the place of `former_port` */
		CHECKSUM_PSEUDO,     /* left to the network card */
	} checksum;
	uint16_t former_port, likely_port;
	bool icmp; /* an error; the payload is what it quotes */
	uint8_t icmp_type;
	/* TCP */
	uint32_t seq, ack;
	uint8_t flags;
	int data_offset_change;
	uint8_t options[40];
	size_t options_length;

	size_t payload_length, padding;
	uint8_t payload[FRAME_MAX];
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

static unsigned get16(const uint8_t *bytes)
{
	return bytes[0] << 8 | bytes[1];
}

/* ---- The host ---- */

/* Unset, ours, or one that is 0 but for two bytes. */
static void draw_mac(struct random *random, uint8_t mac[6])
{
	if (random_chance(random, 40))
		memcpy(mac, OUR_MAC, 6);
	else if (random_chance(random, 60))
		mac[2 * random_below(random, 3)] = 2;
}

static void put_mac(const struct host *host, uint8_t to[6])
{
	static const uint8_t unset[6];

	memcpy(to, memcmp(host->mac, unset, 6) ? host->mac : OUR_MAC, 6);
}

/* Of a constant that nobody need have written. */
static uint16_t or_unset(struct random *random, unsigned value)
{
	return random_chance(random, 40) ? 0 : (uint16_t)value;
}

void host_draw(struct random *random, struct host *host)
{
	static const uint16_t sizes[] = {1, 536, 1220, 1440, 1460, 8960, 65495, 65535};
	static const uint8_t scales[] = {0, 1, 7, 14, 14, 255};
	static const uint8_t ttls[] = {1, 64, 255};
	struct host drawn = {
		.local_known = random_chance(random, 85),
		.mss_v4 = or_unset(random, RANDOM_OF(random, sizes)),
		.mss_v6 = or_unset(random, RANDOM_OF(random, sizes)),
		.window = or_unset(random, RANDOM_OF(random, sizes)),
		.window_scale = RANDOM_OF(random, scales),
		.sack = random_chance(random, 70),
		.timestamps = random_chance(random, 70),
		.ecn = random_chance(random, 50),
		.ttl = (uint8_t)or_unset(random, RANDOM_OF(random, ttls)),
		.hop_limit = (uint8_t)or_unset(random, RANDOM_OF(random, ttls)),
		.redirect = random_chance(random, 30),
		.observe = random_chance(random, 15),
		.linear = random_chance(random, 25),
	};

	draw_mac(random, drawn.mac);
	if (random_chance(random, 95))
		random_fill(random, drawn.key, sizeof(drawn.key));
	if (random_chance(random, 30))
		drawn.key[random_below(random, 2)] = 0;

	static const uint32_t counts[] = {0, 1, 1, 2, 5, HOST_ADDRESSES_MAX};

	drawn.local_v4_count = RANDOM_OF(random, counts);
	drawn.local_v6_count = RANDOM_OF(random, counts);
	/* Those behind the count must not matter. */
	for (uint32_t i = 0; i < HOST_ADDRESSES_MAX; i++) {
		random_fill(random, drawn.local_v4[i], 4);
		drawn.local_v4[i][0] = 192;
		random_fill(random, drawn.local_v6[i], 16);
		put32(drawn.local_v6[i], 0x20010db8);
	}
	*host = drawn;
}

/* ---- Addresses ---- */

static size_t address_length(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

bool listener_has_family(const struct traffic *traffic, const struct listener *listener,
			 uint8_t family)
{
	if (!listener->address_count)
		return !traffic->host->local_known || (family == 4 ? traffic->host->local_v4_count
								   : traffic->host->local_v6_count);
	for (size_t i = 0; i < listener->address_count; i++)
		if (listener->addresses[i].family == family)
			return true;
	return false;
}

static void draw_in_prefix(struct random *random, const struct address *prefix, uint8_t *address)
{
	unsigned bits = prefix->prefix;

	random_fill(random, address, address_length(prefix->family));
	if (random_chance(random, 20)) /* the ends of it, too */
		memset(address, random_chance(random, 50) ? 0 : 0xff,
		       address_length(prefix->family));
	memcpy(address, prefix->bytes, bits / 8);
	if (bits % 8) {
		uint8_t mask = (uint8_t)(0xff00 >> bits % 8);

		address[bits / 8] = (prefix->bytes[bits / 8] & mask) | (address[bits / 8] & ~mask);
	}
}

/* One of the host's own addresses, or sometimes one behind them, most often the next. */
static uint64_t draw_local(struct random *random, uint32_t count)
{
	if (count < HOST_ADDRESSES_MAX && random_chance(random, 10))
		return random_chance(random, 70)
			       ? count
			       : random_between(random, count, HOST_ADDRESSES_MAX - 1);
	return random_below(random, count);
}

void address_draw(const struct traffic *traffic, const struct listener *listener, uint8_t family,
		  uint8_t address[16])
{
	struct random *random = traffic->random;
	const struct host *host = traffic->host;

	for (int tries = 0; listener->address_count && tries < 64; tries++) {
		const struct address *prefix =
			&listener->addresses[random_below(random, listener->address_count)];

		if (prefix->family == family) {
			draw_in_prefix(random, prefix, address);
			return;
		}
	}
	random_fill(random, address, address_length(family));
	if (family == 4) {
		address[0] = 192;
		if (host->local_known && host->local_v4_count)
			memcpy(address, host->local_v4[draw_local(random, host->local_v4_count)],
			       4);
	} else {
		put32(address, 0x20010db8);
		if (host->local_known && host->local_v6_count)
			memcpy(address, host->local_v6[draw_local(random, host->local_v6_count)],
			       16);
	}
}

void client_draw(struct random *random, uint8_t family, uint8_t address[16])
{
	random_fill(random, address, address_length(family));
	if (random_chance(random, 88)) {
		if (family == 4)
			address[0] = 100;
		else
			put16(address, 0x2002);
	} else if (family == 6 && random_chance(random, 40)) {
		memset(address, 0, 15); /* ::, ::1 and their neighbours */
		address[15] = (uint8_t)random_below(random, 4);
	} else if (family == 6) {
		static const uint16_t prefixes[] = {0, 0xfe80, 0xfebf, 0xfec0, 0xff02, 0x2001};

		put16(address, RANDOM_OF(random, prefixes));
	} else {
		static const uint8_t nets[] = {0, 1, 126, 127, 128, 223, 224, 239, 240, 255};

		address[0] = RANDOM_OF(random, nets);
	}
}

/* ---- Messages ---- */

/* Where a tag's bytes stand when it is read as a number, the most significant first. */
static uint32_t digit_place(const struct listener *listener, uint32_t digit)
{
	bool little = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;

	return little ? listener->tag.length - 1 - digit : digit;
}

/* One more or one less, as a number of the tag's type. */
static void step(const struct listener *listener, bool up, uint8_t *tag)
{
	bool text = listener->tag.type == TAG_TEXT;
	uint8_t first = text ? '0' : 0, last = text ? '9' : 0xff;

	for (uint32_t i = listener->tag.length; i-- > 0;) {
		uint8_t *digit = &tag[digit_place(listener, i)];

		if (*digit != (up ? last : first)) {
			*digit = (uint8_t)(up ? *digit + 1 : *digit - 1);
			return;
		}
		*digit = up ? first : last;
	}
}

static void draw_in_range(const struct traffic *traffic, const struct listener *listener,
			  const struct pattern *pattern, uint8_t *tag)
{
	struct random *random = traffic->random;
	uint32_t length = listener->tag.length;

	for (int tries = 0; tries < 16; tries++) {
		uint32_t same = 0;

		while (same < length && pattern->value[digit_place(listener, same)] ==
						pattern->last[digit_place(listener, same)])
			same++;
		same = (uint32_t)random_between(random, same, length);
		memcpy(tag, random_chance(random, 50) ? pattern->value : pattern->last, length);
		for (uint32_t i = same; i < length; i++)
			tag[digit_place(listener, i)] =
				(uint8_t)(listener->tag.type == TAG_TEXT
						  ? '0' + random_below(random, 10)
						  : random_u64(random));
		if (pattern_matches(listener, pattern, tag))
			return;
	}
	memcpy(tag, pattern->value, length);
}

/* A tag that has the route. */
static void draw_tag(const struct traffic *traffic, const struct listener *listener,
		     const struct route *route, uint8_t *tag)
{
	const struct pattern *pattern = &route->pattern;
	struct random *random = traffic->random;

	memcpy(tag, pattern->value, listener->tag.length);
	if (pattern->kind == PATTERN_MASK)
		for (uint32_t i = 0; i < listener->tag.length; i++)
			tag[i] |= (uint8_t)(random_u64(random) & ~pattern->mask[i]);
	else if (pattern->kind == PATTERN_RANGE)
		draw_in_range(traffic, listener, pattern, tag);
}

/* Writes a tag, and says to which port it probably goes. */
static uint16_t put_tag(const struct traffic *traffic, const struct listener *listener,
			uint8_t *tag)
{
	struct random *random = traffic->random;
	const struct route *route = &listener->routes[random_below(random, listener->route_count)];
	unsigned kind = (unsigned)random_below(random, 100);

	draw_tag(traffic, listener, route, tag);
	if (kind >= 90)
		random_fill(random, tag, listener->tag.length);
	else if (kind >= 75)
		tag[random_below(random, listener->tag.length)] ^=
			(uint8_t)(1 << random_below(random, 8));
	else if (kind >= 70)
		memcpy(tag, route->pattern.last, listener->tag.length);
	if (kind >= 65 && kind < 73)
		step(listener, kind % 2, tag);
	if (kind >= 62 && kind < 65)
		step(listener, kind % 2, memcpy(tag, route->pattern.value, listener->tag.length));
	return kind < 62 ? route->port : listener->otherwise.port;
}

size_t end_of_judged(const struct listener *listener)
{
	size_t end = listener->tag.offset + listener->tag.length;

	for (size_t i = 0; i < listener->require_count; i++)
		if (listener->requires[i].offset + listener->requires[i].length > end)
	end = listener->requires[i].offset + listener->requires[i].length;
	return end;
}

static size_t draw_length(const struct traffic *traffic, const struct listener *listener,
			  enum protocol protocol)
{
	struct random *random = traffic->random;
	size_t min = listener->length_min, max = listener->length_max,
	       end = end_of_judged(listener);
	size_t messages = protocol == PROTOCOL_TCP ? random_between(random, 1, 6) : 1;
	size_t length;

	switch (random_below(random, 12)) {
	case 0:
		length = min * messages - 1;
		break;
	case 1:
		length = max * messages + 1;
		break;
	case 2:
		length = min * messages;
		break;
	case 3:
		length = max * messages;
		break;
	case 4:
		length = end - random_below(random, 2);
		break;
	case 5:
		length = random_below(random, max + 50);
		break;
	case 6:
		length = random_between(random, FIRST_SEGMENT - 2, FIRST_SEGMENT + 2);
		if (protocol == PROTOCOL_TCP)
			break;
		/* fall through */
	default:
		length = random_between(random, min, max < min + 3000 ? max : min + 3000);
		if (protocol == PROTOCOL_TCP && min < FIRST_SEGMENT_MAX &&
		    random_chance(random, 30))
			length = random_between(random, min, FIRST_SEGMENT_MAX + 100);
	}
	return length < PAYLOAD_SENT_MAX ? length : PAYLOAD_SENT_MAX;
}

static void put_requires(const struct listener *listener, uint8_t *payload)
{
	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];

		for (uint32_t j = 0; j < require->length; j++)
			payload[require->offset + j] =
				(payload[require->offset + j] & ~require->mask[j]) |
				require->bytes[j];
	}
}

static void draw_payload(const struct traffic *traffic, const struct listener *listener,
			 enum protocol protocol, struct packet *packet)
{
	struct random *random = traffic->random;
	uint8_t *payload = packet->payload;
	size_t length = draw_length(traffic, listener, protocol), room = length;

	packet->payload_length = length;
	/* Written in full, so that what is beyond a short payload does not depend on the last. */
	if (room < end_of_judged(listener))
		room = end_of_judged(listener);
	if (random_chance(random, 50))
		memset(payload, (int)random_below(random, 256), room);
	else
		random_fill(random, payload, room);
	put_requires(listener, payload);
	packet->likely_port = put_tag(traffic, listener, payload + listener->tag.offset);
	if (listener->require_count && random_chance(random, 12)) {
		const struct require *require =
			&listener->requires[random_below(random, listener->require_count)];

		payload[require->offset + random_below(random, require->length)] ^=
			(uint8_t)(1 << random_below(random, 8));
	}
}

/* ---- TCP ---- */

static size_t add_option(struct packet *packet, uint8_t kind, uint8_t length, const uint8_t *body)
{
	if (packet->options_length + length > sizeof(packet->options))
		return 0;
	packet->options[packet->options_length] = kind;
	packet->options[packet->options_length + 1] = length;
	memcpy(packet->options + packet->options_length + 2, body, length - 2);
	packet->options_length += length;
	return length;
}

static void pad_options(struct packet *packet, uint8_t with)
{
	while (packet->options_length % 4)
		packet->options[packet->options_length++] = with;
}

static void draw_options(struct random *random, bool syn, struct packet *packet)
{
	static const uint16_t sizes[] = {0,    1,    535,   536,  1219, 1220, 1299,
					 1300, 1439, 1440,  1459, 1460, 8939, 8940,
					 8959, 8960, 65535, 1400, 20000};
	uint8_t body[16];

	random_fill(random, body, sizeof(body));
	if (random_chance(random, 20)) { /* soup */
		static const uint8_t kinds[] = {0, 1, 1, 2, 3, 4, 5, 8, 19, 30, 254};

		packet->options_length = random_below(random, 11) * 4;
		for (size_t i = 0; i < packet->options_length; i++)
			packet->options[i] = random_chance(random, 80)
						     ? RANDOM_OF(random, kinds)
						     : (uint8_t)random_below(random, 14);
		return;
	}
	for (int i = 0; i < 5; i++) {
		if (syn && random_chance(random, 40)) {
			uint8_t mss[2];

			put16(mss, RANDOM_OF(random, sizes));
			add_option(packet, 2, random_chance(random, 95) ? 4 : 3, mss);
		}
		if (syn && random_chance(random, 40)) {
			body[0] =
				(uint8_t)random_below(random, random_chance(random, 90) ? 15 : 256);
			add_option(packet, 3, random_chance(random, 95) ? 3 : 2, body);
		}
		if (syn && random_chance(random, 30))
			add_option(packet, 4, random_chance(random, 95) ? 2 : 3, body);
		if (random_chance(random, 30))
			add_option(packet, 8, random_chance(random, 95) ? 10 : 9, body + 2);
		if (packet->options_length < sizeof(packet->options) && random_chance(random, 30))
			packet->options[packet->options_length++] = 1;
		if (random_chance(random, 70))
			break;
	}
	pad_options(packet, random_chance(random, 70) ? 1 : 0);
}

/* What a cookie of this host can say. */
static uint8_t draw_cookie_options(const struct traffic *traffic)
{
	const struct host *host = traffic->host;
	uint8_t options = (uint8_t)random_u64(traffic->random);

	if (host->window_scale >= WINDOW_SCALE_NONE)
		options |= COOKIE_WINDOW_SCALE;
	if (!host->sack)
		options &= (uint8_t)~COOKIE_SACK;
	if (!host->ecn)
		options &= (uint8_t)~COOKIE_ECN;
	return options;
}

/* Acknowledges a cookie that holds, or nearly. */
static int draw_cookie(const struct traffic *traffic, struct packet *packet, uint32_t isn)
{
	struct random *random = traffic->random;
	uint64_t age = random_chance(random, 55)   ? 0
		       : random_chance(random, 55) ? 1
						   : random_between(random, 2, 9);
	struct tuple tuple = packet->tuple;
	uint32_t cookie;

	if (random_chance(random, 3)) /* another connection's */
		tuple.source[0] ^= 1;
	if (random_chance(random, 3))
		tuple.source_port[1] ^= 1;

	int err = cookie_make(traffic->host, &tuple, isn,
			      (traffic->now >> COOKIE_WINDOW_NS_LOG2) - age,
			      draw_cookie_options(traffic), &cookie);

	if (err)
		return err;
	if (random_chance(random, 8))
		cookie ^= 1u << random_below(random, 32);
	if (random_chance(random, 2))
		cookie = (uint32_t)random_u64(random);
	packet->ack = cookie + 1;
	return 0;
}

static int draw_segment(const struct traffic *traffic, const struct listener *listener,
			struct packet *packet)
{
	static const uint32_t isns[] = {0, 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
	struct random *random = traffic->random;
	uint32_t isn =
		random_chance(random, 20) ? RANDOM_OF(random, isns) : (uint32_t)random_u64(random);
	unsigned kind = (unsigned)random_below(random, 100);

	packet->ack = (uint32_t)random_u64(random);
	if (kind < 25) {
		static const uint8_t flags[] = {SYN,	   SYN,	      SYN | ECE | CWR,
						SYN | ECE, SYN | CWR, SYN | PSH | 0x20};

		packet->seq = isn;
		packet->flags = RANDOM_OF(random, flags);
		draw_options(random, true, packet);
		if (random_chance(random, 5))
			draw_payload(traffic, listener, PROTOCOL_TCP, packet);
		return 0;
	}
	packet->seq = isn + 1;
	packet->flags = ACK;
	draw_options(random, false, packet);
	if (kind < 70) {
		draw_payload(traffic, listener, PROTOCOL_TCP, packet);
		packet->flags |= (uint8_t)(random_chance(random, 60) ? PSH : 0);
		packet->flags |= (uint8_t)(random_chance(random, 8) ? FIN : 0);
	} else if (kind < 76) {
		packet->flags |= FIN;
	} else if (kind < 84) {
		packet->seq = isn;
		packet->payload_length = random_below(random, 3);
	} else if (kind < 90) {
		packet->flags = (uint8_t)random_u64(random);
		if (random_chance(random, 50))
			draw_payload(traffic, listener, PROTOCOL_TCP, packet);
	} else if (kind < 94) {
		packet->seq = isn + (uint32_t)random_below(random, 5) - 1;
		if (random_chance(random, 50))
			draw_payload(traffic, listener, PROTOCOL_TCP, packet);
	}
	return draw_cookie(traffic, packet, isn);
}

/* An entry of `pending` that the segment meets: the same connection's or another's. */
static void draw_pending(const struct traffic *traffic, const struct packet *packet,
			 struct trial *trial)
{
	struct random *random = traffic->random;

	if (!random_chance(random, 35))
		return;
	trial->situation.pending.present = true;
	trial->delivered = random_chance(random, 60);
	trial->situation.pending.isn = packet->seq - (uint32_t)random_below(random, 3);
	trial->situation.pending.waiting = traffic->host->observe && random_chance(random, 80);
	/* Around the 200 ms that count, and well off them, for the clock runs on meanwhile. */
	if (random_chance(random, 30))
		trial->pending_age = 199 * MS + random_below(random, 2 * MS);
	else if (random_chance(random, 50))
		trial->pending_age = random_below(random, 100) * MS;
	else
		trial->pending_age = random_between(random, 300, 500000) * MS;
}

/* ---- From the description to the frame ---- */

static uint32_t sum_bytes(uint32_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint16_t pseudo_checksum(const struct packet *packet, size_t length)
{
	uint32_t sum = packet->protocol + (uint32_t)length;

	sum = sum_bytes(sum, packet->tuple.source, 16);
	return (uint16_t)~fold(sum_bytes(sum, packet->tuple.destination, 16));
}

static uint16_t transport_checksum(const struct packet *packet, const uint8_t *transport,
				   size_t length)
{
	uint16_t pseudo = (uint16_t)~pseudo_checksum(packet, length);

	return (uint16_t)~fold(pseudo + fold(sum_bytes(0, transport, length)));
}

static size_t write_ethernet(const struct packet *packet, uint8_t *frame)
{
	uint8_t *at = frame + 12;

	memcpy(frame, packet->to, 6);
	memcpy(frame + 6, packet->from, 6);
	for (unsigned i = 0; i < packet->vlan_count; i++, at += 4) {
		put16(at, packet->tpids[i]);
		put16(at + 2, packet->tcis[i]);
	}
	put16(at, packet->ethertype);
	return (size_t)(at + 2 - frame);
}

static size_t write_ipv4(const struct packet *packet, uint8_t *ip, size_t length)
{
	size_t header = 20 + packet->ip_options_length;

	memset(ip, 0, 20);
	ip[0] = (uint8_t)(packet->version << 4 | header / 4);
	ip[1] = packet->traffic_class;
	put16(ip + 2, (unsigned)(header + length) + (unsigned)packet->ip_length_change);
	put16(ip + 4, packet->id);
	put16(ip + 6, packet->fragment);
	ip[8] = packet->ttl;
	ip[9] = packet->protocol;
	memcpy(ip + 12, packet->tuple.source, 4);
	memcpy(ip + 16, packet->tuple.destination, 4);
	memcpy(ip + 20, packet->ip_options, packet->ip_options_length);
	put16(ip + 10, (uint16_t)~fold(sum_bytes(0, ip, header)));
	return header;
}

static size_t write_ipv6(const struct packet *packet, uint8_t *ip, size_t length)
{
	uint8_t *at = ip + 40, *next = ip + 6;

	put32(ip, (uint32_t)packet->version << 28 | (uint32_t)packet->traffic_class << 20 |
			  packet->flow_label);
	ip[7] = packet->ttl;
	memcpy(ip + 8, packet->tuple.source, 16);
	memcpy(ip + 24, packet->tuple.destination, 16);
	for (unsigned i = 0; i < packet->extension_count; i++) {
		uint8_t kind = packet->extensions[i], units = packet->extension_units[i];
		size_t size = 8 + 8 * (size_t)units;

		*next = kind;
		next = at;
		if (kind == 51)
			size = 8 + 4 * (size_t)units;
		if (kind == 44)
			size = 8;
		memset(at, 0, size);
		at[1] = units;
		if (kind == 44)
			put16(at + 2, packet->extension_fragment);
		at += size;
	}
	*next = packet->protocol;
	put16(ip + 4,
	      (unsigned)((size_t)(at - ip) - 40 + length) + (unsigned)packet->ip_length_change);
	return (size_t)(at - ip);
}

static void write_udp(const struct packet *packet, uint8_t *udp)
{
	size_t length = 8 + packet->payload_length;
	uint16_t checksum = 0;

	put16(udp + 4, (unsigned)length + (unsigned)packet->udp_length_change);
	put16(udp + 6, 0);
	memcpy(udp + 8, packet->payload, packet->payload_length);
	switch (packet->checksum) {
	case CHECKSUM_RIGHT:
		checksum = transport_checksum(packet, udp, length);
		if (!checksum)
			checksum = 0xffff;
		break;
	case CHECKSUM_NONE:
		break;
	case CHECKSUM_WRONG:
		checksum = (uint16_t)get16(packet->tuple.source_port) * 40503u;
		break;
	case CHECKSUM_TURNS_ZERO:
		/* ~checksum + ~from + to = 0xffff */
		checksum = (uint16_t)~fold(packet->former_port + (uint16_t)~packet->likely_port);
		break;
	case CHECKSUM_PSEUDO:
		break;
	}
	put16(udp + 6, checksum);
}

static void write_tcp(const struct packet *packet, uint8_t *tcp)
{
	size_t header = 20 + packet->options_length;

	put32(tcp + 4, packet->seq);
	put32(tcp + 8, packet->ack);
	tcp[12] = (uint8_t)((header / 4 + (unsigned)packet->data_offset_change) << 4);
	tcp[13] = packet->flags;
	put16(tcp + 14, 0x1234);
	put32(tcp + 16, 0);
	memcpy(tcp + 20, packet->options, packet->options_length);
	memcpy(tcp + header, packet->payload, packet->payload_length);
	if (packet->checksum == CHECKSUM_RIGHT)
		put16(tcp + 16, transport_checksum(packet, tcp, header + packet->payload_length));
	else if (packet->checksum == CHECKSUM_PSEUDO)
		put16(tcp + 16, ~pseudo_checksum(packet, header + packet->payload_length));
	else
		put16(tcp + 16, get16(packet->tuple.source_port) * 40503u);
}

static void write_icmp(const struct packet *packet, uint8_t *icmp)
{
	memset(icmp, 0, 8);
	icmp[0] = packet->icmp_type;
	memcpy(icmp + 8, packet->payload, packet->payload_length);
	if (packet->checksum == CHECKSUM_RIGHT)
		put16(icmp + 2, transport_checksum(packet, icmp, 8 + packet->payload_length));
	else
		put16(icmp + 2, get16(packet->payload) * 40503u);
}

static void write_frame(const struct packet *packet, struct trial *trial)
{
	size_t length = packet->payload_length + 8;
	uint8_t *at = trial->frame;

	if (packet->protocol == 6 && !packet->icmp)
		length = 20 + packet->options_length + packet->payload_length;
	at += write_ethernet(packet, at);
	at += packet->tuple.family == 4 ? write_ipv4(packet, at, length)
					: write_ipv6(packet, at, length);
	trial->transport = (size_t)(at - trial->frame);
	if (packet->icmp) {
		write_icmp(packet, at);
	} else {
		memcpy(at, packet->tuple.source_port, 2);
		memcpy(at + 2, packet->tuple.destination_port, 2);
		if (packet->protocol == 6)
			write_tcp(packet, at);
		else
			write_udp(packet, at);
	}
	at += length;
	memset(at, 0, packet->padding);
	trial->length = (size_t)(at - trial->frame) + packet->padding;
	trial->tuple = packet->tuple;
}

/* ---- What is allowed, and what is not ---- */

static void draw_variety(struct random *random, struct packet *packet)
{
	static const uint8_t extensions[] = {0, 43, 44, 51, 60, 60, 135, 139, 140};

	packet->traffic_class = (uint8_t)random_u64(random);
	packet->ttl = (uint8_t)random_u64(random);
	packet->flow_label = (uint32_t)random_below(random, 1 << 20);
	packet->id = (uint16_t)random_u64(random);
	packet->fragment = random_chance(random, 50) ? 0x4000 : 0;
	if (random_chance(random, 25))
		packet->vlan_count = (unsigned)random_between(random, 1, 2);
	for (unsigned i = 0; i < VLANS_MAX; i++) {
		packet->tpids[i] = random_chance(random, 50) ? 0x8100 : 0x88a8;
		packet->tcis[i] = (uint16_t)random_u64(random);
	}
	if (random_chance(random, 20)) {
		packet->ip_options_length = random_between(random, 1, 10) * 4;
		random_fill(random, packet->ip_options, packet->ip_options_length);
	}
	if (random_chance(random, 30))
		packet->extension_count = (unsigned)random_between(
			random, 1, random_chance(random, 30) ? EXTENSIONS_MAX : 3);
	for (unsigned i = 0; i < packet->extension_count; i++) {
		packet->extensions[i] = RANDOM_OF(random, extensions);
		packet->extension_units[i] =
			(uint8_t)(random_chance(random, 70) ? 0 : random_below(random, 4));
	}
	if (random_chance(random, 25))
		packet->padding = random_below(random, 60);
	if (random_chance(random, 30))
		packet->checksum = random_chance(random, 50)   ? CHECKSUM_NONE
				   : random_chance(random, 50) ? CHECKSUM_WRONG
							       : CHECKSUM_TURNS_ZERO;
}

static void set_port(struct packet *packet, unsigned port)
{
	put16(packet->tuple.destination_port, port & 0xffff);
}

static int draw_change(struct random *random)
{
	static const int changes[] = {-1, 1, -2, 2, -7, 8, -8, -20, 40, -100, 1000};

	return RANDOM_OF(random, changes);
}

/* Makes one thing wrong, or unusual. */
static void spoil(struct random *random, struct packet *packet)
{
	static const uint8_t groups[][6] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
					    {1, 0, 0x5e, 0, 0, 1},
					    {0x33, 0x33, 0, 0, 0, 1}};
	static const uint16_t fragments[] = {0x2000, 0x2001, 0x0001, 0x1fff,
					     0x8000, 0xe000, 0x1000};
	static const uint16_t headers[] = {0x0001, 0x0008, 0x0009, 0xfff8, 0x0006, 0x0007, 0x1000};
	static const uint16_t types[] = {0x0800, 0x86dd, 0x0806, 0x8847, 0x9100, 0x8100, 5};
	static const uint8_t protocols[] = {1, 6, 17, 50, 51, 58, 59, 132, 136, 44};
	unsigned port = get16(packet->tuple.destination_port);
	size_t address = address_length(packet->tuple.family);

	switch (random_below(random, 18)) {
	case 0:
		memcpy(packet->to, RANDOM_OF(random, groups), 6);
		break;
	case 1:
		packet->to[random_below(random, 6)] ^= (uint8_t)(1 << random_below(random, 8));
		break;
	case 2:
		packet->tuple.destination[random_below(random, address)] ^=
			(uint8_t)(1 << random_below(random, 8));
		break;
	case 3:
		random_fill(random, packet->tuple.destination, address);
		break;
	case 4:
		set_port(packet, port + (random_chance(random, 50) ? 1 : -1u));
		break;
	case 5:
		set_port(packet, port << 8 | port >> 8);
		break;
	case 6:
		packet->fragment = RANDOM_OF(random, fragments);
		break;
	case 7:
		packet->extensions[packet->extension_count % EXTENSIONS_MAX] = 44;
		packet->extension_count = packet->extension_count % EXTENSIONS_MAX + 1;
		packet->extension_fragment = RANDOM_OF(random, headers);
		break;
	case 8:
		packet->ip_length_change = draw_change(random);
		break;
	case 9:
		packet->udp_length_change = draw_change(random);
		break;
	case 10:
		packet->data_offset_change = (int)random_below(random, 16);
		break;
	case 11:
		packet->vlan_count = VLANS_MAX;
		break;
	case 12:
		packet->tpids[random_below(random, VLANS_MAX)] = 0x9100;
		break;
	case 13:
		packet->ethertype = RANDOM_OF(random, types);
		break;
	case 14:
		packet->version = (uint8_t)random_below(random, 16);
		break;
	case 15:
		packet->protocol = RANDOM_OF(random, protocols);
		break;
	case 16: /* lengths that agree with each other, but with nothing else */
		packet->ip_length_change = packet->udp_length_change = draw_change(random);
		break;
	case 17: /* from itself, or nearly so */
		memcpy(packet->tuple.source, packet->tuple.destination, address);
		if (random_chance(random, 70))
			packet->tuple.source[random_below(random, address)] ^= 1;
		break;
	}
}

static void damage(struct random *random, struct trial *trial)
{
	size_t headers = trial->length < 140 ? trial->length : 140;

	for (uint64_t i = random_below(random, 3) + 1; i-- > 0;) {
		uint8_t *byte = &trial->frame[random_below(random, headers)];

		if (random_chance(random, 50))
			*byte ^= (uint8_t)(1 << random_below(random, 8));
		else
			*byte = (uint8_t)random_u64(random);
	}
}

static void truncate(struct random *random, struct trial *trial)
{
	size_t most = random_chance(random, 60) && trial->length > 110 ? 110 : trial->length;

	trial->length = random_between(random, FRAME_MIN, most);
}

/* ---- Trials ---- */

static void start(const struct traffic *traffic, const struct listener *listener,
		  enum protocol protocol, uint8_t family, struct packet *packet)
{
	struct random *random = traffic->random;

	memset(packet, 0, offsetof(struct packet, payload));
	put_mac(traffic->host, packet->to);
	random_fill(random, packet->from, 6);
	packet->from[0] &= 0xfe;
	packet->ethertype = family == 4 ? 0x0800 : 0x86dd;
	packet->version = family;
	packet->ttl = 64;
	packet->protocol = protocol == PROTOCOL_TCP ? 6 : 17;
	packet->tuple.family = family;
	address_draw(traffic, listener, family, packet->tuple.destination);
	client_draw(random, family, packet->tuple.source);
	random_fill(random, packet->tuple.source_port, 2);
	set_port(packet, listener->port);
	packet->former_port = listener->port;
}

static enum protocol draw_protocol(struct random *random, const struct listener *listener)
{
	unsigned protocols = listener->protocols;

	if (random_chance(random, 3))
		protocols = PROTOCOL_TCP | PROTOCOL_UDP;
	if (protocols == (PROTOCOL_TCP | PROTOCOL_UDP))
		return random_chance(random, 60) ? PROTOCOL_TCP : PROTOCOL_UDP;
	return (enum protocol)protocols;
}

static uint8_t draw_family(const struct traffic *traffic, const struct listener *listener)
{
	bool ipv4 = listener_has_family(traffic, listener, 4);
	bool ipv6 = listener_has_family(traffic, listener, 6);

	if (ipv4 == ipv6 || random_chance(traffic->random, 3))
		return random_chance(traffic->random, 50) ? 4 : 6;
	return ipv4 ? 4 : 6;
}

static int draw_content(const struct traffic *traffic, const struct listener *listener,
			struct packet *packet)
{
	if (packet->protocol == 6)
		return draw_segment(traffic, listener, packet);
	draw_payload(traffic, listener, PROTOCOL_UDP, packet);
	return 0;
}

static void trial_clear(struct trial *trial)
{
	memset(trial, 0, offsetof(struct trial, frame));
}

int trial_draw(const struct traffic *traffic, struct trial *trial)
{
	static struct packet packet; /* large, and written anew each time */
	struct random *random = traffic->random;
	const struct listener *listener =
		&traffic->rules->listeners[random_below(random, traffic->rules->listener_count)];

	start(traffic, listener, draw_protocol(random, listener), draw_family(traffic, listener),
	      &packet);

	int err = draw_content(traffic, listener, &packet);

	if (err)
		return err;
	trial_clear(trial);
	draw_variety(random, &packet);
	if (packet.protocol == 6)
		draw_pending(traffic, &packet, trial);
	for (int tries = 0; tries < 3 && random_chance(random, 20); tries++)
		spoil(random, &packet);
	write_frame(&packet, trial);
	if (random_chance(random, 6))
		damage(random, trial);
	if (random_chance(random, 4))
		truncate(random, trial);
	if (trial->length > LINEAR_MIN && random_chance(random, 30))
		trial->linear = random_between(random, LINEAR_MIN, trial->length);
	return 0;
}

int trial_draw_routed(const struct traffic *traffic, const struct listener *listener,
		      enum way_back way, struct trial *trial)
{
	static struct packet packet;
	uint8_t family = draw_family(traffic, listener);

	start(traffic, listener, PROTOCOL_TCP, family, &packet);
	packet.seq = (uint32_t)random_u64(traffic->random);
	packet.flags = SYN;
	draw_options(traffic->random, true, &packet);
	if (random_chance(traffic->random, 15)) {
		packet.vlan_count = 1;
		packet.tpids[0] = 0x8100;
	}
	trial_clear(trial);
	trial->way = way;
	network_client(traffic->random, way, family, packet.tuple.source, &trial->situation);
	write_frame(&packet, trial);
	return 0;
}

int trial_draw_plain(const struct traffic *traffic, const struct listener *listener,
		     enum protocol protocol, uint8_t family, struct trial *trial)
{
	static struct packet packet;

	start(traffic, listener, protocol, family, &packet);

	int err = draw_content(traffic, listener, &packet);

	if (err)
		return err;
	if (random_chance(traffic->random, 50))
		draw_variety(traffic->random, &packet);
	trial_clear(trial);
	write_frame(&packet, trial);
	return 0;
}

int trial_draw_message(const struct traffic *traffic, const struct message *message,
		       struct trial *trial)
{
	static struct packet packet;
	struct random *random = traffic->random;
	const struct listener *listener = message->listener;
	size_t length = message->length ? message->length : listener->length_min;

	start(traffic, listener,
	      message->protocol ? (enum protocol)message->protocol
				: draw_protocol(random, listener),
	      message->tuple ? message->tuple->family : draw_family(traffic, listener), &packet);
	if (message->tuple)
		packet.tuple = *message->tuple;
	packet.payload_length = length < PAYLOAD_SENT_MAX ? length : PAYLOAD_SENT_MAX;
	memset(packet.payload, 0, packet.payload_length + end_of_judged(listener));
	put_requires(listener, packet.payload);
	draw_tag(traffic, listener, message->route, packet.payload + listener->tag.offset);
	if (packet.protocol == 6) {
		int err = cookie_make(traffic->host, &packet.tuple, 0,
				      traffic->now >> COOKIE_WINDOW_NS_LOG2,
				      draw_cookie_options(traffic), &packet.ack);

		if (err)
			return err;
		packet.ack++;
		packet.seq = 1;
		packet.flags = ACK;
	}
	trial_clear(trial);
	write_frame(&packet, trial);
	return 0;
}

int trial_draw_connection(const struct traffic *traffic, const struct listener *listener,
			  const struct tuple *tuple, const struct situation *situation,
			  struct trial *trial)
{
	static struct packet packet;
	struct random *random = traffic->random;

	start(traffic, listener, PROTOCOL_TCP, tuple->family, &packet);
	packet.tuple = *tuple;

	int err = draw_segment(traffic, listener, &packet);

	if (err)
		return err;
	/* Around what TIME_WAIT compares with: both sides of it, and itself. */
	if (packet.flags & SYN && random_chance(random, 80))
		packet.seq = situation->socket.rcv_nxt + (uint32_t)random_below(random, 5) - 2;
	trial_clear(trial);
	if (random_chance(random, 30))
		draw_pending(traffic, &packet, trial);
	trial->situation.socket = situation->socket;
	write_frame(&packet, trial);
	return 0;
}

/* ---- Behind XDP ---- */

static struct tuple turn_around(const struct tuple *tuple)
{
	struct tuple turned = {.family = tuple->family};

	memcpy(turned.source, tuple->destination, 16);
	memcpy(turned.destination, tuple->source, 16);
	memcpy(turned.source_port, tuple->destination_port, 2);
	memcpy(turned.destination_port, tuple->source_port, 2);
	return turned;
}

static void start_between(struct random *random, const struct tuple *tuple, uint8_t protocol,
			  struct packet *packet)
{
	memset(packet, 0, offsetof(struct packet, payload));
	random_fill(random, packet->to, 6);
	memcpy(packet->from, OUR_MAC, 6);
	packet->ethertype = tuple->family == 4 ? 0x0800 : 0x86dd;
	packet->version = tuple->family;
	packet->ttl = 64;
	packet->protocol = protocol;
	packet->tuple = *tuple;
}

static void draw_bytes(struct random *random, struct packet *packet)
{
	packet->payload_length = random_below(random, random_chance(random, 90) ? 80 : 1400);
	random_fill(random, packet->payload, packet->payload_length);
}

/* Mostly as it should be. */
static void finish_between(struct random *random, struct packet *packet, struct trial *trial)
{
	if (random_chance(random, 15))
		spoil(random, packet);
	trial_clear(trial);
	write_frame(packet, trial);
	if (trial->length < FRAME_MIN_TC)
		memset(trial->frame + trial->length, 0, FRAME_MIN_TC - trial->length);
	if (random_chance(random, 6))
		damage(random, trial);
	if (random_chance(random, 8))
		truncate(random, trial);
	if (trial->length < FRAME_MIN_TC)
		trial->length = FRAME_MIN_TC;
}

void trial_draw_reply(const struct traffic *traffic, const struct tuple *tuple, uint16_t backend,
		      uint16_t listen, struct trial *trial)
{
	static struct packet packet;
	struct random *random = traffic->random;
	struct tuple turned = turn_around(tuple);

	put16(turned.source_port, backend);
	start_between(random, &turned, 17, &packet);
	packet.former_port = backend;
	packet.likely_port = listen;
	draw_bytes(random, &packet);
	draw_variety(random, &packet);
	finish_between(random, &packet, trial);
}

static uint8_t draw_error_type(struct random *random, uint8_t family)
{
	static const uint8_t ipv4[] = {3, 3, 3, 11, 12, 0, 2, 4, 5, 8, 10, 13, 255};
	static const uint8_t ipv6[] = {1, 1, 1, 2, 3, 4, 0, 5, 128, 129, 255};

	return family == 4 ? RANDOM_OF(random, ipv4) : RANDOM_OF(random, ipv6);
}

/* UDP, or sometimes a protocol whose ports stand in the same place: TCP, UDP-Lite. */
static uint8_t draw_datagram(struct random *random)
{
	static const uint8_t others[] = {6, 136};

	return random_chance(random, 85) ? 17 : RANDOM_OF(random, others);
}

/* The datagram that an error is about, from its IP header on, as much of it as is quoted. */
static size_t draw_quote(struct random *random, const struct tuple *tuple, uint16_t former,
			 uint16_t likely, uint8_t *quote)
{
	static struct packet packet;
	static struct trial trial;

	start_between(random, tuple, draw_datagram(random), &packet);
	packet.former_port = former;
	packet.likely_port = likely;
	draw_bytes(random, &packet);
	draw_variety(random, &packet);
	packet.vlan_count = 0;
	if (random_chance(random, 15))
		spoil(random, &packet);
	trial_clear(&trial);
	write_frame(&packet, &trial);

	size_t header = 14 + 4 * (size_t)packet.vlan_count, length = trial.length - header;

	if (random_chance(random, 40)) /* IP header and eight bytes (RFC 792) */
		length = trial.transport + 8 - header;
	else if (random_chance(random, 20))
		length = random_below(random, length + 1);
	memcpy(quote, trial.frame + header, length);
	return length;
}

void trial_draw_error(const struct traffic *traffic, const struct tuple *tuple, bool outwards,
		      uint16_t turned, struct trial *trial)
{
	static struct packet packet;
	struct random *random = traffic->random;
	struct tuple reply = turn_around(tuple);
	uint16_t port = (uint16_t)get16(tuple->destination_port);

	if (random_chance(random, 5)) { /* not quoted, but there itself */
		start_between(random, outwards ? tuple : &reply, 136, &packet);
		draw_bytes(random, &packet);
	} else {
		start_between(random, outwards ? &reply : tuple, tuple->family == 4 ? 1 : 58,
			      &packet);
		packet.icmp = true;
		packet.icmp_type = draw_error_type(random, tuple->family);
		packet.payload_length =
			draw_quote(random, outwards ? tuple : &reply, port, turned, packet.payload);
	}
	draw_variety(random, &packet);
	finish_between(random, &packet, trial);
}

void trial_draw_segment(const struct traffic *traffic, const struct tuple *tuple, uint32_t isn,
			struct trial *trial)
{
	static struct packet packet;
	static const uint8_t flags[] = {ACK,	   ACK, ACK, ACK | PSH, ACK | PSH,
					ACK | FIN, SYN, RST, ACK | RST, SYN | ACK};
	struct random *random = traffic->random;

	start_between(random, tuple, 6, &packet);
	packet.seq = isn + (random_chance(random, 75) ? 1 : (uint32_t)random_below(random, 4));
	packet.ack = (uint32_t)random_u64(random);
	packet.flags = RANDOM_OF(random, flags);
	draw_options(random, false, &packet);
	draw_bytes(random, &packet);
	draw_variety(random, &packet);
	if (random_chance(random, 20))
		packet.checksum = CHECKSUM_PSEUDO;
	finish_between(random, &packet, trial);
}
