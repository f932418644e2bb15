/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes the C of a lookup: tables, and the function that reads them.
 *
 * The code is straight-line, every offset and bound is a constant, and each number that stands for
 * a tag has the tag beside it as the rule file has it, so that a reviewer can compare the two.
 *
 * The tables name their section, because clang puts a constant of 4, 8, 16 or 32 bytes into one for
 * merging (.rodata.cst16), for which libbpf makes no map.
 */
#include <ctype.h>
#include <string.h>

#include "dispatch.h"
#include "dispatch_stages.h"

/* What the function must declare. */
struct needs {
	bool words[TAG_WORDS]; /* of the tag */
	bool keys[TAG_WORDS];  /* words that a mask is laid on */
	bool hash, slot, found, digits, reaches;
};

struct emitter {
	const struct dispatch *dispatch;
	const struct listener *listener;
	const char *name;
	char capitals[NAME_MAX_LENGTH + 1];
	bool count_routes, branch_free;
	FILE *out;
	struct needs needs;
	char table[16]; /* the number of the stage's table, behind its name; none for the first */
};

/* ---- tags and numbers --------------------------------------------------------------------------
 */

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
	const char *suffix = value > INT64_MAX ? "ULL" : "";

	if (e->listener->tag.type == TAG_UINT)
		fprintf(e->out, "%llu%s", (unsigned long long)value, suffix);
	else
		fprintf(e->out, "0x%0*llx%s", 2 * dispatch_word_bytes(e->listener, word),
			(unsigned long long)value, suffix);
}

/* word0, word1, … or just word where there is but one. */
static void write_word_name(const struct emitter *e, const char *name, unsigned word)
{
	if (e->dispatch->word_count == 1)
		fputs(name, e->out);
	else
		fprintf(e->out, "%s%u", name, word);
}

/* The expression that reads a word of the tag. */
static void write_load(const struct emitter *e, unsigned word)
{
	unsigned bytes = dispatch_word_bytes(e->listener, word), done = 0;
	bool little = e->listener->tag.type == TAG_UINT && e->listener->tag.order == ORDER_LITTLE &&
		      bytes > 1;

	fputs(little ? "__builtin_bswap64(" : "", e->out);
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
	fputs(little ? ")" : "", e->out);
	if (little && bytes < 8)
		fprintf(e->out, " >> %u", 64 - 8 * bytes);
}

static const struct route *stage_route(const struct emitter *e, const struct stage *stage,
				       uint32_t at)
{
	return &e->listener->routes[stage->routes[at]];
}

/* ---- tables ------------------------------------------------------------------------------------
 */

/* Words of a table's key. */
static unsigned key_words(const struct stage *stage)
{
	uint64_t key[TAG_WORDS];

	return dispatch_key(stage, &stage->mask, key);
}

/* The type of a key, or of one word of it. */
static const char *key_type(const struct emitter *e, unsigned words)
{
	return words == 1 && e->listener->tag.length <= 4 ? "__u32" : "__u64";
}

static const char *route_type(const struct emitter *e)
{
	return e->listener->route_count <= UINT16_MAX ? "__u16" : "__u32";
}

/* Behind the name of an array whose elements have several words. */
static void write_dimension(const struct emitter *e, unsigned words)
{
	if (words > 1)
		fprintf(e->out, "[%u]", words);
}

/* Begins an array of so many elements. */
static void write_array(const struct emitter *e, const char *type, const char *what, unsigned words)
{
	fprintf(e->out, "static const %s %s%s_%s[%s_SLOTS%s]", type, what, e->table, e->name,
		e->capitals, e->table);
	write_dimension(e, words);
	fputs(" SEC(\".rodata\") = {\n", e->out);
}

/* The words of mask in which it has a bit, as one initializer. */
static void write_key(const struct emitter *e, const struct words *mask, const struct words *key)
{
	const char *separator = "";
	unsigned words = 0;

	for (unsigned word = 0; word < e->dispatch->word_count; word++)
		words += mask->at[word] != 0;
	fputs(words > 1 ? "{ " : "", e->out);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		if (!mask->at[word])
			continue;
		fputs(separator, e->out);
		write_word(e, word, key->at[word]);
		separator = ", ";
	}
	fputs(words > 1 ? " }" : "", e->out);
}

