/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run IFACE OBJECT: check, load, attach; then watch and detach, or leave it pinned.
 *
 * Where a pinned object runs already, the new one takes its place and stays pinned: whoever tries
 * something out must not end with nothing. Else one loop waits for the next report, for a signal to
 * end, and for changes of the interfaces and addresses that the program was loaded for.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "attach.h"
#include "changes.h"
#include "check.h"
#include "command.h"
#include "constants.h"
#include "error.h"
#include "finding.h"
#include "follow.h"
#include "host.h"
#include "kernel.h"
#include "object.h"
#include "report.h"
#include "rights.h"
#include "scope.h"
#include "state.h"

/* Seconds between two reports: people look at a terminal, other outputs are kept. */
enum {
	TERMINAL_INTERVAL = 1,
	LINES_INTERVAL = 10,
};

struct run_options {
	const char *interface;
	const char *object;
	enum mode mode;
	bool mode_given;
	bool pin;
	bool observe;
	unsigned confirm; /* seconds; 0: not wanted */
	bool json;
	unsigned interval; /* seconds between two reports; 0: as the output suggests */
};

/* All that a run holds, in the order in which it came. */
struct session {
	const struct run_options *options;
	struct interface interface;
	struct object object;
	struct addresses addresses; /* the host's own */
	struct state state;
	char *path; /* of the object, absolute */
	enum mode mode;
	struct report report;
	unsigned interval;
};

static void scoped_session(struct session *session)
{
	report_free(&session->report);
	state_close(&session->state);
	free(session->path);
	addresses_free(&session->addresses);
	object_close(&session->object);
}

static void complain(const char *text)
{
	fprintf(stderr, "mplex-run: %s\n", text);
}

static struct subject subject_of(const struct session *session)
{
	return (struct subject){
		.interface = &session->interface,
		.manifest = &session->object.manifest,
		.path = session->object.path,
		.mode = session->mode,
	};
}

/* Says what a check warns of, or finds wrong where that cannot keep a run from its start. */
static void warn_of(check *check, const struct subject *subject)
{
	SCOPED(findings_free) struct findings findings = {};
	char sentence[ERROR_SIZE];

	check(subject, &findings);
	for (size_t i = 0; i < findings.count; i++) {
		if (findings.list[i].verdict < VERDICT_WARNING)
			continue;
		finding_sentence(&findings.list[i], sentence, sizeof(sentence));
		complain(sentence);
	}
}

/* The interface and its state, in order; nothing is known of the kernel's abilities yet. */
static int take_state(struct session *session, char *error, size_t n)
{
	const struct run_options *options = session->options;
	struct state *state = &session->state;
	struct place place;
	int err = pinned_prepare(!options->pin, error, n);

	if (err == -ENOENT)
		complain(error);
	else if (err)
		return err;
	state_sweep();
	err = pinned_find(session->interface.name, &place, error, n);
	if (!err)
		err = state_open(state, &place, &session->interface, session->interface.name, false,
				 error, n);
	if (err)
		return err;
	if (*state->note)
		complain(state->note);
	if (state->current.id)
		session->mode = state->current.record.mode;
	else if (!options->pin)
		state_unpin(state);
	return 0;
}

/* What runs already stays in its mode: only a detach could change it. */
static int check_options(const struct session *session, char *error, size_t n)
{
	const struct run_options *options = session->options;
	const char *name = session->interface.name;

	if (options->observe && !object_constant_size(&session->object, "mplex_observe"))
		return failed(error, n, ENOTSUP,
			      "%s cannot only observe: compile its rules again with this version "
			      "of mplexc",
			      session->object.path);
	if (session->state.current.id && options->mode_given && options->mode != session->mode)
		return failed(error, n, EINVAL,
			      "what runs on %s is in %s mode, which a replacement keeps: leave out "
			      "--mode, or run \"mplex-run detach %s\" first",
			      name, mode_name(session->mode), name);
	if (options->confirm && !session->state.attachment.pins)
		return failed(error, n, EINVAL,
			      "--confirm has nothing to go back from: what is not pinned ends with "
			      "this process anyway; add --pin");
	return 0;
}

