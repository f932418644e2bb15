/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The cookie, exhaustively: a first segment with every value that the 21 hash bits can have. Of the
 * two million in a window one is right. In the two youngest windows it binds, in the others it is
 * told that it is late, and no other does anything. Random trials would never find a second one.
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
	WINDOWS = 8,
	OPTIONS = 0x5e, /* SACK, scale 7, MSS 2 */
	ISN = 0x12345678,
	ACK_SEQ = 14 + 20 + 8, /* where it stands in the frame */
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

static const char FRAME[] =
	/* Ethernet */
	"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x07\x08\x00"
	/* IPv4: 42 bytes, from 198.51.100.7 to 192.0.2.1 */
	"\x45\x00\x00\x2a\x00\x00\x40\x00\x40\x06\x00\x00\xc6\x33\x64\x07\xc0\x00\x02\x01"
	/* TCP: from 40000 to 5000, seq ISN + 1, ack_seq to be filled in, PSH and ACK */
	"\x9c\x40\x13\x88\x12\x34\x56\x79\x00\x00\x00\x00\x50\x18\x10\x00\x00\x00\x00\x00"
	/* Two bytes of payload, for one could be a probe. */
	"ab";

static const struct tuple TUPLE = {
	.family = 4,
	.source = {198, 51, 100, 7},
	.destination = {192, 0, 2, 1},
	.source_port = {0x9c, 0x40},
	.destination_port = {0x13, 0x88},
};

static uint64_t window_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return ((uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec) >>
	       COOKIE_WINDOW_NS_LOG2;
}

static int try_cookie(const struct program *program, struct trial *trial, uint32_t cookie,
		      uint32_t *action)
{
	static struct observation observation;
	uint32_t acknowledged = cookie + 1;
	int err;

	for (int i = 0; i < 4; i++)
		trial->frame[ACK_SEQ + i] = (uint8_t)(acknowledged >> (24 - 8 * i));
	err = program_run(program, trial, 0, &observation);
	*action = observation.action;
	/* What has bound would let all others pass. */
	if (!err && *action == XDP_PASS)
		err = program_pending_forget(program, &TUPLE);
	return err;
}

/* One window of the given age. Returns -EAGAIN when it grew older meanwhile. */
static int sweep_window(const struct program *program, struct trial *trial, unsigned age)
{
	uint64_t now = window_now();
	uint32_t right, action, wrong = 0, other = XDP_DROP;
	int err = cookie_make(&HOST, &TUPLE, ISN, now - age, OPTIONS, &right);

	for (uint32_t hash = 0; !err && hash < HASHES; hash++) {
		uint32_t cookie = hash << HASH_SHIFT | (right & ((1 << HASH_SHIFT) - 1));

		err = try_cookie(program, trial, cookie, &action);
		if (cookie == right)
			other = action;
		else
			wrong += action != XDP_DROP;
	}
	if (err)
		return err;
	if (window_now() != now)
		return -EAGAIN;
	printf("age %u: the right cookie of %d: action %u, and %u others were taken\n", age, HASHES,
	       other, wrong);
	return wrong || other != (age <= COOKIE_BINDS ? XDP_PASS : XDP_TX) ? -EINVAL : 0;
}

int cookies_sweep(unsigned windows)
{
	static struct trial trial = {.length = sizeof(FRAME) - 1};
	const struct plan_options plan = {0};
	struct program program;
	int err = program_make(RULES, strlen(RULES), &plan, &HOST, stdout, &program);

	if (err)
		return err;
	memcpy(trial.frame, FRAME, sizeof(FRAME) - 1);
	for (unsigned age = 0; age < windows && age < WINDOWS && !err; age++) {
		do
			err = sweep_window(&program, &trial, age);
		while (err == -EAGAIN);
	}
	program_free(&program);
	printf("%s: every cookie of %u windows\n", err ? "FAILED" : "passed", windows);
	return err;
}
