/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Patterns: the tags that a route stands for.
 *
 * They are written as one tag, as a range (600..699), or with '?' for any byte or nibble. What a
 * pattern means does not depend on the others, but which one decides does: the innermost. So
 * rules.c needs to know how two patterns lie to each other, and finds out here without enumerating
 * their tags.
 */
#include "pattern.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Two symbols a byte for hex, so that '?' is a whole symbol in every type. */
enum {
	SYMBOLS_MAX = 2 * TAG_MAX,
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

size_t hex_read(const char *text, size_t length, uint8_t *bytes, size_t size)
{
	if (length % 2 || length / 2 > size)
		return 0;
	for (size_t i = 0; i < length; i++)
		if (hex_digit(text[i]) < 0)
			return 0;
	for (size_t i = 0; i < length / 2; i++)
		bytes[i] = hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]);
	return length / 2;
}

static int digits_read(const char *text, size_t length, unsigned base, uint64_t max,
		       uint64_t *number)
{
	uint64_t value = 0;
	bool over = false;

	if (!length)
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0 || digit >= (int)base)
			return -EINVAL;
		over |= __builtin_mul_overflow(value, (uint64_t)base, &value);
		over |= __builtin_add_overflow(value, (uint64_t)digit, &value);
	}
	if (over || value > max)
		return -ERANGE;
	*number = value;
	return 0;
}

int decimal_read(const char *text, size_t length, uint64_t max, uint64_t *number)
{
	return digits_read(text, length, 10, max, number);
}

