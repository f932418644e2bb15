/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run capture IFACE -w FILE: the packets that are refused, with the reason as their comment.
 *
 * What XDP drops never reaches tcpdump, so the program itself is asked for samples (sampler.h); and
 * asked again when the rules are replaced meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "command.h"
#include "error.h"
#include "pcapng.h"
#include "pinned.h"
#include "sampler.h"
#include "scope.h"
#include "version.h"

enum {
	NAMES_MAX = 64,	  /* of one option that can be given several times */
	SNAPLEN_MIN = 14, /* an Ethernet header */
	RATE = 1000,
};

struct names {
	const char *name[NAMES_MAX]; /* none: all */
	size_t count;
};

struct options {
	const char *interface;
	const char *file;
	bool all;
	struct names listeners, reasons;
	unsigned count, rate, snaplen, seconds; /* count, seconds: 0, no end */
};

/* What a counter counts; no listener: nothing. */
struct outcome {
	const struct manifest_listener *listener;
	const struct manifest_route *route; /* or NULL */
	const char *reason;
};

struct outcomes {
	struct outcome *outcome; /* by the index of the counter */
	size_t count;
};

struct session {
	const struct options *options;
	struct place place;
	struct pinned pinned; /* what is captured from */
	struct outcomes xdp, ingress;
	struct sampling sampling;
	struct sampler sampler;
	FILE *out;
	uint64_t written;
	struct sample_counts counts; /* of what was captured from before */
};

static void free_outcomes(struct outcomes *outcomes)
{
	free(outcomes->outcome);
	memset(outcomes, 0, sizeof(*outcomes));
}

/* Leaves what is captured from; its counts are kept. */
static void leave(struct session *session)
{
	sampler_count(&session->sampler, &session->counts);
	sampler_close(&session->sampler);
	free_outcomes(&session->xdp);
	free_outcomes(&session->ingress);
	pinned_close(&session->pinned);
}

static void scoped_session(struct session **session)
{
	if (!*session)
		return;
	leave(*session);
	if ((*session)->out)
		fclose((*session)->out);
	free(*session);
}

/* ---- which packets --------------------------------------------------------------------------- */

static bool has_name(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++) {
		if (!strcmp(names->name[i], name))
			return true;
	}
	return false;
}

/* A reason that was asked for is wanted whether it is a refusal or not. all: others, too. */
static bool is_wanted(const struct session *session, const struct manifest_listener *listener,
		      const char *reason, bool all)
{
	const struct options *options = session->options;

	if (options->listeners.count && !has_name(&options->listeners, listener->name))
		return false;
	if (options->reasons.count)
		return has_name(&options->reasons, reason);
	return all || manifest_refuses(&session->pinned.record.manifest, listener, reason);
}

static int make_outcomes(struct outcomes *outcomes, size_t count)
{
	outcomes->outcome = calloc(count + 1, sizeof(*outcomes->outcome));
	outcomes->count = count;
	return outcomes->outcome ? 0 : -ENOMEM;
}

/* What a listener's reason, or a route's counter, stands for. */
static void set_outcome(struct outcomes *outcomes, size_t index,
			const struct manifest_listener *listener,
			const struct manifest_route *route, const char *reason)
{
	outcomes->outcome[index] = (struct outcome){listener, route, reason};
}

/* The greatest index of a counter that the manifest names, and one more. */
static size_t counter_count(const struct manifest *manifest)
{
	size_t count = 0;

	for (size_t i = 0; i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];
		size_t end = (size_t)listener->counters + manifest->reason_count;

		count = end > count ? end : count;
		for (size_t j = 0; j < listener->route_count; j++) {
			end = (size_t)listener->routes[j].counter + 1;
			count = end > count ? end : count;
		}
	}
	return count;
}

static int read_outcomes(struct session *session)
{
	const struct manifest *manifest = &session->pinned.record.manifest;
	size_t ingress = manifest->ingress_reason_count;
	int err;

	err = make_outcomes(&session->xdp, counter_count(manifest));
	if (!err)
		err = make_outcomes(&session->ingress, manifest->listener_count * ingress);
	for (size_t i = 0; !err && i < manifest->listener_count; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		for (size_t j = 0; j < manifest->reason_count; j++)
			set_outcome(&session->xdp, listener->counters + j, listener, NULL,
				    manifest->reasons[j]);
		for (size_t j = 0; j < listener->route_count; j++)
			set_outcome(&session->xdp, listener->routes[j].counter, listener,
				    &listener->routes[j], "routed");
		for (size_t j = 0; j < ingress; j++)
			set_outcome(&session->ingress, i * ingress + j, listener, NULL,
				    manifest->ingress_reasons[j]);
	}
	return err;
}

