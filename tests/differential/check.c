/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Holding the program against the interpreter.
 *
 * Only the clock is not in the tester's hands: the program reads it somewhere between two readings
 * of ours. They agree if there is one moment between the two at which the interpreter predicts all
 * that was seen, timestamps and checksums included.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "network.h"

enum {
	XDP_DROP = 1,
	XDP_PASS = 2,
	XDP_TX = 3,
	XDP_REDIRECT = 4,
	MS = 1000000,
	PORT_TRACKED = 0x10000, /* as docs/object.md has it */
};

static uint8_t predicted[FRAME_MAX + ANSWER_MAX];
static struct observation observation;

__attribute__((format(printf, 3, 4))) static void differ(struct check *check, const char *what,
							 const char *format, ...)
{
	va_list arguments;

	if (check->difference)
		return;
	check->difference = what;
	va_start(arguments, format);
	vsnprintf(check->detail, sizeof(check->detail), format, arguments);
	va_end(arguments);
}

static uint32_t action_of(enum verdict verdict)
{
	static const uint32_t actions[] = {
		[VERDICT_PASS] = XDP_PASS,
		[VERDICT_DROP] = XDP_DROP,
		[VERDICT_TX] = XDP_TX,
		[VERDICT_REDIRECT] = XDP_REDIRECT,
	};

	return actions[verdict];
}

static void compare_frames(const struct outcome *outcome, struct check *check)
{
	if (observation.action != action_of(outcome->verdict)) {
		differ(check, "verdict", "expected XDP action %u (%s), got %u",
		       action_of(outcome->verdict), outcome->reason ? outcome->reason : "not ours",
		       observation.action);
		return;
	}
	/* A frame that is dropped has not been changed either: who traces drops sees it. */
	if (observation.length != outcome->length) {
		differ(check, "length", "expected a frame of %zu bytes, got %zu", outcome->length,
		       observation.length);
		return;
	}
	for (size_t i = 0; i < outcome->length; i++)
		if (predicted[i] != observation.frame[i]) {
			differ(check, "frame", "byte %zu: expected %02x, got %02x", i, predicted[i],
			       observation.frame[i]);
			return;
		}
}

/* Two reasons can do the same to a frame; not both of them were counted. */
static bool was_counted(const struct program *program, const struct outcome *outcome)
{
	struct tally tally;
	uint32_t counter;

	return !outcome->reason || program_counter(program, outcome, &counter) ||
	       program_counter_read(program, counter, &tally) ||
	       tally.packets == program->expected[counter].packets + 1;
}

/* The first moment at which all agrees, or else the first of all. */
static int predict(struct program *program, const struct host *host, const struct trial *trial,
		   struct situation *situation, struct check *check)
{
	uint64_t moment = observation.before;

	for (;;) {
		struct check attempt = {0};
		bool agrees;
		int err;

		situation->now = moment;
		err = interpret(&program->rules, host, situation, trial->frame, trial->length,
				&attempt.outcome, predicted);
		if (err)
			return err;
		compare_frames(&attempt.outcome, &attempt);
		agrees = !attempt.difference && was_counted(program, &attempt.outcome);
		if (agrees || moment == observation.before)
			*check = attempt;
		if (agrees || moment >= observation.after)
			return 0;
		moment += MS - moment % MS;
		if (moment > observation.after)
			moment = observation.after;
	}
}

static void compare_counter(struct program *program, struct check *check)
{
	const struct outcome *outcome = &check->outcome;
	struct tally tally, *expected;
	uint32_t counter;

	if (!outcome->reason)
		return;
	if (program_counter(program, outcome, &counter)) {
		differ(check, "manifest", "no counter for reason %s of %s", outcome->reason,
		       outcome->listener->name);
		return;
	}
	expected = &program->expected[counter];
	expected->packets++;
	expected->bytes += outcome->bytes;
	if (program_counter_read(program, counter, &tally))
		differ(check, "counter", "counter %u cannot be read", counter);
	else if (tally.packets != expected->packets)
		differ(check, "counter", "reason %s: expected %lu packets, got %lu",
		       outcome->reason, expected->packets, tally.packets);
	else if (tally.bytes != expected->bytes)
		differ(check, "counter", "reason %s: expected %lu bytes, got %lu", outcome->reason,
		       expected->bytes, tally.bytes);
	*expected = tally; /* one difference is reported once */
}