int number_read(const char *text, size_t length, uint64_t max, uint64_t *number)
{
	if (length > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		return digits_read(text + 2, length - 2, 16, max, number);
	return digits_read(text, length, 10, max, number);
}

void number_bytes(const struct listener *listener, uint64_t number, uint8_t *bytes)
{
	uint32_t length = listener->tag.length;

	for (uint32_t i = 0; i < length; i++) {
		uint32_t at = listener->tag.order == ORDER_LITTLE ? i : length - 1 - i;

		bytes[at] = number;
		number >>= 8;
	}
}

/* The most significant byte first, which is how memcmp compares. */
static void number_order(const struct listener *listener, const uint8_t *bytes, uint8_t *ordered)
{
	uint32_t length = listener->tag.length;
	bool reverse = listener->tag.type == TAG_UINT && listener->tag.order == ORDER_LITTLE;

	for (uint32_t i = 0; i < length; i++)
		ordered[i] = bytes[reverse ? length - 1 - i : i];
}

/* Where the two dots of a range stand, or NULL. */
static const char *find_dots(const char *text, size_t length)
{
	return memmem(text, length, "..", 2);
}

uint32_t pattern_length(enum tag_type type, const char *text, size_t length)
{
	const char *dots = find_dots(text, length);

	if (dots)
		length = dots - text;
	if (type == TAG_UINT || length > 2 * TAG_MAX)
		return 0;
	if (type == TAG_HEX)
		return length % 2 ? 0 : length / 2;
	return length;
}

__attribute__((format(printf, 2, 3))) static int refuse(char *problem, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, PROBLEM_MAX, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* One end of a range, or a tag without '?', into bytes in wire order. */
static int read_tag(const struct listener *listener, const char *text, size_t length,
		    uint8_t *bytes, char *problem)
{
	uint32_t size = listener->tag.length;
	uint64_t max = size == 8 ? UINT64_MAX : (1ULL << (8 * (size % 8))) - 1, number;

	switch (listener->tag.type) {
	case TAG_TEXT:
		memcpy(bytes, text, length);
		return 0;
	case TAG_HEX:
		hex_read(text, length, bytes, size);
		return 0;
	case TAG_UINT:
		break;
	}
	switch (number_read(text, length, max, &number)) {
	case 0:
		number_bytes(listener, number, bytes);
		return 0;
	case -ERANGE:
		return refuse(problem,
			      "%.*s does not fit into a uint tag of %u byte%s: the largest is %llu",
			      length > 40 ? 40 : (int)length, text, size, size == 1 ? "" : "s",
			      (unsigned long long)max);
	default:
		return refuse(problem,
			      "'%.*s' is not a uint tag: write a decimal number, a hex number such "
			      "as 0x2f, or a range such as 600..699",
			      length > 40 ? 40 : (int)length, text);
	}
}

static int check_characters(const struct listener *listener, const char *text, size_t length,
			    bool range, char *problem)
{
	bool hex = listener->tag.type == TAG_HEX;

	for (size_t i = 0; i < length; i++) {
		if (range && text[i] == '?')
			return refuse(problem, "a range cannot hold '?': write one or the other");
		if (!hex && (text[i] < ' ' || text[i] > '~'))
			return refuse(problem, "a text tag is printable ASCII: write other bytes "
					       "with 'type: hex'");
		if (!hex && range && !is_digit(text[i]))
			return refuse(problem, "the ends of a text range are digits only, such as "
					       "600..699: write a tag that holds '..' itself with "
					       "'type: hex'");
		if (hex && text[i] != '?' && hex_digit(text[i]) < 0)
			return refuse(problem, "'%c' is not a hex digit: write a hex tag as cafe01",
				      text[i] < ' ' || text[i] > '~' ? '.' : text[i]);
	}
	if (hex && length % 2)
		return refuse(problem,
			      "a hex tag has two digits for each byte, this has %zu digits",
			      length);
	if (!length)
		return refuse(problem, "a tag has at least one byte: write the bytes of the tag");
	if (hex)
		length /= 2;
	if (length != listener->tag.length) {
		refuse(problem, "this tag has %zu byte%s, the tags of this listener have %u",
		       length, length == 1 ? "" : "s", listener->tag.length);
		return -EMSGSIZE;
	}
	return 0;
}

static int read_range(const struct listener *listener, const char *text, size_t length,
		      const char *dots, struct pattern *pattern, char *problem)
{
	struct pattern read = {.kind = PATTERN_RANGE};
	uint8_t low[TAG_MAX], high[TAG_MAX];
	size_t first = dots - text, last = length - first - 2;
	int order, err;

	if (listener->tag.type != TAG_UINT) {
		err = check_characters(listener, text, first, true, problem);
		if (!err)
			err = check_characters(listener, dots + 2, last, true, problem);
		if (err)
			return err;
	}
	err = read_tag(listener, text, first, read.value, problem);
	if (!err)
		err = read_tag(listener, dots + 2, last, read.last, problem);
	if (err)
		return err;
	number_order(listener, read.value, low);
	number_order(listener, read.last, high);
	order = memcmp(low, high, listener->tag.length);
	if (order > 0)
		return refuse(problem,
			      "this range is empty: write the smaller end first, %.*s..%.*s",
			      (int)last, dots + 2, (int)first, text);
	if (order == 0) {
		read.kind = PATTERN_EXACT;
		memset(read.last, 0, sizeof(read.last));
	}
	memset(read.mask, 0xff, listener->tag.length);
	*pattern = read;
	return 0;
}

static int read_mask(const struct listener *listener, const char *text, size_t length,
		     struct pattern *pattern, char *problem)
{
	struct pattern read = {.kind = PATTERN_MASK};
	char value[2 * TAG_MAX];
	int err = check_characters(listener, text, length, false, problem);

	if (err)
		return err;
	for (size_t i = 0; i < length; i++) {
		bool any = text[i] == '?';

		value[i] = any ? '0' : text[i];
		if (listener->tag.type == TAG_HEX)
			read.mask[i / 2] |= any ? 0 : i % 2 ? 0x0f : 0xf0;
		else
			read.mask[i] = any ? 0 : 0xff;
	}
	read_tag(listener, value, length, read.value, problem);
	for (size_t i = 0; i < TAG_MAX; i++)
		read.value[i] &= read.mask[i];
	*pattern = read;
	return 0;
}

int pattern_read(const struct listener *listener, const char *text, size_t length,
		 struct pattern *pattern, char problem[PROBLEM_MAX])
{
	struct pattern read = {.kind = PATTERN_EXACT};
	const char *dots = find_dots(text, length);
	int err;

	if (dots)
		return read_range(listener, text, length, dots, pattern, problem);
	if (memchr(text, '?', length)) {
		if (listener->tag.type == TAG_UINT)
			return refuse(problem, "a uint tag cannot hold '?': write a range such as "
					       "600..699");
		return read_mask(listener, text, length, pattern, problem);
	}
	if (listener->tag.type != TAG_UINT) {
		err = check_characters(listener, text, length, false, problem);
		if (err)
			return err;
	}
	err = read_tag(listener, text, length, read.value, problem);
	if (err)
		return err;
	memset(read.mask, 0xff, listener->tag.length);
	*pattern = read;
	return 0;
}

bool pattern_matches(const struct listener *listener, const struct pattern *pattern,
		     const uint8_t *tag)
{
	uint32_t length = listener->tag.length;
	uint8_t number[TAG_MAX], low[TAG_MAX], high[TAG_MAX];

	switch (pattern->kind) {
	case PATTERN_EXACT:
		return !memcmp(tag, pattern->value, length);
	case PATTERN_MASK:
		for (uint32_t i = 0; i < length; i++)
			if ((tag[i] & pattern->mask[i]) != pattern->value[i])
				return false;
		return true;
	case PATTERN_RANGE:
		break;
	}
	for (uint32_t i = 0; i < length; i++)
		if (listener->tag.type == TAG_TEXT && !is_digit(tag[i]))
			return false;
	number_order(listener, tag, number);
	number_order(listener, pattern->value, low);
	number_order(listener, pattern->last, high);
	return memcmp(low, number, length) <= 0 && memcmp(number, high, length) <= 0;
}

void pattern_span(const struct listener *listener, const struct pattern *pattern,
		  uint8_t low[TAG_MAX], uint8_t high[TAG_MAX])
{
	uint8_t last[TAG_MAX];

	/* Only ranges depend on the order of bytes, and only hex and text tags have masks. */
	for (uint32_t i = 0; i < listener->tag.length; i++)
		last[i] = pattern->kind == PATTERN_RANGE ? pattern->last[i]
							 : pattern->value[i] | ~pattern->mask[i];
	number_order(listener, pattern->value, low);
	number_order(listener, last, high);
}

static enum relation invert(enum relation relation)
{
	switch (relation) {
	case RELATION_INSIDE:
		return RELATION_AROUND;
	case RELATION_AROUND:
		return RELATION_INSIDE;
	default:
		return relation;
	}
}

static enum relation relate(bool inside, bool around)
{
	if (inside)
		return around ? RELATION_EQUAL : RELATION_INSIDE;
	return around ? RELATION_AROUND : RELATION_OVERLAP;
}

static enum relation relate_masks(const struct listener *listener, const struct pattern *first,
				  const struct pattern *second)
{
	bool inside = true, around = true;

	for (uint32_t i = 0; i < listener->tag.length; i++) {
		uint8_t both = first->mask[i] & second->mask[i];

		if ((first->value[i] ^ second->value[i]) & both)
			return RELATION_DISJOINT;
		inside &= both == second->mask[i];
		around &= both == first->mask[i];
	}
	return relate(inside, around);
}

static enum relation relate_ranges(const struct listener *listener, const struct pattern *first,
				   const struct pattern *second)
{
	uint8_t first_low[TAG_MAX], first_high[TAG_MAX], second_low[TAG_MAX], second_high[TAG_MAX];
	uint32_t length = listener->tag.length;
	int low, high;

	pattern_span(listener, first, first_low, first_high);
	pattern_span(listener, second, second_low, second_high);
	if (memcmp(first_high, second_low, length) < 0 ||
	    memcmp(second_high, first_low, length) < 0)
		return RELATION_DISJOINT;
	low = memcmp(first_low, second_low, length);
	high = memcmp(first_high, second_high, length);
	return relate(low >= 0 && high <= 0, low <= 0 && high >= 0);
}

/* A tag as symbols: bytes of a text, nibbles of a hex tag. */
static size_t split(const struct listener *listener, const uint8_t *bytes, uint8_t *symbols)
{
	uint32_t length = listener->tag.length;

	if (listener->tag.type == TAG_TEXT) {
		memcpy(symbols, bytes, length);
		return length;
	}
	for (uint32_t i = 0; i < length; i++) {
		symbols[2 * i] = bytes[i] >> 4;
		symbols[2 * i + 1] = bytes[i] & 0x0f;
	}
	return 2 * length;
}

/* A mask against a range, of text or hex tags: uint has no masks. */
struct meeting {
	size_t count;	     /* of symbols */
	uint8_t least, most; /* that a symbol of the range can be */
	uint8_t value[SYMBOLS_MAX], mask[SYMBOLS_MAX];
	uint8_t first[SYMBOLS_MAX], last[SYMBOLS_MAX];
};

static bool symbol_fits(const struct meeting *meeting, size_t i, uint8_t symbol)
{
	return !meeting->mask[i] || meeting->value[i] == symbol;
}

/*
 * Whether one tag of the mask is in the range: the smallest one that is not below the first end
 * shares the longest possible start with that end, then exceeds it by as little as possible.
 */
static bool mask_meets_range(const struct meeting *meeting)
{
	uint8_t tag[SYMBOLS_MAX];
	size_t shared = 0, i;
	bool found = false;

	for (i = 0; i < meeting->count; i++)
		if (meeting->mask[i] &&
		    (meeting->value[i] < meeting->least || meeting->value[i] > meeting->most))
			return false;
	while (shared < meeting->count && symbol_fits(meeting, shared, meeting->first[shared]))
		shared++;
	if (shared == meeting->count)
		return true;
	for (i = shared + 1; i-- && !found;) {
		uint8_t next = meeting->mask[i] ? meeting->value[i] : meeting->first[i] + 1;

		if (next <= meeting->first[i] || next > meeting->most)
			continue;
		memcpy(tag, meeting->first, i);
		tag[i] = next;
		for (size_t j = i + 1; j < meeting->count; j++)
			tag[j] = meeting->mask[j] ? meeting->value[j] : meeting->least;
		found = true;
	}
	return found && memcmp(tag, meeting->last, meeting->count) <= 0;
}

static enum relation relate_mask_range(const struct listener *listener, const struct pattern *mask,
				       const struct pattern *range)
{
	bool text = listener->tag.type == TAG_TEXT;
	struct meeting meeting = {.least = text ? '0' : 0, .most = text ? '9' : 0xf};
	uint8_t low[TAG_MAX], high[TAG_MAX];
	bool inside, around = true;
	size_t differ = 0;

	meeting.count = split(listener, mask->value, meeting.value);
	split(listener, mask->mask, meeting.mask);
	split(listener, range->value, meeting.first);
	split(listener, range->last, meeting.last);
	if (!mask_meets_range(&meeting))
		return RELATION_DISJOINT;
	/* From the first symbol in which its ends differ, a range takes every value below. */
	while (meeting.first[differ] == meeting.last[differ])
		differ++;
	for (size_t i = 0; i < meeting.count; i++)
		around &=
			i < differ ? symbol_fits(&meeting, i, meeting.first[i]) : !meeting.mask[i];
	/* A '?' in text takes bytes that are no digits, too. */
	pattern_span(listener, mask, low, high);
	inside = !text && memcmp(low, range->value, listener->tag.length) >= 0 &&
		 memcmp(high, range->last, listener->tag.length) <= 0;
	return relate(inside, around);
}

enum relation pattern_relation(const struct listener *listener, const struct pattern *first,
			       const struct pattern *second)
{
	bool first_range = first->kind == PATTERN_RANGE,
	     second_range = second->kind == PATTERN_RANGE;

	if (first->kind == PATTERN_EXACT && second_range)
		return pattern_matches(listener, second, first->value) ? RELATION_INSIDE
								       : RELATION_DISJOINT;
	if (second->kind == PATTERN_EXACT && first_range)
		return pattern_matches(listener, first, second->value) ? RELATION_AROUND
								       : RELATION_DISJOINT;
	if (first_range && second_range)
		return relate_ranges(listener, first, second);
	if (second_range)
		return relate_mask_range(listener, first, second);
	if (first_range)
		return invert(relate_mask_range(listener, second, first));
	return relate_masks(listener, first, second);
}
