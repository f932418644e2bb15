/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rules: from the tree of a rule file to struct rules, checked and complete.
 *
 * This is the only place that knows the keys of the rule file, their defaults and their limits, and
 * what may not stand beside what. Reading goes on after an error, with what is wrong left out, so
 * that one run finds all errors; nothing behind this stage ever sees a rule that is not right.
 */
#include "rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "diagnostic.h"
#include "pattern.h"
#include "source.h"
#include "node.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum {
	TEXT_SHOWN = 40,	 /* bytes of the rule file that a message repeats */
	PAIRS_MAX = 4 << 20,	 /* of patterns to compare, in one file */
	KEY_WORD_MAX = 32,	 /* longer words are not compared */
	PORT_WORDS = 65536 / 64, /* of a set of ports */
};

/* A key of a mapping, and how it is written, for the messages. */
struct key {
	const char *name, *example;
	bool required;
};

struct reader {
	struct arena *arena;
	struct diagnostics *diagnostics;
	uint64_t pairs; /* of patterns compared so far */
	bool no_memory;
};

/*
 * A listener on its way into the rules, with what only the checks need. Numbers that could not be
 * read are 0; what depends on them is then not checked.
 */
struct draft {
	struct listener listener;
	struct place port, length, tag, tag_length, otherwise, refuse, replies;
	struct place requires[REQUIRES_MAX];
	bool tag_known; /* type, order, offset and length */
	uint64_t backends[PORT_WORDS];
};

/* A text of the rule file for a message: %.*s. */
#define SHOWN(node) ((node)->length > TEXT_SHOWN ? TEXT_SHOWN : (int)(node)->length), (node)->text

/*
 * The words of the language and what stands for what.
 */
enum {
	FILE_VERSION,
	FILE_LISTENERS
};
static const struct key file_keys[] = {
	[FILE_VERSION] = {"version", "version: 1", true},
	[FILE_LISTENERS] = {"listeners", "listeners: {entities: {protocol: tcp, ...}}", true},
};

enum {
	KEY_PROTOCOL,
	KEY_PORT,
	KEY_LENGTH,
	KEY_TAG,
	KEY_ROUTES,
	KEY_OTHERWISE,
	KEY_REFUSE,
	KEY_REPLIES,
	KEY_REQUIRE,
	KEY_ADDRESSES,
	KEY_TESTS,
	KEYS
};
static const struct key listener_keys[] = {
	[KEY_PROTOCOL] = {"protocol", "protocol: tcp", true},
	[KEY_PORT] = {"port", "port: 5000", true},
	[KEY_LENGTH] = {"length", "length: 290..294", true},
	[KEY_TAG] = {"tag", "tag: {offset: 20}", true},
	[KEY_ROUTES] = {"routes", "routes: {\"600\": 5001}", true},
	[KEY_OTHERWISE] = {"otherwise", "otherwise: refuse", false},
	[KEY_REFUSE] = {"refuse", "refuse: reset", false},
	[KEY_REPLIES] = {"replies", "replies: tracked", false},
	[KEY_REQUIRE] = {"require", "require: [{offset: 0, bytes: cafe}]", false},
	[KEY_ADDRESSES] = {"addresses", "addresses: [192.0.2.1]", false},
	[KEY_TESTS] = {"tests", "tests: [{payload: {length: 292}, expect: refuse}]", false},
};

enum {
	TAG_KEY_OFFSET,
	TAG_KEY_TYPE,
	TAG_KEY_LENGTH,
	TAG_KEY_ORDER
};
static const struct key tag_keys[] = {
	[TAG_KEY_OFFSET] = {"offset", "offset: 20", true},
	[TAG_KEY_TYPE] = {"type", "type: text", false},
	[TAG_KEY_LENGTH] = {"length", "length: 3", false},
	[TAG_KEY_ORDER] = {"order", "order: big", false},
};

enum {
	REQUIRE_OFFSET,
	REQUIRE_BYTES,
	REQUIRE_MASK
};
static const struct key require_keys[] = {
	[REQUIRE_OFFSET] = {"offset", "offset: 0", true},
	[REQUIRE_BYTES] = {"bytes", "bytes: cafe", true},
	[REQUIRE_MASK] = {"mask", "mask: ffff", false},
};

enum {
	TEST_PAYLOAD,
	TEST_EXPECT
};
static const struct key test_keys[] = {
	[TEST_PAYLOAD] = {"payload", "payload: {length: 292}", true},
	[TEST_EXPECT] = {"expect", "expect: refuse", true},
};

enum {
	PAYLOAD_LENGTH,
	PAYLOAD_AT
};
static const struct key payload_keys[] = {
	[PAYLOAD_LENGTH] = {"length", "length: 292", true},
	[PAYLOAD_AT] = {"at", "at: {20: \"600\"}", false},
};

enum {
	BYTES_TEXT,
	BYTES_HEX
};
static const struct key bytes_keys[] = {
	[BYTES_TEXT] = {"text", "text: \"600\"", false},
	[BYTES_HEX] = {"hex", "hex: cafe", false},
};

static const char *const protocol_names[] = {"tcp", "udp"};
static const char *const tag_type_names[] = {
	[TAG_TEXT] = "text",
	[TAG_HEX] = "hex",
	[TAG_UINT] = "uint",
};
static const char *const order_names[] = {[ORDER_BIG] = "big", [ORDER_LITTLE] = "little"};
static const char *const refuse_names[] = {"drop", "reset"};
static const char *const reply_names[] = {
	[REPLIES_TRACKED] = "tracked",
	[REPLIES_STATELESS] = "stateless",
	[REPLIES_NONE] = "none",
};

#define error(reader, node, ...) \
	diagnostics_error((reader)->diagnostics, (node)->place, __VA_ARGS__)
#define note(reader, place, ...) diagnostics_note((reader)->diagnostics, place, __VA_ARGS__)

/* The first item or key that is too many. */
static const struct node *beyond(const struct node *node, uint32_t limit)
{
	const struct node *item = node->first;

	while (limit--)
		item = item->next;
	return item;
}

static void *allocate(struct reader *reader, size_t count, size_t size)
{
	void *memory = arena_array(reader->arena, count, size);

	if (!memory)
		reader->no_memory = true;
	return memory;
}

/*
 * Words: the nearest of those that would have been right.
 */
static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* Letters to change, add, leave out or swap with the next, to make one word of the other. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][KEY_WORD_MAX + 1], *before = rows[0], *last = rows[1], *row = rows[2],
					  *spare;

	for (size_t j = 0; j <= b_length; j++)
		last[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			char x = lower(a[i - 1]), y = lower(b[j - 1]);
			size_t best = last[j - 1] + (x != y);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b_length];
}

/* Whether one of the names was probably meant, and which one. */
static bool nearest(const struct node *node, const char *const *names, size_t count, size_t *found)
{
	size_t best = 3;

	if (node->length > KEY_WORD_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(names[i]);
		size_t far = distance(node->text, node->length, names[i], length);

		if (far < best && far < length) {
			best = far;
			*found = i;
		}
	}
	return best < 3;
}

