/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mplex-run test OBJECT: the examples of the rule file, run by the kernel.
 *
 * The XDP program is loaded but not attached; BPF_PROG_TEST_RUN hands it frames and returns what
 * became of them. A namespace of its own keeps the sockets and routes of the host out of it: every
 * listener is tried by the families of its addresses, with the host's own set to documentation
 * addresses. A tcp example goes through a handshake first, as a client would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <jansson.h>
#include <linux/bpf.h>

#include "check.h"
#include "command.h"
#include "constants.h"
#include "counters.h"
#include "error.h"
#include "frame.h"
#include "host.h"
#include "kernel.h"
#include "layout.h"
#include "object.h"
#include "scope.h"

enum {
	FIRST_CLIENT_PORT = 20000, /* each try has the next one */
	CLIENT_PORTS = 40000,
	CLIENT_ISN = 1000,
	ONE_PAGE_FRAME = 3400, /* what a kernel without frags can be given */
};

static const uint8_t server_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t client_mac[6] = {2, 0, 0, 0, 0, 2};

/* RFC 5737, RFC 3849. By family: [0] IPv4, [1] IPv6. */
static const char *const server_addresses[] = {"192.0.2.1", "2001:db8::1"};
static const char *const client_addresses[] = {"198.51.100.1", "2001:db8:ffff::1"};

/* What became of a message. */
enum fate {
	FATE_PORT, /* delivered to a port */
	FATE_REFUSED,
	FATE_FOREIGN, /* passed on as if no listener named it */
	FATE_OTHER,   /* text says it */
	FATE_SKIPPED, /* not tried: the kernel cannot */
};

struct outcome {
	enum fate fate;
	uint16_t port;	  /* FATE_PORT */
	const char *text; /* FATE_OTHER, FATE_SKIPPED */
};

struct bench {
	struct object object;
	bool frags;
	uint16_t next_port;
	uint8_t payload[UINT16_MAX];
	uint8_t frame[FRAME_MAX];
	uint8_t result[FRAME_MAX + 256]; /* an answer may be longer than what it answers */
	size_t result_size;
};

static void scoped_bench(struct bench **bench)
{
	if (*bench)
		object_close(&(*bench)->object);
	free(*bench);
}

/* Runs the program on a frame: the XDP action, or -errno. The frame that comes out is in result. */
static int run_frame(struct bench *bench, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = bench->frame, .data_size_in = size,
		    .data_out = bench->result, .data_size_out = sizeof(bench->result), .repeat = 1);
	int err = bpf_prog_test_run_opts(bpf_program__fd(bench->object.xdp), &options);

	if (err)
		return err;
	bench->result_size = options.data_size_out;
	return options.retval;
}

static const char *action_text(int action)
{
	switch (action) {
	case XDP_ABORTED:
		return "the program aborted (XDP_ABORTED)";
	case XDP_DROP:
		return "dropped";
	case XDP_PASS:
		return "passed on unchanged";
	case XDP_TX:
		return "answered";
	case XDP_REDIRECT:
		return "sent to another interface";
	}
	return action < 0 ? strerror(-action) : "an unknown XDP action";
}

static struct outcome other(const char *text)
{
	return (struct outcome){.fate = FATE_OTHER, .text = text};
}

/* The packets that were counted so far, by whatever listener and reason. */
static uint64_t counted(const struct bench *bench)
{
	SCOPED(counters_free) struct counters counters = {};
	char error[ERROR_SIZE];
	uint64_t packets = 0;

	if (counters_read(bpf_object__btf(bench->object.bpf), bpf_map__fd(bench->object.counters),
			  -1, &counters, error, sizeof(error)))
		return 0;
	for (size_t i = 0; i < counters.xdp_count; i++)
		packets += counters.xdp[i].packets;
	return packets;
}

static struct outcome try_udp(struct bench *bench, const struct flow *flow, uint16_t length)
{
	size_t size = frame_udp(flow, bench->payload, length, bench->frame);
	uint64_t before = counted(bench);
	uint16_t port;
	int action;

