/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How the programs of an object are held on an interface.
 *
 * XDP and tcx hold their programs by links. A link lives as long as its file descriptor, so a
 * process that dies leaves nothing; or as long as its pin. An update of a link changes the program
 * at once: no packet goes by unjudged. TC comes first and goes last: once XDP judges a segment, TC
 * has to be there to hand it over.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "attach.h"
#include "error.h"
#include "generation.h"
#include "host.h"
#include "scope.h"

/* Newer than the headers and the libbpf that this is compiled with. */
enum {
	TCX_INGRESS = 46, /* BPF_TCX_INGRESS */
	TCX_EGRESS = 47,  /* BPF_TCX_EGRESS */
	BEFORE = 1 << 3,  /* BPF_F_BEFORE; before all, where no other is named */
};

enum {
	PATH_SIZE = 256,
	TCX_PROGRAMS_MAX = 64, /* at a hook, in the kernel */
};

const char *mode_name(enum mode mode)
{
	return mode == MODE_NATIVE ? "native" : "generic";
}

const char *attachment_tc(const struct attachment *attachment)
{
	if (attachment->clsact.ingress || attachment->clsact.egress)
		return "clsact";
	return attachment->ingress >= 0 || attachment->egress >= 0 ? "tcx" : "";
}

/* A link's or a program's facts; false where they cannot be had. */
static bool link_info(int link, struct bpf_link_info *info)
{
	uint32_t size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return link >= 0 && !bpf_obj_get_info_by_fd(link, info, &size);
}

int attachment_program(const struct attachment *attachment, uint32_t *out)
{
	struct bpf_link_info info = {};

	if (attachment->xdp >= 0 && !link_info(attachment->xdp, &info))
		return -errno;
	/* A link outlives its interface, but then it has none. */
	*out = info.xdp.ifindex ? info.prog_id : 0;
	return 0;
}

bool tc_program_runs(const struct interface *interface, bool ingress, uint32_t id)
{
	int where = ingress ? TCX_INGRESS : TCX_EGRESS;
	uint32_t ids[TCX_PROGRAMS_MAX], count = TCX_PROGRAMS_MAX;

	if (!bpf_prog_query(interface->index, (enum bpf_attach_type)where, 0, NULL, ids, &count)) {
		for (uint32_t i = 0; i < count; i++) {
			if (ids[i] == id)
				return true;
		}
	}
	return clsact_program(interface, ingress) == id;
}

static void pin_path(const struct attachment *attachment, const char *name, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "%s/%s", attachment->pins, name);
}

/* A link that was just made lives on in its pin, or goes with its file descriptor. */
static int keep(struct attachment *attachment, const char *name, int fd, int *link)
{
	char path[PATH_SIZE];

	if (attachment->pins) {
		pin_path(attachment, name, path);
		if (bpf_obj_pin(fd, path)) {
			int err = -errno;

			close(fd);
			return err;
		}
	}
	*link = fd;
	return 0;
}

static void drop(struct attachment *attachment, const char *name, int *link)
{
	char path[PATH_SIZE];

	if (*link < 0)
		return;
	if (attachment->pins) {
		pin_path(attachment, name, path);
		unlink(path);
	}
	close(*link);
	*link = -1;
}

static int open_link(const struct attachment *attachment, const char *name, int *link)
{
	char path[PATH_SIZE];
	int fd;

	pin_path(attachment, name, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	*link = fd;
	return 0;
}

int attachment_open(struct attachment *attachment, const struct interface *interface, char *error,
		    size_t n)
{
	int err = 0;

	if (attachment->pins) {
		err = open_link(attachment, "xdp", &attachment->xdp);
		if (!err)
			err = open_link(attachment, "ingress", &attachment->ingress);
		if (!err)
			err = open_link(attachment, "egress", &attachment->egress);
		if (err)
			return failed(error, n, -err, "cannot open the links in %s: %s",
				      attachment->pins, strerror(-err));
	}
	if (interface)
		err = clsact_find(interface, &attachment->clsact, error, n);
	/* Another's filter in our place matters only to who needs the place. */
	return err == -EEXIST ? 0 : err;
}

void attachment_close(struct attachment *attachment)
{
	scoped_close(&attachment->xdp);
	scoped_close(&attachment->ingress);
	scoped_close(&attachment->egress);
	*attachment = NO_ATTACHMENT;
}

/* Without a program nothing is done. */
static int set_tcx(struct attachment *attachment, const char *name, unsigned ifindex, int where,
		   int program, int *link)
{
	/* First, because a program before ours that does not say "next" would keep ours out. */
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = BEFORE);
	struct bpf_link_info info;
	int fd;

	if (program < 0)
		return 0;
	if (*link >= 0) {
		if (!link_info(*link, &info))
			return -errno;
		if (info.prog_id == program_id(program))
			return 0;
		return bpf_link_update(*link, program, NULL) ? -errno : 0;
	}
	fd = bpf_link_create(program, ifindex, where, &options);
	return fd < 0 ? fd : keep(attachment, name, fd, link);
}