/* The bits of a list of reasons, from the given one on, that are wanted of a listener. */
static uint64_t wanted_bits(const struct session *session, const struct manifest_listener *listener,
			    const char **reasons, size_t count, unsigned first, bool all)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < count && i < WANTED_REASONS; i++) {
		if (is_wanted(session, listener, reasons[i], all))
			bits |= 1ull << (first + i);
	}
	return bits;
}

static void set_sampling(struct session *session)
{
	const struct manifest *manifest = &session->pinned.record.manifest;
	struct sampling *sampling = &session->sampling;
	bool all = session->options->all;

	*sampling = (struct sampling){
		.rate = session->options->rate,
		.snaplen = session->options->snaplen,
	};
	for (size_t i = 0; i < manifest->listener_count && i < WANTED_LISTENERS; i++) {
		const struct manifest_listener *listener = &manifest->listeners[i];

		/* XDP has seen all packets: what TC delivers need not be there a second time. */
		sampling->wanted[i] =
			wanted_bits(session, listener, manifest->reasons, manifest->reason_count, 0,
				    all) |
			wanted_bits(session, listener, manifest->ingress_reasons,
				    manifest->ingress_reason_count, WANTED_REASONS, false);
	}
}

static bool is_listener(const struct manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->listener_count; i++) {
		if (!strcmp(manifest->listeners[i].name, name))
			return true;
	}
	return false;
}

static bool is_reason(const struct manifest *manifest, const char *name)
{
	for (size_t i = 0; i < manifest->reason_count; i++) {
		if (!strcmp(manifest->reasons[i], name))
			return true;
	}
	for (size_t i = 0; i < manifest->ingress_reason_count; i++) {
		if (!strcmp(manifest->ingress_reasons[i], name))
			return true;
	}
	return false;
}

static int check_names(const struct session *session, char *error, size_t n)
{
	const struct manifest *manifest = &session->pinned.record.manifest;
	const struct options *options = session->options;

	for (size_t i = 0; i < options->listeners.count; i++) {
		if (!is_listener(manifest, options->listeners.name[i]))
			return failed(error, n, EINVAL,
				      "the rules on %s have no listener %s; \"mplex-run counters "
				      "%s\" shows those they have",
				      options->interface, options->listeners.name[i],
				      options->interface);
	}
	for (size_t i = 0; i < options->reasons.count; i++) {
		if (!is_reason(manifest, options->reasons.name[i]))
			return failed(error, n, EINVAL,
				      "the rules on %s have no reason %s; \"mplex-run counters "
				      "%s\" shows those they have",
				      options->interface, options->reasons.name[i],
				      options->interface);
	}
	return 0;
}

/* ---- one packet ------------------------------------------------------------------------------ */

static bool is_enough(const struct session *session)
{
	return session->options->count && session->written >= session->options->count;
}

static void write_packet(const struct sample *sample, void *data)
{
	struct session *session = data;
	const struct outcomes *outcomes = sample->hand_over ? &session->ingress : &session->xdp;
	const struct outcome *outcome;
	struct pcapng_packet packet = {
		.time = sample->time,
		.length = sample->length,
		.captured = sample->captured,
		.data = sample->data,
	};
	char comment[1024];

	if (sample->index >= outcomes->count || is_enough(session))
		return;
	outcome = &outcomes->outcome[sample->index];
	if (!outcome->listener)
		return;
	if (outcome->route)
		snprintf(comment, sizeof(comment), "listener=%s reason=%s route=%s port=%u",
			 outcome->listener->name, outcome->reason, outcome->route->tag,
			 outcome->route->port);
	else
		snprintf(comment, sizeof(comment), "listener=%s reason=%s", outcome->listener->name,
			 outcome->reason);
	packet.comment = comment;
	pcapng_packet(session->out, &packet);
	session->written++;
}

/* ---- the session ----------------------------------------------------------------------------- */

/* A descriptor of a program; -1 for one that there is not (id 0), else -errno. */
static int open_program(uint32_t id)
{
	int fd = id ? bpf_prog_get_fd_by_id(id) : -1;

	return id && fd < 0 ? -errno : fd;
}

