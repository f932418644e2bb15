/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC programs as filters of a clsact qdisc: the way of kernels without tcx, tried on any kernel, on
 * the loopback interface of a network namespace of its own.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <linux/bpf.h>

#include "clsact.h"
#include "error.h"
#include "host.h"

static const struct interface lo = {.name = "lo", .index = 1};

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level, (void)format, (void)arguments;
	return 0;
}

/* A program that says "next". */
static int load(const char *name)
{
	static const struct bpf_insn next[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", next, 2, NULL);

	assert_true(fd >= 0);
	return fd;
}

/* The id of the program of a filter, 0 where there is none. */
static uint32_t filter_at(enum bpf_tc_attach_point point, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = lo.index, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = priority);

	return bpf_tc_query(&hook, &filter) ? 0 : filter.prog_id;
}

static void attach_foreign(uint32_t priority, int fd)
{
	LIBBPF_OPTS(bpf_tc_hook, qdisc, .ifindex = lo.index,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = lo.index, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = priority, .prog_fd = fd);
	int err = bpf_tc_hook_create(&qdisc);

	assert_true(!err || err == -EEXIST);
	assert_int_equal(bpf_tc_attach(&hook, &filter), 0);
}

static bool has_qdisc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, qdisc, .ifindex = lo.index,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	if (bpf_tc_hook_create(&qdisc) == -EEXIST)
		return true;
	bpf_tc_hook_destroy(&qdisc);
	return false;
}

enum {
	OURS = 97,
	OTHERS = 5
};

struct programs {
	int ingress, egress, foreign;
};

/* Every test has a namespace of its own, and with it an interface without filters. */
static int setup(void **state)
{
	static struct programs programs;

	if (geteuid() || unshare(CLONE_NEWNET))
		return 0;
	programs = (struct programs){load("mplex_ingress"), load("mplex_egress"), load("foreign")};
	*state = &programs;
	return 0;
}

static int teardown(void **state)
{
	struct programs *programs = *state;

	if (programs) {
		close(programs->ingress);
		close(programs->egress);
		close(programs->foreign);
	}
	return 0;
}

static const struct programs *need_root(void **state)
{
	if (!*state) {
		print_message("needs root: network namespaces and BPF\n");
		skip();
	}
	return *state;
}

static void test_leaves_nothing(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact clsact = {};
	char error[ERROR_SIZE];

	assert_int_equal(clsact_attach(&lo, programs->ingress, programs->egress, &clsact, error,
				       sizeof(error)),
			 0);
	assert_true(filter_at(BPF_TC_INGRESS, OURS));
	assert_true(filter_at(BPF_TC_EGRESS, OURS));
	clsact_detach(&clsact);
	assert_false(has_qdisc());
}

static void test_one_direction(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact clsact = {};
	char error[ERROR_SIZE];

	assert_int_equal(clsact_attach(&lo, -1, programs->egress, &clsact, error, sizeof(error)),
			 0);
	assert_false(filter_at(BPF_TC_INGRESS, OURS));
	assert_true(filter_at(BPF_TC_EGRESS, OURS));
	clsact_detach(&clsact);
	assert_false(has_qdisc());
}

/* A run that was killed detaches nothing: the next one replaces, trims, or cleans. */
static void test_after_kill(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact killed = {}, next = {};
	uint32_t before;
	char error[ERROR_SIZE];

	assert_int_equal(clsact_attach(&lo, programs->ingress, programs->egress, &killed, error,
				       sizeof(error)),
			 0);
	before = filter_at(BPF_TC_INGRESS, OURS);
	int other = load("mplex_ingress");
	assert_int_equal(clsact_attach(&lo, other, -1, &next, error, sizeof(error)), 0);
	assert_true(filter_at(BPF_TC_INGRESS, OURS));
	assert_int_not_equal(filter_at(BPF_TC_INGRESS, OURS), before);
	assert_true(filter_at(BPF_TC_EGRESS, OURS));
	clsact_trim(&next, true, false);
	assert_true(filter_at(BPF_TC_INGRESS, OURS));
	assert_false(filter_at(BPF_TC_EGRESS, OURS));
	assert_int_equal(clsact_clean(&lo, error, sizeof(error)), 0);
	assert_false(has_qdisc());
	close(other);
}

static void test_others_stay(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact clsact = {};
	char error[ERROR_SIZE];

	attach_foreign(OTHERS, programs->foreign);
	assert_int_equal(clsact_attach(&lo, programs->ingress, programs->egress, &clsact, error,
				       sizeof(error)),
			 0);
	clsact_detach(&clsact);
	assert_true(filter_at(BPF_TC_INGRESS, OTHERS));
	assert_false(filter_at(BPF_TC_INGRESS, OURS));
	assert_int_equal(clsact_clean(&lo, error, sizeof(error)), 0);
	assert_true(filter_at(BPF_TC_INGRESS, OTHERS));
}

/* Somebody joined while we ran: the qdisc that we made has to stay for them. */
static void test_others_join(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact clsact = {};
	char error[ERROR_SIZE];

	assert_int_equal(clsact_attach(&lo, programs->ingress, -1, &clsact, error, sizeof(error)),
			 0);
	attach_foreign(OTHERS, programs->foreign);
	clsact_detach(&clsact);
	assert_true(filter_at(BPF_TC_INGRESS, OTHERS));
}

static void test_place_taken(void **state)
{
	const struct programs *programs = need_root(state);
	struct clsact clsact = {};
	uint32_t foreign;
	char error[ERROR_SIZE];

	attach_foreign(OURS, programs->foreign);
	foreign = filter_at(BPF_TC_INGRESS, OURS);
	assert_int_equal(clsact_attach(&lo, programs->ingress, -1, &clsact, error, sizeof(error)),
			 -EEXIST);
	assert_non_null(strstr(error, "tc filter show dev lo ingress"));
	assert_int_equal(filter_at(BPF_TC_INGRESS, OURS), foreign);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_leaves_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_direction, setup, teardown),
		cmocka_unit_test_setup_teardown(test_after_kill, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_join, setup, teardown),
		cmocka_unit_test_setup_teardown(test_place_taken, setup, teardown),
	};

	libbpf_set_print(quiet);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
