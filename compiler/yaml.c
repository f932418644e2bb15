/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * YAML: from the text of a rule file to a small tree of nodes with places.
 *
 * libyaml does the syntax; its events are turned into mappings, sequences and texts here. What YAML
 * could do beyond that is refused at its place, because a reviewer would have to know it to read a
 * rule file: anchors, aliases, merge keys, tags, further documents, values over several lines,
 * duplicate keys. No scalar is interpreted.
 */
#include "node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "arena.h"
#include "diagnostic.h"
#include "source.h"

enum {
	DEPTH_MAX = 16,	     /* a rule file needs 8 */
	NODES_MAX = 1 << 20, /* bounds memory; 65,535 routes have 131,070 */
};

struct level {
	struct node *collection, *key, **tail;
};

struct reader {
	const struct source *source;
	struct diagnostics *diagnostics;
	struct arena *arena;
	struct level levels[DEPTH_MAX];
	unsigned depth;
	size_t nodes;
	struct node *root;
	const struct node *over_lines; /* the value before this event */
	/* libyaml counts characters: the same point in characters and in bytes */
	size_t character, offset;
};

/* What libyaml says, and what that means to the author of a rule file. */
static const struct {
	const char *problem, *meaning;
} problems[] = {
	{"mapping values are not allowed in this context",
	 "'key: value' cannot stand here: check the indentation of this line and the one before"},
	{"did not find expected key",
	 "this does not line up: check the indentation, and the quotes and brackets before it"},
	{"did not find expected '-' indicator",
	 "this does not line up with the list above it: check the indentation"},
	{"found character that cannot start any token",
	 "this character cannot start a value: put the value in quotes, and indent with spaces, "
	 "not tabs"},
	{"did not find expected node content",
	 "a value is missing here, or it starts with a character that needs quotes around it"},
	{"could not find expected ':'", "a ':' is missing behind this key"},
	{"did not find expected ',' or '}'", "a ',' or '}' is missing before this"},
	{"did not find expected ',' or ']'", "a ',' or ']' is missing before this"},
	{"did not find expected <document start>",
	 "this is outside of the rules: check the indentation"},
	{"found unexpected end of stream", "these quotes are never closed"},
	{"found unexpected ':'",
	 "this ':' cannot stand here: write a space behind it, or quotes around the value"},
	{"mapping keys are not allowed in this context",
	 "'? ' cannot stand here: put a tag that starts with '?' in quotes"},
	{"block sequence entries are not allowed in this context",
	 "a list item '- ' cannot stand here: start it on a line of its own"},
};

/* The byte offset of a place that libyaml gave. */
static size_t byte_offset(struct reader *reader, size_t character)
{
	const char *text = reader->source->text;

	while (reader->character < character && reader->offset < reader->source->size) {
		do
			reader->offset++;
		while ((text[reader->offset] & 0xc0) == 0x80);
		reader->character++;
	}
	while (reader->character > character) {
		do
			reader->offset--;
		while ((text[reader->offset] & 0xc0) == 0x80);
		reader->character--;
	}
	return reader->offset;
}

static struct place event_place(struct reader *reader, const yaml_event_t *event)
{
	size_t start = byte_offset(reader, event->start_mark.index);
	size_t end = byte_offset(reader, event->end_mark.index);

	return (struct place){start, end - start};
}

static void syntax_error(struct reader *reader, const yaml_parser_t *parser)
{
	struct place place = {byte_offset(reader, parser->problem_mark.index), 1};
	struct place opening = {byte_offset(reader, parser->context_mark.index), 1};
	const char *problem = parser->problem ? parser->problem : "syntax error";

	/* Where quotes end nobody knows, only where they start. */
	if (!strcmp(problem, "found unexpected end of stream"))
		place = opening;
	for (size_t i = 0; i < sizeof(problems) / sizeof(*problems); i++) {
		if (!strcmp(problems[i].problem, problem)) {
			diagnostics_error(reader->diagnostics, place, "%s", problems[i].meaning);
			if (strstr(problem, "did not find expected ',' or"))
				diagnostics_note(reader->diagnostics, opening,
						 "the bracket that opened is here");
			return;
		}
	}
	diagnostics_error(reader->diagnostics, place, "this is not YAML: %s", problem);
}

static int compare_keys(const void *left, const void *right)
{
	const struct node *a = *(const struct node *const *)left;
	const struct node *b = *(const struct node *const *)right;
	int order;

	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	order = memcmp(a->text, b->text, a->length);
	if (order)
		return order;
	return a->place.offset < b->place.offset ? -1 : 1;
}