/* Everything up to the load. The object's file is read after the cheaper questions. */
static int prepare(struct session *session, char *error, size_t n)
{
	const struct run_options *options = session->options;
	struct subject subject = subject_of(session);
	int err;

	err = check_require(check_rights, &subject, error, n);
	if (!err)
		err = check_require(check_memlock, &subject, error, n);
	if (!err)
		err = host_interface(options->interface, &session->interface, error, n);
	if (!err)
		err = check_require(check_interface, &subject, error, n);
	if (err)
		return STATUS_FAILED;
	err = object_open(options->object, &session->object, error, n);
	if (err)
		return err == -EINVAL || err == -ENOTSUP ? STATUS_BAD_OBJECT : STATUS_FAILED;
	session->path = realpath(options->object, NULL);
	err = take_state(session, error, n);
	if (!err)
		err = check_options(session, error, n);
	subject = subject_of(session);
	/* Answers and the hand-over have needs that observing has not. */
	if (!err && !options->observe)
		err = check_require(check_kfuncs, &subject, error, n);
	if (!err && !options->observe)
		err = check_require(check_sysctls, &subject, error, n);
	if (!err && !session->state.current.id)
		err = check_require(check_xdp_free, &subject, error, n);
	if (!err && !options->observe)
		err = check_require(check_vlan, &subject, error, n);
	if (!err)
		err = host_addresses(&session->interface, &session->addresses, error, n);
	if (!err)
		err = constants_set(&session->object, &session->interface, &session->addresses,
				    session->mode == MODE_NATIVE, error, n);
	return err ? STATUS_FAILED : STATUS_DONE;
}

/* Loads and attaches. */
static int start(struct session *session, char *error, size_t n)
{
	const struct subject subject = subject_of(session);
	const struct change change = {
		.object = &session->object,
		.path = session->path ?: session->options->object,
		.mode = session->mode,
		.observe = session->options->observe,
		/* In generic mode TC would see frames of such a program without Ethernet header. */
		.frags = session->mode == MODE_NATIVE,
		.addresses = &session->addresses,
		.confirm = session->options->confirm,
	};

	if (!session->options->observe)
		warn_of(check_veth, &subject);
	if (state_replace(&session->state, &change, error, n))
		return STATUS_FAILED;
	if (*session->state.note)
		complain(session->state.note);
	return STATUS_DONE;
}

static void start_report(struct session *session)
{
	const struct run_options *options = session->options;
	bool terminal = !options->json && isatty(STDOUT_FILENO);

	session->report = (struct report){
		.out = stdout,
		.form = options->json ? REPORT_JSON
			: terminal    ? REPORT_TABLE
				      : REPORT_LINES,
		.interface = session->interface.name,
	};
	session->interval = options->interval ? options->interval
			    : terminal	      ? TERMINAL_INTERVAL
					      : LINES_INTERVAL;
}

static int report(struct session *session, bool final, char *error, size_t n)
{
	struct row *rows;
	size_t count;
	int err = state_rows(&session->state, &rows, &count, error, n);

	if (err)
		return err;
	report_counters(&session->report, rows, count, session->interval, final);
	if (ferror(stdout))
		return failed(error, n, EPIPE, "cannot write the counters to standard output");
	return 0;
}

/* A failure to follow ends nothing: what runs goes on. */
static void follow_changes(struct session *session)
{
	char error[ERROR_SIZE];
	int done = follow(&session->state, &session->interface, &session->object, error,
			  sizeof(error));

	if (done < 0)
		complain(error);
	else if (done)
		report_followed(&session->report);
}

/* Runs until a signal ends it (0) or something fails (-errno). */
static int watch(struct session *session, int signals, char *error, size_t n)
{
	SCOPED(scoped_close) int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	SCOPED(changes_close) struct changes changes = {.fd = -1};
	const struct itimerspec period = {
		.it_interval.tv_sec = session->interval,
		.it_value.tv_sec = session->interval,
	};
	struct pollfd waits[] = {
		{.fd = signals, .events = POLLIN},
		{.fd = timer, .events = POLLIN},
		{.events = POLLIN},
	};
	uint64_t expired;
	int err;

	if (timer < 0 || timerfd_settime(timer, 0, &period, NULL))
		return failed(error, n, EMFILE, "cannot watch %s: %s", session->interface.name,
			      strerror(errno));
	err = changes_open(&changes, session->interface.name, session->interface.index, error, n);
	waits[2].fd = changes.fd;
	while (!err) {
		int ready = poll(waits, 3, changes_timeout(&changes));

		if (ready < 0)
			return failed(error, n, errno, "cannot wait: %s", strerror(errno));
		if (waits[0].revents)
			return 0;
		if (waits[2].revents) {
			err = changes_receive(&changes, error, n);
		} else if (changes.due) {
			changes.due = false;
			follow_changes(session);
		}
		if (!err && waits[1].revents && read(timer, &expired, sizeof(expired)) > 0)
			err = report(session, false, error, n);
	}
	return err;
}