	if (!bench->frags && size > ONE_PAGE_FRAME)
		return (struct outcome){.fate = FATE_SKIPPED,
					.text = "too long for this kernel to try"};
	action = run_frame(bench, size);
	if (action == XDP_DROP)
		return (struct outcome){.fate = FATE_REFUSED};
	if (action != XDP_PASS)
		return other(action_text(action));
	port = frame_destination(flow, bench->result, bench->result_size);
	/* Passed on to the listen port is what happens to packets of no listener, too. */
	if (port == flow->server_port && counted(bench) == before)
		return (struct outcome){.fate = FATE_FOREIGN};
	return (struct outcome){.fate = FATE_PORT, .port = port};
}

/* Takes the one entry out of the map `pending`: the port that it was bound to, or 0. */
static uint16_t take_pending(const struct bench *bench)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(bench->object.bpf, "pending");
	SCOPED(scoped_free) void *key = NULL;
	SCOPED(scoped_free) char *value = NULL;
	struct extent extent;
	uint16_t port;
	int fd;

	if (!map ||
	    layout_member(bpf_object__btf(bench->object.bpf), bpf_map__btf_value_type_id(map),
			  "port", &extent) ||
	    extent.size != sizeof(port))
		return 0;
	fd = bpf_map__fd(map);
	key = calloc(1, bpf_map__key_size(map));
	value = calloc(1, bpf_map__value_size(map));
	if (!key || !value || bpf_map_get_next_key(fd, NULL, key) ||
	    bpf_map_lookup_elem(fd, key, value))
		return 0;
	memcpy(&port, value + extent.offset, sizeof(port));
	bpf_map_delete_elem(fd, key);
	return port;
}

static struct outcome try_tcp(struct bench *bench, const struct flow *flow, uint16_t length)
{
	struct segment syn = {.seq = CLIENT_ISN, .flags = TCP_SYN}, answer, data;
	size_t size;
	int action;

	/* One segment holds no more; where a stream was cut says nothing about its message. */
	if (length > FRAME_TCP_PAYLOAD)
		length = FRAME_TCP_PAYLOAD;
	action = run_frame(bench, frame_tcp(flow, &syn, NULL, 0, bench->frame));
	if (action == XDP_PASS)
		return (struct outcome){.fate = FATE_FOREIGN};
	if (action != XDP_TX || !frame_segment(flow, bench->result, bench->result_size, &answer) ||
	    answer.flags != (TCP_SYN | TCP_ACK) || answer.ack != CLIENT_ISN + 1)
		return other("the handshake was not answered");

	data = (struct segment){
		.seq = CLIENT_ISN + 1,
		.ack = answer.seq + 1,
		.flags = TCP_PSH | TCP_ACK,
	};
	size = frame_tcp(flow, &data, bench->payload, length, bench->frame);
	if (!bench->frags && size > ONE_PAGE_FRAME)
		return (struct outcome){.fate = FATE_SKIPPED,
					.text = "too long for this kernel to try"};
	action = run_frame(bench, size);
	if (action == XDP_PASS) {
		uint16_t port = take_pending(bench);

		return port ? (struct outcome){.fate = FATE_PORT, .port = port}
			    : other("passed on without being bound to a server");
	}
	if (action == XDP_DROP)
		return (struct outcome){.fate = FATE_REFUSED};
	if (action == XDP_TX && frame_segment(flow, bench->result, bench->result_size, &answer) &&
	    answer.flags & TCP_RST)
		return (struct outcome){.fate = FATE_REFUSED};
	return other(action_text(action));
}

/* Whether an address lies in a prefix of its own family. */
static bool within(const struct manifest_address *prefix, const uint8_t address[16])
{
	unsigned whole = prefix->prefix / 8, rest = prefix->prefix % 8;

	return !memcmp(prefix->bytes, address, whole) &&
	       (!rest || (prefix->bytes[whole] ^ address[whole]) >> (8 - rest) == 0);
}

/*
 * Whether the listener serves the family at all, and if so by which address: the documentation's,
 * or else one of its own. The first of a prefix stands for the network, so it is the second.
 */
static bool find_address(const struct manifest_listener *listener, int family, uint8_t address[16])
{
	inet_pton(family == 4 ? AF_INET : AF_INET6, server_addresses[family == 6], address);
	if (!listener->address_count)
		return true;
	for (size_t i = 0; i < listener->address_count; i++) {
		const struct manifest_address *own = &listener->addresses[i];

		if (own->family != family)
			continue;
		if (within(own, address))
			return true;
		memcpy(address, own->bytes, sizeof(own->bytes));
		if (own->prefix < (family == 4 ? 32 : 128))
			address[family == 4 ? 3 : 15] |= 1;
		return true;
	}
	return false;
}

