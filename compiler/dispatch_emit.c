/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes the C of a lookup: tables, and the function that reads them.
 *
 * The code is straight-line, every offset and bound is a constant, and each number that stands for
 * a tag has the tag beside it as the rule file has it, so that a reviewer can compare the two.
 *
 * Tables with two bytes of a port beside a tag of eight would waste six on alignment. That does not
 * matter while a table fits the first-level cache, where one line brings tag and port together; a
 * larger table is split into arrays.
 *
 * The tables name their section, because clang puts a constant of 16 or 32 bytes into a section for
 * merging, .rodata.cst16 or .rodata.cst32, for which libbpf makes no map.
 */
#include <ctype.h>
#include <string.h>

#include "dispatch.h"
#include "dispatch_stages.h"

enum {
	SPLIT_BYTES = 32 * 1024
}; /* a table larger than this is an array each for tag and port */

struct emitter {
	const struct dispatch *dispatch;
	const struct listener *listener;
	const char *name;
	char capitals[NAME_MAX_LENGTH + 1];
	bool count_routes;
	FILE *out;
};

/* The tag as the rule file has it, in a comment: nothing in it ends or nests one. */
static void write_tag(const struct emitter *e, const struct route *route)
{
	const char *quote = e->listener->tag.type == TAG_TEXT ? "\"" : "";
	char before = ' ', two_before = ' ';

	fputs(quote, e->out);
	for (const char *at = route->text; *at; at++) {
		bool comment = (before == '*' && *at == '/') || (before == '/' && *at == '*');
		bool trigraph = two_before == '?' && before == '?' && strchr("=/'()!<>-", *at);

		if (comment || trigraph)
			fputc('\\', e->out);
		fputc(*at, e->out);
		two_before = before;
		before = *at;
	}
	fputs(quote, e->out);
}

/* A word as a constant: uint tags are numbers, all others bytes. */
static void write_word(const struct emitter *e, unsigned word, uint64_t value)
{
	unsigned bytes = dispatch_word_bytes(e->listener, word);
	const char *suffix = value > INT64_MAX ? "ULL" : "";

	if (e->listener->tag.type == TAG_UINT)
		fprintf(e->out, "%llu%s", (unsigned long long)value, suffix);
	else
		fprintf(e->out, "0x%0*llx%s", 2 * bytes, (unsigned long long)value, suffix);
}

/* word0, word1, … or just word where there is but one. */
static void write_word_name(const struct emitter *e, unsigned word)
{
	if (e->dispatch->word_count == 1)
		fputs("word", e->out);
	else
		fprintf(e->out, "word%u", word);
}

/* The expression that reads a word of the tag. */
static void write_load(const struct emitter *e, unsigned word)
{
	unsigned bytes = dispatch_word_bytes(e->listener, word), done = 0;
	bool little = e->listener->tag.type == TAG_UINT && e->listener->tag.order == ORDER_LITTLE;
	bool several = bytes & (bytes - 1);

	if (little && bytes > 1)
		fputs(several ? "__builtin_bswap64((" : "__builtin_bswap64(", e->out);
	while (done < bytes) {
		unsigned size = 8, offset = 8 * word + done;

		while (size > bytes - done)
			size /= 2;
		fprintf(e->out, done ? " | load_u%u(tag" : "load_u%u(tag", 8 * size);
		if (offset)
			fprintf(e->out, " + %u", offset);
		fputc(')', e->out);
		done += size;
		if (done < bytes)
			fprintf(e->out, " << %u", 8 * (bytes - done));
	}
	if (little && bytes > 1) {
		fputs(several ? "))" : ")", e->out);
		if (bytes < 8)
			fprintf(e->out, " >> %u", 64 - 8 * bytes);
	}
}

static void write_loads(const struct emitter *e)
{
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs("\t__u64 ", e->out);
		write_word_name(e, word);
		fputs(" = ", e->out);
		write_load(e, word);
		fputs(";\n", e->out);
	}
}

static const struct route *stage_route(const struct emitter *e, const struct stage *stage,
				       uint32_t at)
{
	return &e->listener->routes[stage->routes[at]];
}