/*
 * An empty row is all zeros, which the tag of all zeros would take for its own if it had no route
 * and the row were the one it hashes to. That row gets a tag that belongs elsewhere. Returns
 * whether there is such a row, its slot, and the tag.
 */
static bool zero_guard(const struct emitter *e, const struct stage *stage, uint32_t *slot,
		       struct words *guard)
{
	uint64_t key[TAG_WORDS] = {0};
	unsigned last = e->dispatch->word_count - 1;

	*guard = (struct words){0};
	*slot = perfect_hash_slot(&stage->hash, key);
	if (stage->hash.keys[*slot] != PERFECT_HASH_EMPTY)
		return false;
	while (!stage->mask.at[last])
		last--;
	do {
		guard->at[last]++;
		dispatch_key(stage, guard, key);
	} while (perfect_hash_slot(&stage->hash, key) == *slot);
	return true;
}

/* What a row of a table says. */
enum column {
	COLUMN_TAG = 1 << 0,
	COLUMN_PORT = 1 << 1,
	COLUMN_ROUTE = 1 << 2,
};

/* The row of a slot that has a tag. */
static void write_row(const struct emitter *e, const struct stage *stage, uint32_t slot,
		      unsigned columns)
{
	uint32_t at = stage->hash.keys[slot];
	const struct route *route = stage_route(e, stage, at);
	struct words value = dispatch_words(e->listener, route->pattern.value);
	bool alone = !(columns & (columns - 1));

	fprintf(e->out, alone ? "\t[%u] = " : "\t[%u] = { ", slot);
	if (columns & COLUMN_TAG)
		write_key(e, &stage->mask, &value);
	if (columns & COLUMN_PORT)
		fprintf(e->out, columns & COLUMN_TAG ? ", %u" : "%u", route->port);
	if (columns & COLUMN_ROUTE)
		fprintf(e->out, alone ? "%u" : ", %u", stage->routes[at]);
	fputs(alone ? ", /* " : " }, /* ", e->out);
	write_tag(e, route);
	if (columns == COLUMN_TAG)
		fprintf(e->out, ": %u", route->port);
	fputs(" */\n", e->out);
}

static void write_rows(const struct emitter *e, const struct stage *stage, unsigned columns)
{
	struct words guard;
	uint32_t guard_slot;
	bool guarded = zero_guard(e, stage, &guard_slot, &guard) && (columns & COLUMN_TAG);

	for (uint32_t slot = 0; slot < stage->hash.size; slot++) {
		if (guarded && slot == guard_slot) {
			fprintf(e->out, columns == COLUMN_TAG ? "\t[%u] = " : "\t[%u] = { ", slot);
			write_key(e, &stage->mask, &guard);
			fputs(columns & COLUMN_PORT ? ", 0" : "", e->out);
			fputs(columns & COLUMN_ROUTE ? ", 0" : "", e->out);
			fputs(columns == COLUMN_TAG ? "," : " },", e->out);
			fputs(" /* no route: zeros here would be found as a tag */\n", e->out);
		}
		if (stage->hash.keys[slot] != PERFECT_HASH_EMPTY)
			write_row(e, stage, slot, columns);
	}
	fputs("};\n\n", e->out);
}

static void write_displacements(const struct emitter *e, const struct stage *stage)
{
	fprintf(e->out,
		"/* By the first bits of a tag's hash: how far on from its second bits it is. */\n"
		"static const %s displacements%s_%s[%u] SEC(\".rodata\") = {",
		stage->hash.size <= UINT16_MAX + 1 ? "__u16" : "__u32", e->table, e->name,
		stage->hash.bucket_count);
	for (uint32_t at = 0; at < stage->hash.bucket_count; at++)
		fprintf(e->out, at % 16 ? " %u," : "\n\t%u,", stage->hash.displacements[at]);
	fputs("\n};\n\n", e->out);
}