/* Shows the counters until the end, and then nothing is attached any more. */
static int watch_to_the_end(struct session *session, int signals, char *error, size_t n)
{
	char why[ERROR_SIZE];
	int err = session->report.form == REPORT_TABLE ? report(session, false, error, n) : 0;

	if (!err)
		err = watch(session, signals, error, n);
	detach(&session->state.attachment);
	/* After the end, so that nothing is left uncounted. */
	kernel_wait_for_programs();
	if (err != -EPIPE && report(session, true, why, sizeof(why)))
		complain(why);
	report_detached(&session->report);
	return err;
}

/*
 * Attaches an object to an interface, and watches it until SIGINT, SIGTERM or SIGHUP unless it is
 * pinned. Reports go to standard output, errors and warnings to standard error. Returns the exit
 * status.
 */
static int run(const struct run_options *options)
{
	SCOPED(scoped_session)
	struct session session = {.options = options, .mode = options->mode, .state = NO_STATE};
	SCOPED(scoped_close) int signals = -1;
	struct attached attached;
	char error[ERROR_SIZE];
	int status;

	status = prepare(&session, error, sizeof(error));
	attached.replaced = session.state.current.id;
	if (!status) {
		signals = command_signals();
		status = start(&session, error, sizeof(error));
	}
	if (status) {
		complain(error);
		return status;
	}
	attached.generation = &session.state.current;
	attached.tc = attachment_tc(&session.state.attachment);
	attached.pinned = session.state.attachment.pins;
	attached.confirm = options->confirm;
	start_report(&session);
	report_attached(&session.report, &attached);
	if (attached.pinned)
		return STATUS_DONE;
	rights_reduce();
	if (!watch_to_the_end(&session, signals, error, sizeof(error)))
		return STATUS_DONE;
	complain(error);
	return STATUS_FAILED;
}

static int run_main(int argc, char **argv)
{
	enum {
		MODE = 1,
		INTERVAL,
		JSON,
		PIN,
		CONFIRM,
		OBSERVE,
	};
	static const struct option names[] = {
		{"pin", no_argument, NULL, PIN},
		{"confirm", required_argument, NULL, CONFIRM},
		{"observe", no_argument, NULL, OBSERVE},
		{"mode", required_argument, NULL, MODE},
		{"interval", required_argument, NULL, INTERVAL},
		{"json", no_argument, NULL, JSON},
		{},
	};
	struct run_options options = {};
	int option;

	while ((option = command_option(argc, argv, &run_command, names))) {
		switch (option) {
		case PIN:
			options.pin = true;
			break;
		case CONFIRM:
			if (!command_number(optarg, 1, 86400, &options.confirm))
				return command_usage(
					"--confirm is a whole number of seconds, 1 to 86400");
			break;
		case OBSERVE:
			options.observe = true;
			break;
		case MODE:
			options.mode_given = true;
			if (!strcmp(optarg, "native"))
				options.mode = MODE_NATIVE;
			else if (!strcmp(optarg, "generic"))
				options.mode = MODE_GENERIC;
			else
				return command_usage("--mode is native or generic");
			break;
		case INTERVAL:
			if (!command_number(optarg, 1, 86400, &options.interval))
				return command_usage(
					"--interval is a whole number of seconds, 1 to 86400");
			break;
		case JSON:
			options.json = true;
			break;
		default:
			return STATUS_USAGE;
		}
	}
	if (argc - optind != 2)
		return command_usage("an interface and an object are needed");
	options.interface = argv[optind];
	options.object = argv[optind + 1];
	return run(&options);
}

const struct command run_command = {
	.name = "run",
	.arguments = "IFACE OBJECT [--pin] [--confirm SECONDS] [--observe]\n"
		     "                     [--mode native|generic] [--interval SECONDS] [--json]",
	.summary =
		"Attaches the object to the interface and shows its counters until it is ended, or "
		"replaces what is pinned there",
	.options =
		"  --pin              leave it attached and return\n"
		"  --confirm SECONDS  go back to what ran before, unless \"mplex-run confirm IFACE\" "
		"comes\n"
		"                     in time\n"
		"  --observe          count every verdict and carry out none: all packets pass\n"
		"  --mode native      run in the interface's driver (the default)\n"
		"  --mode generic     run behind the driver: slower, works on every interface\n"
		"  --interval SECONDS between two reports: 1 on a terminal, else 10\n"
		"  --json             one JSON object a line\n",
	.main = run_main,
};
