/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Walks a packet through nftables' rules, as the kernel would, with what can be known of the
 * packet.
 *
 * A packet to come has a port and flags, but no source address. So a match can be YES, NO or MAYBE;
 * a verdict behind a MAYBE is noted as possible and the walk goes on. Only where no possible
 * verdict contradicts the certain one is the answer certain.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "firewall.h"

enum {
	DEPTH_MAX = 16,	     /* of chains that jump to chains, as in the kernel */
	STEPS_MAX = 1 << 20, /* rules looked at, before the walk gives up */
};

enum match {
	NO,
	MAYBE,
	YES
};

/* What a rule or a chain does to the walk. */
enum outcome {
	CONTINUE,
	RETURN,
	ACCEPT,
	DROP,
};

/* A name that the schema has for a number. */
struct symbol {
	const char *name;
	int64_t number;
};

static const struct symbol flag_symbols[] = {
	{"fin", 1 << 0}, {"syn", 1 << 1}, {"rst", 1 << 2},
	{"psh", 1 << 3}, {"ack", 1 << 4}, {"urg", 1 << 5},
	{"ecn", 1 << 6}, {"cwr", 1 << 7}, {},
};
static const struct symbol state_symbols[] = {
	{"invalid", 1 << 0}, {"established", 1 << 1}, {"related", 1 << 2},
	{"new", 1 << 3},     {"untracked", 1 << 6},   {},
};
static const struct symbol protocol_symbols[] = {
	{"icmp", IPPROTO_ICMP},
	{"igmp", IPPROTO_IGMP},
	{"tcp", IPPROTO_TCP},
	{"udp", IPPROTO_UDP},
	{"dccp", IPPROTO_DCCP},
	{"gre", IPPROTO_GRE},
	{"esp", IPPROTO_ESP},
	{"ah", IPPROTO_AH},
	{"ipv6-icmp", IPPROTO_ICMPV6},
	{"icmpv6", IPPROTO_ICMPV6},
	{"sctp", IPPROTO_SCTP},
	{"udplite", IPPROTO_UDPLITE},
	{"vrrp", 112},
	{"ospf", 89},
	{},
};
static const struct symbol family_symbols[] = {{"ipv4", 4}, {"ipv6", 6}, {}};
static const struct symbol ethertype_symbols[] = {{"ip", 4}, {"ip6", 6}, {"arp", 0}, {}};
static const struct symbol kind_symbols[] = {
	{"host", 0}, {"unicast", 0}, {"broadcast", 1}, {"multicast", 2}, {"other", 3}, {},
};
static const struct symbol direction_symbols[] = {{"original", 0}, {"reply", 1}, {}};
static const struct symbol route_symbols[] = {
	{"unspec", 0},	  {"unicast", 1},   {"local", 2},	{"broadcast", 3}, {"anycast", 4},
	{"multicast", 5}, {"blackhole", 6}, {"unreachable", 7}, {"prohibit", 8},  {},
};

/* What the left side of a match is for the packet. */
struct value {
	enum {
		UNKNOWN,
		NUMBER,
		TEXT,
		ABSENT, /* it has no such field, so that no comparison holds */
	} kind;
	int64_t number;
	const struct symbol *symbols; /* of a number; NULL: it has no names */
	const char *text;
};

struct walk {
	const json_t *ruleset; /* the array */
	struct firewall_packet packet;
	int64_t state; /* bits of state_symbols */
	const char *family, *table;
	int steps;
	/* Of the base chain that is walked. */
	bool may_accept, may_drop;
	char dropped_by[64];
	char depends[64];
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static void note_dependence(struct walk *walk, const char *what, const char *more)
{
	if (!walk->depends[0])
		snprintf(walk->depends, sizeof(walk->depends), "%s%s%s", what, more[0] ? " " : "",
			 more);
}

/* ---- values -------------------------------------------------------------------------------- */

static struct value number(int64_t number, const struct symbol *symbols)
{
	return (struct value){.kind = NUMBER, .number = number, .symbols = symbols};
}

static const struct value unknown = {.kind = UNKNOWN};
static const struct value absent = {.kind = ABSENT};

static struct value transport_field(const struct walk *walk, const char *field)
{
	if (is(field, "dport"))
		return number(walk->packet.port, NULL);
	if (is(field, "flags") && walk->packet.protocol == IPPROTO_TCP)
		return number(1 << 3 | 1 << 4, flag_symbols);
	return unknown;
}

static struct value payload_value(const struct walk *walk, const json_t *payload)
{
	const char *protocol = text_of(payload, "protocol"), *field = text_of(payload, "field");
	bool tcp = walk->packet.protocol == IPPROTO_TCP, v4 = walk->packet.version == 4;