static void write_hash_tables(const struct emitter *e, const struct stage *stage)
{
	unsigned words = key_words(stage);

	fprintf(e->out, "enum { %s_SLOTS%s = %u };\n\n", e->capitals, e->table, stage->hash.size);
	if (stage->hash.displacements)
		write_displacements(e, stage);
	fputs("/* Every tag is in the one slot that its hash names. */\n", e->out);
	if (dispatch_is_split(e->dispatch, stage)) {
		write_array(e, key_type(e, words), "tags", words);
		write_rows(e, stage, COLUMN_TAG);
		write_array(e, "__u16", "ports", 1);
		write_rows(e, stage, COLUMN_PORT);
		if (e->count_routes) {
			write_array(e, route_type(e), "routes", 1);
			write_rows(e, stage, COLUMN_ROUTE);
		}
		return;
	}
	fprintf(e->out, "static const struct {\n\t%s tag", key_type(e, words));
	write_dimension(e, words);
	fputs(";\n\t__u16 port;\n", e->out);
	if (e->count_routes)
		fprintf(e->out, "\t%s route;\n", route_type(e));
	fprintf(e->out, "} slots%s_%s[%s_SLOTS%s] SEC(\".rodata\") = {\n", e->table, e->name,
		e->capitals, e->table);
	write_rows(e, stage, COLUMN_TAG | COLUMN_PORT | (e->count_routes ? COLUMN_ROUTE : 0));
}

/* One column of a search's table; the entries behind the last interval are copies of it. */
static void write_intervals(const struct emitter *e, const struct stage *stage, unsigned column)
{
	size_t size = (size_t)1 << dispatch_search_steps(stage);

	for (size_t at = 0; at < size && at <= stage->interval_count; at++) {
		bool copies = at == stage->interval_count;
		uint32_t winner = stage->winners[copies ? at - 1 : at];

		fprintf(e->out, copies && at < size - 1 ? "\t[%zu ... %zu] = " : "\t[%zu] = ", at,
			size - 1);
		if (column == COLUMN_TAG)
			write_key(e, &e->dispatch->full,
				  copies ? &e->dispatch->full : &stage->starts[at]);
		else if (winner == NO_ROUTE)
			fputc('0', e->out);
		else
			fprintf(e->out, "%u",
				column == COLUMN_PORT ? e->listener->routes[winner].port : winner);
		fputs(", /* ", e->out);
		if (copies)
			fputs("up to a power of two", e->out);
		else if (winner == NO_ROUTE)
			fputs("none", e->out);
		else
			write_tag(e, &e->listener->routes[winner]);
		if (!copies && winner != NO_ROUTE && column == COLUMN_TAG)
			fprintf(e->out, ": %u", e->listener->routes[winner].port);
		fputs(" */\n", e->out);
	}
	fputs("};\n\n", e->out);
}

static void write_search_tables(const struct emitter *e, const struct stage *stage)
{
	unsigned words = e->dispatch->word_count;

	fprintf(e->out, "enum { %s_SLOTS%s = %u };\n\n", e->capitals, e->table,
		1 << dispatch_search_steps(stage));
	fputs("/* The ranges, cut into intervals, each by the tag that it begins with. */\n",
	      e->out);
	write_array(e, key_type(e, words), "starts", words);
	write_intervals(e, stage, COLUMN_TAG);
	fputs("/* The port of each interval; 0: no route. */\n", e->out);
	write_array(e, "__u16", "ports", 1);
	write_intervals(e, stage, COLUMN_PORT);
	if (e->count_routes) {
		write_array(e, route_type(e), "routes", 1);
		write_intervals(e, stage, COLUMN_ROUTE);
	}
}

/* ---- comparing ---------------------------------------------------------------------------------
 */

/* The extreme tag of a range's kind: digits only in text. */
static struct words extreme(const struct emitter *e, bool highest)
{
	uint8_t bytes[TAG_MAX];

	if (e->listener->tag.type == TAG_TEXT)
		memset(bytes, highest ? '9' : '0', sizeof(bytes));
	else
		memset(bytes, highest ? 0xff : 0, sizeof(bytes));
	return dispatch_words(e->listener, bytes);
}

static bool equal_from(const struct emitter *e, unsigned word, const struct words *first,
		       const struct words *second)
{
	for (; word < e->dispatch->word_count; word++)
		if (first->at[word] != second->at[word])
			return false;
	return true;
}

/* Terms of a condition, joined by &&. */
static void write_join(const struct emitter *e, unsigned *terms)
{
	if (*terms)
		fputs(e->dispatch->word_count > 1 ? " &&\n\t    " : " && ", e->out);
	else
		fputs("\tif (", e->out);
	++*terms;
}

static void write_relation(const struct emitter *e, unsigned word, const char *relation,
			   const struct words *value)
{
	write_word_name(e, "word", word);
	fprintf(e->out, " %s ", relation);
	write_word(e, word, value->at[word]);
}