static void compare_binding(const struct program *program, const struct memory *memory,
			    struct check *check)
{
	const struct outcome *outcome = &check->outcome;
	const struct binding *expected = &outcome->binding, *got = &memory->binding;
	uint32_t listener = (uint32_t)(outcome->listener - program->rules.listeners);

#define MEMBER(name)                                                                      \
	if (expected->name != got->name)                                                  \
	differ(check, "pending", #name ": expected %u, got %u", (unsigned)expected->name, \
	       (unsigned)got->name)
	MEMBER(isn);
	MEMBER(mss);
	MEMBER(scaling);
	MEMBER(sack);
	MEMBER(ecn);
	MEMBER(timestamps);
	if (expected->scaling) {
		MEMBER(client_scale);
		MEMBER(server_scale);
	}
	if (expected->timestamps) {
		MEMBER(tsval);
		MEMBER(tsecr);
	}
#undef MEMBER
	if (memory->port != outcome->port)
		differ(check, "pending", "port: expected %u, got %u", outcome->port, memory->port);
	if (memory->listener != listener)
		differ(check, "pending", "listener: expected %u, got %u", listener,
		       memory->listener);
	if (memory->delivered != expected->delivered || memory->kept || memory->drops)
		differ(check, "pending", "delivered, kept or dropped from the start");
	if (memory->bound_at < observation.before || memory->bound_at > observation.after)
		differ(check, "pending", "bound at another time");
}

/* Observing: an entry for the first data of a connection that the kernel makes. */
static void compare_waiting(const struct program *program, const struct memory *memory,
			    struct check *check)
{
	(void)program;
	if (memory->binding.isn != check->outcome.binding.isn)
		differ(check, "pending", "waits for ISN %u, expected %u", memory->binding.isn,
		       check->outcome.binding.isn);
	if (memory->port || !memory->delivered || memory->kept)
		differ(check, "pending", "waits with a port, or to be handed over");
	if (memory->bound_at < observation.before || memory->bound_at > observation.after)
		differ(check, "pending", "bound at another time");
}

/* Whether the entry that the trial brought along is as it was, but for the mark of an end. */
static void compare_untouched(const struct trial *trial, const struct memory *before,
			      const struct memory *after, struct check *check)
{
	if (before->binding.isn != after->binding.isn || before->port != after->port ||
	    before->bound_at != after->bound_at || before->delivered != after->delivered ||
	    check->outcome.ends != after->kept)
		differ(check, "pending", "the entry with ISN %u was changed",
		       trial->situation.pending.isn);
}

static void compare_pending(const struct program *program, const struct trial *trial,
			    const struct memory *before, struct check *check)
{
	struct memory memory;
	bool same = false;

	if (check->outcome.binds || check->outcome.waits) {
		if (program_pending_read(program, &check->outcome.tuple, &memory))
			differ(check, "pending", "the connection is not there");
		else
			(check->outcome.binds ? compare_binding : compare_waiting)(program, &memory,
										   check);
		program_pending_forget(program, &check->outcome.tuple);
		same = !memcmp(&check->outcome.tuple, &trial->tuple, sizeof(trial->tuple));
	}
	if (check->outcome.forgets) /* what is left is found below */
		same = !memcmp(&check->outcome.tuple, &trial->tuple, sizeof(trial->tuple));
	if (trial->situation.pending.present && !same) {
		if (program_pending_read(program, &trial->tuple, &memory))
			differ(check, "pending", "an entry is gone");
		else
			compare_untouched(trial, before, &memory, check);
		program_pending_forget(program, &trial->tuple);
	}
	if (program_map_clear(program->pending))
		differ(check, "pending", "there is an entry that should not be");
}

static bool is_readdressed(const struct outcome *outcome)
{
	return outcome->port && !outcome->binds && outcome->port != outcome->listener->port;
}

/* Groups do not reply by themselves. */
static bool is_tracked(const struct outcome *outcome, const struct trial *trial)
{
	return is_readdressed(outcome) && outcome->listener->replies == REPLIES_TRACKED &&
	       !(trial->frame[0] & 1);
}

