/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cookie, exhaustively: a first segment with every value that the 21 hash bits can have, for
 * one client of each IP version. Of the two million in a window one is right. In the two youngest
 * windows it binds, in the others it is told that it is late, and no other does anything. Random
 * trials would never find a second one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "cookies.h"
#include "program.h"

enum {
	HASH_SHIFT = 11,
	HASHES = 1 << 21,
	SLICE = 1 << 16, /* tried in seconds, well within a window */
	WINDOWS = 8,
	OPTIONS = 0x5e, /* SACK, scale 7, MSS 2 */
	ISN = 0x12345678,
	ACK_SEQ = 8, /* in the TCP header, as are the flags */
	FLAGS = 13,
	TCP_RST = 0x04,
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
};

static const char RULES[] = "version: 1\n"
			    "listeners:\n"
			    "  a:\n"
			    "    protocol: tcp\n"
			    "    port: 5000\n"
			    "    length: 2\n"
			    "    tag: {offset: 0}\n"
			    "    routes: {a: 5001}\n";

static const struct host HOST = {
	.key = {0x0123456789abcdef, 0xfedcba9876543210},
	.window_scale = 7,
	.sack = true,
};

/* From port 40000 to 5000, seq ISN + 1, ack_seq to be filled in, PSH and ACK. */
#define SEGMENT                                                                            \
	"\x9c\x40\x13\x88\x12\x34\x56\x79\x00\x00\x00\x00\x50\x18\x10\x00\x00\x00\x00\x00" \
	"ab" /* two bytes of payload, for one could be a probe */

#define MACS "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x07"

static const char FRAME_V4[] = MACS
	"\x08\x00"
	/* 42 bytes, from 198.51.100.7 to 192.0.2.1 */
	"\x45\x00\x00\x2a\x00\x00\x40\x00\x40\x06\x00\x00\xc6\x33\x64\x07\xc0\x00\x02\x01" SEGMENT;

static const char FRAME_V6[] =
	MACS "\x86\xdd"
	     /* 22 bytes behind the header, from 2001:db8::7 to 2001:db8::1 */
	     "\x60\x00\x00\x00\x00\x16\x06\x40"
	     "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"
	     "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" SEGMENT;

struct client {
	const char *frame;
	size_t length;
	size_t tcp; /* offset of the TCP header */
	struct tuple tuple;
};

static const struct client clients[] = {
	{FRAME_V4,
	 sizeof(FRAME_V4) - 1,
	 14 + 20,
	 {.family = 4,
	  .source = {198, 51, 100, 7},
	  .destination = {192, 0, 2, 1},
	  .source_port = {0x9c, 0x40},
	  .destination_port = {0x13, 0x88}}},
	{FRAME_V6,
	 sizeof(FRAME_V6) - 1,
	 14 + 40,
	 {.family = 6,
	  .source = {0x20, 0x01, 0x0d, 0xb8, [15] = 7},
	  .destination = {0x20, 0x01, 0x0d, 0xb8, [15] = 1},
	  .source_port = {0x9c, 0x40},
	  .destination_port = {0x13, 0x88}}},
};

/* The youngest that binds and the youngest that does not come first. */
static const unsigned AGES[WINDOWS] = {0, 2, 1, 3, 4, 5, 6, 7};

static uint64_t window_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return ((uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec) >>
	       COOKIE_WINDOW_NS_LOG2;
}

/* What became of the segment with a cookie. */
enum fate {
	IGNORED,
	BOUND,
	TOLD_LATE,
	OTHER,
};

static int try_cookie(const struct program *program, const struct client *client,
		      struct trial *trial, uint32_t cookie, enum fate *fate)
{
	static struct observation observation;
	uint32_t acknowledged = cookie + 1;
	int err;

	for (int i = 0; i < 4; i++)
		trial->frame[client->tcp + ACK_SEQ + i] = (uint8_t)(acknowledged >> (24 - 8 * i));
	err = program_run(program, trial, 0, &observation);
	if (err)
		return err;
	switch (observation.action) {
	case XDP_DROP:
		*fate = IGNORED;
		return 0;
	case XDP_TX:
		*fate = observation.frame[client->tcp + FLAGS] == TCP_RST ? TOLD_LATE : OTHER;
		return 0;
	case XDP_PASS:
		*fate = BOUND;
		/* What has bound would let all others pass. */
		return program_pending_forget(program, &client->tuple);
	default:
		*fate = OTHER;
		return 0;
	}
}

/*
 * The wrong ones among the hashes from `first` on, in the window of the given age. Returns -EAGAIN
 * when that grew older meanwhile.
 */
static int try_wrong(const struct program *program, const struct client *client,
		     struct trial *trial, unsigned age, uint32_t first, uint32_t *taken)
{
	uint64_t now = window_now();
	enum fate fate = IGNORED;
	uint32_t right;
	int err = cookie_make(&HOST, &client->tuple, ISN, now - age, OPTIONS, &right);

	*taken = 0;
	for (uint32_t hash = first; !err && hash < first + SLICE; hash++) {
		uint32_t cookie = hash << HASH_SHIFT | (right & ((1 << HASH_SHIFT) - 1));

		if (cookie == right)
			continue;
		err = try_cookie(program, client, trial, cookie, &fate);
		*taken += fate != IGNORED;
	}
	return err ? err : window_now() != now ? -EAGAIN : 0;
}

static int try_right(const struct program *program, const struct client *client,
		     struct trial *trial, unsigned age, enum fate *fate)
{
	uint64_t now = window_now();
	uint32_t right;
	int err = cookie_make(&HOST, &client->tuple, ISN, now - age, OPTIONS, &right);

	if (!err)
		err = try_cookie(program, client, trial, right, fate);
	return err ? err : window_now() != now ? -EAGAIN : 0;
}

static int sweep_window(const struct program *program, const struct client *client,
			struct trial *trial, unsigned age)
{
	static const char *const names[] = {"ignored", "bound", "told that it is late", "wrong"};
	enum fate fate = IGNORED, expected = age <= COOKIE_BINDS ? BOUND : TOLD_LATE;
	uint32_t all_taken = 0, taken;
	int err;

	do
		err = try_right(program, client, trial, age, &fate);
	while (err == -EAGAIN);
	for (uint32_t first = 0; first < HASHES && !err; first += SLICE) {
		do
			err = try_wrong(program, client, trial, age, first, &taken);
		while (err == -EAGAIN);
		all_taken += taken;
	}
	if (err)
		return err;
	printf("IPv%d, age %u: the right cookie of %d was %s, and %u others were taken\n",
	       client->tuple.family, age, HASHES, names[fate], all_taken);
	return all_taken || fate != expected ? -EINVAL : 0;
}

static int sweep_client(const struct program *program, const struct client *client,
			unsigned windows)
{
	static struct trial trial;
	int err = 0;

	trial.length = client->length;
	memcpy(trial.frame, client->frame, client->length);
	for (unsigned i = 0; i < windows && i < WINDOWS && !err; i++)
		err = sweep_window(program, client, &trial, AGES[i]);
	return err;
}

int cookies_sweep(unsigned windows)
{
	const struct plan_options plan = {0};
	struct program program;
	int err = program_make(RULES, strlen(RULES), &plan, &HOST, stdout, &program);

	if (err)
		return err;
	for (size_t i = 0; i < sizeof(clients) / sizeof(*clients) && !err; i++)
		err = sweep_client(&program, &clients[i], windows);
	program_free(&program);
	printf("%s: every cookie of %u windows\n", err ? "FAILED" : "passed", windows);
	return err;
}