/* "a, b or c" */
static const char *list_names(const char *const *names, size_t count, const char *word, char *list,
			      size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < count && used < size; i++) {
		const char *between = i == 0 ? "" : i + 1 == count ? word : ", ";

		used += snprintf(list + used, size - used, "%s%s", between, names[i]);
	}
	return list;
}

static bool node_is(const struct node *node, const char *text)
{
	return node->length == strlen(text) && !memcmp(node->text, text, node->length);
}

static bool is_empty(const struct node *node)
{
	return node->kind == NODE_SCALAR && !node->length && !node->quoted;
}

static const char *kind_name(const struct node *node)
{
	return node->kind == NODE_MAPPING ? "a mapping" : "a list";
}

/*
 * Sorts the values of a mapping by its keys; NULL for those that are not there or not usable.
 * `what` is what the mapping describes. Returns false where it is no mapping at all.
 */
static bool read_keys(struct reader *reader, const struct node *mapping, struct place place,
		      const char *what, const struct key *keys, size_t count, struct node **values)
{
	const char *names[KEYS], *missing[KEYS], *example = NULL;
	size_t missing_count = 0;
	bool there[KEYS] = {false};
	char list[200];

	for (size_t i = 0; i < count; i++) {
		names[i] = keys[i].name;
		values[i] = NULL;
	}
	if (mapping->kind == NODE_BROKEN)
		return false;
	if (mapping->kind != NODE_MAPPING) {
		diagnostics_error(reader->diagnostics, is_empty(mapping) ? place : mapping->place,
				  "%s is a mapping: write its keys as in '%s'", what,
				  keys[0].example);
		return false;
	}
	for (struct node *key = mapping->first; key; key = key->next) {
		size_t i = 0;

		while (i < count && !node_is(key, names[i]))
			i++;
		if (i < count) {
			there[i] = true;
			if (is_empty(key->value))
				error(reader, key, "'%s' has no value: write it as in '%s'",
				      names[i], keys[i].example);
			else if (key->value->kind != NODE_BROKEN)
				values[i] = key->value;
		} else if (nearest(key, names, count, &i)) {
			error(reader, key, "unknown key '%.*s': did you mean '%s'?", SHOWN(key),
			      names[i]);
			there[i] = true;
		} else {
			error(reader, key, "unknown key '%.*s': the keys of %s are %s", SHOWN(key),
			      what, list_names(names, count, " and ", list, sizeof(list)));
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (!keys[i].required || there[i])
			continue;
		missing[missing_count++] = names[i];
		example = keys[i].example;
	}
	list_names(missing, missing_count, " and ", list, sizeof(list));
	if (missing_count == 1)
		diagnostics_error(reader->diagnostics, place, "%s needs '%s': write it as in '%s'",
				  what, list, example);
	else if (missing_count)
		diagnostics_error(reader->diagnostics, place, "%s needs %s: write them, too", what,
				  list);
	return true;
}

/* Reads one of some words. Returns its number, or -1 after an error. */
static int read_word(struct reader *reader, const struct node *node, const char *what,
		     const char *const *names, size_t count)
{
	char list[200];
	size_t near;

	list_names(names, count, " or ", list, sizeof(list));
	if (node->kind == NODE_BROKEN)
		return -1;
	if (node->kind != NODE_SCALAR) {
		error(reader, node, "%s is not %s: write %s", what, kind_name(node), list);
		return -1;
	}
	for (size_t i = 0; i < count; i++)
		if (node_is(node, names[i]))
			return i;
	if (nearest(node, names, count, &near))
		error(reader, node, "'%.*s' is not %s: did you mean '%s'?", SHOWN(node), what,
		      names[near]);
	else
		error(reader, node, "'%.*s' is not %s: write %s", SHOWN(node), what, list);
	return -1;
}

/* Reads a decimal number. Returns whether it could; if not, it said so. */
static bool read_number(struct reader *reader, const struct node *node, const char *what,
			uint64_t min, uint64_t max, uint64_t *number)
{
	uint64_t value;
	int err;

	if (node->kind == NODE_BROKEN)
		return false;
	if (node->kind != NODE_SCALAR) {
		error(reader, node, "%s is not %s: write a number from %" PRIu64 " to %" PRIu64,
		      what, kind_name(node), min, max);
		return false;
	}
	err = decimal_read(node->text, node->length, max, &value);
	if (err == -EINVAL) {
		if (!number_read(node->text, node->length, max, &value) && value >= min)
			error(reader, node, "%s is a decimal number: write %.*s as %" PRIu64, what,
			      SHOWN(node), value);
		else
			error(reader, node,
			      "'%.*s' is not %s: write a decimal number from %" PRIu64
			      " to %" PRIu64,
			      SHOWN(node), what, min, max);
		return false;
	}
	if (err || value < min) {
		error(reader, node,
		      "%.*s is out of range: %s is a number from %" PRIu64 " to %" PRIu64,
		      SHOWN(node), what, min, max);
		return false;
	}
	*number = value;
	return true;
}

static uint16_t read_port(struct reader *reader, const struct node *node)
{
	uint64_t port = 0;

	read_number(reader, node, "a port", 1, 65535, &port);
	return port;
}

/* Reads a port, `refuse` or `pass`. */
static bool read_action(struct reader *reader, const struct node *node, struct action *action)
{
	static const char *const names[] = {"refuse", "pass"};
	size_t near;

	if (node->kind == NODE_SCALAR) {
		if (node_is(node, "refuse")) {
			*action = (struct action){ACTION_REFUSE, 0};
			return true;
		}
		if (node_is(node, "pass")) {
			*action = (struct action){ACTION_PASS, 0};
			return true;
		}
		if (node->length && node->text[0] >= '0' && node->text[0] <= '9') {
			*action = (struct action){ACTION_ROUTE, read_port(reader, node)};
			return action->port;
		}
		if (nearest(node, names, COUNT(names), &near))
			error(reader, node, "'%.*s' is no outcome: did you mean '%s'?", SHOWN(node),
			      names[near]);
		else
			error(reader, node, "'%.*s' is no outcome: write a port, refuse or pass",
			      SHOWN(node));
	} else if (node->kind != NODE_BROKEN) {
		error(reader, node, "an outcome is not %s: write a port, refuse or pass",
		      kind_name(node));
	}
	return false;
}

/* Whether a node is a list; if not, it says how to write one. */
static bool check_list(struct reader *reader, const struct node *node, const char *example)
{
	if (node->kind == NODE_SEQUENCE)
		return true;
	if (node->kind != NODE_BROKEN)
		error(reader, node, "this is a list: write it as in '%s'", example);
	return false;
}

/*
 * The keys of a listener, one function each.
 */
static void read_name(struct reader *reader, const struct node *key, struct draft *draft)
{
	bool good = key->length && key->length <= NAME_MAX_LENGTH;

	for (size_t i = 0; i < key->length; i++) {
		char c = key->text[i];

		good &= (c >= 'a' && c <= 'z') || (i && ((c >= '0' && c <= '9') || c == '_'));
	}
	if (!good)
		error(reader, key,
		      "'%.*s' cannot be a listener's name: write a letter a-z, then letters a-z, "
		      "digits and '_', %d characters at most",
		      SHOWN(key), NAME_MAX_LENGTH);
	draft->listener.name = key->text;
	draft->listener.place = key->place;
}

static void read_protocol(struct reader *reader, const struct node *node, struct draft *draft)
{
	const struct node *item = node->kind == NODE_SEQUENCE ? node->first : node;

	if (!item)
		error(reader, node, "this list is empty: write tcp, udp or [tcp, udp]");
	for (; item; item = node->kind == NODE_SEQUENCE ? item->next : NULL) {
		int word = read_word(reader, item, "a protocol", protocol_names,
				     COUNT(protocol_names));
		unsigned bit = word < 0 ? 0 : word ? PROTOCOL_UDP : PROTOCOL_TCP;

		if (draft->listener.protocols & bit)
			error(reader, item, "'%.*s' is there twice: remove one of them",
			      SHOWN(item));
		draft->listener.protocols |= bit;
	}
}

static void read_length(struct reader *reader, const struct node *node, struct draft *draft)
{
	const char *dots;
	uint64_t min, max;
	int err;

	draft->length = node->place;
	if (node->kind != NODE_SCALAR) {
		read_number(reader, node, "a length", 1, PAYLOAD_MAX, &min);
		return;
	}
	dots = memmem(node->text, node->length, "..", 2);
	if (dots) {
		size_t length = dots - node->text;
		int max_err = decimal_read(dots + 2, node->length - length - 2, PAYLOAD_MAX, &max);

		err = decimal_read(node->text, length, PAYLOAD_MAX, &min);
		if (!err || max_err == -EINVAL)
			err = max_err;
	} else {
		err = decimal_read(node->text, node->length, PAYLOAD_MAX, &min);
		max = min;
	}
	if (err == -EINVAL) {
		error(reader, node,
		      "'%.*s' is not a length: write a number of bytes, or two with '..' between "
		      "them, as in 290..294",
		      SHOWN(node));
		return;
	}
	if (err || !min) {
		error(reader, node,
		      "%.*s is out of range: a message has from 1 to %d bytes of payload",
		      SHOWN(node), PAYLOAD_MAX);
		return;
	}
	if (min > max) {
		error(reader, node,
		      "no message can have this length: write the smaller number first, %" PRIu64
		      "..%" PRIu64,
		      max, min);
		return;
	}
	draft->listener.length_min = min;
	draft->listener.length_max = max;
}

/* The length that most routes have, and the first of those; 0 where none can be told. */
static uint32_t common_length(enum tag_type type, const struct node *routes, struct place *place)
{
	uint32_t counts[TAG_MAX + 1] = {0}, best = 0;

	for (const struct node *key = routes->first; key; key = key->next) {
		uint32_t length = pattern_length(type, key->text, key->length);

		if (length && length <= TAG_MAX)
			counts[length]++;
	}
	for (uint32_t i = 1; i <= TAG_MAX; i++)
		if (counts[i] > counts[best])
			best = i;
	for (const struct node *key = routes->first; best && key; key = key->next) {
		if (pattern_length(type, key->text, key->length) == best) {
			*place = key->place;
			break;
		}
	}
	return best;
}

/* The tag but for its length, which may come from the routes. */
static void read_tag(struct reader *reader, const struct node *node, const struct node *routes,
		     struct draft *draft)
{
	struct listener *listener = &draft->listener;
	struct node *values[COUNT(tag_keys)];
	uint64_t number;
	int word;

	draft->tag = node->place;
	if (!read_keys(reader, node, node->place, "a tag", tag_keys, COUNT(tag_keys), values))
		return;
	draft->tag_known = values[TAG_KEY_OFFSET];
	if (values[TAG_KEY_OFFSET]) {
		draft->tag = values[TAG_KEY_OFFSET]->place;
		if (read_number(reader, values[TAG_KEY_OFFSET], "an offset", 0, PAYLOAD_MAX - 1,
				&number))
			listener->tag.offset = number;
		else
			draft->tag_known = false;
	}
	if (values[TAG_KEY_TYPE]) {
		word = read_word(reader, values[TAG_KEY_TYPE], "a type of tag", tag_type_names,
				 COUNT(tag_type_names));
		if (word < 0) {
			draft->tag_known = false;
			return;
		}
		listener->tag.type = word;
	}
	if (values[TAG_KEY_ORDER]) {
		word = read_word(reader, values[TAG_KEY_ORDER], "an order of bytes", order_names,
				 COUNT(order_names));
		if (word < 0)
			draft->tag_known = false;
		else
			listener->tag.order = word;
		if (listener->tag.type != TAG_UINT)
			error(reader, values[TAG_KEY_ORDER],
			      "only a uint tag has an order: remove it, or write 'type: uint'");
	}
	if (values[TAG_KEY_LENGTH]) {
		uint64_t max = listener->tag.type == TAG_UINT ? TAG_UINT_MAX : TAG_MAX;

		draft->tag_length = values[TAG_KEY_LENGTH]->place;
		if (read_number(reader, values[TAG_KEY_LENGTH], "the length of a tag in bytes", 1,
				max, &number))
			listener->tag.length = number;
	} else if (listener->tag.type == TAG_UINT) {
		diagnostics_error(reader->diagnostics, node->place,
				  "a uint tag needs its length in bytes: write it as in "
				  "'tag: {offset: %u, type: uint, length: 4}'",
				  listener->tag.offset);
	} else if (routes && routes->kind == NODE_MAPPING) {
		listener->tag.length =
			common_length(listener->tag.type, routes, &draft->tag_length);
		/* No tag is right then: any length serves to say what is wrong with each. */
		if (!listener->tag.length)
			listener->tag.length = 1;
	}
	if (!listener->tag.length)
		draft->tag_known = false;
}

static int compare_routes(const void *left, const void *right)
{
	const struct route *a = left, *b = right;
	int order = memcmp(a->pattern.value, b->pattern.value, TAG_MAX);

	if (!order)
		order = memcmp(a->pattern.mask, b->pattern.mask, TAG_MAX);
	if (!order)
		order = memcmp(a->pattern.last, b->pattern.last, TAG_MAX);
	if (!order)
		order = a->place.offset < b->place.offset ? -1 : a->place.offset > b->place.offset;
	return order;
}

/* A pattern of more than one tag, with its span, to be compared with others. */
struct candidate {
	const struct route *route;
	uint8_t low[TAG_MAX], high[TAG_MAX];
};

static int compare_candidates(const void *left, const void *right)
{
	const struct candidate *a = left, *b = right;
	int order = memcmp(a->low, b->low, TAG_MAX);

	return order ? order : a->route->place.offset < b->route->place.offset ? -1 : 1;
}

static void check_pair(struct reader *reader, const struct draft *draft, const struct route *a,
		       const struct route *b)
{
	enum relation relation;

	if (a->port == b->port)
		return;
	relation = pattern_relation(&draft->listener, &a->pattern, &b->pattern);
	if (relation != RELATION_OVERLAP && relation != RELATION_EQUAL)
		return;
	/* Those that are written alike have been reported as being there twice. */
	if (!memcmp(&a->pattern, &b->pattern, sizeof(a->pattern)))
		return;
	if (a->place.offset > b->place.offset) {
		const struct route *swap = a;

		a = b;
		b = swap;
	}
	diagnostics_error(reader->diagnostics, b->place,
			  "'%.*s' and '%.*s' have tags in common and lead to different ports: "
			  "write patterns that are apart, or one inside the other",
			  TEXT_SHOWN, b->text, TEXT_SHOWN, a->text);
	note(reader, a->place, "this one leads to port %u, the other to %u", a->port, b->port);
}

/*
 * Patterns that overlap without one being inside the other must agree. One tag is inside or
 * outside of a pattern, so only patterns of many tags are compared, and of those only the ones
 * whose spans meet: sorted by their lower ends, these stand one behind the other.
 */
static void check_overlaps(struct reader *reader, struct draft *draft)
{
	const struct listener *listener = &draft->listener;
	struct candidate *candidates;
	size_t count = 0, i, j;

	for (i = 0; i < listener->route_count; i++)
		count += listener->routes[i].pattern.kind != PATTERN_EXACT;
	if (count < 2)
		return;
	candidates = calloc(count, sizeof(*candidates));
	if (!candidates) {
		reader->no_memory = true;
		return;
	}
	for (i = 0, count = 0; i < listener->route_count; i++) {
		const struct route *route = &listener->routes[i];

		if (route->pattern.kind == PATTERN_EXACT)
			continue;
		candidates[count].route = route;
		pattern_span(listener, &route->pattern, candidates[count].low,
			     candidates[count].high);
		count++;
	}
	qsort(candidates, count, sizeof(*candidates), compare_candidates);
	for (i = 0; i < count && reader->pairs <= PAIRS_MAX; i++) {
		for (j = i + 1; j < count && reader->pairs <= PAIRS_MAX; j++) {
			if (memcmp(candidates[j].low, candidates[i].high, TAG_MAX) > 0)
				break;
			reader->pairs++;
			check_pair(reader, draft, candidates[i].route, candidates[j].route);
		}
	}
	if (reader->pairs > PAIRS_MAX)
		diagnostics_error(reader->diagnostics, listener->place,
				  "the patterns of '%s' overlap too much to be checked: write "
				  "fewer that start with '?' or lie inside each other",
				  listener->name);
	free(candidates);
}

static void check_duplicates(struct reader *reader, const struct draft *draft)
{
	const struct listener *listener = &draft->listener;
	size_t first = 0;

	for (size_t i = 1; i < listener->route_count; i++) {
		const struct route *a = &listener->routes[first], *b = &listener->routes[i];

		if (memcmp(&a->pattern, &b->pattern, sizeof(a->pattern))) {
			first = i;
			continue;
		}
		diagnostics_error(reader->diagnostics, b->place,
				  "'%.*s' and '%.*s' are the same tag: remove one of them",
				  TEXT_SHOWN, b->text, TEXT_SHOWN, a->text);
		note(reader, a->place, "here it is first");
	}
}

static void read_route(struct reader *reader, const struct node *key, struct draft *draft)
{
	struct listener *listener = &draft->listener;
	struct route route = {.text = key->text, .place = key->place};
	char problem[PROBLEM_MAX];
	bool good;
	int err;

	if (is_empty(key->value)) {
		error(reader, key, "this tag has no port: write it as in '\"600\": 5001'");
		return;
	}
	route.port = read_port(reader, key->value);
	good = route.port;
	if (route.port)
		draft->backends[route.port / 64] |= 1ULL << route.port % 64;
	if (!draft->tag_known)
		return;
	err = pattern_read(listener, key->text, key->length, &route.pattern, problem);
	if (err) {
		error(reader, key, "%s", problem);
		if (err == -EMSGSIZE && draft->tag_length.length)
			note(reader, draft->tag_length, "the length comes from here");
		good = false;
	}
	if (good)
		listener->routes[listener->route_count++] = route;
}

static void read_routes(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct listener *listener = &draft->listener;

	if (node->kind != NODE_MAPPING) {
		if (node->kind != NODE_BROKEN)
			error(reader, node,
			      "routes are a mapping of tags to ports: write them as in "
			      "'\"600\": 5001', one on a line");
		return;
	}
	if (!node->length) {
		error(reader, node, "there is no route: write at least one, as in '\"600\": 5001'");
		return;
	}
	listener->routes = allocate(reader, node->length, sizeof(*listener->routes));
	if (!listener->routes)
		return;
	for (const struct node *key = node->first; key; key = key->next)
		read_route(reader, key, draft);
	qsort(listener->routes, listener->route_count, sizeof(*listener->routes), compare_routes);
	check_duplicates(reader, draft);
	check_overlaps(reader, draft);
}

static size_t read_hex(struct reader *reader, const struct node *node, const char *what,
		       uint8_t *bytes, size_t size)
{
	size_t length = 0;

	if (node->kind == NODE_SCALAR)
		length = hex_read(node->text, node->length, bytes, size);
	if (!length && node->kind == NODE_SCALAR)
		error(reader, node,
		      "'%.*s' is not %s: write hex digits, two a byte, 1 to %zu bytes, as in "
		      "'cafe01'",
		      SHOWN(node), what, size);
	else if (!length && node->kind != NODE_BROKEN)
		error(reader, node, "%s is not %s: write hex digits, as in 'cafe01'", what,
		      kind_name(node));
	return length;
}

static bool read_mask(struct reader *reader, const struct node *node, const struct node *bytes,
		      struct require *require)
{
	uint8_t clear = 0, any = 0;
	size_t length = read_hex(reader, node, "a mask", require->mask, TAG_MAX);

	if (!length)
		return false;
	if (length != require->length) {
		error(reader, node, "mask has %zu byte%s, bytes has %u: write as many", length,
		      length == 1 ? "" : "s", require->length);
		return false;
	}
	for (size_t i = 0; i < length; i++) {
		any |= require->mask[i];
		clear |= require->bytes[i] & ~require->mask[i];
		require->bytes[i] &= require->mask[i];
	}
	if (!any) {
		error(reader, node, "this mask compares no bit: set those that must agree");
		return false;
	}
	if (clear) {
		char right[2 * TAG_MAX + 1];

		for (size_t i = 0; i < length; i++)
			snprintf(right + 2 * i, 3, "%02x", require->bytes[i]);
		error(reader, bytes, "bytes has bits that the mask leaves out: write %s", right);
		note(reader, node->place, "the mask is here");
		return false;
	}
	return true;
}

static void read_require(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct listener *listener = &draft->listener;
	struct node *values[COUNT(require_keys)];
	struct require require = {0};
	uint64_t offset;

	if (!read_keys(reader, node, node->place, "a require", require_keys, COUNT(require_keys),
		       values) ||
	    !values[REQUIRE_OFFSET] || !values[REQUIRE_BYTES])
		return;
	if (!read_number(reader, values[REQUIRE_OFFSET], "an offset", 0, PAYLOAD_MAX - 1, &offset))
		return;
	require.offset = offset;
	require.length =
		read_hex(reader, values[REQUIRE_BYTES], "a text of bytes", require.bytes, TAG_MAX);
	if (!require.length)
		return;
	memset(require.mask, 0xff, require.length);
	if (values[REQUIRE_MASK] &&
	    !read_mask(reader, values[REQUIRE_MASK], values[REQUIRE_BYTES], &require))
		return;
	draft->requires[listener->require_count] = values[REQUIRE_BYTES]->place;
	listener->requires[listener->require_count++] = require;
}

/* Whether there are bits that the one wants set and the other clear. */
static bool contradict(const struct require *a, const struct require *b)
{
	uint32_t start = a->offset > b->offset ? a->offset : b->offset;

	for (uint32_t at = start; at < a->offset + a->length && at < b->offset + b->length; at++) {
		uint32_t i = at - a->offset, j = at - b->offset;

		if ((a->bytes[i] ^ b->bytes[j]) & a->mask[i] & b->mask[j])
			return true;
	}
	return false;
}

static int compare_requires(const void *left, const void *right)
{
	const struct require *a = left, *b = right;
	int order;

	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	order = memcmp(a->bytes, b->bytes, a->length);
	return order ? order : memcmp(a->mask, b->mask, a->length);
}

static void read_requires(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct listener *listener = &draft->listener;

	if (!check_list(reader, node, listener_keys[KEY_REQUIRE].example))
		return;
	if (node->length > REQUIRES_MAX) {
		error(reader, beyond(node, REQUIRES_MAX), "there are %u requires: write %d at most",
		      node->length, REQUIRES_MAX);
		return;
	}
	listener->requires = allocate(reader, node->length, sizeof(*listener->requires));
	if (!listener->requires)
		return;
	for (const struct node *item = node->first; item; item = item->next)
		read_require(reader, item, draft);
	for (size_t i = 0; i < listener->require_count; i++) {
		for (size_t j = 0; j < i; j++) {
			if (!contradict(&listener->requires[j], &listener -> requires[i]))
				continue;
			diagnostics_error(reader->diagnostics, draft->requires[i],
					  "no message can have these bytes and those of another "
					  "require: remove one of them");
			note(reader, draft->requires[j], "the other is here");
		}
	}
}

static bool read_address(struct reader *reader, const struct node *node, struct address *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct address read = {0};
	char text[INET6_ADDRSTRLEN + 8], right[INET6_ADDRSTRLEN];
	uint8_t bits = 0, any = 0;
	uint64_t prefix;
	char *slash = NULL;

	if (node->kind == NODE_BROKEN)
		return false;
	if (node->kind == NODE_SCALAR && node->length < sizeof(text) &&
	    strlen(node->text) == node->length) {
		strcpy(text, node->text);
		slash = strchr(text, '/');
		if (slash)
			*slash = '\0';
		if (inet_pton(AF_INET, text, read.bytes) == 1)
			read.family = 4;
		else if (inet_pton(AF_INET6, text, read.bytes) == 1)
			read.family = 6;
	}
	if (!read.family) {
		error(reader, node,
		      "this is no address: write an IPv4 or IPv6 address or prefix, such as "
		      "192.0.2.1 or 2001:db8::/32");
		return false;
	}
	if (read.family == 6 && !memcmp(read.bytes, mapped, sizeof(mapped))) {
		inet_ntop(AF_INET, read.bytes + 12, right, sizeof(right));
		error(reader, node, "no packet carries an IPv4 address in this form: write %s",
		      right);
		return false;
	}
	prefix = bits = read.family == 4 ? 32 : 128;
	if (slash && decimal_read(slash + 1, strlen(slash + 1), bits, &prefix)) {
		error(reader, node, "'/%.20s' is no prefix: write /0 to /%u", slash + 1, bits);
		return false;
	}
	read.prefix = prefix;
	for (unsigned i = 0; i < bits / 8u; i++) {
		unsigned kept = read.prefix > 8 * i ? read.prefix - 8 * i : 0;
		uint8_t mask = kept >= 8 ? 0xff : 0xff00 >> kept;

		any |= read.bytes[i] & ~mask;
		read.bytes[i] &= mask;
	}
	inet_ntop(read.family == 4 ? AF_INET : AF_INET6, read.bytes, right, sizeof(right));
	if (any) {
		error(reader, node,
		      "this address has bits behind its prefix: write %s/%u for the network, or "
		      "%s for one address",
		      right, read.prefix, text);
		return false;
	}
	for (unsigned i = 0; i < bits / 8u; i++)
		any |= read.bytes[i];
	if (!any && read.prefix == bits) {
		error(reader, node, "no packet goes to %s: write %s/0 for any address", right,
		      right);
		return false;
	}
	*address = read;
	return true;
}

static int compare_addresses(const void *left, const void *right)
{
	const struct address *a = left, *b = right;
	int order;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	order = memcmp(a->bytes, b->bytes, sizeof(a->bytes));
	return order ? order : a->prefix - b->prefix;
}

static void read_addresses(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct listener *listener = &draft->listener;

	if (!check_list(reader, node, listener_keys[KEY_ADDRESSES].example))
		return;
	if (!node->length) {
		error(reader, node,
		      "this list is empty: write an address, or remove 'addresses' for the host's "
		      "own");
		return;
	}
	if (node->length > ADDRESSES_MAX) {
		error(reader, beyond(node, ADDRESSES_MAX),
		      "there are %u addresses: write %d at most", node->length, ADDRESSES_MAX);
		return;
	}
	listener->addresses = allocate(reader, node->length, sizeof(*listener->addresses));
	if (!listener->addresses)
		return;
	for (const struct node *item = node->first; item; item = item->next) {
		struct address address;
		size_t i = 0;

		if (!read_address(reader, item, &address))
			continue;
		while (i < listener->address_count &&
		       compare_addresses(&listener->addresses[i], &address))
			i++;
		if (i < listener->address_count)
			error(reader, item, "this address is there twice: remove one of them");
		else
			listener->addresses[listener->address_count++] = address;
	}
	qsort(listener->addresses, listener->address_count, sizeof(*listener->addresses),
	      compare_addresses);
}

/*
 * Tests.
 */
static bool read_text_bytes(struct reader *reader, const struct node *node,
			    struct test_bytes *bytes)
{
	for (size_t i = 0; i < node->length; i++) {
		if (node->text[i] < ' ' || node->text[i] > '~') {
			error(reader, node,
			      "text is printable ASCII: write other bytes as in '{hex: cafe01}'");
			return false;
		}
	}
	bytes->bytes = (const uint8_t *)node->text;
	bytes->length = node->length;
	return true;
}

static bool read_hex_bytes(struct reader *reader, const struct node *node, struct test_bytes *bytes)
{
	uint8_t *memory = allocate(reader, node->length / 2 + 1, 1);

	if (!memory)
		return false;
	bytes->length = read_hex(reader, node, "a text of bytes", memory, PAYLOAD_MAX);
	bytes->bytes = memory;
	return bytes->length;
}

static bool read_uint_bytes(struct reader *reader, const struct node *node,
			    const struct draft *draft, struct test_bytes *bytes)
{
	struct pattern pattern;
	char problem[PROBLEM_MAX];
	uint8_t *memory = allocate(reader, TAG_UINT_MAX, 1);

	if (!memory)
		return false;
	if (pattern_read(&draft->listener, node->text, node->length, &pattern, problem)) {
		error(reader, node, "%s", problem);
		return false;
	}
	if (pattern.kind != PATTERN_EXACT) {
		error(reader, node, "a test has one number here: write one of the range");
		return false;
	}
	memcpy(memory, pattern.value, draft->listener.tag.length);
	bytes->bytes = memory;
	bytes->length = draft->listener.tag.length;
	return true;
}

/* Bytes are written as the listener's tags are, or as {text: ...} or {hex: ...}. */
static bool read_bytes(struct reader *reader, const struct node *node, const struct draft *draft,
		       struct test_bytes *bytes)
{
	struct node *values[COUNT(bytes_keys)];
	enum tag_type type = draft->listener.tag.type;

	if (node->kind == NODE_MAPPING) {
		if (!read_keys(reader, node, node->place, "bytes", bytes_keys, COUNT(bytes_keys),
			       values))
			return false;
		if (node->length != 1) {
			error(reader, node, "bytes are either '{text: \"600\"}' or '{hex: cafe}'");
			return false;
		}
		type = values[BYTES_TEXT] ? TAG_TEXT : TAG_HEX;
		node = values[BYTES_TEXT] ? values[BYTES_TEXT] : values[BYTES_HEX];
		if (!node)
			return false;
	}
	if (node->kind == NODE_BROKEN)
		return false;
	if (node->kind != NODE_SCALAR || !node->length) {
		error(reader, node, "there are no bytes here: write them as in '20: \"600\"'");
		return false;
	}
	switch (type) {
	case TAG_TEXT:
		return read_text_bytes(reader, node, bytes);
	case TAG_HEX:
		return read_hex_bytes(reader, node, bytes);
	case TAG_UINT:
		break;
	}
	return draft->tag_known && read_uint_bytes(reader, node, draft, bytes);
}

static int compare_bytes(const void *left, const void *right)
{
	const struct test_bytes *a = left, *b = right;

	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static void read_at(struct reader *reader, const struct node *node, const struct draft *draft,
		    struct test *test)
{
	if (node->kind != NODE_MAPPING) {
		if (node->kind != NODE_BROKEN)
			error(reader, node,
			      "'at' is a mapping of offsets to bytes: write it as in '%s'",
			      payload_keys[PAYLOAD_AT].example);
		return;
	}
	test->at = allocate(reader, node->length, sizeof(*test->at));
	if (!test->at)
		return;
	for (const struct node *key = node->first; key; key = key->next) {
		struct test_bytes bytes = {0};
		uint64_t offset;

		if (!read_number(reader, key, "an offset", 0, PAYLOAD_MAX - 1, &offset) ||
		    !read_bytes(reader, key->value, draft, &bytes))
			continue;
		bytes.offset = offset;
		if (offset + bytes.length > test->length) {
			error(reader, key->value,
			      "these bytes end at byte %" PRIu64
			      ", but the payload has %u: write a longer payload",
			      offset + bytes.length, test->length);
			continue;
		}
		test->at[test->at_count++] = bytes;
	}
	qsort(test->at, test->at_count, sizeof(*test->at), compare_bytes);
	for (size_t i = 1; i < test->at_count; i++)
		if (test->at[i].offset < test->at[i - 1].offset + test->at[i - 1].length)
			error(reader, node,
			      "the bytes at %u and those at %u overlap: write each byte once",
			      test->at[i - 1].offset, test->at[i].offset);
}

static bool has_backend(const struct draft *draft, uint16_t port)
{
	return draft->backends[port / 64] >> port % 64 & 1;
}

static void read_expect(struct reader *reader, const struct node *node, const struct draft *draft,
			struct test *test)
{
	uint16_t port;

	if (!read_action(reader, node, &test->expect) || test->expect.kind != ACTION_ROUTE)
		return;
	port = test->expect.port;
	if (has_backend(draft, port))
		return;
	if (port == draft->listener.port)
		error(reader, node, "%u is the listen port itself: write pass", port);
	else
		diagnostics_warning(reader->diagnostics, node->place,
				    "no message of '%s' goes to port %u: the test will fail",
				    draft->listener.name, port);
}

static void read_test(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct node *values[COUNT(test_keys)], *payload[COUNT(payload_keys)];
	struct test test = {.place = node->place, .line = node->line};
	uint64_t length;

	if (!read_keys(reader, node, node->place, "a test", test_keys, COUNT(test_keys), values))
		return;
	if (values[TEST_PAYLOAD] &&
	    read_keys(reader, values[TEST_PAYLOAD], values[TEST_PAYLOAD]->place, "a payload",
		      payload_keys, COUNT(payload_keys), payload) &&
	    payload[PAYLOAD_LENGTH] &&
	    read_number(reader, payload[PAYLOAD_LENGTH], "a payload's length", 0, PAYLOAD_MAX,
			&length)) {
		test.length = length;
		if (payload[PAYLOAD_AT])
			read_at(reader, payload[PAYLOAD_AT], draft, &test);
	}
	if (values[TEST_EXPECT])
		read_expect(reader, values[TEST_EXPECT], draft, &test);
	draft->listener.tests[draft->listener.test_count++] = test;
}

static void read_tests(struct reader *reader, const struct node *node, struct draft *draft)
{
	struct listener *listener = &draft->listener;

	if (!check_list(reader, node, listener_keys[KEY_TESTS].example))
		return;
	listener->tests = allocate(reader, node->length, sizeof(*listener->tests));
	if (!listener->tests)
		return;
	for (const struct node *item = node->first; item; item = item->next)
		read_test(reader, item, draft);
}

/*
 * What the keys of one listener mean together.
 */
static void check_end(struct reader *reader, const struct draft *draft, const char *what,
		      uint32_t end, struct place place)
{
	const struct listener *listener = &draft->listener;

	if (listener->length_min && end > listener->length_max) {
		diagnostics_error(reader->diagnostics, place,
				  "%s ends at byte %u, but a message has at most %u", what, end,
				  listener->length_max);
		note(reader, draft->length, "the length comes from here");
	} else if (listener->length_min && end > listener->length_min) {
		diagnostics_error(reader->diagnostics, draft->length,
				  "a message of %u bytes cannot hold %s, which ends at byte %u: "
				  "write %u..%u",
				  listener->length_min, what, end, end, listener->length_max);
		note(reader, place, "it is here");
	}
	if (!(listener->protocols & PROTOCOL_TCP))
		return;
	if (end > FIRST_SEGMENT_MAX)
		diagnostics_error(reader->diagnostics, place,
				  "%s ends at byte %u, but over tcp it must end within the first "
				  "segment, of which only %d bytes are certain",
				  what, end, FIRST_SEGMENT_MAX);
	else if (end > FIRST_SEGMENT)
		diagnostics_warning(reader->diagnostics, place,
				    "%s ends at byte %u: a tcp client whose first segment is "
				    "shorter is refused, and only %d bytes are certain on every "
				    "path",
				    what, end, FIRST_SEGMENT);
}

/* A tag that contradicts a require never comes. */
static void check_reachable(struct reader *reader, const struct draft *draft)
{
	const struct listener *listener = &draft->listener;

	for (size_t i = 0; i < listener->route_count; i++) {
		const struct route *route = &listener->routes[i];
		struct require tag = {listener->tag.offset, listener->tag.length, {0}, {0}};

		if (route->pattern.kind == PATTERN_RANGE)
			continue;
		memcpy(tag.bytes, route->pattern.value, TAG_MAX);
		memcpy(tag.mask, route->pattern.mask, TAG_MAX);
		for (size_t j = 0; j < listener->require_count; j++) {
			if (!contradict(&tag, &listener->requires[j]))
				continue;
			diagnostics_warning(reader->diagnostics, route->place,
					    "no message can carry this tag: a require wants other "
					    "bytes at its place");
			note(reader, draft->requires[j], "the require is here");
		}
	}
}

static void check_listener(struct reader *reader, struct draft *draft)
{
	struct listener *listener = &draft->listener;

	if (draft->tag_known)
		check_end(reader, draft, "the tag", listener->tag.offset + listener->tag.length,
			  draft->tag);
	for (size_t i = 0; i < listener->require_count; i++)
		check_end(reader, draft, "this require",
			  listener->requires[i].offset + listener->requires[i].length,
			  draft->requires[i]);
	if (draft->tag_known)
		check_reachable(reader, draft);
	if (listener->protocols == PROTOCOL_UDP && listener->reset && draft->refuse.length)
		diagnostics_error(reader->diagnostics, draft->refuse,
				  "udp has no reset: write drop, or remove 'refuse'");
	if (listener->protocols == PROTOCOL_TCP && draft->replies.length)
		diagnostics_error(
			reader->diagnostics, draft->replies,
			"'replies' is about udp, and this listener is tcp only: remove it");
}

static void read_listener(struct reader *reader, const struct node *key, struct draft *draft)
{
	struct listener *listener = &draft->listener;
	struct node *values[COUNT(listener_keys)];
	char what[NAME_MAX_LENGTH + 16];
	int word;

	read_name(reader, key, draft);
	snprintf(what, sizeof(what), "listener '%.*s'", NAME_MAX_LENGTH, listener->name);
	if (!read_keys(reader, key->value, key->place, what, listener_keys, COUNT(listener_keys),
		       values))
		return;
	if (values[KEY_PROTOCOL])
		read_protocol(reader, values[KEY_PROTOCOL], draft);
	if (values[KEY_PORT]) {
		draft->port = values[KEY_PORT]->place;
		listener->port = read_port(reader, values[KEY_PORT]);
	}
	if (values[KEY_LENGTH])
		read_length(reader, values[KEY_LENGTH], draft);
	if (values[KEY_TAG])
		read_tag(reader, values[KEY_TAG], values[KEY_ROUTES], draft);
	if (values[KEY_ROUTES])
		read_routes(reader, values[KEY_ROUTES], draft);
	listener->otherwise.kind = ACTION_REFUSE;
	if (values[KEY_OTHERWISE]) {
		draft->otherwise = values[KEY_OTHERWISE]->place;
		if (read_action(reader, values[KEY_OTHERWISE], &listener->otherwise) &&
		    listener->otherwise.kind == ACTION_ROUTE)
			draft->backends[listener->otherwise.port / 64] |=
				1ULL << listener->otherwise.port % 64;
	}
	listener->reset = listener->protocols & PROTOCOL_TCP;
	if (values[KEY_REFUSE]) {
		draft->refuse = values[KEY_REFUSE]->place;
		word = read_word(reader, values[KEY_REFUSE], "a way to refuse", refuse_names,
				 COUNT(refuse_names));
		if (word >= 0)
			listener->reset = word;
	}
	if (values[KEY_REPLIES]) {
		draft->replies = values[KEY_REPLIES]->place;
		word = read_word(reader, values[KEY_REPLIES], "a way to handle replies",
				 reply_names, COUNT(reply_names));
		if (word >= 0)
			listener->replies = word;
	}
	if (values[KEY_REQUIRE])
		read_requires(reader, values[KEY_REQUIRE], draft);
	if (values[KEY_ADDRESSES])
		read_addresses(reader, values[KEY_ADDRESSES], draft);
	if (values[KEY_TESTS])
		read_tests(reader, values[KEY_TESTS], draft);
	check_listener(reader, draft);
	if (listener->requires)
		qsort(listener->requires, listener->require_count, sizeof(*listener->requires),
		      compare_requires);
}

/*
 * What listeners mean together.
 */
static bool prefixes_overlap(const struct address *a, const struct address *b)
{
	unsigned bits = a->prefix < b->prefix ? a->prefix : b->prefix;

	if (a->family != b->family)
		return false;
	if (memcmp(a->bytes, b->bytes, bits / 8))
		return false;
	return !(bits % 8) || !((a->bytes[bits / 8] ^ b->bytes[bits / 8]) & (0xff00 >> bits % 8));
}

/* The host's own addresses may be any. */
static bool destinations_overlap(const struct listener *a, const struct listener *b)
{
	if (!a->address_count || !b->address_count)
		return true;
	for (size_t i = 0; i < a->address_count; i++)
		for (size_t j = 0; j < b->address_count; j++)
			if (prefixes_overlap(&a->addresses[i], &b->addresses[j]))
				return true;
	return false;
}

/* Where a listener names a port that messages go to. */
static struct place backend_place(const struct draft *draft, uint16_t port)
{
	const struct listener *listener = &draft->listener;
	struct place place = draft->otherwise;

	for (size_t i = listener->route_count; i--;)
		if (listener->routes[i].port == port)
			place = listener->routes[i].place;
	return place.length ? place : listener->place;
}

/* Whether some message of the listener stays on the listen port. */
static bool passes(const struct draft *draft)
{
	return draft->listener.otherwise.kind == ACTION_PASS ||
	       has_backend(draft, draft->listener.port);
}

static const char *const protocol_text[] = {
	[PROTOCOL_TCP] = "tcp",
	[PROTOCOL_UDP] = "udp",
	[PROTOCOL_TCP | PROTOCOL_UDP] = "tcp and udp",
};

static void check_same_packet(struct reader *reader, const struct draft *a, const struct draft *b)
{
	unsigned protocols = a->listener.protocols & b->listener.protocols;

	if (!protocols || !a->listener.port || a->listener.port != b->listener.port ||
	    !destinations_overlap(&a->listener, &b->listener))
		return;
	diagnostics_error(reader->diagnostics, b->port,
			  "one packet could be for '%s' and for '%s', both on %s port %u: give "
			  "them different ports, or 'addresses' that do not overlap",
			  b->listener.name, a->listener.name, protocol_text[protocols],
			  b->listener.port);
	note(reader, a->port, "'%s' is here", a->listener.name);
}

/* A stateless reply is known by its server's port alone. */
static void check_shared_backends(struct reader *reader, const struct draft *a,
				  const struct draft *b)
{
	const struct listener *first = &a->listener, *second = &b->listener;

	if (!(first->protocols & second->protocols & PROTOCOL_UDP) || !first->port ||
	    !second->port || first->port == second->port)
		return;
	if (first->replies != REPLIES_STATELESS && second->replies != REPLIES_STATELESS)
		return;
	for (size_t i = 0; i < PORT_WORDS; i++) {
		uint64_t shared = a->backends[i] & b->backends[i];
		unsigned port;

		if (!shared)
			continue;
		port = 64 * i + __builtin_ctzll(shared);
		diagnostics_error(reader->diagnostics, backend_place(b, port),
				  "'%s' leads to port %u as '%s' does, and with stateless replies "
				  "nothing tells whose reply a packet from there is: give them "
				  "different ports, or write 'replies: tracked' for both",
				  second->name, port, first->name);
		note(reader, backend_place(a, port), "'%s' leads there, too", first->name);
		return;
	}
}

/* A server that stands on another listener's port. */
static void check_chained(struct reader *reader, const struct draft *from, const struct draft *to)
{
	unsigned protocols = from->listener.protocols & to->listener.protocols;
	uint16_t port = to->listener.port;

	if (!protocols || !port || port == from->listener.port || !has_backend(from, port))
		return;
	if (protocols & PROTOCOL_UDP && from->listener.replies == REPLIES_STATELESS && passes(to)) {
		diagnostics_error(
			reader->diagnostics, backend_place(from, port),
			"'%s' leads to port %u, on which '%s' passes messages to the same "
			"server, and with stateless replies nothing tells whose reply a "
			"packet from there is: use another port, or 'replies: tracked'",
			from->listener.name, port, to->listener.name);
		note(reader, to->port, "'%s' is here", to->listener.name);
		return;
	}
	diagnostics_warning(reader->diagnostics, backend_place(from, port),
			    "'%s' leads to port %u, on which '%s' listens: the message is not "
			    "judged again there, it goes to a server on port %u itself",
			    from->listener.name, port, to->listener.name, port);
	note(reader, to->port, "'%s' is here", to->listener.name);
}

static void check_listeners(struct reader *reader, const struct draft *drafts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < i; j++) {
			check_same_packet(reader, &drafts[j], &drafts[i]);
			check_shared_backends(reader, &drafts[j], &drafts[i]);
			check_chained(reader, &drafts[i], &drafts[j]);
			check_chained(reader, &drafts[j], &drafts[i]);
		}
	}
}