/*
 * The words from this one on are not below (">") or not above ("<") the bound. Where the words that
 * follow are at the extreme, they cannot be.
 */
static void write_bound(const struct emitter *e, unsigned word, const char *relation,
			const struct words *bound, const struct words *limit)
{
	char or_equal[] = {*relation, '=', '\0'};
	bool possible;

	if (equal_from(e, word + 1, bound, limit)) {
		write_relation(e, word, or_equal, bound);
		return;
	}
	/* Nothing is below 0 nor above all ones. */
	possible = bound->at[word] != (*relation == '<' ? 0 : e->dispatch->full.at[word]);
	fputc('(', e->out);
	if (possible) {
		write_relation(e, word, relation, bound);
		fputs(" || (", e->out);
	}
	write_relation(e, word, "==", bound);
	fputs(" && ", e->out);
	write_bound(e, word + 1, relation, bound, limit);
	fputs(possible ? "))" : ")", e->out);
}

/* Whether the route is a range of which only the tags of digits count. */
static bool needs_digits(const struct emitter *e, const struct route *route)
{
	return e->listener->tag.type == TAG_TEXT && route->pattern.kind == PATTERN_RANGE;
}

/* Whether write_range_terms writes a word. */
static bool range_has_word(const struct emitter *e, const struct route *route, unsigned word)
{
	struct words low = dispatch_words(e->listener, route->pattern.value);
	struct words high = dispatch_words(e->listener, route->pattern.last);
	struct words lowest = extreme(e, false), highest = extreme(e, true);

	/* A word that both ends have in common cannot be the lowest and the highest, too. */
	return !equal_from(e, word, &low, &lowest) || !equal_from(e, word, &high, &highest);
}

static void write_range_terms(const struct emitter *e, const struct route *route, unsigned *terms)
{
	struct words low = dispatch_words(e->listener, route->pattern.value);
	struct words high = dispatch_words(e->listener, route->pattern.last);
	struct words lowest = extreme(e, false), highest = extreme(e, true);
	unsigned word = 0;

	for (; low.at[word] == high.at[word]; word++) { /* the ends of a range differ */
		write_join(e, terms);
		write_relation(e, word, "==", &low);
	}
	if (!equal_from(e, word, &low, &lowest)) {
		write_join(e, terms);
		write_bound(e, word, ">", &low, &lowest);
	}
	if (!equal_from(e, word, &high, &highest)) {
		write_join(e, terms);
		write_bound(e, word, "<", &high, &highest);
	}
	if (needs_digits(e, route)) {
		write_join(e, terms);
		fputs("digits", e->out);
	}
}

static void write_mask_terms(const struct emitter *e, const struct route *route, unsigned *terms)
{
	struct words value = dispatch_words(e->listener, route->pattern.value);
	struct words mask = dispatch_words(e->listener, route->pattern.mask);

	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		if (!mask.at[word])
			continue;
		write_join(e, terms);
		if (mask.at[word] == e->dispatch->full.at[word]) {
			write_relation(e, word, "==", &value);
			continue;
		}
		fputc('(', e->out);
		write_relation(e, word, "&", &mask);
		fputs(") == ", e->out);
		write_word(e, word, value.at[word]);
	}
}

/* ---- the function ------------------------------------------------------------------------------
 */

/* What follows from a match; the port and the route's number as expressions. */
static void write_found(const struct emitter *e, const char *indent, const char *port,
			const char *route)
{
	fprintf(e->out, "%sverdict->port = %s;\n", indent, port);
	if (e->count_routes)
		fprintf(e->out, "%sverdict->counter = %s_ROUTES + %s;\n", indent, e->capitals,
			route);
	fprintf(e->out, "%sreturn true;\n", indent);
}

/* Returns false if the pattern has all tags, so that nothing behind it can be reached. */
static bool write_compare(const struct emitter *e, const struct stage *stage, uint32_t at)
{
	const struct route *route = stage_route(e, stage, at);
	char port[16], number[16];
	unsigned terms = 0;

	if (route->pattern.kind == PATTERN_RANGE)
		write_range_terms(e, route, &terms);
	else
		write_mask_terms(e, route, &terms);
	snprintf(port, sizeof(port), "%u", route->port);
	snprintf(number, sizeof(number), "%u", stage->routes[at]);
	if (terms) {
		fputs(") { /* ", e->out);
		write_tag(e, route);
		fputs(" */\n", e->out);
		write_found(e, "\t\t", port, number);
		fputs("\t}\n", e->out);
		return true;
	}
	fputs("\t/* ", e->out);
	write_tag(e, route);
	fputs(" */\n", e->out);
	write_found(e, "\t", port, number);
	return false;
}

