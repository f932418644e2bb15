/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The rules themselves as BPF C: constants, which listener a packet belongs to, and a judge for
 * each listener. Straight-line code with constant offsets and bounds.
 */
#include <ctype.h>
#include <string.h>

#include "dispatch.h"
#include "emit_stages.h"
#include "plan.h"

struct capitals capitals(const char *name)
{
	struct capitals c = {0};

	for (size_t i = 0; name[i] && i < NAME_MAX_LENGTH; i++)
		c.name[i] = toupper((unsigned char)name[i]);
	return c;
}

bool is_deep(uint32_t offset, uint32_t length)
{
	return offset + length > LINEAR_PAYLOAD;
}

/* ---- constants ------------------------------------------------------------------------------- */

static void emit_reasons(const struct plan *plan, FILE *out)
{
	fputs("/* What became of a packet of ours; docs/object.md says more. */\nenum reason {\n",
	      out);
	for (const char *const *reason = plan->reasons; *reason; reason++) {
		fputs("\tREASON_", out);
		for (const char *at = *reason; *at; at++)
			fputc(*at == '-' ? '_' : toupper((unsigned char)*at), out);
		fputs(",\n", out);
	}
	fputs("\tREASONS,\n};\n\n", out);
}

void emit_constants(const struct plan *plan, FILE *out)
{
	const struct rules *rules = plan->rules;

	emit_reasons(plan, out);
	fputs("enum listener {\n", out);
	for (size_t i = 0; i < rules->listener_count; i++)
		fprintf(out, "\t%s_LISTENER,\n", capitals(rules->listeners[i].name).name);
	fputs("};\n\nenum {\n", out);
	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener_plan *planned = &plan->listeners[i];
		const struct listener *listener = planned->listener;
		struct capitals c = capitals(listener->name);

		fprintf(out, "\t%s_PORT = %u,\n", c.name, listener->port);
		fprintf(out, "\t%s_LENGTH_MIN = %u, /* payload bytes of a message */\n", c.name,
			listener->length_min);
		fprintf(out, "\t%s_LENGTH_MAX = %u,\n", c.name, listener->length_max);
		fprintf(out, "\t%s_TAG_OFFSET = %u,\n", c.name, listener->tag.offset);
		if (listener->protocols & PROTOCOL_TCP)
			fprintf(out, "\t%s_END = %u, /* of the bytes that are looked at */\n",
				c.name, listener_end(listener));
		if (planned->count_routes)
			fprintf(out,
				"\t%s_ROUTES = %u, /* from REASON_ROUTED's counter to its first route's */\n",
				c.name, planned->route_counters - planned->counters);
	}
	fprintf(out, "\tCOUNTERS = %u,\n};\n", plan->counter_count);
}

/* ---- which listener -------------------------------------------------------------------------- */