/* Each key stays only where it stands first; sorting bounds the time for any number of them. */
static int refuse_duplicates(struct reader *reader, struct node *mapping)
{
	struct node **keys, **tail = &mapping->first, *key;
	size_t count = 0, first = 0;

	keys = reallocarray(NULL, mapping->length ? mapping->length : 1, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (key = mapping->first; key; key = key->next)
		if (key->kind == NODE_SCALAR)
			keys[count++] = key;
	qsort(keys, count, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < count; i++) {
		if (keys[i]->length != keys[first]->length ||
		    memcmp(keys[i]->text, keys[first]->text, keys[i]->length)) {
			first = i;
			continue;
		}
		diagnostics_error(reader->diagnostics, keys[i]->place,
				  "'%.40s' is there twice: remove one of them", keys[i]->text);
		diagnostics_note(reader->diagnostics, keys[first]->place, "here it is first");
		keys[i]->kind = NODE_BROKEN;
	}
	free(keys);
	while ((key = *tail)) {
		if (key->kind == NODE_BROKEN) {
			*tail = key->next;
			mapping->length--;
		} else {
			tail = &key->next;
		}
	}
	return 0;
}

static struct node *add_node(struct reader *reader, const yaml_event_t *event, enum node_kind kind)
{
	struct level *level = reader->depth ? &reader->levels[reader->depth - 1] : NULL;
	struct node *node = arena_alloc(reader->arena, sizeof(*node));

	if (!node)
		return NULL;
	node->kind = kind;
	node->place = event_place(reader, event);
	node->line = event->start_mark.line + 1;
	if (!level) {
		reader->root = node;
	} else if (level->key) {
		level->key->value = node;
		level->key = NULL;
	} else {
		*level->tail = node;
		level->tail = &node->next;
		level->collection->length++;
		if (level->collection->kind == NODE_MAPPING)
			level->key = node;
	}
	return node;
}

/* Whether the node that comes next is a key. */
static bool key_is_next(const struct reader *reader)
{
	const struct level *level;

	if (!reader->depth)
		return false;
	level = &reader->levels[reader->depth - 1];
	return level->collection->kind == NODE_MAPPING && !level->key;
}

static void refuse_properties(struct reader *reader, struct place place, const yaml_char_t *anchor,
			      const yaml_char_t *tag)
{
	if (anchor)
		diagnostics_error(reader->diagnostics, place,
				  "anchors ('&%.40s') are not part of rule files: write the value "
				  "where it is needed",
				  (const char *)anchor);
	if (tag)
		diagnostics_error(reader->diagnostics, place,
				  "YAML tags ('!') are not part of rule files: put the value in "
				  "quotes if the '!' belongs to it");
}

static int read_alias(struct reader *reader, const yaml_event_t *event)
{
	struct node *node = add_node(reader, event, NODE_BROKEN);

	if (!node)
		return -ENOMEM;
	diagnostics_error(reader->diagnostics, node->place,
			  "aliases are not part of rule files: write the value itself, in quotes "
			  "if the '*' belongs to it");
	return 0;
}

/*
 * Whether a '?' stands before a key. YAML takes it for the mark of a key even in {?00: 1}, where
 * the author meant a tag; then the place is widened to what was meant.
 */
static bool is_explicit_key(const struct reader *reader, struct place *place)
{
	const char *text = reader->source->text;
	size_t start = place->offset;

	while (start && (text[start - 1] == ' ' || text[start - 1] == '\t'))
		start--;
	if (!start || text[start - 1] != '?')
		return false;
	place->length += place->offset - (start - 1);
	place->offset = start - 1;
	return true;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event)
{
	yaml_scalar_style_t style = event->data.scalar.style;
	const char *text = (const char *)event->data.scalar.value;
	bool is_key = key_is_next(reader);
	struct node *node = add_node(reader, event, NODE_SCALAR);

	if (!node)
		return -ENOMEM;
	refuse_properties(reader, node->place, event->data.scalar.anchor, event->data.scalar.tag);
	if (event->start_mark.line != event->end_mark.line) {
		reader->over_lines = node;
		node->kind = NODE_BROKEN;
	} else if (is_key && is_explicit_key(reader, &node->place)) {
		diagnostics_error(reader->diagnostics, node->place,
				  "'?' before a key is not part of it, and not part of rule files: "
				  "put a tag that starts with '?' in quotes");
		node->kind = NODE_BROKEN;
	} else if (is_key && style == YAML_PLAIN_SCALAR_STYLE && !strcmp(text, "<<")) {
		diagnostics_error(reader->diagnostics, node->place,
				  "merge keys ('<<') are not part of rule files: write the keys "
				  "where they are needed");
		node->kind = NODE_BROKEN;
	}
	node->quoted = style != YAML_PLAIN_SCALAR_STYLE;
	node->length = event->data.scalar.length;
	node->text = arena_copy(reader->arena, text, node->length);
	return node->text ? 0 : -ENOMEM;
}

static int read_start(struct reader *reader, const yaml_event_t *event, enum node_kind kind)
{
	bool is_key = key_is_next(reader);
	struct node *node = add_node(reader, event, kind);

	if (!node)
		return -ENOMEM;
	if (is_key) {
		diagnostics_error(reader->diagnostics, node->place,
				  "a list or a mapping cannot be a key: write a text");
		return -EINVAL;
	}
	if (kind == NODE_MAPPING)
		refuse_properties(reader, node->place, event->data.mapping_start.anchor,
				  event->data.mapping_start.tag);
	else
		refuse_properties(reader, node->place, event->data.sequence_start.anchor,
				  event->data.sequence_start.tag);
	if (reader->depth == DEPTH_MAX) {
		diagnostics_error(reader->diagnostics, node->place,
				  "this is nested more than %d deep, which no rule needs",
				  DEPTH_MAX);
		return -EINVAL;
	}
	reader->levels[reader->depth++] = (struct level){.collection = node, .tail = &node->first};
	return 0;
}

static int read_end(struct reader *reader)
{
	struct node *node = reader->levels[--reader->depth].collection;

	return node->kind == NODE_MAPPING ? refuse_duplicates(reader, node) : 0;
}

/*
 * A line with too much indentation continues the value before it. If it has a ':' that is no YAML,
 * and what libyaml then says of the second line is better than this about the first.
 */
static void refuse_lines(struct reader *reader)
{
	if (reader->over_lines)
		diagnostics_error(
			reader->diagnostics, reader->over_lines->place,
			"a value cannot go over several lines: write it on one, and check "
			"the indentation");
	reader->over_lines = NULL;
}

static int read_event(struct reader *reader, const yaml_event_t *event)
{
	if (reader->nodes++ == NODES_MAX) {
		diagnostics_error(reader->diagnostics, event_place(reader, event),
				  "the file holds more than %d values: split it", NODES_MAX);
		return -EINVAL;
	}
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (reader->root) {
			diagnostics_error(reader->diagnostics, event_place(reader, event),
					  "a second document starts here: a rule file is one");
			return -EINVAL;
		}
		return 0;
	case YAML_ALIAS_EVENT:
		return read_alias(reader, event);
	case YAML_SCALAR_EVENT:
		return read_scalar(reader, event);
	case YAML_SEQUENCE_START_EVENT:
		return read_start(reader, event, NODE_SEQUENCE);
	case YAML_MAPPING_START_EVENT:
		return read_start(reader, event, NODE_MAPPING);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return read_end(reader);
	default:
		return 0;
	}
}