/* The name of a word of a stage's key: the tag's own, or what the mask leaves of it. */
static const char *key_name(const struct emitter *e, const struct stage *stage)
{
	return equal_from(e, 0, &stage->mask, &e->dispatch->full) ? "word" : "key";
}

/* The slot of the tag's row. */
static void write_hash(const struct emitter *e, const struct stage *stage)
{
	const struct perfect_hash *hash = &stage->hash;
	const char *key = key_name(e, stage), *separator = "\thash = ";
	unsigned word, at;

	for (word = 0; word < e->dispatch->word_count && *key == 'k'; word++) {
		if (!stage->mask.at[word])
			continue;
		fputc('\t', e->out);
		write_word_name(e, key, word);
		fputs(" = ", e->out);
		write_relation(e, word, "&", &stage->mask);
		fputs(";\n", e->out);
	}
	for (word = at = 0; word < e->dispatch->word_count; word++) {
		if (!stage->mask.at[word])
			continue;
		fputs(separator, e->out);
		fputs(hash->folded ? "(" : "", e->out);
		write_word_name(e, key, word);
		if (hash->folded) {
			fputs(" ^ ", e->out);
			write_word_name(e, key, word);
			fputs(" >> 32)", e->out);
		}
		fprintf(e->out, " * 0x%016llxULL", (unsigned long long)hash->multipliers[at++]);
		separator = " +\n\t       ";
	}
	fputs(";\n", e->out);
	if (hash->displacements)
		fprintf(e->out,
			"\tslot = (hash >> %u) + displacements%s_%s[hash >> %u];\n"
			"\tslot &= %s_SLOTS%s - 1;\n",
			hash->slot_shift, e->table, e->name, hash->bucket_shift, e->capitals,
			e->table);
	else
		fprintf(e->out, "\tslot = hash >> %u;\n", hash->slot_shift);
}

/* What the row's tag and the packet's have to do with each other, word by word. */
static void write_row_terms(const struct emitter *e, const struct stage *stage,
			    const char *relation, const char *separator)
{
	bool split = dispatch_is_split(e->dispatch, stage);
	unsigned words = key_words(stage), at = 0;

	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		if (!stage->mask.at[word])
			continue;
		fputs(at ? separator : "", e->out);
		fprintf(e->out, split ? "tags%s_%s[slot]" : "slots%s_%s[slot].tag", e->table,
			e->name);
		if (words > 1)
			fprintf(e->out, "[%u]", at);
		fputs(relation, e->out);
		write_word_name(e, key_name(e, stage), word);
		at++;
	}
}

static void write_probe(const struct emitter *e, const struct stage *stage)
{
	bool split = dispatch_is_split(e->dispatch, stage);
	char port[64], route[64];

	write_hash(e, stage);
	snprintf(port, sizeof(port), split ? "ports%s_%s[slot]" : "slots%s_%s[slot].port", e->table,
		 e->name);
	snprintf(route, sizeof(route), split ? "routes%s_%s[slot]" : "slots%s_%s[slot].route",
		 e->table, e->name);
	if (e->branch_free) {
		bool several = key_words(stage) > 1;

		fputs(several ? "\tfound = is_zero((" : "\tfound = is_zero(", e->out);
		write_row_terms(e, stage, " ^ ", ") |\n\t\t\t(");
		fputs(several ? "));\n" : ");\n", e->out);
		fprintf(e->out, "\tverdict->port = choose(found, %s, verdict->port);\n", port);
		if (e->count_routes)
			fprintf(e->out,
				"\tverdict->counter =\n"
				"\t\tchoose(found, %s_ROUTES + %s, verdict->counter);\n",
				e->capitals, route);
		return;
	}
	fputs("\tif (", e->out);
	write_row_terms(e, stage, " == ", " &&\n\t    ");
	fputs(") {\n", e->out);
	write_found(e, "\t\t", port, route);
	fputs("\t}\n", e->out);
}