static uint32_t word_at(const uint8_t *bytes, unsigned word)
{
	bytes += 4 * word;
	return (uint32_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* One address or prefix, of one bit at least, as a condition on the words of `to`. */
static void emit_address(const struct address *address, FILE *out)
{
	unsigned bits = address->prefix;
	const char *and = "";

	for (unsigned word = 0; bits; word++) {
		unsigned taken = bits < 32 ? bits : 32;
		uint32_t value = word_at(address->bytes, word);

		fputs(and, out);
		if (taken == 32)
			fprintf(out, "to[%u] == bpf_htonl(0x%08x)", word, value);
		else
			fprintf(out, "(to[%u] & bpf_htonl(0x%08x)) == bpf_htonl(0x%08x)", word,
				~(UINT32_MAX >> taken), value);
		and = " && ";
		bits -= taken;
	}
}

static void emit_address_text(const struct address *address, FILE *out)
{
	const uint8_t *b = address->bytes;

	if (address->family == 4)
		fprintf(out, "%u.%u.%u.%u/%u", b[0], b[1], b[2], b[3], address->prefix);
	else
		fprintf(out, "%x:%x:%x:%x:%x:%x:%x:%x/%u", b[0] << 8 | b[1], b[2] << 8 | b[3],
			b[4] << 8 | b[5], b[6] << 8 | b[7], b[8] << 8 | b[9], b[10] << 8 | b[11],
			b[12] << 8 | b[13], b[14] << 8 | b[15], address->prefix);
}

static void emit_family_addresses(const struct listener *listener, uint8_t family,
				  const char *indent, FILE *out)
{
	for (size_t i = 0; i < listener->address_count; i++) {
		const struct address *address = &listener->addresses[i];

		if (address->family != family)
			continue;
		fprintf(out, "%sif (", indent);
		emit_address(address, out);
		fprintf(out, ")\n%s\treturn true; /* ", indent);
		emit_address_text(address, out);
		fputs(" */\n", out);
	}
}

static bool has_family(const struct listener *listener, uint8_t family)
{
	for (size_t i = 0; i < listener->address_count; i++)
		if (listener->addresses[i].family == family)
			return true;
	return false;
}

/* Whether the listener has all addresses of the family. */
static bool has_whole_family(const struct listener *listener, uint8_t family)
{
	for (size_t i = 0; i < listener->address_count; i++)
		if (listener->addresses[i].family == family && !listener->addresses[i].prefix)
			return true;
	return false;
}

/* Words of an address that prefixes may leave out, as parameters of a global function. */
static void emit_uses(const char *const *words, unsigned count, FILE *out)
{
	if (count > 1)
		fputs("\t/* What is never used would not be passed. */\n", out);
	for (unsigned i = 1; i < count; i++)
		fprintf(out, "\tbarrier_var(%s);\n", words[i]);
}

/* The addresses of a family as a function that the verifier walks once, not once for each way. */
static void emit_address_function(const struct listener *listener, uint8_t family, FILE *out)
{
	static const char *const words[] = {"first", "second", "third", "fourth"};
	unsigned count = family == 4 ? 1 : 4;

	if (!has_family(listener, family) || has_whole_family(listener, family))
		return;
	fprintf(out, "__noinline bool is_ipv%u_of_%s(", family, listener->name);
	for (unsigned i = 0; i < count; i++)
		fprintf(out, "%s__be32 %s", i ? ", " : "", words[i]);
	fputs(")\n{\n\t__be32 to[] = {", out);
	for (unsigned i = 0; i < count; i++)
		fprintf(out, "%s%s", i ? ", " : "", words[i]);
	fputs("};\n\n", out);
	emit_uses(words, count, out);
	emit_family_addresses(listener, family, "\t", out);
	fputs("\treturn false;\n}\n\n", out);
}

static void emit_compared_addresses(const struct listener *listener, uint8_t family, bool function,
				    FILE *out)
{
	if (!function)
		emit_family_addresses(listener, family, "\t\t", out);
	else if (family == 4)
		fprintf(out, "\t\treturn is_ipv4_of_%s(to[0]);\n", listener->name);
	else
		fprintf(out, "\t\treturn is_ipv6_of_%s(to[0], to[1], to[2], to[3]);\n",
			listener->name);
}

/* The addresses of one family, where the packet is of that. */
static void emit_family(const struct listener *listener, uint8_t family, bool function, FILE *out)
{
	const char *declaration = "const __be32 *to = &((const struct iphdr *)packet->ip)->daddr";

	if (!has_family(listener, family))
		return;
	if (has_whole_family(listener, family)) {
		fprintf(out, "\tif (packet->version == %u)\n\t\treturn true;\n", family);
		return;
	}
	if (family == 6)
		declaration = "const __be32 *to = ((const struct ipv6hdr *)packet->ip)->daddr";
	fprintf(out, "\tif (packet->version == %u) {\n\t\t%s;\n\n", family, declaration);
	emit_compared_addresses(listener, family, function, out);
	fputs("\t}\n", out);
}

/* Whether a packet is for one of the addresses that the rule file names. */
static void emit_addresses(const struct listener *listener, bool functions, FILE *out)
{
	if (functions) {
		emit_address_function(listener, 4, out);
		emit_address_function(listener, 6, out);
	}
	fprintf(out, "static __always_inline bool is_to_%s(const struct packet *packet)\n{\n",
		listener->name);
	emit_family(listener, 4, functions, out);
	emit_family(listener, 6, functions, out);
	fputs("\treturn false;\n}\n\n", out);
}

/* Whether a packet is for one of the host's own addresses, which are of both families. */
static void emit_addressed_to_host(FILE *out)
{
	fputs("static __always_inline bool addressed_to_host(const struct packet *packet)\n{\n"
	      "\tconst struct iphdr *ipv4 = packet->ip;\n"
	      "\tconst struct ipv6hdr *ipv6 = packet->ip;\n\n"
	      "\tif (packet->version == 4)\n"
	      "\t\treturn is_local_ipv4(ipv4->daddr);\n"
	      "\treturn is_local_ipv6(ipv6->daddr);\n}\n\n",
	      out);
}

static void emit_interface(const struct plan *plan, FILE *out)
{
	fputs("/* To this interface; a UDP datagram may also be to a group. */\n"
	      "static __always_inline bool addressed_to_interface(const struct packet *packet)\n{\n",
	      out);
	if (plan->tcp)
		fputs("\treturn own_mac(packet) || "
		      "(packet->protocol == IPPROTO_UDP && group_mac(packet));\n}\n\n",
		      out);
	else
		fputs("\treturn own_mac(packet) || group_mac(packet);\n}\n\n", out);
}

/* Of those to its port, the packets that are the listener's, but for addressed_to_interface. */
static void emit_listener_condition(const struct listener *listener, const char *indent, FILE *out)
{
	if (listener->protocols == (PROTOCOL_TCP | PROTOCOL_UDP))
		fputs("(packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)", out);
	else
		fprintf(out, "packet->protocol == IPPROTO_%s",
			listener->protocols & PROTOCOL_TCP ? "TCP" : "UDP");
	if (listener->address_count)
		fprintf(out, " &&\n%sis_to_%s(packet)", indent, listener->name);
	else
		fprintf(out, " &&\n%saddressed_to_host(packet)", indent);
}

/* The port of the listener, with all the listeners that have it. */
static void emit_port_case(const struct rules *rules, size_t first, FILE *out)
{
	const char *otherwise = "";

	for (size_t i = 0; i < first; i++)
		if (rules->listeners[i].port == rules->listeners[first].port)
			return;
	fprintf(out, "\tcase %s_PORT:\n\t\t", capitals(rules->listeners[first].name).name);
	for (size_t i = first; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		if (listener->port != rules->listeners[first].port)
			continue;
		fprintf(out, "%sif (", otherwise);
		emit_listener_condition(listener, *otherwise ? "\t\t\t " : "\t\t    ", out);
		fprintf(out, ")\n\t\t\tlistener = %s_LISTENER;\n", capitals(listener->name).name);
		otherwise = "\t\telse ";
	}
	fputs("\t\telse\n\t\t\treturn false;\n\t\tbreak;\n", out);
}

static const char *interface_check(const struct plan *plan)
{
	return plan->udp ? "addressed_to_interface" : "own_mac";
}

static void emit_ports(const struct plan *plan, FILE *out)
{
	fputs("\t__u32 listener;\n\n"
	      "\tswitch (unknown(packet, bpf_ntohs(packet->dport))) {\n",
	      out);
	for (size_t i = 0; i < plan->rules->listener_count; i++)
		emit_port_case(plan->rules, i, out);
	fprintf(out,
		"\tdefault:\n\t\treturn false;\n\t}\n"
		"\tpacket->listener = unknown(packet, listener);\n"
		"\treturn %s(packet);\n",
		interface_check(plan));
}

/* There is but one. */
static void emit_the_listener(const struct plan *plan, FILE *out)
{
	const struct listener *listener = &plan->rules->listeners[0];
	struct capitals c = capitals(listener->name);

	fprintf(out,
		"\tpacket->listener = %s_LISTENER;\n"
		"\treturn packet->dport == bpf_htons(%s_PORT) &&\n\t       ",
		c.name, c.name);
	emit_listener_condition(listener, "\t       ", out);
	fprintf(out, " &&\n\t       %s(packet);\n", interface_check(plan));
}

void emit_find_listener(const struct plan *plan, FILE *out)
{
	const struct rules *rules = plan->rules;

	if (plan->udp)
		emit_interface(plan, out);
	if (plan->local)
		emit_addressed_to_host(out);
	for (size_t i = 0; i < rules->listener_count; i++)
		if (rules->listeners[i].address_count)
			emit_addresses(&rules->listeners[i], plan->address_functions, out);
	fputs("/* Whose packet it is. False: not ours. The port first, it tells most packets. */\n"
	      "static __always_inline bool find_listener(struct packet *packet)\n{\n",
	      out);
	if (rules->listener_count == 1)
		emit_the_listener(plan, out);
	else
		emit_ports(plan, out);
	fputs("}\n", out);
}

/* ---- judging --------------------------------------------------------------------------------- */

static uint64_t number_at(const uint8_t *bytes, unsigned length)
{
	uint64_t number = 0;

	for (unsigned i = 0; i < length; i++)
		number = number << 8 | bytes[i];
	return number;
}

/* The bytes of one requirement, as compares of the largest words that fit. */
static void emit_require_compares(const struct require *require, const char *base, FILE *out)
{
	for (unsigned at = 0; at < require->length;) {
		unsigned left = require->length - at;
		unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
		uint64_t value = number_at(require->bytes + at, size);
		uint64_t mask = number_at(require->mask + at, size);
		uint64_t ones = UINT64_MAX >> (64 - 8 * size);
		const char *suffix = size == 8 ? "ULL" : "";
		char load[64];

		snprintf(load, sizeof(load), "load_u%u(%s%s%.0u)", 8 * size, base, at ? " + " : "",
			 at);
		if (mask && mask == ones)
			fprintf(out, "\tif (%s != 0x%0*llx%s)\n\t\treturn;\n", load, 2 * (int)size,
				(unsigned long long)value, suffix);
		else if (mask)
			fprintf(out, "\tif ((%s & 0x%0*llx%s) != 0x%0*llx%s)\n\t\treturn;\n", load,
				2 * (int)size, (unsigned long long)mask, suffix, 2 * (int)size,
				(unsigned long long)value, suffix);
		at += size;
	}
}

static void emit_requires(const struct listener *listener, FILE *out)
{
	if (!listener->require_count)
		return;
	fputs("\tverdict->reason = REASON_REQUIRE;\n", out);
	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];
		char base[32];

		if (is_deep(require->offset, require->length)) {
			fprintf(out,
				"\tbytes = payload_bytes(packet, %u, copy, %u);\n"
				"\tif (!bytes)\n\t\treturn;\n",
				require->offset, require->length);
			snprintf(base, sizeof(base), "bytes");
		} else {
			snprintf(base, sizeof(base), require->offset ? "payload + %u" : "payload",
				 require->offset);
		}
		emit_require_compares(require, base, out);
	}
}