int attach_tc(struct attachment *attachment, const struct interface *interface,
	      const struct programs *programs, char *error, size_t n)
{
	bool filters = attachment->clsact.ingress || attachment->clsact.egress;
	int err = 0;

	if (!filters)
		err = set_tcx(attachment, "ingress", interface->index, TCX_INGRESS,
			      programs->ingress, &attachment->ingress);
	if (!filters && !err)
		err = set_tcx(attachment, "egress", interface->index, TCX_EGRESS, programs->egress,
			      &attachment->egress);
	/* That is how a kernel says that it does not know what a tcx is. */
	if (filters || (err == -EINVAL && attachment->ingress < 0))
		return clsact_attach(interface, programs->ingress, programs->egress,
				     &attachment->clsact, error, n);
	return err ? failed(error, n, -err, "cannot attach the TC programs to %s: %s",
			    interface->name, strerror(-err))
		   : 0;
}

/* What a refused XDP attach means, as far as that can be told. */
static int explain_xdp(int err, const char *object, const struct interface *interface,
		       enum mode mode, char *error, size_t n)
{
	const char *name = interface->name;

	if (err == EBUSY || err == EEXIST)
		return failed(
			error, n, err,
			"%s has got another XDP program just now; \"ip -details link show dev "
			"%s\" shows it",
			name, name);
	if (mode == MODE_NATIVE && interface->mtu > ONE_PAGE_MTU &&
	    (err == EINVAL || err == ERANGE || err == EOPNOTSUPP))
		return failed(
			error, n, err,
			"the driver of %s (%s) refuses native XDP, most likely for the MTU of "
			"%u: run \"ip link set dev %s mtu 1500\", or \"mplex-run %s %s --mode "
			"generic\", which is slower",
			name, interface->driver, interface->mtu, name, name, object);
	if (mode == MODE_NATIVE && !strcmp(interface->driver, "virtio_net") &&
	    (err == EOPNOTSUPP || err == EINVAL || err == ENOMEM))
		return failed(
			error, n, err,
			"the driver of %s (virtio_net) refuses native XDP: %s; it needs "
			"\"ethtool -K %s gro-hw off lro off\" and queues to spare (\"ethtool "
			"-L %s combined 1\"), or run \"mplex-run %s %s --mode generic\", which "
			"is slower",
			name, strerror(err), name, name, name, object);
	if (mode == MODE_NATIVE && err == EOPNOTSUPP)
		return failed(
			error, n, err,
			"the driver of %s (%s) does not support native XDP: run \"mplex-run %s "
			"%s --mode generic\", which is slower",
			name, interface->driver[0] ? interface->driver : "unknown", name, object);
	return failed(error, n, err, "the kernel refuses XDP in %s mode on %s: %s%s%s%s%s%s",
		      mode_name(mode), name, strerror(err),
		      mode == MODE_NATIVE ? "; \"mplex-run " : "", mode == MODE_NATIVE ? name : "",
		      mode == MODE_NATIVE ? " " : "", mode == MODE_NATIVE ? object : "",
		      mode == MODE_NATIVE ? " --mode generic\" may work and is slower" : "");
}

int attach_xdp(struct attachment *attachment, const struct interface *interface, enum mode mode,
	       int program, const char *object, char *error, size_t n)
{
	LIBBPF_OPTS(bpf_link_create_opts, options,
		    .flags = mode == MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int fd, err;

	if (attachment->xdp >= 0) {
		if (bpf_link_update(attachment->xdp, program, NULL))
			return explain_xdp(errno, object, interface, mode, error, n);
		return 0;
	}
	fd = bpf_link_create(program, interface->index, BPF_XDP, &options);
	if (fd < 0)
		return explain_xdp(-fd, object, interface, mode, error, n);
	err = keep(attachment, "xdp", fd, &attachment->xdp);
	return err ? failed(error, n, -err, "cannot pin %s/xdp: %s", attachment->pins,
			    strerror(-err))
		   : 0;
}

void detach_tc(struct attachment *attachment, const struct programs *programs)
{
	if (programs->ingress < 0)
		drop(attachment, "ingress", &attachment->ingress);
	if (programs->egress < 0)
		drop(attachment, "egress", &attachment->egress);
	clsact_trim(&attachment->clsact, programs->ingress >= 0, programs->egress >= 0);
}

void detach(struct attachment *attachment)
{
	drop(attachment, "xdp", &attachment->xdp);
	detach_tc(attachment, &(struct programs){.xdp = -1, .ingress = -1, .egress = -1});
}