static void write_search(const struct emitter *e, const struct stage *stage)
{
	char port[64], route[64];

	fputs("\t/* The last interval that begins at or before the tag, by halving. */\n", e->out);
	for (unsigned step = dispatch_search_steps(stage); step-- > 0;) {
		bool first = step + 1 == dispatch_search_steps(stage);

		fprintf(e->out, "\tslot %s reaches_%s(", first ? "=" : "+=", e->name);
		for (unsigned word = 0; word < e->dispatch->word_count; word++) {
			write_word_name(e, "word", word);
			fputs(", ", e->out);
		}
		fprintf(e->out, first ? "starts%s_%s[%u])" : "starts%s_%s[slot + %u])", e->table,
			e->name, 1 << step);
		fprintf(e->out, step ? " * %u;\n" : ";\n", 1 << step);
	}
	snprintf(port, sizeof(port), "ports%s_%s[slot]", e->table, e->name);
	snprintf(route, sizeof(route), "routes%s_%s[slot]", e->table, e->name);
	fprintf(e->out, e->needs.digits ? "\tif (digits && %s) {\n" : "\tif (%s) {\n", port);
	write_found(e, "\t\t", port, route);
	fputs("\t}\n", e->out);
}

/* 1 if the tag is not below a start, else 0. Subtraction's last borrow says so. */
static void write_reaches(const struct emitter *e)
{
	unsigned words = e->dispatch->word_count;

	fprintf(e->out,
		"/* 1 if the tag is not below the start, else 0: by arithmetic, since a branch that goes either\n"
		"   way at random is dear. */\n"
		"static __always_inline __u64 reaches_%s(",
		e->name);
	for (unsigned word = 0; word < words; word++) {
		fputs("__u64 ", e->out);
		write_word_name(e, "word", word);
		fputs(", ", e->out);
	}
	if (e->listener->tag.length < 8) {
		fputs("__u64 start)\n{\n"
		      "\t__u64 difference = word - start;\n\n"
		      "\tbarrier_var(difference);\n"
		      "\tdifference = ~difference >> 63;\n"
		      "\tbarrier_var(difference); /* old verifiers lose its bound in what clang makes of the rest */\n"
		      "\treturn difference;\n}\n\n",
		      e->out);
		return;
	}
	fputs(words > 1 ? "const __u64 *start)\n{\n" : "__u64 start)\n{\n", e->out);
	fputs("\t__u64 difference, borrow = 0;\n\n", e->out);
	for (unsigned word = words; word-- > 0;) {
		char tag[24] = "word", start[24] = "start";

		if (words > 1) {
			snprintf(tag, sizeof(tag), "word%u", word);
			snprintf(start, sizeof(start), "start[%u]", word);
		}
		fprintf(e->out,
			"\tdifference = %s - %s - borrow;\n"
			"\tborrow = ((~%s & %s) | (~(%s ^ %s) & difference)) >> 63;\n",
			tag, start, tag, start, tag, start);
	}
	fputs("\tbarrier_var(borrow);\n"
	      "\treturn borrow ^ 1;\n}\n\n",
	      e->out);
}

static void add_needs(struct emitter *e, const struct stage *stage)
{
	bool compare = stage->kind == STAGE_COMPARE;
	bool masked = stage->kind == STAGE_HASH && *key_name(e, stage) == 'k';

	e->needs.hash |= stage->kind == STAGE_HASH;
	e->needs.slot |= !compare;
	e->needs.found |= e->branch_free;
	e->needs.reaches |= stage->kind == STAGE_SEARCH;
	for (size_t at = 0; at < stage->route_count && stage->ranges; at++)
		e->needs.digits |= needs_digits(e, stage_route(e, stage, at));
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		e->needs.keys[word] |= masked && stage->mask.at[word];
		e->needs.words[word] |=
			e->needs.digits || (stage->mask.at[word] && !(compare && stage->ranges));
		for (size_t at = 0; at < stage->route_count && compare && stage->ranges; at++)
			e->needs.words[word] |= range_has_word(e, stage_route(e, stage, at), word);
	}
}