/* if (the tag is the route's) … return true. */
static void write_compare(const struct emitter *e, const struct stage *stage, uint32_t at)
{
	const struct route *route = stage_route(e, stage, at);
	struct words value = dispatch_words(e->listener, route->pattern.value);

	fputs("\tif (", e->out);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs(word ? " && " : "", e->out);
		write_word_name(e, word);
		fputs(" == ", e->out);
		write_word(e, word, value.at[word]);
	}
	fputs(") { /* ", e->out);
	write_tag(e, route);
	fprintf(e->out, " */\n\t\tverdict->port = %u;\n", route->port);
	if (e->count_routes)
		fprintf(e->out, "\t\tverdict->counter = %s_ROUTES + %u;\n", e->capitals,
			stage->routes[at]);
	fputs("\t\treturn true;\n\t}\n", e->out);
}

/* How a table keeps a key. */
static unsigned key_bits(const struct emitter *e)
{
	return e->listener->tag.length <= 4 ? 32 : 64;
}

static bool is_split(const struct emitter *e, const struct stage *stage)
{
	return (uint64_t)stage->hash.size * e->dispatch->word_count * key_bits(e) / 8 > SPLIT_BYTES;
}

static void write_key(const struct emitter *e, const struct words *key)
{
	if (e->dispatch->word_count > 1)
		fputs("{ ", e->out);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs(word ? ", " : "", e->out);
		write_word(e, word, key->at[word]);
	}
	if (e->dispatch->word_count > 1)
		fputs(" }", e->out);
}

/*
 * An empty slot is all zeros, which the tag of all zeros would take for its own if it had no route
 * and the slot were the one it hashes to. That slot gets a tag that belongs elsewhere. Returns
 * whether there is such a slot.
 */
static bool zero_guard(const struct emitter *e, const struct stage *stage, uint32_t *slot,
		       struct words *key)
{
	*key = (struct words){0};
	*slot = perfect_hash_slot(&stage->hash, key->at);
	if (stage->hash.keys[*slot] != PERFECT_HASH_EMPTY)
		return false;
	do
		key->at[e->dispatch->word_count - 1]++;
	while (perfect_hash_slot(&stage->hash, key->at) == *slot);
	return true;
}

static void write_array(const struct emitter *e, const char *type, const char *suffix,
			const char *dimension)
{
	fprintf(e->out, "static const %s %s_%s[%s_SLOTS]%s SEC(\".rodata\") = {\n", type, e->name,
		suffix, e->capitals, dimension);
}

static void write_key_dimension(const struct emitter *e, char dimension[static 16])
{
	if (e->dispatch->word_count > 1)
		snprintf(dimension, 16, "[%u]", e->dispatch->word_count);
	else
		dimension[0] = '\0';
}

/* One row of a table per slot that a tag has: what it says, and the tag. */
static void write_rows(const struct emitter *e, const struct stage *stage, bool with_key,
		       bool with_port, bool with_route)
{
	bool alone = with_key + with_port + with_route == 1, guarded = false;
	struct words guard;
	uint32_t guard_slot = 0;

	if (with_key)
		guarded = zero_guard(e, stage, &guard_slot, &guard);
	for (uint32_t slot = 0; slot < stage->hash.size; slot++) {
		uint32_t at = stage->hash.keys[slot];
		const struct route *route;
		struct words value;

		if (guarded && slot == guard_slot) {
			fprintf(e->out, alone ? "\t[%u] = " : "\t[%u] = { ", slot);
			write_key(e, &guard);
			fputs(alone ? "," : " },", e->out);
			fputs(" /* no tag's: the tag of zeros must not match here */\n", e->out);
		}
		if (at == PERFECT_HASH_EMPTY)
			continue;
		route = stage_route(e, stage, at);
		value = dispatch_words(e->listener, route->pattern.value);
		fprintf(e->out, alone ? "\t[%u] = " : "\t[%u] = { ", slot);
		if (with_key)
			write_key(e, &value);
		if (with_port)
			fprintf(e->out, with_key ? ", %u" : "%u", route->port);
		if (with_route)
			fprintf(e->out, with_key || with_port ? ", %u" : "%u", stage->routes[at]);
		fputs(alone ? ", /* " : " }, /* ", e->out);
		write_tag(e, route);
		if (with_key && !with_port)
			fprintf(e->out, ": %u", route->port);
		fputs(" */\n", e->out);
	}
	fputs("};\n\n", e->out);
}

