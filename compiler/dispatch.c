/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which code finds a tag's route, and its tables.
 *
 * The routes of a listener are looked up in stages, and the first stage that knows the tag decides.
 * Patterns with the same mask have no tag in common, so that one stage holds them all, and one
 * table can. Ranges share stages of their own. What remains is that the innermost pattern wins:
 *
 * - A pattern inside another has fewer free bits, so the masks stand by their number of free bits.
 * - A range stands behind every mask that has a pattern inside it and before every mask that has a
 *   pattern around it. Ranges whose places agree share a stage: as few stages as possible, by the
 *   greedy stabbing of intervals.
 * - Ranges of one stage may lie inside each other. Compared in turn, the inner comes first; in a
 *   table they are cut at all their ends, and each interval goes to the innermost range over it.
 *
 * Patterns that overlap otherwise have the same port (rules.c saw to that).
 *
 * Then each stage gets the form that costs least: comparing with its patterns in turn, or a table.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "dispatch_stages.h"

static void free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

#define CLEANUP_FREE __attribute__((cleanup(free_pointer)))

/* ---- words ----------------------------------------------------------------------------------- */

unsigned dispatch_word_bytes(const struct listener *listener, unsigned word)
{
	unsigned rest = listener->tag.length - 8 * word;

	return rest < 8 ? rest : 8;
}

struct words dispatch_words(const struct listener *listener, const uint8_t *bytes)
{
	bool reversed = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;
	struct words words = {0};

	for (unsigned at = 0; at < listener->tag.length; at++) {
		uint8_t byte = bytes[reversed ? listener->tag.length - 1 - at : at];

		words.at[at / 8] = words.at[at / 8] << 8 | byte;
	}
	return words;
}

static int compare_words(const struct words *first, const struct words *second)
{
	for (unsigned word = 0; word < TAG_WORDS; word++)
		if (first->at[word] != second->at[word])
			return first->at[word] < second->at[word] ? -1 : 1;
	return 0;
}

static unsigned count_bits(const struct words *words)
{
	unsigned bits = 0;

	for (unsigned word = 0; word < TAG_WORDS; word++)
		bits += __builtin_popcountll(words->at[word]);
	return bits;
}

/* Moves on to the next tag. Returns false when it was the last, all ones. */
static bool increment(const struct dispatch *dispatch, struct words *words)
{
	for (unsigned word = dispatch->word_count; word-- > 0;) {
		if (words->at[word] != dispatch->full.at[word]) {
			words->at[word]++;
			return true;
		}
		words->at[word] = 0;
	}
	return false;
}

unsigned dispatch_key(const struct stage *stage, const struct words *words, uint64_t key[TAG_WORDS])
{
	unsigned count = 0;

	for (unsigned word = 0; word < TAG_WORDS; word++)
		if (stage->mask.at[word])
			key[count++] = words->at[word];
	return count;
}

/* ---- patterns ---------------------------------------------------------------------------------
 */

/* A pattern in the form in which patterns are compared here. */
struct entry {
	uint32_t route;
	bool range;
	struct words mask, low, high; /* low is the value of a masked pattern */
	unsigned first_group;	      /* a range stands before this mask at the earliest, */
	unsigned last_group;	      /* and before this one at the latest; */
	bool later;		      /* it is not in the stage that is being made */
};

static struct entry make_entry(const struct listener *listener, uint32_t route)
{
	const struct pattern *pattern = &listener->routes[route].pattern;
	struct entry entry = {
		.route = route,
		.range = pattern->kind == PATTERN_RANGE,
		.mask = dispatch_words(listener, pattern->mask),
		.low = dispatch_words(listener, pattern->value),
	};

	if (entry.range)
		entry.high = dispatch_words(listener, pattern->last);
	return entry;
}

/* Ranges behind the others; these by their number of free bits, then by mask, then by value. */
static int compare_entries(const void *first_entry, const void *second_entry)
{
	const struct entry *first = first_entry, *second = second_entry;
	unsigned first_bits = count_bits(&first->mask), second_bits = count_bits(&second->mask);
	int order;

	if (first->range != second->range)
		return first->range ? 1 : -1;
	if (first_bits != second_bits)
		return first_bits > second_bits ? -1 : 1;
	order = compare_words(&first->mask, &second->mask);
	if (!order)
		order = compare_words(&first->low, &second->low);
	if (order)
		return order;
	return first->route < second->route ? -1 : 1;
}