/* Begins with what runs now. */
static int begin(struct session *session, char *error, size_t n)
{
	const struct options *options = session->options;
	SCOPED(scoped_close) int xdp = -1;
	SCOPED(scoped_close) int ingress = -1;
	int err;

	err = pinned_open(&session->place, &session->pinned, error, n);
	if (err == -ENOENT)
		return failed(error, n, ENOENT, "nothing of mplex is attached to %s",
			      options->interface);
	if (!err)
		err = check_names(session, error, n);
	if (err)
		return err;
	if (read_outcomes(session))
		return failed(error, n, ENOMEM, "out of memory");
	xdp = open_program(session->pinned.record.xdp);
	if (session->ingress.count)
		ingress = open_program(session->pinned.record.ingress);
	if (xdp < 0 || ingress < -1)
		return failed(error, n, xdp < 0 ? -xdp : -ingress,
			      "cannot open the programs on %s: %s", options->interface,
			      strerror(xdp < 0 ? -xdp : -ingress));
	set_sampling(session);
	return sampler_open(&session->sampler, xdp, ingress, &session->sampling, write_packet,
			    session, error, n);
}

/* Once a second: still the same that runs, or another since? */
static int follow(struct session *session, char *error, size_t n)
{
	uint32_t id = session->pinned.record.xdp;
	struct pinned now;
	int err;

	sampler_renew(&session->sampler);
	err = pinned_open(&session->place, &now, error, n);
	if (err == -ENOENT)
		return failed(error, n, ENOENT, "mplex was taken off %s",
			      session->options->interface);
	if (err)
		return err;
	if (now.record.xdp != id) {
		pinned_close(&now);
		leave(session);
		return begin(session, error, n);
	}
	pinned_close(&now);
	return 0;
}

static int take_signals(void)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

static int start_timer(void)
{
	const struct itimerspec period = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	SCOPED(scoped_close) int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	if (timer < 0 || timerfd_settime(timer, 0, &period, NULL))
		return -1;
	return TAKE_FD(timer);
}

static int flush(const struct session *session, char *error, size_t n)
{
	if (!fflush(session->out))
		return 0;
	/* Whoever read it wants no more. */
	if (errno == EPIPE)
		return -EPIPE;
	return failed(error, n, errno, "cannot write %s: %s", session->options->file,
		      strerror(errno));
}

/* Until a signal, enough packets or enough time (0), or a failure (-errno). */
static int watch(struct session *session, int signals, char *error, size_t n)
{
	const struct options *options = session->options;
	SCOPED(scoped_close) int timer = start_timer();
	unsigned seconds = 0;
	int err = 0;

	if (timer < 0)
		return failed(error, n, errno, "cannot wait: %s", strerror(errno));
	while (!err && !is_enough(session)) {
		struct pollfd waits[] = {
			{.fd = signals, .events = POLLIN},
			{.fd = timer, .events = POLLIN},
			{.fd = sampler_fd(&session->sampler, 0), .events = POLLIN},
			{.fd = sampler_fd(&session->sampler, 1), .events = POLLIN},
		};
		uint64_t expired;

		if (poll(waits, 4, -1) < 0)
			return failed(error, n, errno, "cannot wait: %s", strerror(errno));
		err = sampler_read(&session->sampler);
		if (err)
			return failed(error, n, -err, "cannot read packets: %s", strerror(-err));
		err = flush(session, error, n);
		if (err || waits[0].revents)
			return err;
		if (waits[1].revents && read(timer, &expired, sizeof(expired)) > 0) {
			seconds += expired;
			if (options->seconds && seconds >= options->seconds)
				return 0;
			err = follow(session, error, n);
		}
	}
	return err;
}

static int open_output(struct session *session, char *error, size_t n)
{
	const char *file = session->options->file;
	bool standard = !strcmp(file, "-");

	if (standard && isatty(STDOUT_FILENO))
		return failed(error, n, EINVAL,
			      "standard output is a terminal: pipe it, as in \"| wireshark -k -i "
			      "-\", or name a file");
	session->out = standard ? stdout : fopen(file, "we");
	if (!session->out)
		return failed(error, n, errno, "cannot write %s: %s", file, strerror(errno));
	return 0;
}

static uint64_t realtime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* The last packets, and what is told of those that are not there. */
static void finish(struct session *session)
{
	const struct options *options = session->options;
	struct sample_counts counts;
	uint64_t seen;

	sampler_read(&session->sampler);
	leave(session);
	counts = session->counts;
	/* Those behind --count have been seen, and are not missed. */
	seen = session->written + counts.skipped + counts.lost;
	pcapng_end(session->out, realtime(), seen, counts.skipped + counts.lost);
	fflush(session->out);
	fprintf(stderr, "%llu packet%s written", (unsigned long long)session->written,
		session->written == 1 ? "" : "s");
	if (counts.skipped)
		fprintf(stderr, ", %llu more than --rate %u a second and CPU left out",
			(unsigned long long)counts.skipped, options->rate);
	if (counts.lost)
		fprintf(stderr, ", %llu lost because they were not read in time",
			(unsigned long long)counts.lost);
	fputc('\n', stderr);
}