/* What is noted by port is compared once, at the end: it only grows. */
static void expect_ports(struct program *program, const struct trial *trial,
			 const struct outcome *outcome)
{
	struct ports *expected = program->expected_ports;

	if (outcome->binds)
		expected->bound[outcome->listener->port] = 1;
	if (is_tracked(outcome, trial))
		expected->replies.port[outcome->port] = PORT_TRACKED;
	else if (is_readdressed(outcome) && outcome->listener->replies == REPLIES_STATELESS)
		expected->replies.port[outcome->port] = outcome->listener->port;
}

static void compare_flow(const struct program *program, const struct tuple *tuple, uint16_t port,
			 uint32_t direction, uint16_t expected, struct check *check)
{
	uint16_t other;

	if (program_flow_take(program, tuple, port, direction, &other))
		differ(check, "flows", "direction %u: the flow is not there", direction);
	else if (other != expected)
		differ(check, "flows", "direction %u: expected port %u, got %u", direction,
		       expected, other);
}

/* What a program remembers of flows holds until something is added, so each time is counted. */
static void compare_additions(const struct program *program, uint64_t before, bool added,
			      struct check *check)
{
	uint64_t after = program->replies->flows_added;

	if (after != before + added)
		differ(check, "flows", "counted %lu additions, expected %d", after - before, added);
}

static void compare_flows(const struct program *program, const struct trial *trial,
			  uint64_t added_before, struct check *check)
{
	const struct outcome *outcome = &check->outcome;

	compare_additions(program, added_before, is_tracked(outcome, trial), check);
	if (is_tracked(outcome, trial)) {
		compare_flow(program, &outcome->tuple, outcome->port, 0, outcome->listener->port,
			     check);
		compare_flow(program, &outcome->tuple, outcome->listener->port, 1, outcome->port,
			     check);
	}
	if (program_flows_clear(program))
		differ(check, "flows", "there is a flow that should not be");
}

/*
 * What the trial brought along belongs to one tuple. A frame that was damaged since may have
 * another, and meets none of it.
 */
static int keep_to_tuple(const struct program *program, const struct host *host, int interface,
			 const struct trial *trial, struct situation *situation)
{
	struct outcome outcome;
	int err = interpret(&program->rules, host, situation, trial->frame, trial->length, &outcome,
			    predicted);

	if (!err && memcmp(&outcome.tuple, &trial->tuple, sizeof(trial->tuple))) {
		situation->pending.present = false;
		situation->socket.state = SOCKET_NONE;
	}
	if (!err &&
	    (network_refuses(&outcome.tuple) || (interface && network_prohibits(&outcome.tuple))))
		situation->way_back.other_interface = true;
	return err;
}

int trial_check(struct program *program, const struct host *host, int interface,
		const struct trial *trial, struct check *check)
{
	struct situation situation = trial->situation;
	struct memory before = {
		.binding.isn = situation.pending.isn,
		.delivered = trial->delivered,
		.port = situation.pending.waiting ? 0 : 7,
	};
	uint64_t added = program->replies ? program->replies->flows_added : 0;
	int err = 0;

	if (situation.pending.present && program->pending >= 0) {
		struct timespec time;

		clock_gettime(CLOCK_MONOTONIC, &time);
		before.bound_at = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec -
				  trial->pending_age;
		situation.pending.bound = before.bound_at;
		err = program_pending_write(program, &trial->tuple, &before);
	}
	if (!err)
		err = keep_to_tuple(program, host, interface, trial, &situation);
	if (!err)
		err = program_run(program, trial, interface, &observation);
	if (!err)
		err = predict(program, host, trial, &situation, check);
	if (err)
		return err;
	compare_counter(program, check);
	if (program->pending >= 0)
		compare_pending(program, trial, &before, check);
	if (program->flows >= 0)
		compare_flows(program, trial, added, check);
	expect_ports(program, trial, &check->outcome);
	return 0;
}

int trial_check_quietly(struct program *program, const struct host *host, const struct trial *trial,
			struct outcome *outcome)
{
	struct situation situation = trial->situation;
	struct check check = {0};
	int err = program_run(program, trial, 0, &observation);

	if (!err)
		err = predict(program, host, trial, &situation, &check);
	if (err)
		return err;
	compare_counter(program, &check);
	expect_ports(program, trial, &check.outcome);
	*outcome = check.outcome;
	return 0;
}