static int compare_listeners(const void *left, const void *right)
{
	const struct listener *a = left, *b = right;

	return strcmp(a->name, b->name);
}

static void read_listeners(struct reader *reader, const struct node *node, struct rules *rules)
{
	struct draft *drafts;
	size_t count = 0;

	if (node->kind != NODE_MAPPING || !node->length) {
		error(reader, node,
		      "'listeners' is a mapping of names to listeners: write at least one, as in "
		      "'entities: {protocol: tcp, port: 5000, ...}'");
		return;
	}
	if (node->length > LISTENERS_MAX) {
		error(reader, beyond(node, LISTENERS_MAX),
		      "there are %u listeners: write %d at most", node->length, LISTENERS_MAX);
		return;
	}
	drafts = calloc(node->length, sizeof(*drafts));
	rules->listeners = allocate(reader, node->length, sizeof(*rules->listeners));
	if (!drafts || !rules->listeners) {
		reader->no_memory = true;
		free(drafts);
		return;
	}
	for (const struct node *key = node->first; key; key = key->next)
		read_listener(reader, key, &drafts[count++]);
	check_listeners(reader, drafts, count);
	for (size_t i = 0; i < count; i++)
		rules->listeners[i] = drafts[i].listener;
	rules->listener_count = count;
	qsort(rules->listeners, count, sizeof(*rules->listeners), compare_listeners);
	free(drafts);
}