/* The payload bytes that are read in place end here. */
static uint32_t linear_end(const struct listener *listener)
{
	uint32_t end = 0;

	if (!is_deep(listener->tag.offset, listener->tag.length))
		end = listener->tag.offset + listener->tag.length;
	for (size_t i = 0; i < listener->require_count; i++) {
		const struct require *require = &listener->requires[i];

		if (!is_deep(require->offset, require->length) &&
		    require->offset + require->length > end)
			end = require->offset + require->length;
	}
	return end;
}

static void emit_length_check(const struct listener *listener, FILE *out)
{
	struct capitals c = capitals(listener->name);
	const char *name = c.name;
	char window[256], segment[256];

	snprintf(window, sizeof(window),
		 "packet->payload_length < %s_LENGTH_MIN ||\n"
		 "\t    packet->payload_length > %s_LENGTH_MAX",
		 name, name);
	snprintf(segment, sizeof(segment),
		 "!first_segment_holds(packet->payload_length, %s_LENGTH_MIN, %s_LENGTH_MAX,\n"
		 "\t\t\t\t %s_END)",
		 name, name, name);
	fputs("\tverdict->reason = REASON_LENGTH;\n", out);
	switch (listener->protocols) {
	case PROTOCOL_TCP:
		fprintf(out, "\tif (%s)\n\t\treturn;\n", segment);
		break;
	case PROTOCOL_UDP:
		fprintf(out, "\tif (%s)\n\t\treturn;\n", window);
		break;
	default:
		fprintf(out, "\tif (packet->protocol == IPPROTO_TCP &&\n\t    %s)\n\t\treturn;\n",
			segment);
		fprintf(out, "\tif (packet->protocol == IPPROTO_UDP &&\n\t    (%s))\n\t\treturn;\n",
			window);
	}
}