static int capture(const struct options *options)
{
	SCOPED(scoped_session) struct session *session = calloc(1, sizeof(*session));
	SCOPED(scoped_close) int signals = -1;
	char error[ERROR_SIZE];
	int err;

	if (!session)
		return command_failed("out of memory");
	session->options = options;
	err = pinned_find(options->interface, &session->place, error, sizeof(error));
	if (err)
		return command_failed(error);
	signals = take_signals();
	err = begin(session, error, sizeof(error));
	if (!err)
		err = open_output(session, error, sizeof(error));
	if (err)
		return command_failed(error);
	pcapng_start(session->out, "mplex-run " MPLEX_VERSION, options->interface,
		     options->snaplen);
	err = flush(session, error, sizeof(error));
	if (!err) {
		fprintf(stderr, "capturing on %s, Ctrl-C ends it\n", options->interface);
		err = watch(session, signals, error, sizeof(error));
	}
	finish(session);
	if (err && err != -EPIPE)
		return command_failed(error);
	return STATUS_DONE;
}

/* ---- the command line ------------------------------------------------------------------------ */

static int add_name(struct names *names, const char *name)
{
	if (names->count == NAMES_MAX)
		return command_usage("too many names: %s", name);
	names->name[names->count++] = name;
	return STATUS_DONE;
}

static int capture_main(int argc, char **argv)
{
	enum {
		ALL = 1,
		LISTENER,
		REASON,
		COUNT,
		RATE_,
		SNAPLEN,
		SECONDS,
	};
	static const struct option names[] = {
		{"write", required_argument, NULL, 'w'},
		{"all", no_argument, NULL, ALL},
		{"listener", required_argument, NULL, LISTENER},
		{"reason", required_argument, NULL, REASON},
		{"count", required_argument, NULL, COUNT},
		{"rate", required_argument, NULL, RATE_},
		{"snaplen", required_argument, NULL, SNAPLEN},
		{"seconds", required_argument, NULL, SECONDS},
		{},
	};
	struct options options = {.rate = RATE, .snaplen = SNAPLEN_MAX};
	int option, status = STATUS_DONE;

	while (!status && (option = command_option(argc, argv, &capture_command, names))) {
		switch (option) {
		case 'w':
			options.file = optarg;
			break;
		case ALL:
			options.all = true;
			break;
		case LISTENER:
			status = add_name(&options.listeners, optarg);
			break;
		case REASON:
			status = add_name(&options.reasons, optarg);
			break;
		case COUNT:
			if (!command_number(optarg, 1, UINT32_MAX, &options.count))
				status = command_usage("--count is a whole number from 1");
			break;
		case RATE_:
			if (!command_number(optarg, 1, 1000000, &options.rate))
				status = command_usage("--rate is a whole number, 1 to 1000000");
			break;
		case SNAPLEN:
			if (!command_number(optarg, SNAPLEN_MIN, SNAPLEN_MAX, &options.snaplen))
				status = command_usage("--snaplen is a whole number, %d to %d",
						       SNAPLEN_MIN, SNAPLEN_MAX);
			break;
		case SECONDS:
			if (!command_number(optarg, 1, UINT32_MAX, &options.seconds))
				status = command_usage("--seconds is a whole number from 1");
			break;
		default:
			return STATUS_USAGE;
		}
	}
	if (status)
		return status;
	if (argc - optind != 1)
		return command_usage("an interface is needed");
	if (!options.file)
		return command_usage("-w FILE is needed; -w - writes to standard output");
	if (options.all && options.reasons.count)
		return command_usage("--all and --reason exclude each other");
	options.interface = argv[optind];
	return capture(&options);
}

const struct command capture_command = {
	.name = "capture",
	.arguments =
		"IFACE -w FILE [--all] [--listener NAME] [--reason NAME] [--count N] [--rate N] "
		"[--snaplen N] [--seconds N]",
	.summary = "Writes refused packets to a pcapng file, each with its reason as a comment",
	.options = "  -w FILE            the file; - is standard output: \"| wireshark -k -i -\"\n"
		   "  --all              not only what is refused, every packet of the listeners\n"
		   "  --listener NAME    only of this listener; may be given several times\n"
		   "  --reason NAME      only for this reason; may be given several times\n"
		   "  --count N          end after N packets\n"
		   "  --seconds N        end after N seconds\n"
		   "  --rate N           at most N packets a second on each CPU (1000)\n"
		   "  --snaplen N        at most N bytes of each packet (65000)\n",
	.main = capture_main,
};