static void read_version(struct reader *reader, const struct node *node)
{
	uint64_t version = 0;

	if (node->kind == NODE_SCALAR &&
	    decimal_read(node->text, node->length, UINT64_MAX - 1, &version) == -ERANGE)
		version = UINT64_MAX;
	if (version > 1)
		error(reader, node,
		      "this mplexc reads version 1 of rule files: use a newer one, or write "
		      "'version: 1'");
	else if (version != 1)
		error(reader, node, "this is no version of rule files: write 'version: 1'");
}

static void read_file(struct reader *reader, const struct node *root, struct rules *rules)
{
	struct node *values[COUNT(file_keys)];

	if (!read_keys(reader, root, root->place, "a rule file", file_keys, COUNT(file_keys),
		       values))
		return;
	if (values[FILE_VERSION])
		read_version(reader, values[FILE_VERSION]);
	if (values[FILE_LISTENERS])
		read_listeners(reader, values[FILE_LISTENERS], rules);
}

/* The name goes into comments and JSON, where not every byte may stand. */
static const char *plain_name(struct reader *reader, const char *name)
{
	size_t length = strlen(name);
	char *plain = allocate(reader, length + 1, 1);

	if (!plain)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		char c = name[i];
		bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			    (c >= '0' && c <= '9') || strchr("._-+<>", c);

		plain[i] = good ? c : '_';
	}
	return plain;
}

int rules_read(const struct source *source, struct diagnostics *diagnostics, struct rules *rules)
{
	size_t errors = diagnostics->error_count;
	struct reader reader = {.diagnostics = diagnostics, .arena = arena_new()};
	struct rules read = {.arena = reader.arena};
	struct node *root;
	int err;

	if (!reader.arena)
		return -ENOMEM;
	err = source_check(source, diagnostics);
	if (!err)
		err = yaml_read(source, diagnostics, reader.arena, &root);
	if (!err) {
		read_file(&reader, root, &read);
		read.file = plain_name(&reader, source->name);
		memcpy(read.sha256, source->sha256, sizeof(read.sha256));
	}
	if (reader.no_memory)
		err = -ENOMEM;
	else if (diagnostics->error_count > errors)
		err = -EINVAL;
	if (err) {
		arena_free(reader.arena);
		return err;
	}
	*rules = read;
	return 0;
}

void rules_free(struct rules *rules)
{
	arena_free(rules->arena);
	*rules = (struct rules){0};
}