static void emit_route(const struct listener_plan *planned, FILE *out)
{
	const struct listener *listener = planned->listener;
	struct capitals c = capitals(listener->name);
	const char *tag = "payload + %s_TAG_OFFSET";
	char argument[80];

	if (is_deep(listener->tag.offset, listener->tag.length)) {
		fprintf(out,
			"\tbytes = payload_bytes(packet, %s_TAG_OFFSET, copy, %u);\n"
			"\tif (!bytes)\n\t\treturn;\n",
			c.name, listener->tag.length);
		tag = "bytes";
	}
	snprintf(argument, sizeof(argument), tag, c.name);
	if (listener->otherwise.kind == ACTION_PASS)
		fprintf(out, "\tverdict->port = %s_PORT; /* otherwise */\n", c.name);
	if (listener->otherwise.kind == ACTION_ROUTE)
		fprintf(out, "\tverdict->port = %u; /* otherwise */\n", listener->otherwise.port);
	if (planned->branch_free)
		fprintf(out,
			"\tverdict->reason = choose(route_%s(%s, verdict), REASON_ROUTED,\n"
			"\t\t\t\t REASON_TAG);\n",
			listener->name, argument);
	else
		fprintf(out,
			"\tverdict->reason = REASON_TAG;\n"
			"\tif (route_%s(%s, verdict))\n\t\tverdict->reason = REASON_ROUTED;\n",
			listener->name, argument);
}

