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
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
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

/* A look for the filter in our place. */
struct look {
	char name[64]; /* as libbpf names filters: "mplex_ingress:[17]" */
	bool found;
};

static int compare_filter(const struct nlmsghdr *message, void *data)
{
	const struct tcmsg *filter = NLMSG_DATA(message);
	struct look *look = data;
	const void *options, *name;
	size_t size, length;

	if (message->nlmsg_type != RTM_NEWTFILTER || filter->tcm_handle != HANDLE ||
	    TC_H_MAJ(filter->tcm_info) >> 16 != PRIORITY)
		return 0;
	options = netlink_attribute(message, sizeof(*filter), TCA_OPTIONS, &size);
	name = options ? netlink_nested(options, size, TCA_BPF_NAME, &length) : NULL;
	look->found |=
		name && length == strlen(look->name) + 1 && !memcmp(name, look->name, length);
	return 0;
}

/*
 * Whether a filter in our place runs our program. The kernel would tell the program's own name only
 * to CAP_SYS_ADMIN; the filter has it from whoever attached it.
 */
static bool is_ours(const struct interface *interface, const struct hook *at, uint32_t program)
{
	const struct tcmsg header = {
		.tcm_family = AF_UNSPEC,
		.tcm_ifindex = interface->index,
		.tcm_parent = at->parent,
	};
	struct look look = {};

	snprintf(look.name, sizeof(look.name), "%s:[%u]", at->program, program);
	return !netlink_dump(RTM_GETTFILTER, &header, sizeof(header), compare_filter, &look) &&
	       look.found;
}

/* Whether our filter is at a hook: *out. Another's in its place is a failure. */
static int find_filter(const struct interface *interface, const struct hook *at, bool *out,
		       char *error, size_t n)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = interface->index, .attach_point = at->point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = HANDLE, .priority = PRIORITY);
	bool there = !bpf_tc_query(&hook, &filter);

	if (there && !is_ours(interface, at, filter.prog_id))
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

	if (bpf_tc_query(&hook, &filter) || !is_ours(interface, at, filter.prog_id))
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