static int read_events(struct reader *reader, yaml_parser_t *parser)
{
	bool more = true;
	int err = 0;

	while (more && !err) {
		yaml_event_t event;

		if (!yaml_parser_parse(parser, &event)) {
			if (parser->error == YAML_MEMORY_ERROR)
				return -ENOMEM;
			syntax_error(reader, parser);
			return -EINVAL;
		}
		refuse_lines(reader);
		more = event.type != YAML_STREAM_END_EVENT;
		err = read_event(reader, &event);
		yaml_event_delete(&event);
	}
	return err;
}

int yaml_read(const struct source *source, struct diagnostics *diagnostics, struct arena *arena,
	      struct node **root)
{
	struct reader reader = {
		.source = source,
		.diagnostics = diagnostics,
		.arena = arena,
		.offset = source_bom(source),
	};
	yaml_parser_t parser;
	int err;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)source->text + reader.offset,
				     source->size - reader.offset);
	err = read_events(&reader, &parser);
	yaml_parser_delete(&parser);
	if (err)
		return err;
	if (!reader.root) {
		diagnostics_error(diagnostics, (struct place){reader.offset, 0},
				  "the file is empty: a rule file starts with 'version: 1'");
		return -EINVAL;
	}
	*root = reader.root;
	return 0;
}