	if (is(protocol, "th") || is(protocol, tcp ? "tcp" : "udp"))
		return transport_field(walk, field);
	if (is(protocol, v4 ? "ip" : "ip6"))
		return is(field, v4 ? "protocol" : "nexthdr")
			       ? number(walk->packet.protocol, protocol_symbols)
			       : unknown;
	/* A raw payload ("base") and Ethernet say what cannot be known; all else is not there. */
	return is(protocol, "") || is(protocol, "ether") || is(protocol, "vlan") ? unknown : absent;
}

static struct value meta_value(const struct walk *walk, const char *key)
{
	if (is(key, "l4proto"))
		return number(walk->packet.protocol, protocol_symbols);
	if (is(key, "nfproto"))
		return number(walk->packet.version, family_symbols);
	if (is(key, "protocol"))
		return number(walk->packet.version, ethertype_symbols);
	if (is(key, "pkttype"))
		return number(0, kind_symbols);
	if (is(key, "iif") || is(key, "iifname"))
		return (struct value){.kind = TEXT, .text = walk->packet.interface};
	return unknown;
}

static struct value ct_value(const struct walk *walk, const char *key)
{
	if (is(key, "state"))
		return number(walk->state, state_symbols);
	if (is(key, "direction") && walk->state == 1 << 3)
		return number(0, direction_symbols);
	return unknown;
}

/* The packet is addressed to this host, or mplex would not have looked at it. */
static struct value fib_value(const json_t *fib)
{
	const json_t *flags = json_object_get(fib, "flags"), *flag;
	size_t i;

	if (is(text_of(fib, "result"), "type"))
		json_array_foreach(flags, i, flag)
		{
			const char *name = json_string_value(flag);

			if (name && is(name, "daddr"))
				return number(2, route_symbols);
		}
	return unknown;
}

/* The number that the schema writes as a number, a name, or a list of names; -1: none of these. */
static int64_t number_of(const json_t *json, const struct symbol *symbols)
{
	const char *name = json_string_value(json);
	int64_t bits = 0;
	const json_t *one;
	size_t i;

	if (json_is_integer(json))
		return json_integer_value(json);
	for (const struct symbol *symbol = symbols; name && symbol && symbol->name; symbol++) {
		if (is(symbol->name, name))
			return symbol->number;
	}
	if (json_is_object(json))
		json = json_object_get(json, "|");
	if (!json_array_size(json))
		return -1;
	json_array_foreach(json, i, one)
	{
		int64_t bit = number_of(one, symbols);

		if (bit < 0)
			return -1;
		bits |= bit;
	}
	return bits;
}

static struct value left_value(const struct walk *walk, const json_t *left)
{
	const json_t *part, *both = json_object_get(left, "&");

	part = json_object_get(left, "payload");
	if (part)
		return payload_value(walk, part);
	part = json_object_get(left, "meta");
	if (part)
		return meta_value(walk, text_of(part, "key"));
	part = json_object_get(left, "ct");
	if (part)
		return ct_value(walk, text_of(part, "key"));
	part = json_object_get(left, "fib");
	if (part)
		return fib_value(part);
	if (json_array_size(both) == 2) {
		struct value value = left_value(walk, json_array_get(both, 0));
		int64_t mask = number_of(json_array_get(both, 1), value.symbols);

		if (value.kind == NUMBER && mask >= 0)
			return number(value.number & mask, value.symbols);
		return value.kind == ABSENT ? absent : unknown;
	}
	return unknown;
}

/* Says what of a match could not be known: "ip saddr". */
static void note_left(struct walk *walk, const json_t *left)
{
	const char *kind = json_object_iter_key(json_object_iter((json_t *)left));
	const json_t *part = kind ? json_object_get(left, kind) : NULL;

	if (!kind)
		note_dependence(walk, "something that mplex-run cannot read", "");
	else if (is(kind, "payload"))
		note_dependence(walk, text_of(part, "protocol"), text_of(part, "field"));
	else if (json_is_array(part))
		note_left(walk, json_array_get(part, 0));
	else
		note_dependence(walk, kind, text_of(part, "key"));
}

/* ---- comparisons --------------------------------------------------------------------------- */

static enum match compare(struct walk *walk, const json_t *left, const json_t *right);

static enum match not_match(enum match match)
{
	return YES - match;
}

static enum match compare_text(const char *text, const char *pattern)
{
	size_t length = strlen(pattern);

