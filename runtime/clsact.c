/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC programs on kernels without tcx (before Linux 6.6): filters of a clsact qdisc.
 *
 * No file descriptor and no pin holds a filter, so it stays until it is removed. It is known again
 * by its place and by its program's name; whatever else is there belongs to others and is left
 * alone.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "clsact.h"
#include "error.h"
#include "host.h"
#include "netlink.h"
#include "scope.h"

/*
 * Early, since a filter before ours could end the run of all; and a number that nobody else is
 * likely to have, since a priority belongs to one kind of filter.
 */
enum {
	PRIORITY = 97,
	HANDLE = 1,
};

struct hook {
	enum bpf_tc_attach_point point;
	const char *program;
	const char *direction; /* as tc has it */
	uint32_t parent;
};

static const struct hook hooks[] = {
	{BPF_TC_INGRESS, "mplex_ingress", "ingress", TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)},
	{BPF_TC_EGRESS, "mplex_egress", "egress", TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)},
};

/* The name of a program in the kernel; false where it cannot be told. */
static bool program_is(uint32_t id, const char *name)
{
	SCOPED(scoped_close) int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && !strcmp(info.name, name);
}

static int remove_filter(int ifindex, const struct hook *at)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = at->point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = HANDLE, .priority = PRIORITY);

	return bpf_tc_detach(&hook, &filter);
}

static int count_filter(const struct nlmsghdr *message, void *data)
{
	if (message->nlmsg_type == RTM_NEWTFILTER)
		(*(int *)data)++;
	return 0;
}

/* Whether no filter is left at the qdisc; false where it cannot be told. */
static bool is_empty(int ifindex)
{
	int count = 0;

	for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++) {
		struct tcmsg header = {
			.tcm_family = AF_UNSPEC,
			.tcm_ifindex = ifindex,
			.tcm_parent = hooks[i].parent,
		};

		if (netlink_dump(RTM_GETTFILTER, &header, sizeof(header), count_filter, &count))
			return false;
	}
	return !count;
}

/* Whether our filter is at a hook: *out. Another's in its place is a failure. */
static int find_filter(const struct interface *interface, const struct hook *at, bool *out,
		       char *error, size_t n)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = interface->index, .attach_point = at->point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = HANDLE, .priority = PRIORITY);
	bool there = !bpf_tc_query(&hook, &filter);

	if (there && !program_is(filter.prog_id, at->program))
		return failed(error, n, EEXIST,
			      "a TC filter of another program has the place on %s that mplex uses; "
			      "\"tc filter show dev %s %s\" shows it under pref %d",
			      interface->name, interface->name, at->direction, PRIORITY);
	*out = there;
	return 0;
}

uint32_t clsact_program(const struct interface *interface, bool ingress)
{
	const struct hook *at = &hooks[ingress ? 0 : 1];
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = interface->index, .attach_point = at->point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = HANDLE, .priority = PRIORITY);

	if (bpf_tc_query(&hook, &filter) || !program_is(filter.prog_id, at->program))
		return 0;
	return filter.prog_id;
}

static void destroy_if_empty(int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, qdisc, .ifindex = ifindex,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	if (is_empty(ifindex))
		bpf_tc_hook_destroy(&qdisc);
}

int clsact_find(const struct interface *interface, struct clsact *out, char *error, size_t n)
{
	struct clsact clsact = {.ifindex = interface->index};
	int err = find_filter(interface, &hooks[0], &clsact.ingress, error, n);

	if (!err)
		err = find_filter(interface, &hooks[1], &clsact.egress, error, n);
	if (err)
		return err;
	/* Whoever left the filters most likely made the qdisc. */
	clsact.made = clsact.ingress || clsact.egress;
	*out = clsact;
	return 0;
}

int clsact_clean(const struct interface *interface, char *error, size_t n)
{
	struct clsact clsact;
	int err = clsact_find(interface, &clsact, error, n);

	if (!err)
		clsact_detach(&clsact);
	return err;
}

static int set_filter(const struct interface *interface, const struct hook *at, int program,
		      char *error, size_t n)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = interface->index, .attach_point = at->point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = HANDLE, .priority = PRIORITY, .prog_fd = program,
		    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_attach(&hook, &filter);

	return err ? failed(error, n, -err, "cannot attach %s to %s: %s", at->program,
			    interface->name, strerror(-err))
		   : 0;
}

void clsact_trim(struct clsact *clsact, bool ingress, bool egress)
{
	if (clsact->ingress && !ingress)
		remove_filter(clsact->ifindex, &hooks[0]);
	if (clsact->egress && !egress)
		remove_filter(clsact->ifindex, &hooks[1]);
	clsact->ingress &= ingress;
	clsact->egress &= egress;
	if (clsact->made && !clsact->ingress && !clsact->egress) {
		destroy_if_empty(clsact->ifindex);
		clsact->made = false;
	}
}

void clsact_detach(struct clsact *clsact)
{
	clsact_trim(clsact, false, false);
}

int clsact_attach(const struct interface *interface, int ingress, int egress, struct clsact *clsact,
		  char *error, size_t n)
{
	LIBBPF_OPTS(bpf_tc_hook, qdisc, .ifindex = interface->index,
		    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct clsact there;
	int err = clsact_find(interface, &there, error, n);

	if (err)
		return err;
	err = bpf_tc_hook_create(&qdisc);
	if (err && err != -EEXIST)
		return failed(error, n, -err, "cannot make a clsact qdisc on %s: %s",
			      interface->name, strerror(-err));
	there.made |= !err;
	err = 0;
	if (ingress >= 0)
		err = set_filter(interface, &hooks[0], ingress, error, n);
	there.ingress |= ingress >= 0 && !err;
	if (!err && egress >= 0)
		err = set_filter(interface, &hooks[1], egress, error, n);
	there.egress |= egress >= 0 && !err;
	if (err)
		clsact_trim(&there, clsact->ingress, clsact->egress);
	*clsact = there;
	return err;
}