static struct outcome try_test(struct bench *bench, const struct manifest_test *test,
			       const struct manifest_listener *listener, int family,
			       const uint8_t address[16])
{
	struct flow flow = {
		.family = family,
		.client_port = FIRST_CLIENT_PORT + bench->next_port,
		.server_port = listener->port,
	};

	bench->next_port = (bench->next_port + 1) % CLIENT_PORTS;
	memcpy(flow.server_mac, server_mac, sizeof(flow.server_mac));
	memcpy(flow.client_mac, client_mac, sizeof(flow.client_mac));
	memcpy(flow.server, address, sizeof(flow.server));
	inet_pton(family == 4 ? AF_INET : AF_INET6, client_addresses[family == 6], flow.client);
	manifest_test_payload(test, bench->payload);
	return test->protocol == MANIFEST_UDP ? try_udp(bench, &flow, test->length)
					      : try_tcp(bench, &flow, test->length);
}

static bool as_expected(const struct manifest_test *test, const struct manifest_listener *listener,
			const struct outcome *outcome)
{
	switch (test->expect) {
	case EXPECT_ROUTE:
		return outcome->fate == FATE_PORT && outcome->port == test->port;
	case EXPECT_PASS:
		return outcome->fate == FATE_PORT && outcome->port == listener->port;
	case EXPECT_REFUSE:
		return outcome->fate == FATE_REFUSED;
	}
	return false;
}

static const char *outcome_text(const struct outcome *outcome, char *buffer, size_t size)
{
	switch (outcome->fate) {
	case FATE_PORT:
		snprintf(buffer, size, "port %u", outcome->port);
		return buffer;
	case FATE_REFUSED:
		return "refused";
	case FATE_FOREIGN:
		return "taken for a packet of no listener";
	case FATE_OTHER:
	case FATE_SKIPPED:
		break;
	}
	return outcome->text;
}

/* The results of a whole file. */
struct results {
	json_t *list; /* NULL: print text */
	unsigned ok, failed, skipped;
};

static void add_result(struct results *results, const struct manifest *manifest,
		       const struct manifest_test *test, const struct outcome *outcome, int family,
		       bool ok)
{
	const struct manifest_listener *listener = &manifest->listeners[test->listener];
	const char *protocol = test->protocol == MANIFEST_UDP ? "udp" : "tcp";
	const char *state = ok ? "ok" : outcome->fate == FATE_SKIPPED ? "skipped" : "failed";
	char expected[32], buffer[64];
	const char *got = ok ? NULL : outcome_text(outcome, buffer, sizeof(buffer));

	if (test->expect == EXPECT_ROUTE)
		snprintf(expected, sizeof(expected), "port %u", test->port);
	else
		snprintf(expected, sizeof(expected), "%s",
			 test->expect == EXPECT_PASS ? "pass" : "refuse");

	*(ok				  ? &results->ok
	  : outcome->fate == FATE_SKIPPED ? &results->skipped
					  : &results->failed) += 1;
	if (results->list) {
		json_array_append_new(results->list,
				      json_pack("{s:I, s:s, s:s, s:s, s:s, s:s*, s:o*}", "line",
						(json_int_t)test->line, "listener", listener->name,
						"protocol", protocol, "expect", expected, "result",
						state, "got", got, "family",
						ok ? NULL : json_integer(family)));
		return;
	}
	printf("%s:%u: %s %s, %u bytes: %s: %s", manifest->rules_file, test->line, listener->name,
	       protocol, test->length, expected,
	       ok			       ? "ok"
	       : outcome->fate == FATE_SKIPPED ? "skipped"
					       : "FAILED");
	if (got)
		printf(": %s (by IPv%d)", got, family);
	putchar('\n');
}

/* A test is run once for each family that its listener serves; the first that fails decides. */
static void run_test(struct bench *bench, const struct manifest_test *test, struct results *results)
{
	const struct manifest *manifest = &bench->object.manifest;
	const struct manifest_listener *listener = &manifest->listeners[test->listener];
	struct outcome outcome = {};
	uint8_t address[16];
	bool ok = true;
	int family;

	for (family = 4; family <= 6; family += 2) {
		if (!find_address(listener, family, address))
			continue;
		outcome = try_test(bench, test, listener, family, address);
		ok = as_expected(test, listener, &outcome);
		if (!ok)
			break;
	}
	add_result(results, manifest, test, &outcome, family, ok);
}