	if (length && pattern[length - 1] == '*')
		return strncmp(text, pattern, length - 1) ? NO : YES;
	return is(text, pattern) ? YES : NO;
}

static enum match compare_range(const struct value *value, const json_t *range)
{
	int64_t from = number_of(json_array_get(range, 0), value->symbols);
	int64_t to = number_of(json_array_get(range, 1), value->symbols);

	if (value->kind != NUMBER || from < 0 || to < 0)
		return MAYBE;
	return value->number >= from && value->number <= to ? YES : NO;
}

static enum match compare_value(const struct value *value, const json_t *right)
{
	int64_t other;

	if (value->kind == UNKNOWN)
		return MAYBE;
	if (json_object_get(right, "range"))
		return compare_range(value, json_object_get(right, "range"));
	if (value->kind == TEXT)
		return json_is_string(right) ? compare_text(value->text, json_string_value(right))
					     : NO;
	other = number_of(right, value->symbols);
	if (other < 0)
		return MAYBE;
	return value->number == other ? YES : NO;
}

static enum match compare_concat(struct walk *walk, const json_t *left, const json_t *right)
{
	const json_t *parts = json_object_get(right, "concat"), *part;
	enum match all = YES;
	size_t i;

	if (json_array_size(parts) != json_array_size(left))
		return MAYBE;
	json_array_foreach(left, i, part)
	{
		enum match match = compare(walk, part, json_array_get(parts, i));

		if (match < all)
			all = match;
	}
	return all;
}

/* Whether one of the elements matches; *found, where it is wanted, is the first that does. */
static enum match compare_any(struct walk *walk, const json_t *left, const json_t *elements,
			      const json_t **found)
{
	enum match any = NO;
	const json_t *element;
	size_t i;

	json_array_foreach(elements, i, element)
	{
		/* Of a map: [key, value]. With a timeout or a comment: {"elem": {"val": key}}. */
		const json_t *key = json_is_array(element) ? json_array_get(element, 0) : element;
		const json_t *inner = json_object_get(json_object_get(key, "elem"), "val");
		enum match match = compare(walk, left, inner ? inner : key);

		if (match > any)
			any = match;
		if (match == YES) {
			if (found)
				*found = element;
			break;
		}
	}
	return any;
}

/* The elements of a named set or map of the walked table, or NULL. */
static const json_t *named_elements(const struct walk *walk, const char *name, bool *is_there)
{
	const json_t *item;
	size_t i;

	json_array_foreach(walk->ruleset, i, item)
	{
		const json_t *set = json_object_get(item, "set");

		if (!set)
			set = json_object_get(item, "map");
		if (set && is(text_of(set, "family"), walk->family) &&
		    is(text_of(set, "table"), walk->table) && is(text_of(set, "name"), name)) {
			*is_there = true;
			return json_object_get(set, "elem");
		}
	}
	*is_there = false;
	return NULL;
}

/* The elements of a set, written down in place or by its name; NULL: there are none. */
static const json_t *elements_of(const struct walk *walk, const json_t *set, bool *is_set)
{
	const char *name = json_string_value(set);

	*is_set = json_object_get(set, "set");
	if (name && name[0] == '@')
		return named_elements(walk, name + 1, is_set);
	return json_object_get(set, "set");
}

static enum match compare(struct walk *walk, const json_t *left, const json_t *right)
{
	const json_t *concat = json_object_get(left, "concat"), *elements;
	struct value value;
	bool is_set;