/* Whether all bytes are digits: none differs from '0' in its upper half, and none is above '9'. */
static void write_digits(const struct emitter *e)
{
	static const char *const per_byte[] = {"30", "76", "80"};

	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs("\t__u64 ", e->out);
		write_word_name(e, "odd", word);
		fputs(" = ", e->out);
		write_word_name(e, "word", word);
		fputs(" ^ 0x", e->out);
		for (unsigned byte = 0; byte < dispatch_word_bytes(e->listener, word); byte++)
			fputs(per_byte[0], e->out);
		fputs(";\n", e->out);
	}
	fputs("\t/* Ranges match digits only: bytes that are 0 to 9 but for '0'. */\n"
	      "\tbool digits = !(",
	      e->out);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		fputs(word ? " |\n\t\t\t(" : "(", e->out);
		if (e->dispatch->word_count > 1)
			fputc('(', e->out);
		write_word_name(e, "odd", word);
		fputs(" | (", e->out);
		write_word_name(e, "odd", word);
		fputs(" + 0x", e->out);
		for (unsigned byte = 0; byte < dispatch_word_bytes(e->listener, word); byte++)
			fputs(per_byte[1], e->out);
		fputs(")) & 0x", e->out);
		for (unsigned byte = 0; byte < dispatch_word_bytes(e->listener, word); byte++)
			fputs(per_byte[2], e->out);
		fputs(e->dispatch->word_count > 1 ? ")" : "", e->out);
	}
	fputs(");\n", e->out);
}

static void write_declarations(const struct emitter *e)
{
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		if (!e->needs.words[word])
			continue;
		fputs("\t__u64 ", e->out);
		write_word_name(e, "word", word);
		fputs(" = ", e->out);
		write_load(e, word);
		fputs(";\n", e->out);
	}
	if (e->needs.digits)
		write_digits(e);
	for (unsigned word = 0; word < e->dispatch->word_count; word++) {
		if (!e->needs.keys[word])
			continue;
		fputs("\t__u64 ", e->out);
		write_word_name(e, "key", word);
		fputs(";\n", e->out);
	}
	if (e->needs.hash)
		fputs("\t__u64 hash;\n", e->out);
	if (e->needs.slot)
		fputs("\t__u64 slot;\n", e->out);
	if (e->needs.found)
		fputs("\t__u64 found;\n", e->out);
	fputc('\n', e->out);
}

/* Names the table of the next stage that has one. */
static void name_table(struct emitter *e, unsigned *tables)
{
	if (++*tables > 1)
		snprintf(e->table, sizeof(e->table), "%u", *tables);
	else
		e->table[0] = '\0';
}

static void write_tables(struct emitter *e)
{
	unsigned tables = 0;

	for (size_t at = 0; at < e->dispatch->stage_count; at++) {
		const struct stage *stage = &e->dispatch->stages[at];

		if (stage->kind == STAGE_COMPARE)
			continue;
		name_table(e, &tables);
		if (stage->kind == STAGE_HASH)
			write_hash_tables(e, stage);
		else
			write_search_tables(e, stage);
	}
}

static void write_stages(struct emitter *e)
{
	unsigned tables = 0;

	for (size_t at = 0; at < e->dispatch->stage_count; at++) {
		const struct stage *stage = &e->dispatch->stages[at];

		if (at && !(stage[-1].kind == STAGE_COMPARE && stage->kind == STAGE_COMPARE))
			fputc('\n', e->out);
		if (stage->kind == STAGE_COMPARE) {
			for (size_t route = 0; route < stage->route_count; route++)
				if (!write_compare(e, stage, route))
					return;
			continue;
		}
		name_table(e, &tables);
		if (stage->kind == STAGE_HASH)
			write_probe(e, stage);
		else
			write_search(e, stage);
	}
	fputs(e->branch_free ? "\treturn found;\n" : "\treturn false;\n", e->out);
}

void dispatch_emit(const struct dispatch *dispatch, bool count_routes, bool branch_free, FILE *out)
{
	struct emitter e = {
		.dispatch = dispatch,
		.listener = dispatch->listener,
		.name = dispatch->listener->name,
		.count_routes = count_routes,
		.branch_free = branch_free,
		.out = out,
	};

	for (size_t at = 0; e.name[at]; at++)
		e.capitals[at] = toupper((unsigned char)e.name[at]);
	for (size_t at = 0; at < dispatch->stage_count; at++)
		add_needs(&e, &dispatch->stages[at]);
	write_tables(&e);
	if (e.needs.reaches)
		write_reaches(&e);
	fprintf(out,
		"static __always_inline %s route_%s(const __u8 *tag, struct verdict *verdict)\n"
		"{\n",
		branch_free ? "__u64" : "bool", e.name);
	write_declarations(&e);
	write_stages(&e);
	fputs("}\n", out);
}