static int enter_namespace(char *error, size_t n)
{
	static const char *const forwarding[] = {
		"/proc/sys/net/ipv4/ip_forward",
		"/proc/sys/net/ipv6/conf/all/forwarding",
	};

	if (unshare(CLONE_NEWNET))
		return failed(error, n, errno,
			      "cannot make a network namespace for the tests: %s; run mplex-run "
			      "as root",
			      strerror(errno));
	/*
	 * What forwards answers by its routes, and there are none here. A host's setting may have
	 * come along.
	 */
	for (size_t i = 0; i < sizeof(forwarding) / sizeof(*forwarding); i++) {
		SCOPED(scoped_close) int fd = open(forwarding[i], O_WRONLY | O_CLOEXEC);

		if (fd >= 0 && write(fd, "0", 1) != 1)
			return failed(error, n, errno, "cannot write %s: %s", forwarding[i],
				      strerror(errno));
	}
	return 0;
}

static int set_constants(struct bench *bench, char *error, size_t n)
{
	uint8_t v4[1][4], v6[1][16];
	const struct addresses own = {.v4 = v4, .v4_count = 1, .v6 = v6, .v6_count = 1};
	int err;

	inet_pton(AF_INET, server_addresses[0], v4);
	inet_pton(AF_INET6, server_addresses[1], v6);
	err = constants_set_addresses(&bench->object, &own, error, n);
	if (!err)
		err = constants_set_key(&bench->object, error, n);
	if (!err)
		object_set_constant(&bench->object, "mplex_mac", server_mac, sizeof(server_mac));
	return err;
}

static int prepare(struct bench *bench, const char *path, char *error, size_t n)
{
	int err = check_require(check_rights, NULL, error, n);

	if (err)
		return STATUS_FAILED;
	err = object_open(path, &bench->object, error, n);
	if (err)
		return err == -EINVAL || err == -ENOTSUP ? STATUS_BAD_OBJECT : STATUS_FAILED;
	bench->frags = kernel_has_frags();
	err = enter_namespace(error, n);
	if (!err)
		err = set_constants(bench, error, n);
	if (!err) {
		err = object_load(&bench->object, bench->frags, true, error, n);
		/* The likeliest reason has a sentence of its own. */
		if (err)
			check_require(check_kfuncs,
				      &(struct subject){.manifest = &bench->object.manifest,
							.path = path},
				      error, n);
	}
	return err ? STATUS_FAILED : STATUS_DONE;
}

/*
 * Prints a line for each example. Returns the exit status: done when all came out as expected,
 * failed when one did not.
 */
static int rule_test(const char *path, bool json)
{
	SCOPED(scoped_bench) struct bench *bench = calloc(1, sizeof(*bench));
	struct results results = {.list = json ? json_array() : NULL};
	char error[ERROR_SIZE] = "out of memory";
	int status = bench ? prepare(bench, path, error, sizeof(error)) : STATUS_FAILED;

	if (status) {
		fprintf(stderr, "mplex-run: %s\n", error);
		json_decref(results.list);
		return status;
	}
	for (size_t i = 0; i < bench->object.manifest.test_count; i++)
		run_test(bench, &bench->object.manifest.tests[i], &results);
	if (json) {
		json_t *all =
			json_pack("{s:s, s:o, s:i, s:i, s:i}", "file",
				  bench->object.manifest.rules_file, "tests", results.list, "ok",
				  results.ok, "failed", results.failed, "skipped", results.skipped);

		json_dumpf(all, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(all);
	} else {
		printf("%s: %u ok, %u failed, %u skipped\n", bench->object.manifest.rules_file,
		       results.ok, results.failed, results.skipped);
	}
	return results.failed ? STATUS_FAILED : STATUS_DONE;
}

static int test_main(int argc, char **argv)
{
	bool json;

	if (!command_json(argc, argv, &test_command, &json))
		return STATUS_USAGE;
	if (argc - optind != 1)
		return command_usage("an object is needed");
	return rule_test(argv[optind], json);
}

const struct command test_command = {
	.name = "test",
	.arguments = "OBJECT [--json]",
	.summary = "Runs the examples of the rule file in the kernel, in a namespace of its own",
	.options = "  --json             one JSON object for all results\n",
	.main = test_main,
};