static void emit_listener_judge(const struct listener_plan *planned, FILE *out)
{
	const struct listener *listener = planned->listener;
	uint32_t end = linear_end(listener);
	bool deep = is_deep(0, listener_end(listener));

	dispatch_emit(planned->dispatch, planned->count_routes, planned->branch_free, out);
	fprintf(out,
		"\nstatic __always_inline void judge_%s(const struct packet *packet, "
		"struct verdict *verdict)\n{\n",
		listener->name);
	if (end)
		fputs("\tconst __u8 *payload = packet->payload;\n", out);
	if (deep)
		fprintf(out, "\tconst __u8 *bytes;\n\t__u8 copy[%d];\n", TAG_MAX);
	fputc('\n', out);
	if (listener->protocols & PROTOCOL_TCP && listener->reset)
		fputs("\tverdict->reset = true;\n", out);
	emit_length_check(listener, out);
	if (end)
		fprintf(out,
			"\tverdict->reason = REASON_MALFORMED; /* longer than its frame */\n"
			"\tif ((void *)(payload + %u) > packet->data_end)\n\t\treturn;\n",
			end);
	else
		fputs("\tverdict->reason = REASON_MALFORMED; /* longer than its frame */\n", out);
	emit_requires(listener, out);
	emit_route(planned, out);
	fputs("}\n\n", out);
}

/* What a global function judges: it gets numbers for the packet, and returns one. */
static void emit_payload(const char *protocol, FILE *out)
{
	fprintf(out,
		"\tvoid *data = (void *)(long)xdp->data;\n"
		"\tstruct packet packet = {\n"
		"\t\t.context = xdp,\n"
		"\t\t.data = data,\n"
		"\t\t.data_end = (void *)(long)xdp->data_end,\n"
		"\t\t.payload = data + (offset & PAYLOAD_OFFSET),\n"
		"\t\t.payload_length = length,\n"
		"\t\t.protocol = %s,\n\t};\n"
		"\tstruct verdict verdict = {};\n\n",
		protocol);
}

/* The judge as a function that the verifier walks once, and not once for each way to it. */
static void emit_judge_function(const struct listener *listener, FILE *out)
{
	fprintf(out,
		"__noinline __u64 judged_by_%s(struct xdp_md *xdp, __u32 protocol, __u32 offset, "
		"__u32 length)\n{\n",
		listener->name);
	emit_payload("protocol", out);
	fputs("\tbarrier_var(protocol); /* what is never used would not be passed */\n", out);
	fprintf(out, "\tjudge_%s(&packet, &verdict);\n", listener->name);
	fputs("\treturn pack_verdict(&verdict);\n}\n\n", out);
}

void emit_judges(const struct plan *plan, FILE *out)
{
	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		emit_listener_judge(&plan->listeners[i], out);
		if (plan->judge_functions)
			emit_judge_function(plan->listeners[i].listener, out);
	}
}

/* How a listener is judged: by this call, with its name between before and after. */
struct judge_call {
	unsigned protocol;    /* of the listeners that come into question */
	const char *listener; /* the expression that says which */
	const char *before, *after;
};