	elements = elements_of(walk, right, &is_set);
	if (is_set)
		return compare_any(walk, left, elements, NULL);
	if (concat)
		return compare_concat(walk, concat, right);
	value = left_value(walk, left);
	return value.kind == ABSENT ? NO : compare_value(&value, right);
}

/* Whether some field of a left side is one that the packet has not. */
static bool is_absent(const struct walk *walk, const json_t *left)
{
	const json_t *parts = json_object_get(left, "concat"), *part;
	size_t i;

	json_array_foreach(parts, i, part)
	{
		if (is_absent(walk, part))
			return true;
	}
	return !parts && left_value(walk, left).kind == ABSENT;
}

static enum match compare_order(const struct value *value, const char *op, const json_t *right)
{
	int64_t other = number_of(right, value->symbols);

	if (value->kind != NUMBER || other < 0)
		return MAYBE;
	if (op[0] == '<')
		return value->number < other || (op[1] == '=' && value->number == other) ? YES : NO;
	return value->number > other || (op[1] == '=' && value->number == other) ? YES : NO;
}

/* Whether some bit of a list is set. */
static enum match compare_bits(const struct value *value, const json_t *right)
{
	int64_t bits = number_of(right, value->symbols);

	if (value->kind != NUMBER || bits < 0)
		return MAYBE;
	return value->number & bits ? YES : NO;
}

static enum match match_of(struct walk *walk, const json_t *match)
{
	const json_t *left = json_object_get(match, "left"), *right;
	const char *op = text_of(match, "op");
	struct value value = left_value(walk, left);
	enum match result = MAYBE;

	right = json_object_get(match, "right");
	if (is_absent(walk, left))
		return NO;
	if (is(op, "=="))
		result = compare(walk, left, right);
	else if (is(op, "!="))
		result = not_match(compare(walk, left, right));
	else if (is(op, "in"))
		result = compare_bits(&value, right);
	else if (is(op, "!"))
		result = not_match(compare_bits(&value, right));
	else if (op[0] == '<' || op[0] == '>')
		result = compare_order(&value, op, right);
	if (result == MAYBE)
		note_left(walk, left);
	return result;
}

/* ---- rules and chains ---------------------------------------------------------------------- */

static enum outcome walk_chain(struct walk *walk, const char *name, bool sure, int depth);

/* Statements that neither decide nor ask. */
static bool is_neutral(const char *kind)
{
	static const char *const names[] = {
		"counter",    "log",	   "comment",	     "dup",  "snat", "masquerade",
		"ct timeout", "ct helper", "ct expectation", "flow", "set",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (is(kind, names[i]))
			return true;
	}
	return false;
}

/* A verdict, certain or not. Returns what is certain of it. */
static enum outcome verdict(struct walk *walk, const char *kind, const json_t *argument,
			    const char *where, bool *sure, int depth)
{
	enum outcome outcome;

	if (is(kind, "accept")) {
		walk->may_accept |= !*sure;
		return *sure ? ACCEPT : CONTINUE;
	}
	if (is(kind, "drop") || is(kind, "reject")) {
		if (!walk->may_drop)
			snprintf(walk->dropped_by, sizeof(walk->dropped_by), "%s", where);
		walk->may_drop |= !*sure;
		return *sure ? DROP : CONTINUE;
	}
	if (is(kind, "jump") || is(kind, "goto")) {
		outcome = walk_chain(walk, text_of(argument, "target"), *sure, depth + 1);
		if (outcome != CONTINUE || is(kind, "jump"))
			return outcome;
	}
	/* "return", or back from a "goto" */
	return *sure ? RETURN : CONTINUE;
}

static bool is_verdict(const char *kind)
{
	return is(kind, "accept") || is(kind, "drop") || is(kind, "reject") || is(kind, "jump") ||
	       is(kind, "goto") || is(kind, "return");
}

/* A verdict map: the verdict of the element that matches, or all that may. */
static enum outcome walk_vmap(struct walk *walk, const json_t *vmap, const char *where, bool *sure,
			      int depth)
{
	const json_t *key = json_object_get(vmap, "key"), *elements, *element, *hit = NULL;
	enum match any;
	bool is_set, unsure = false;
	size_t i;

	elements = elements_of(walk, json_object_get(vmap, "data"), &is_set);
	any = is_absent(walk, key) ? NO : compare_any(walk, key, elements, &hit);
	if (any == NO && is_set)
		return CONTINUE;
	if (any != YES)
		note_left(walk, key);
	json_array_foreach(elements, i, element)
	{
		const json_t *to = json_array_get(element, 1);
		const char *kind = json_object_iter_key(json_object_iter((json_t *)to));

		if (!kind || !is_verdict(kind) || (hit && element != hit))
			continue;
		if (hit)
			return verdict(walk, kind, json_object_get(to, kind), where, sure, depth);
		verdict(walk, kind, json_object_get(to, kind), where, &unsure, depth);
	}
	*sure = false;
	return CONTINUE;
}

/*
 * A rule. *sure says whether it is reached for certain, and afterwards whether the next one is:
 * behind what may have returned it is not.
 */
static enum outcome walk_rule(struct walk *walk, const json_t *rule, bool *sure, int depth)
{
	const json_t *statements = json_object_get(rule, "expr"), *statement;
	bool certain = *sure;
	char where[64];
	size_t i;

