/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run doctor: looks at everything that is known to get in the way of an object on an
 * interface, and changes nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "check.h"
#include "command.h"
#include "constants.h"
#include "error.h"
#include "finding.h"
#include "host.h"
#include "object.h"
#include "pinned.h"
#include "scope.h"

/* What is mplex's own on the interface is no stranger: it is replaced. */
static void check_xdp(const struct subject *subject, struct findings *findings)
{
	const char *name = subject->interface->name;
	struct pinned pinned;
	struct place place;
	char error[ERROR_SIZE];

	if (pinned_find(name, &place, error, sizeof(error)) ||
	    pinned_open(&place, &pinned, error, sizeof(error))) {
		check_xdp_free(subject, findings);
		return;
	}
	if (pinned.process) {
		found(findings, "xdp", VERDICT_PROBLEM,
		      "mplex-run holds the rules of %s on %s as long as it runs, in the foreground: "
		      "end it first",
		      pinned.record.manifest.rules_file, name);
		mended_by(findings, "kill %d", (int)pinned.process);
	} else {
		found(findings, "xdp", VERDICT_OK,
		      "the rules of %s are attached to %s, and \"mplex-run %s OBJECT\" replaces them",
		      pinned.record.manifest.rules_file, name, name);
	}
	pinned_close(&pinned);
}

static check *const host_checks[] = {
	check_rights, check_interface, check_kernel, check_memlock, check_bpffs,
	check_driver, check_xdp,       check_vlan,   check_veth,
};

static check *const object_checks[] = {
	check_kfuncs,  check_sysctls,	    check_tcp_options, check_addresses,
	check_servers, check_local_clients, check_firewall,
};

static void examine(const struct subject *subject, struct findings *findings)
{
	for (size_t i = 0; i < sizeof(host_checks) / sizeof(*host_checks); i++)
		host_checks[i](subject, findings);
	if (!subject->manifest) {
		found(findings, "object", VERDICT_UNKNOWN,
		      "no object is named, so sysctls, servers and the firewall were not looked at");
		return;
	}
	for (size_t i = 0; i < sizeof(object_checks) / sizeof(*object_checks); i++)
		object_checks[i](subject, findings);
}

/*
 * Whether the kernel takes the programs: they are loaded, attached to nothing, and gone again. The
 * object cannot be used for anything else after it.
 */
static void try_load(const struct subject *subject, struct object *object,
		     struct findings *findings)
{
	SCOPED(addresses_free) struct addresses own = {};
	bool native = subject->mode == MODE_NATIVE;
	char error[ERROR_SIZE];
	int err;

	err = host_addresses(subject->interface, &own, error, sizeof(error));
	if (!err)
		err = constants_set(object, subject->interface, &own, native, error, sizeof(error));
	if (!err)
		err = object_load(object, native, false, error, sizeof(error));
	/* The end of the kernel's log would follow. */
	error[strcspn(error, "\n")] = '\0';
	found(findings, "load", err ? VERDICT_PROBLEM : VERDICT_OK, "%s",
	      err ? error : "the kernel takes the programs of the object");
}

static int print(const struct subject *subject, const struct findings *findings, bool json)
{
	json_t *list, *all;

	if (!json) {
		findings_text(findings, stdout);
		return 0;
	}
	list = findings_json(findings);
	all = list ? json_pack("{s:s, s:s*, s:s, s:o}", "interface", subject->interface->name,
			       "object", subject->path, "mode", mode_name(subject->mode),
			       "findings", list)
		   : NULL;
	if (!all)
		return -ENOMEM;
	json_dumpf(all, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(all);
	return 0;
}

static int doctor(const char *name, const char *path, enum mode mode, bool json)
{
	SCOPED(findings_free) struct findings findings = {};
	SCOPED(object_close) struct object object = {};
	struct interface interface;
	struct subject subject = {.interface = &interface, .mode = mode};
	char error[ERROR_SIZE];
	int err;

	if (host_interface(name, &interface, error, sizeof(error)))
		return command_failed(error);
	if (path) {
		err = object_open(path, &object, error, sizeof(error));
		if (err) {
			command_failed(error);
			return err == -EINVAL || err == -ENOTSUP ? STATUS_BAD_OBJECT
								 : STATUS_FAILED;
		}
		subject.manifest = &object.manifest;
		subject.path = path;
		subject.object = &object;
	}
	examine(&subject, &findings);
	/* What is wrong so far would be the reason of a failure, or change it. */
	if (path && !findings_have(&findings, VERDICT_PROBLEM))
		try_load(&subject, &object, &findings);
	if (findings.incomplete || print(&subject, &findings, json))
		return command_failed("out of memory");
	if (fflush(stdout) || ferror(stdout))
		return command_failed("cannot write to standard output");
	return findings_have(&findings, VERDICT_PROBLEM) ? STATUS_FAILED : STATUS_DONE;
}

static int doctor_main(int argc, char **argv)
{
	enum {
		MODE = 1,
		JSON,
	};
	static const struct option names[] = {
		{"mode", required_argument, NULL, MODE},
		{"json", no_argument, NULL, JSON},
		{},
	};
	enum mode mode = MODE_NATIVE;
	bool json = false;
	int option;

	while ((option = command_option(argc, argv, &doctor_command, names))) {
		switch (option) {
		case MODE:
			if (!strcmp(optarg, "native"))
				mode = MODE_NATIVE;
			else if (!strcmp(optarg, "generic"))
				mode = MODE_GENERIC;
			else
				return command_usage("--mode is native or generic");
			break;
		case JSON:
			json = true;
			break;
		default:
			return STATUS_USAGE;
		}
	}
	if (argc - optind < 1 || argc - optind > 2)
		return command_usage("an interface is needed, and an object can be named");
	return doctor(argv[optind], argc - optind == 2 ? argv[optind + 1] : NULL, mode, json);
}

const struct command doctor_command = {
	.name = "doctor",
	.arguments = "IFACE [OBJECT] [--mode native|generic] [--json]",
	.summary = "Says what would keep the object from working on the interface, and the command "
		   "that mends it",
	.options =
		"  --mode native      as a run in the interface's driver meets it (the default)\n"
		"  --mode generic     as a run behind the driver meets it\n"
		"  --json             one JSON object\n",
	.main = doctor_main,
};