static void emit_choice(const struct plan *plan, const struct judge_call *call, FILE *out)
{
	unsigned protocol = call->protocol;
	const struct rules *rules = plan->rules;
	size_t count = 0;

	for (size_t i = 0; i < rules->listener_count; i++)
		count += (rules->listeners[i].protocols & protocol) != 0;
	if (count > 1)
		fprintf(out, "\tswitch (%s) {\n", call->listener);
	for (size_t i = 0; i < rules->listener_count; i++) {
		if (!(rules->listeners[i].protocols & protocol))
			continue;
		if (count > 1)
			fprintf(out, "\tcase %s_LISTENER:\n\t",
				capitals(rules->listeners[i].name).name);
		fprintf(out, "\t%s%s%s;\n", call->before, rules->listeners[i].name, call->after);
		if (count > 1)
			fputs("\t\tbreak;\n", out);
	}
	fputs(count > 1 ? "\t}\n" : "", out);
}

void emit_datagram_verdict(const struct plan *plan, FILE *out)
{
	struct judge_call call = {PROTOCOL_UDP, "packet->listener", "judge_", "(packet, verdict)"};

	fputs("/* What the rules say of a UDP datagram. */\n"
	      "static __always_inline void datagram_verdict(const struct packet *packet, "
	      "struct verdict *verdict)\n{\n",
	      out);
	if (plan->judge_functions) {
		call.before = "packed = judged_by_";
		call.after = "(packet->context, IPPROTO_UDP, offset, packet->payload_length)";
		fputs("\t__u32 offset = packet->payload - packet->data;\n"
		      "\t__u64 packed = REASON_MALFORMED;\n\n",
		      out);
	}
	emit_choice(plan, &call, out);
	if (plan->judge_functions)
		fputs("\tunpack_verdict(packed, verdict);\n", out);
	fputs("}\n", out);
}

void emit_payload_verdict(const struct plan *plan, FILE *out)
{
	struct judge_call call = {PROTOCOL_TCP, "listener", "judge_", "(&packet, &verdict)"};

	fputs("/*\n"
	      " * What the rules say of the first segment of a TCP connection. A global function: the\n"
	      " * verifier walks it once, and not once for each of the many ways to it.\n"
	      " */\n"
	      "__noinline __u64 payload_verdict(struct xdp_md *xdp, __u32 listener, __u32 offset, "
	      "__u32 length)\n{\n",
	      out);
	if (plan->judge_functions) {
		call.before = "packed = judged_by_";
		call.after = "(xdp, IPPROTO_TCP, offset, length)";
		fputs("\t__u64 packed = REASON_MALFORMED;\n\n", out);
	} else {
		emit_payload("IPPROTO_TCP", out);
	}
	fputs("\tbarrier_var(listener); /* what is never used would not be passed */\n", out);
	emit_choice(plan, &call, out);
	fputs(plan->judge_functions ? "\treturn packed;\n}\n"
				    : "\treturn pack_verdict(&verdict);\n}\n",
	      out);
}

/* ---- replies --------------------------------------------------------------------------------- */

static enum reply_mode replies_of(const struct listener *listener)
{
	return listener_readdresses(listener) ? listener->replies : REPLIES_NONE;
}

/* The udp listeners with such replies. */
static size_t count_replies(const struct plan *plan, enum reply_mode replies)
{
	size_t count = 0;

	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		const struct listener *listener = &plan->rules->listeners[i];

		count += listener->protocols & PROTOCOL_UDP && replies_of(listener) == replies;
	}
	return count;
}

static void emit_replies_case(const struct plan *plan, enum reply_mode replies,
			      const char *statement, FILE *out)
{
	if (!count_replies(plan, replies))
		return;
	for (size_t i = 0; i < plan->rules->listener_count; i++) {
		const struct listener *listener = &plan->rules->listeners[i];

		if (listener->protocols & PROTOCOL_UDP && replies_of(listener) == replies)
			fprintf(out, "\tcase %s_LISTENER:\n", capitals(listener->name).name);
	}
	fprintf(out, "\t\t%s;\n\t\tbreak;\n", statement);
}

void emit_replies(const struct plan *plan, FILE *out)
{
	static const char track[] = "track(packet, verdict->port)";
	static const char set[] = "set_reply_port(verdict->port, bpf_ntohs(packet->dport))";
	size_t none = count_replies(plan, REPLIES_NONE);

	if (!none && !(plan->tracked && plan->stateless)) {
		fprintf(out, "\t%s;\n", plan->tracked ? track : set);
	} else if (plan->tracked || plan->stateless) {
		fputs("\tswitch (packet->listener) {\n", out);
		emit_replies_case(plan, REPLIES_TRACKED, track, out);
		emit_replies_case(plan, REPLIES_STATELESS, set, out);
		fputs("\t}\n", out);
	}
}