	snprintf(where, sizeof(where), "rule %lld of chain %.32s",
		 (long long)json_integer_value(json_object_get(rule, "handle")),
		 text_of(rule, "chain"));
	json_array_foreach(statements, i, statement)
	{
		const char *kind = json_object_iter_key(json_object_iter((json_t *)statement));
		const json_t *argument = kind ? json_object_get(statement, kind) : NULL;
		enum match match = YES;

		if (!kind || is_neutral(kind)) {
			continue;
		} else if (is(kind, "match")) {
			match = match_of(walk, argument);
		} else if (is(kind, "mangle")) {
			/* A mark or the like: whoever asks for it gets MAYBE. */
			continue;
		} else if (is(kind, "notrack")) {
			if (certain)
				walk->state = 1 << 6;
			continue;
		} else if (is(kind, "vmap")) {
			enum outcome outcome = walk_vmap(walk, argument, where, &certain, depth);

			if (outcome != CONTINUE)
				return outcome;
			/* It may have left the chain. */
			*sure &= certain;
			continue;
		} else if (is_verdict(kind)) {
			enum outcome outcome =
				verdict(walk, kind, argument, where, &certain, depth);

			/* What may have returned did not reach the next rule. */
			if (!certain && (is(kind, "return") || is(kind, "goto")))
				*sure = false;
			return outcome;
		} else {
			/* dnat, redirect, tproxy, queue, fwd, limit, xt and what comes one day. */
			match = MAYBE;
			note_dependence(walk, is(kind, "xt") ? "the iptables extension" : kind,
					text_of(argument, "name"));
			if (is(kind, "dnat") || is(kind, "redirect") || is(kind, "tproxy") ||
			    is(kind, "queue") || is(kind, "fwd")) {
				if (!walk->may_drop)
					snprintf(walk->dropped_by, sizeof(walk->dropped_by), "%s",
						 where);
				walk->may_drop = true;
				return CONTINUE;
			}
		}
		if (match == NO)
			return CONTINUE;
		certain &= match == YES;
	}
	return CONTINUE;
}

static enum outcome walk_chain(struct walk *walk, const char *name, bool sure, int depth)
{
	const json_t *item;
	size_t i;

	if (depth > DEPTH_MAX)
		return CONTINUE;
	json_array_foreach(walk->ruleset, i, item)
	{
		const json_t *rule = json_object_get(item, "rule");
		enum outcome outcome;

		if (!rule || !is(text_of(rule, "chain"), name) ||
		    !is(text_of(rule, "table"), walk->table) ||
		    !is(text_of(rule, "family"), walk->family))
			continue;
		if (++walk->steps > STEPS_MAX) {
			note_dependence(walk, "more rules than mplex-run looks at", "");
			walk->may_accept = walk->may_drop = true;
			return CONTINUE;
		}
		outcome = walk_rule(walk, rule, &sure, depth);
		if (outcome == RETURN)
			return CONTINUE;
		if (outcome != CONTINUE)
			return outcome;
	}
	return CONTINUE;
}

/* ---- base chains --------------------------------------------------------------------------- */

/* In the order in which a packet meets them. */
static const char *const hooks[] = {"ingress", "prerouting", "input"};

static bool family_sees(const char *family, uint8_t version)
{
	return is(family, "inet") || is(family, "netdev") ||
	       is(family, version == 4 ? "ip" : "ip6");
}

/* An ingress chain belongs to devices; older versions of the library do not say to which. */
static enum match device_matches(const json_t *chain, const char *interface)
{
	const json_t *devices = json_object_get(chain, "dev"), *device;
	size_t i;