/* The first entry of a group, ordered by value, that is not below the words; or the group's end. */
static size_t lower_bound(const struct entry *group, size_t count, const struct words *words)
{
	size_t low = 0;

	while (count > 0) {
		size_t half = count / 2;

		if (compare_words(&group[low + half].low, words) < 0) {
			low += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return low;
}

/* Whether a pattern of a group, whose patterns have one mask, lies inside the range. */
static bool group_has_inside(const struct dispatch *dispatch, const struct entry *group,
			     size_t count, const struct entry *range)
{
	size_t at = lower_bound(group, count, &range->low);
	struct words high;

	/* In text, '?' is for any byte, and a range has digits only. */
	if (dispatch->listener->tag.type == TAG_TEXT &&
	    compare_words(&group->mask, &dispatch->full))
		return false;
	if (at == count)
		return false;
	for (unsigned word = 0; word < TAG_WORDS; word++)
		high.at[word] =
			group[at].low.at[word] | (dispatch->full.at[word] & ~group->mask.at[word]);
	return compare_words(&high, &range->high) <= 0;
}

/*
 * Whether a pattern of the group lies around the range. Behind the first bit in which a range's
 * ends differ its tags have both a 0 and a 1 in every place (and digits all ten digits), so a mask
 * around it covers common bits only.
 */
static bool group_has_around(const struct entry *group, size_t count, const struct entry *range)
{
	struct words value;
	size_t at;

	for (unsigned word = 0; word < TAG_WORDS; word++) {
		if ((range->low.at[word] ^ range->high.at[word]) & group->mask.at[word])
			return false;
		value.at[word] = range->low.at[word] & group->mask.at[word];
	}
	at = lower_bound(group, count, &value);
	return at < count && !compare_words(&group[at].low, &value);
}

/*
 * Ranges that wait for a later stage behind those that do not; these so that one inside another
 * comes first, those so that the first has the least time.
 */
static int compare_ranges(const void *first_entry, const void *second_entry)
{
	const struct entry *first = first_entry, *second = second_entry;
	int order = 0;

	if (first->later != second->later)
		return first->later ? 1 : -1;
	if (first->later && first->last_group != second->last_group)
		return first->last_group < second->last_group ? -1 : 1;
	if (!first->later)
		order = -compare_words(&first->low, &second->low);
	if (!first->later && !order)
		order = compare_words(&first->high, &second->high);
	if (order)
		return order;
	return first->route < second->route ? -1 : 1;
}

/* ---- stages -----------------------------------------------------------------------------------
 */

static void free_stage(struct stage *stage)
{
	free(stage->routes);
	free(stage->starts);
	free(stage->winners);
	perfect_hash_free(&stage->hash);
}

size_t dispatch_stage_count(const struct dispatch *dispatch)
{
	return dispatch->stage_count;
}

size_t dispatch_compare_count(const struct dispatch *dispatch)
{
	size_t count = 0;

	for (size_t i = 0; i < dispatch->stage_count; i++)
		if (dispatch->stages[i].kind == STAGE_COMPARE)
			count += dispatch->stages[i].route_count;
	return count;
}

void dispatch_free(struct dispatch *dispatch)
{
	if (!dispatch)
		return;
	for (size_t at = 0; at < dispatch->stage_count; at++)
		free_stage(&dispatch->stages[at]);
	free(dispatch->stages);
	free(dispatch);
}

static void free_dispatch_pointer(struct dispatch **dispatch)
{
	dispatch_free(*dispatch);
}

/* The perfect hash of a stage's patterns. */
static int make_hash(const struct dispatch *dispatch, struct stage *stage)
{
	CLEANUP_FREE uint64_t *keys = calloc(stage->route_count, TAG_WORDS * sizeof(*keys));
	unsigned words = 0;

	if (!keys)
		return -ENOMEM;
	for (size_t at = 0; at < stage->route_count; at++) {
		const struct route *route = &dispatch->listener->routes[stage->routes[at]];
		struct words value = dispatch_words(dispatch->listener, route->pattern.value);
		uint64_t key[TAG_WORDS];

		words = dispatch_key(stage, &value, key);
		memcpy(keys + at * words, key, words * sizeof(*key));
	}
	return perfect_hash_make(keys, words, stage->route_count, &stage->hash);
}

unsigned dispatch_search_steps(const struct stage *stage)
{
	unsigned steps = 1;

	while ((size_t)1 << steps < stage->interval_count)
		steps++;
	return steps;
}

static int compare_starts(const void *first, const void *second)
{
	return compare_words(first, second);
}

/* The interval that begins with these words, one of the starts. */
static size_t find_start(const struct words *starts, size_t count, const struct words *words)
{
	const struct words *found = bsearch(words, starts, count, sizeof(*starts), compare_starts);

	return found - starts;
}

/* The first interval from here on that has no winner yet, by union-find with path halving. */
static size_t next_open(uint32_t *next, size_t interval)
{
	while (next[interval] != interval) {
		next[interval] = next[next[interval]];
		interval = next[interval];
	}
	return interval;
}

/* Cuts the ranges, the inner ones first, into intervals and finds out whose each is. */
static int make_search(const struct dispatch *dispatch, struct stage *stage,
		       const struct entry *ranges)
{
	size_t cut_count = 1, kept = 0;
	CLEANUP_FREE struct words *cuts = calloc(2 * stage->route_count + 1, sizeof(*cuts));
	CLEANUP_FREE uint32_t *winners = calloc(2 * stage->route_count + 1, sizeof(*winners));
	CLEANUP_FREE uint32_t *next = calloc(2 * stage->route_count + 2, sizeof(*next));

	if (!cuts || !winners || !next)
		return -ENOMEM;
	for (size_t at = 0; at < stage->route_count; at++) {
		struct words end = ranges[at].high;

		cuts[cut_count++] = ranges[at].low;
		if (increment(dispatch, &end))
			cuts[cut_count++] = end;
	}
	qsort(cuts, cut_count, sizeof(*cuts), compare_starts);
	for (size_t at = 1; at < cut_count; at++)
		if (compare_words(&cuts[at], &cuts[kept]))
			cuts[++kept] = cuts[at];
	cut_count = kept + 1;

	for (size_t at = 0; at <= cut_count; at++)
		next[at] = at;
	for (size_t at = 0; at < cut_count; at++)
		winners[at] = NO_ROUTE;
	for (size_t at = 0; at < stage->route_count; at++) {
		struct words end = ranges[at].high;
		size_t first = find_start(cuts, cut_count, &ranges[at].low), last = cut_count;

		if (increment(dispatch, &end))
			last = find_start(cuts, cut_count, &end);
		for (size_t open = next_open(next, first); open < last;
		     open = next_open(next, open)) {
			winners[open] = ranges[at].route;
			next[open] = open + 1;
		}
	}

	/* An inner range of one route can leave a cut with the same winner on both sides. */
	kept = 0;
	for (size_t at = 1; at < cut_count; at++)
		if (winners[at] != winners[kept]) {
			winners[++kept] = winners[at];
			cuts[kept] = cuts[at];
		}
	stage->interval_count = kept + 1;
	stage->starts = cuts;
	stage->winners = winners;
	cuts = NULL;
	winners = NULL;
	return 0;
}

/* ---- costs ------------------------------------------------------------------------------------
 */

/*
 * Nanoseconds a packet, beyond a program that sends every tag to one port, where all tags of a
 * table come equally often and at random: measured with tests/bench on the machine that
 * docs/performance.md names. Only how they compare is meant to hold elsewhere.
 *
 * Medians of seven loads, one CPU. Compared one after the other:
 *
 *	tags			1	2	3	4	8	16	64
 *	3 bytes			0.6	3.0	4.8	6.8	10.9	13.8	19.5
 *	8 bytes			0.2	3.0	4.3	5.8	8.0	11.1	16.2
 *
 * Hashed, from 1,024 tags on by way of a displacement; the caches have 32 KiB, 1 MiB and 32 MiB:
 *
 *	tags			3	8	64	1,024	16,384	65,535
 *	3 bytes			1.7	1.4	0.5	2.1	1.2	2.2
 *	8 bytes			1.2	1.3	1.0	1.8	1.0	3.1
 *	16 bytes		1.5	2.7	1.4	1.8	1.3	6.1
 *	KiB, 3 bytes		0.03	0.06	2	9	144	576
 *	KiB, 8 bytes		0.06	0.1	4	17	176	704
 *	KiB, 16 bytes		0.1	0.2	6	25	304	1,216
 *
 * Ranges of numbers of 3 bytes, that leave no gap:
 *
 *	ranges			2	3	4	8	32	256
 *	compared		2.6	6.1	5.4
 *	searched		0.7	1.7	0.7	1.2	2.6	12.0
 *
 * One load differs from another by some 2 ns, and by more in the long searches.
 */
static const double COST_COMPARE = 0.4;	  /* one comparison that always turns out the same */
static const double COST_BRANCH = 3.0;	  /* a branch that goes either way: mispredicted */
static const double COST_DOUBLE = 3.0;	  /* comparing one after the other, per doubling of them */
static const double COST_PROBE = 1.2;	  /* of a table without displacements */
static const double COST_DISPLACED = 1.4; /* of one with them */
static const double COST_WORD = 0.5;	  /* each word of the key but the first */
static const double COST_SEARCH = -1.0;	  /* a search, to which add */
static const double COST_SEARCH_STEP = 1.2; /* each of its steps */

/*
 * What a random access to a table costs more where it is so large that its rows are often far away.
 * It shows late, because the processor looks up several packets' rows at a time. Fitted to the
 * table above.
 */
enum {
	NEAR_BYTES = 430 * 1024 /* up to here a table costs what it does in the nearest cache */
};
static const double COST_FAR_BYTE = 5.2e-6; /* each byte beyond */

static double memory_cost(size_t bytes)
{
	return bytes > NEAR_BYTES ? COST_FAR_BYTE * (bytes - NEAR_BYTES) : 0;
}

static double compare_cost(size_t patterns)
{
	double cost = COST_BRANCH;

	if (patterns <= 1)
		return patterns * COST_COMPARE;
	while (patterns > 2) {
		size_t half = (patterns + 1) / 2;

		cost += COST_DOUBLE * (patterns - half) / half;
		patterns = half;
	}
	return cost;
}

/*
 * A tag of eight bytes and a port of two take sixteen together, six of them for nothing. While the
 * table fits the caches well that costs less than a second line does; beyond, space is dearer.
 */
enum {
	SPLIT_BYTES = 64 * 1024
};

bool dispatch_is_split(const struct dispatch *dispatch, const struct stage *stage)
{
	size_t row = 8 * stage->hash.words + 8;

	return dispatch->listener->tag.length > 4 && stage->hash.size * row > SPLIT_BYTES;
}

size_t dispatch_table_bytes(const struct dispatch *dispatch, const struct stage *stage)
{
	bool small = dispatch->listener->tag.length <= 4;
	size_t displacement = stage->hash.size <= UINT16_MAX + 1 ? 2 : 4, row;

	if (stage->kind == STAGE_COMPARE)
		return 0;
	if (stage->kind == STAGE_SEARCH)
		return ((small ? 4 : 8 * dispatch->word_count) + 2) << dispatch_search_steps(stage);
	if (small)
		row = 8;
	else
		row = 8 * stage->hash.words + (dispatch_is_split(dispatch, stage) ? 2 : 8);
	return stage->hash.size * row + stage->hash.bucket_count * displacement;
}

/*
 * Without a branch the packet waits for its row; with one the processor goes on as if the tag had a
 * route. Measured as above, with tags of 3 and 16 bytes: where half of the tags have no route, at
 * random, no branch saves 3.5 to 5 ns at every size. Where all have one it costs nothing up to some
 * 4,096 tags, but 3 to 7 ns with 65,535, whose rows are far away. Where none has one it costs 1 to
 * 2 ns, since a datagram is rewritten before it is dropped.
 */
enum {
	BRANCH_FREE_BYTES = 64 * 1024
};

bool dispatch_can_be_branch_free(const struct dispatch *dispatch)
{
	return dispatch->stage_count == 1 && dispatch->stages->kind == STAGE_HASH &&
	       dispatch_table_bytes(dispatch, dispatch->stages) <= BRANCH_FREE_BYTES;
}

static double stage_cost(const struct dispatch *dispatch, const struct stage *stage)
{
	double memory = memory_cost(dispatch_table_bytes(dispatch, stage));

	if (stage->kind == STAGE_COMPARE)
		return compare_cost(stage->route_count);
	if (stage->kind == STAGE_SEARCH)
		return COST_SEARCH + COST_SEARCH_STEP * dispatch_search_steps(stage) + memory;
	return (stage->hash.displacements ? COST_DISPLACED : COST_PROBE) +
	       COST_WORD * (stage->hash.words - 1) + memory;
}

/* Adds a stage for some entries: ranges, or patterns with one mask. */
static int add_stage(struct dispatch *dispatch, const struct entry *entries, size_t count,
		     enum dispatch_choice choice)
{
	struct stage *grown =
		reallocarray(dispatch->stages, dispatch->stage_count + 1, sizeof(*grown));
	struct stage *stage;
	int error;

	if (!grown)
		return -ENOMEM;
	dispatch->stages = grown;
	stage = &grown[dispatch->stage_count];
	*stage = (struct stage){
		.ranges = entries->range,
		.mask = entries->mask,
		.routes = calloc(count, sizeof(*stage->routes)),
		.route_count = count,
	};
	if (!stage->routes)
		return -ENOMEM;
	dispatch->stage_count++;
	for (size_t at = 0; at < count; at++)
		stage->routes[at] = entries[at].route;
	/* Where no bit is fixed there is nothing to look up. */
	if (choice == DISPATCH_CHAIN || !count_bits(&stage->mask))
		return 0;
	error = stage->ranges ? make_search(dispatch, stage, entries) : make_hash(dispatch, stage);
	if (error)
		return error;
	stage->kind = stage->ranges ? STAGE_SEARCH : STAGE_HASH;
	if (choice == DISPATCH_AUTO && compare_cost(count) <= stage_cost(dispatch, stage))
		stage->kind = STAGE_COMPARE;
	return 0;
}

/* Where each group of entries with one mask begins, and the end of the last. */
struct groups {
	size_t starts[MASKS_MAX + 1];
	unsigned count;
};

/* Finds the groups among entries ordered by mask. */
static int find_groups(const struct entry *entries, size_t count, struct groups *groups)
{
	groups->count = 0;
	for (size_t at = 0; at < count; at++) {
		if (at && !compare_words(&entries[at].mask, &entries[at - 1].mask))
			continue;
		if (groups->count == MASKS_MAX)
			return -ERANGE;
		groups->starts[groups->count++] = at;
	}
	groups->starts[groups->count] = count;
	return 0;
}

/* Between which masks a range may stand. */
static void place_range(const struct dispatch *dispatch, const struct entry *entries,
			const struct groups *groups, struct entry *range)
{
	range->first_group = 0;
	range->last_group = groups->count;
	range->later = true;
	for (unsigned group = groups->count; group-- > 0;) {
		const struct entry *patterns = entries + groups->starts[group];
		size_t count = groups->starts[group + 1] - groups->starts[group];

		if (group_has_inside(dispatch, patterns, count, range)) {
			range->first_group = group + 1;
			break;
		}
		if (group_has_around(patterns, count, range))
			range->last_group = group;
	}
}

static int add_stages(struct dispatch *dispatch, struct entry *entries, size_t masked,
		      const struct groups *groups, enum dispatch_choice choice)
{
	struct entry *ranges = entries + masked;
	size_t range_count = dispatch->listener->route_count - masked;
	int error = 0;

	for (size_t at = 0; at < range_count; at++)
		place_range(dispatch, entries, groups, &ranges[at]);
	qsort(ranges, range_count, sizeof(*ranges), compare_ranges);
	for (unsigned group = 0; group <= groups->count && !error; group++) {
		/* As late as the most urgent one allows, all that may stand there. */
		if (range_count && ranges->last_group == group) {
			size_t taken = 0;

			for (size_t at = 0; at < range_count; at++) {
				ranges[at].later = ranges[at].first_group > group;
				taken += !ranges[at].later;
			}
			qsort(ranges, range_count, sizeof(*ranges), compare_ranges);
			error = add_stage(dispatch, ranges, taken, choice);
			ranges += taken;
			range_count -= taken;
		}
		if (!error && group < groups->count)
			error = add_stage(dispatch, entries + groups->starts[group],
					  groups->starts[group + 1] - groups->starts[group],
					  choice);
	}
	return error;
}

/* Whether clang and the kernel can take it. */
static int check_size(const struct dispatch *dispatch)
{
	size_t compared = 0;

	for (size_t at = 0; at < dispatch->stage_count; at++)
		if (dispatch->stages[at].kind == STAGE_COMPARE)
			compared += dispatch->stages[at].route_count;
	return compared > CHAIN_MAX ? -E2BIG : 0;
}

int dispatch_make(const struct listener *listener, enum dispatch_choice choice,
		  struct dispatch **dispatch)
{
	struct dispatch *made __attribute__((cleanup(free_dispatch_pointer))) =
		calloc(1, sizeof(*made));
	CLEANUP_FREE struct entry *entries = calloc(listener->route_count, sizeof(*entries));
	uint8_t ones[TAG_MAX];
	struct groups groups;
	size_t masked = 0;
	int error;

	if (!made || !entries)
		return -ENOMEM;
	memset(ones, 0xff, sizeof(ones));
	made->listener = listener;
	made->word_count = (listener->tag.length + 7) / 8;
	made->full = dispatch_words(listener, ones);
	for (size_t at = 0; at < listener->route_count; at++) {
		entries[at] = make_entry(listener, at);
		masked += !entries[at].range;
	}
	qsort(entries, listener->route_count, sizeof(*entries), compare_entries);
	error = find_groups(entries, masked, &groups);
	if (!error)
		error = add_stages(made, entries, masked, &groups, choice);
	if (!error)
		error = check_size(made);
	if (error)
		return error;
	*dispatch = made;
	made = NULL;
	return 0;
}

/* ---- explaining --------------------------------------------------------------------------------
 */

static void explain_stage(const struct dispatch *dispatch, const struct stage *stage, FILE *out)
{
	unsigned free_bits = count_bits(&dispatch->full) - count_bits(&stage->mask);

	fprintf(out, "%zu %s%s", stage->route_count, stage->ranges ? "range" : "tag",
		stage->route_count == 1 ? "" : "s");
	if (!stage->ranges && free_bits)
		fprintf(out, " with %u free bits", free_bits);
	if (stage->kind == STAGE_COMPARE) {
		fputs(stage->route_count == 1 ? ", compared" : ", compared one after the other",
		      out);
		return;
	}
	if (stage->kind == STAGE_SEARCH)
		fprintf(out, ", found in %zu intervals by %u halvings", stage->interval_count,
			dispatch_search_steps(stage));
	else
		fprintf(out, ", hashed to one of %u slots%s", stage->hash.size,
			stage->hash.displacements ? " by way of a displacement" : "");
	fprintf(out, ", in %zu bytes: %.1f ns", dispatch_table_bytes(dispatch, stage),
		stage_cost(dispatch, stage));
	if (stage->route_count > CHAIN_MAX)
		fputs(", and too many to be compared one after the other", out);
	else if (stage->route_count > 1)
		fprintf(out, ", not %.1f as compared one after the other",
			compare_cost(stage->route_count));
}

void dispatch_explain(const struct dispatch *dispatch, FILE *out)
{
	size_t compared = 0, tables = 0;
	double cost = 0;

	for (size_t at = 0; at < dispatch->stage_count; at++) {
		const struct stage *stage = &dispatch->stages[at];

		fputs(at ? ";\n  then " : "  ", out);
		explain_stage(dispatch, stage, out);
		if (stage->kind == STAGE_COMPARE) {
			compared += stage->route_count;
		} else {
			tables++;
			cost += stage_cost(dispatch, stage);
		}
	}
	cost += compare_cost(compared);
	if (tables && dispatch->stage_count > 1)
		cost += COST_BRANCH; /* which step it will be is not known before */
	fprintf(out,
		".\n  About %.1f ns a packet more than sending all to one port, where all tags come\n"
		"  equally often and at random (measured on the machine of docs/performance.md).\n",
		cost);
}