static void write_displacements(const struct emitter *e, const struct stage *stage)
{
	fprintf(e->out, "static const __u16 %s_displacements[%u] SEC(\".rodata\") = {", e->name,
		stage->hash.bucket_count);
	for (uint32_t at = 0; at < stage->hash.bucket_count; at++)
		fprintf(e->out, at % 16 ? " %u," : "\n\t%u,", stage->hash.displacements[at]);
	fputs("\n};\n\n", e->out);
}

static void write_tables(const struct emitter *e, const struct stage *stage)
{
	char dimension[16], type[16];

	write_key_dimension(e, dimension);
	snprintf(type, sizeof(type), "__u%u", key_bits(e));
	fprintf(e->out, "enum { %s_SLOTS = %u };\n\n", e->capitals, stage->hash.size);
	if (stage->hash.displacements)
		write_displacements(e, stage);
	if (is_split(e, stage)) {
		write_array(e, type, "tags", dimension);
		write_rows(e, stage, true, false, false);
		write_array(e, "__u16", "ports", "");
		write_rows(e, stage, false, true, false);
		if (e->count_routes) {
			write_array(e, "__u16", "routes", "");
			write_rows(e, stage, false, false, true);
		}
		return;
	}
	fprintf(e->out, "static const struct {\n\t%s tag%s;\n\t__u16 port;\n", type, dimension);
	if (e->count_routes)
		fputs("\t__u16 route;\n", e->out);
	fprintf(e->out, "} %s_slots[%s_SLOTS] SEC(\".rodata\") = {\n", e->name, e->capitals);
	write_rows(e, stage, true, true, e->count_routes);
}

static void write_probe(const struct emitter *e, const struct stage *stage)
{
	const struct perfect_hash *hash = &stage->hash;
	bool split = is_split(e, stage);

	fputs("\t__u64 hash = ", e->out);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs(word ? " + " : "", e->out);
		write_word_name(e, word);
		fprintf(e->out, " * 0x%016llxULL", (unsigned long long)hash->multipliers[word]);
	}
	if (hash->displacements)
		fprintf(e->out,
			";\n\t__u64 slot = ((hash >> %u) + %s_displacements[hash >> %u]) & (%s_SLOTS - 1);\n\n",
			hash->slot_shift, e->name, hash->bucket_shift, e->capitals);
	else
		fprintf(e->out, ";\n\t__u64 slot = hash >> %u;\n\n", hash->slot_shift);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs(word ? " || " : "\tif (", e->out);
		fprintf(e->out, split ? "%s_tags[slot]" : "%s_slots[slot].tag", e->name);
		if (e->dispatch->word_count > 1)
			fprintf(e->out, "[%u]", word);
		fputs(" != ", e->out);
		write_word_name(e, word);
	}
	fputs(")\n\t\treturn false;\n", e->out);
	fprintf(e->out,
		split ? "\tverdict->port = %s_ports[slot];\n"
		      : "\tverdict->port = %s_slots[slot].port;\n",
		e->name);
	if (e->count_routes)
		fprintf(e->out,
			split ? "\tverdict->counter = %s_ROUTES + %s_routes[slot];\n"
			      : "\tverdict->counter = %s_ROUTES + %s_slots[slot].route;\n",
			e->capitals, e->name);
	fputs("\treturn true;\n", e->out);
}

void dispatch_emit(const struct dispatch *dispatch, bool count_routes, FILE *out)
{
	struct emitter e = {dispatch, dispatch->listener, dispatch->listener->name,
			    "",	      count_routes,	  out};
	const struct stage *stage = &dispatch->stages[0];

	for (size_t at = 0; e.name[at]; at++)
		e.capitals[at] = toupper((unsigned char)e.name[at]);
	if (stage->kind == STAGE_HASH)
		write_tables(&e, stage);
	fprintf(out,
		"static __always_inline bool route_%s(const __u8 *tag, struct verdict *verdict)\n{\n",
		e.name);
	write_loads(&e);
	if (stage->kind == STAGE_HASH) {
		write_probe(&e, stage);
	} else {
		fputc('\n', out);
		for (size_t at = 0; at < stage->route_count; at++)
			write_compare(&e, stage, at);
		fputs("\treturn false;\n", out);
	}
	fputs("}\n", out);
}