	if (!is(text_of(chain, "hook"), "ingress"))
		return YES;
	if (json_is_string(devices))
		return is(json_string_value(devices), interface) ? YES : NO;
	json_array_foreach(devices, i, device)
	{
		if (json_is_string(device) && is(json_string_value(device), interface))
			return YES;
	}
	return devices ? NO : MAYBE;
}

/* Walks a base chain. Returns whether the packet is certainly dropped there. */
static bool walk_base(struct walk *walk, const json_t *chain, struct firewall_answer *answer)
{
	enum match device = device_matches(chain, walk->packet.interface);
	enum outcome outcome;

	if (device == NO)
		return false;
	walk->family = text_of(chain, "family");
	walk->table = text_of(chain, "table");
	walk->may_accept = walk->may_drop = false;
	walk->depends[0] = '\0';
	if (device == MAYBE)
		note_dependence(walk, "the device of the chain", "");
	outcome = walk_chain(walk, text_of(chain, "name"), device == YES, 0);
	if (outcome == CONTINUE && is(text_of(chain, "policy"), "drop")) {
		if (!walk->may_drop)
			strcpy(walk->dropped_by, "the policy");
		walk->may_drop = true;
		outcome = device == YES ? DROP : CONTINUE;
	}
	if (outcome != DROP && !walk->may_drop)
		return false;
	/* The first chain that may drop it is as good as any, one that does is better. */
	if (answer->fate == FIREWALL_DEPENDS && (outcome != DROP || walk->may_accept))
		return false;
	answer->fate = outcome == DROP && !walk->may_accept ? FIREWALL_DROPS : FIREWALL_DEPENDS;
	answer->family = walk->family;
	answer->table = walk->table;
	answer->chain = text_of(chain, "name");
	snprintf(answer->what, sizeof(answer->what), "%s", walk->dropped_by);
	snprintf(answer->depends, sizeof(answer->depends), "%s", walk->depends);
	return answer->fate == FIREWALL_DROPS;
}

/* The base chain of a hook that comes next after the priority (and place in the list) *at. */
static const json_t *next_base(const struct walk *walk, const char *hook, int64_t *priority,
			       size_t *place)
{
	const json_t *item, *best = NULL;
	int64_t best_priority = 0;
	size_t i, best_place = 0;

	json_array_foreach(walk->ruleset, i, item)
	{
		const json_t *chain = json_object_get(item, "chain");
		int64_t own = json_integer_value(json_object_get(chain, "prio"));

		if (!chain || !is(text_of(chain, "hook"), hook) ||
		    !family_sees(text_of(chain, "family"), walk->packet.version) ||
		    own < *priority || (own == *priority && i < *place))
			continue;
		if (!best || own < best_priority) {
			best = chain;
			best_priority = own;
			best_place = i;
		}
	}
	*priority = best_priority;
	*place = best_place + 1;
	return best;
}

void firewall_judge(const struct json_t *ruleset, const struct firewall_packet *packet,
		    struct firewall_answer *answer)
{
	struct walk walk = {
		.ruleset = json_object_get(ruleset, "nftables"),
		.packet = *packet,
	};

	for (const struct symbol *symbol = state_symbols; symbol->name; symbol++) {
		if (is(symbol->name, packet->state))
			walk.state = symbol->number;
	}
	*answer = (struct firewall_answer){.fate = FIREWALL_PASSES};
	for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++) {
		int64_t priority = INT64_MIN;
		size_t place = 0;
		const json_t *chain;

		while ((chain = next_base(&walk, hooks[i], &priority, &place))) {
			if (walk_base(&walk, chain, answer))
				return;
		}
	}
}
