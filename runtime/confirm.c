/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run confirm IFACE, and the process that waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "check.h"
#include "command.h"
#include "confirm.h"
#include "document.h"
#include "error.h"
#include "host.h"
#include "scope.h"
#include "state.h"

enum {
	PATH_SIZE = GENERATION_PATH + 64,
	CLOSE_RANGE = 436, /* SYS_close_range, Linux 5.9 */
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec;
}

static void confirm_path(const struct generation *generation, char path[PATH_SIZE])
{
	generation_path(generation, "confirm", path);
}

bool confirm_waits(const struct generation *generation)
{
	char path[PATH_SIZE];

	confirm_path(generation, path);
	return !access(path, F_OK);
}

bool confirm_is_late(const struct generation *generation)
{
	char path[PATH_SIZE], error[ERROR_SIZE];
	json_t *document;
	int64_t deadline;

	confirm_path(generation, path);
	if (document_read(path, &document, error, sizeof(error)))
		return false;
	deadline = json_integer_value(json_object_get(document, "deadline"));
	json_decref(document);
	return now() >= deadline;
}

bool confirm_end(const struct generation *generation)
{
	char path[PATH_SIZE];

	confirm_path(generation, path);
	return !unlink(path);
}

static void wait_until(int64_t deadline, const struct generation *generation)
{
	const struct timespec second = {.tv_sec = 1};

	while (now() < deadline && confirm_waits(generation))
		nanosleep(&second, NULL);
}

/* Opening the state is enough: it takes back what is late. */
static void take_back(const struct place *place, const char *name)
{
	struct interface interface;
	struct state state;
	char error[ERROR_SIZE];
	bool gone = host_interface(name, &interface, error, sizeof(error)) ||
		    interface.index != place->ifindex;

	openlog("mplex-run", LOG_PID, LOG_DAEMON);
	if (state_open(&state, place, gone ? NULL : &interface, name, true, error, sizeof(error))) {
		syslog(LOG_ERR, "%s", error);
		return;
	}
	if (*state.note)
		syslog(LOG_WARNING, "%s", state.note);
	state_close(&state);
}

/*
 * Leaves everything behind that ties this process to who started it: session, process group,
 * terminal, directory, open files (the lock among them).
 */
static void leave(void)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (syscall(CLOSE_RANGE, STDERR_FILENO + 1, ~0U, 0)) {
		for (int fd = sysconf(_SC_OPEN_MAX); fd > STDERR_FILENO; fd--)
			close(fd);
	}
	if (chdir("/"))
		return;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

/* Starts the process that waits; it is nobody's child. Returns 0 or -errno. */
static int start_process(const struct state *state, const struct generation *generation,
			 int64_t deadline)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child) {
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
		return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EAGAIN;
	}
	setsid();
	child = fork();
	if (child)
		_exit(child < 0);
	leave();
	wait_until(deadline, generation);
	if (confirm_waits(generation))
		take_back(&state->place, state->name);
	_exit(0);
}

int confirm_start(const struct state *state, const struct generation *generation, unsigned seconds,
		  char *error, size_t n)
{
	int64_t deadline = now() + seconds;
	json_t *document = json_pack("{s:I}", "deadline", (json_int_t)deadline);
	char path[PATH_SIZE];
	int err;

	confirm_path(generation, path);
	err = document_pin(document, path, error, n);
	json_decref(document);
	if (err)
		return err;
	err = start_process(state, generation, deadline);
	return err ? failed(error, n, -err,
			    "cannot start the process that waits to be confirmed: %s",
			    strerror(-err))
		   : 0;
}

static void say_confirmed(const struct state *state, bool json)
{
	const struct manifest *manifest = &state->current.record.manifest;
	json_t *event;

	if (!json) {
		printf("%s: confirmed the rules of %s\n", state->name, manifest->rules_file);
		return;
	}
	event = json_pack("{s:s, s:s, s:{s:s, s:s}}", "event", "confirmed", "interface",
			  state->name, "rules", "file", manifest->rules_file, "sha256",
			  manifest->rules_sha256);
	json_dumpf(event, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(event);
}

/* Why there is nothing to confirm. */
static int explain(const struct state *state, char *error, size_t n)
{
	if (*state->note)
		return failed(error, n, ETIMEDOUT, "%s", state->note);
	if (!state->current.id)
		return failed(error, n, ENOENT,
			      "nothing waits to be confirmed on %s: nothing is attached there",
			      state->name);
	return failed(error, n, EALREADY,
		      "nothing waits to be confirmed on %s: the rules of %s run there, confirmed "
		      "before, or back because others were not confirmed in time",
		      state->name, state->current.record.manifest.rules_file);
}

static int confirm(const char *name, bool json)
{
	struct interface interface;
	struct place place;
	struct state state;
	char error[ERROR_SIZE];
	int err;

	err = check_require(check_rights, NULL, error, sizeof(error));
	if (!err)
		err = host_interface(name, &interface, error, sizeof(error));
	if (!err)
		err = pinned_prepare(false, error, sizeof(error));
	if (!err)
		err = pinned_find(interface.name, &place, error, sizeof(error));
	if (!err)
		err = state_open(&state, &place, &interface, interface.name, false, error,
				 sizeof(error));
	if (err)
		return command_failed(error);
	if (state_confirm(&state))
		say_confirmed(&state, json);
	else
		err = explain(&state, error, sizeof(error));
	state_close(&state);
	return err ? command_failed(error) : STATUS_DONE;
}

static int confirm_main(int argc, char **argv)
{
	bool json;

	if (!command_json(argc, argv, &confirm_command, &json))
		return STATUS_USAGE;
	if (argc - optind != 1)
		return command_usage("an interface is needed");
	return confirm(argv[optind], json);
}

const struct command confirm_command = {
	.name = "confirm",
	.arguments = "IFACE [--json]",
	.summary = "Keeps what was attached with --confirm, which else is taken back in time",
	.options = "  --json             one JSON object\n",
	.main = confirm_main,
};