static int compare_ports(const struct program *program, struct check *check)
{
	const struct ports *expected = program->expected_ports;
	static struct ports ports;
	int err = program_ports_read(program, &ports);

	for (uint32_t port = 0; !err && port < PORTS; port++) {
		if (ports.bound[port] != expected->bound[port])
			differ(check, "bound_ports", "port %u: expected %u, got %u", port,
			       expected->bound[port], ports.bound[port]);
		if (ports.replies.port[port] != expected->replies.port[port])
			differ(check, "reply_ports", "port %u: expected %u, got %u", port,
			       expected->replies.port[port], ports.replies.port[port]);
	}
	return err;
}

int program_check(const struct program *program, struct check *check)
{
	*check = (struct check){0};
	for (uint32_t i = 0; i < program->counter_count; i++) {
		struct tally tally;
		int err = program_counter_read(program, i, &tally);

		if (err)
			return err;
		if (tally.packets != program->expected[i].packets ||
		    tally.bytes != program->expected[i].bytes)
			differ(check, "counters",
			       "counter %u: expected %lu packets and %lu bytes, got %lu and %lu", i,
			       program->expected[i].packets, program->expected[i].bytes,
			       tally.packets, tally.bytes);
	}
	return compare_ports(program, check);
}

static void print_hex(const char *name, const uint8_t *bytes, size_t length, FILE *out)
{
	fprintf(out, "%s (%zu bytes):\n", name, length);
	for (size_t i = 0; i < length; i++)
		fprintf(out, "%02x%s", bytes[i], i % 32 == 31 || i + 1 == length ? "\n" : "");
}

/* What the program counted since the tallies before. */
static void print_counters(const struct program *program, const struct tally *before, FILE *out)
{
	const struct manifest *manifest = &program->object.manifest;
	struct tally tally;

	for (uint32_t i = 0; i < program->counter_count; i++) {
		if (program_counter_read(program, i, &tally) || tally.packets == before[i].packets)
			continue;
		fprintf(out, "counted: %u", i);
		for (size_t j = 0; j < manifest->listener_count; j++)
			if (i - manifest->listeners[j].counters < manifest->reason_count)
				fprintf(out, ", %s of %s",
					manifest->reasons[i - manifest->listeners[j].counters],
					manifest->listeners[j].name);
		fprintf(out, ", %lu bytes\n", tally.bytes - before[i].bytes);
	}
}

static int check_and_count(struct program *program, const struct host *host, int interface,
			   const struct trial *trial, struct check *check, FILE *out)
{
	struct tally *before = calloc(program->counter_count, sizeof(*before));
	int err = before ? 0 : -ENOMEM;

	for (uint32_t i = 0; !err && i < program->counter_count; i++)
		err = program_counter_read(program, i, &before[i]);
	if (!err)
		err = trial_check(program, host, interface, trial, check);
	if (!err)
		print_counters(program, before, out);
	free(before);
	return err;
}

void trial_report(struct program *program, const struct host *host, int interface,
		  const struct trial *trial, FILE *out)
{
	const struct situation *situation = &trial->situation;
	struct check check;
	int err = check_and_count(program, host, interface, trial, &check, out);

	if (err) {
		fprintf(out, "the trial cannot be run again: %s\n", strerror(-err));
		return;
	}
	print_hex("frame", trial->frame, trial->length, out);
	if (trial->linear)
		fprintf(out, "first buffer: %zu bytes\n", trial->linear);
	if (situation->socket.state != SOCKET_NONE)
		fprintf(out, "socket: %s, rcv_nxt %u, ts_recent %u\n",
			situation->socket.state == SOCKET_LIVE ? "live" : "TIME_WAIT",
			situation->socket.rcv_nxt, situation->socket.ts_recent);
	if (situation->pending.present)
		fprintf(out, "pending: ISN %u, %s, %lu ms old\n", situation->pending.isn,
			trial->delivered ? "delivered" : "not delivered", trial->pending_age / MS);
	fprintf(out, "expected: XDP action %u, reason %s, listener %s, port %u\n",
		action_of(check.outcome.verdict),
		check.outcome.reason ? check.outcome.reason : "none",
		check.outcome.listener ? check.outcome.listener->name : "none", check.outcome.port);
	if (check.outcome.verdict != VERDICT_DROP)
		print_hex("expected frame", predicted, check.outcome.length, out);
	fprintf(out, "got: XDP action %u\n", observation.action);
	print_hex("frame got", observation.frame, observation.length, out);
	fprintf(out, "difference: %s: %s\n", check.difference ? check.difference : "none now",
		check.detail);
}
