/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which code finds a tag's route, and its tables.
 *
 * The routes of a listener are looked up in stages, and the first stage that knows the tag decides.
 * Where patterns lie inside each other the innermost must win, and what lies inside has fewer tags:
 * so the stages stand by the number of tags a pattern has, the fewest first. Patterns with the same
 * mask have the same number of tags and share none, so that one table can hold them all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"
#include "dispatch_stages.h"

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

static void free_stage(struct stage *stage)
{
	free(stage->routes);
	perfect_hash_free(&stage->hash);
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

static void free_pointer(void *pointer)
{
	free(*(void **)pointer);
}

/* The perfect hash of a stage's patterns. */
static int make_hash(const struct dispatch *dispatch, struct stage *stage)
{
	unsigned words = dispatch->word_count;
	uint64_t *keys __attribute__((cleanup(free_pointer))) =
		calloc(stage->route_count * words, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (size_t at = 0; at < stage->route_count; at++) {
		const struct route *route = &dispatch->listener->routes[stage->routes[at]];
		struct words value = dispatch_words(dispatch->listener, route->pattern.value);

		memcpy(keys + at * words, value.at, words * sizeof(*keys));
	}
	stage->kind = STAGE_HASH;
	return perfect_hash_make(keys, words, stage->route_count, &stage->hash);
}

/* Adds a stage for routes first..first+count-1 of the listener. */
static int add_stage(struct dispatch *dispatch, size_t first, size_t count,
		     enum dispatch_choice choice)
{
	struct stage *stage = &dispatch->stages[dispatch->stage_count];

	stage->routes = calloc(count, sizeof(*stage->routes));
	if (!stage->routes)
		return -ENOMEM;
	dispatch->stage_count++;
	stage->route_count = count;
	stage->mask = dispatch->full;
	for (size_t at = 0; at < count; at++)
		stage->routes[at] = first + at;
	if (choice == DISPATCH_CHAIN || (choice == DISPATCH_AUTO && count == 1))
		return count > CHAIN_MAX ? -E2BIG : 0;
	return make_hash(dispatch, stage);
}

int dispatch_make(const struct listener *listener, enum dispatch_choice choice,
		  struct dispatch **dispatch)
{
	struct dispatch *made __attribute__((cleanup(free_dispatch_pointer))) =
		calloc(1, sizeof(*made));
	uint8_t ones[TAG_MAX];
	int error;

	if (!made)
		return -ENOMEM;
	memset(ones, 0xff, sizeof(ones));
	made->listener = listener;
	made->word_count = (listener->tag.length + 7) / 8;
	made->full = dispatch_words(listener, ones);
	made->stages = calloc(1, sizeof(*made->stages));
	if (!made->stages)
		return -ENOMEM;
	error = add_stage(made, 0, listener->route_count, choice);
	if (error)
		return error;
	*dispatch = made;
	made = NULL;
	return 0;
}

void dispatch_explain(const struct dispatch *dispatch, FILE *out)
{
	const struct stage *stage = &dispatch->stages[0];

	if (stage->kind == STAGE_COMPARE)
		fprintf(out, "%zu routes, compared one after the other.\n", stage->route_count);
	else
		fprintf(out, "%zu routes in a hash table of %u slots.\n", stage->route_count,
			stage->hash.size);
}
