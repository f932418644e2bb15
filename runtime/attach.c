/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Puts the programs of an object on an interface: all of them or none.
 *
 * XDP and tcx hold their programs by links, and a link lives as long as its file descriptor, so a
 * process that dies leaves nothing. TC comes first and goes last: once XDP judges a segment, TC has
 * to be there to hand it over.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "attach.h"
#include "error.h"
#include "host.h"
#include "object.h"
#include "scope.h"

/* Newer than the headers and the libbpf that this is compiled with. */
enum {
	TCX_INGRESS = 46, /* BPF_TCX_INGRESS */
	TCX_EGRESS = 47,  /* BPF_TCX_EGRESS */
	BEFORE = 1 << 3,  /* BPF_F_BEFORE; before all, where no other is named */
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

static void scoped_detach(struct attachment *attachment)
{
	detach(attachment);
}

static int program_fd(const struct bpf_program *program)
{
	return program ? bpf_program__fd(program) : -1;
}

/* Without a program nothing is done; *link is set on success only. */
static int link_tcx(const struct bpf_program *program, unsigned ifindex, int where, int *link)
{
	/* First, because a program before ours that does not say "next" would keep ours out. */
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = BEFORE);
	int fd;

	if (!program)
		return 0;
	fd = bpf_link_create(bpf_program__fd(program), ifindex, where, &options);
	if (fd < 0)
		return fd;
	*link = fd;
	return 0;
}

static int attach_tc(const struct object *object, const struct interface *interface,
		     struct attachment *attachment, char *error, size_t n)
{
	int err;

	if (!object->ingress && !object->egress)
		return clsact_clean(interface, error, n);
	err = link_tcx(object->ingress, interface->index, TCX_INGRESS, &attachment->ingress);
	if (!err)
		err = link_tcx(object->egress, interface->index, TCX_EGRESS, &attachment->egress);
	if (!err)
		return 0;
	/* That is how a kernel says that it does not know what a tcx is. */
	if (err == -EINVAL && attachment->ingress < 0)
		return clsact_attach(interface, program_fd(object->ingress),
				     program_fd(object->egress), &attachment->clsact, error, n);
	return failed(error, n, -err, "cannot attach the TC programs to %s: %s", interface->name,
		      strerror(-err));
}

/* What a refused XDP attach means, as far as that can be told. */
static int explain_xdp(int err, const struct object *object, const struct interface *interface,
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
			name, interface->driver, interface->mtu, name, name, object->path);
	if (mode == MODE_NATIVE && !strcmp(interface->driver, "virtio_net") &&
	    (err == EOPNOTSUPP || err == EINVAL || err == ENOMEM))
		return failed(
			error, n, err,
			"the driver of %s (virtio_net) refuses native XDP: %s; it needs "
			"\"ethtool -K %s gro-hw off lro off\" and queues to spare (\"ethtool "
			"-L %s combined 1\"), or run \"mplex-run %s %s --mode generic\", which "
			"is slower",
			name, strerror(err), name, name, name, object->path);
	if (mode == MODE_NATIVE && err == EOPNOTSUPP)
		return failed(
			error, n, err,
			"the driver of %s (%s) does not support native XDP: run \"mplex-run %s "
			"%s --mode generic\", which is slower",
			name, interface->driver[0] ? interface->driver : "unknown", name,
			object->path);
	return failed(error, n, err, "the kernel refuses XDP in %s mode on %s: %s%s%s%s%s%s",
		      mode_name(mode), name, strerror(err),
		      mode == MODE_NATIVE ? "; \"mplex-run " : "", mode == MODE_NATIVE ? name : "",
		      mode == MODE_NATIVE ? " " : "", mode == MODE_NATIVE ? object->path : "",
		      mode == MODE_NATIVE ? " --mode generic\" may work and is slower" : "");
}

static int attach_xdp(const struct object *object, const struct interface *interface,
		      enum mode mode, struct attachment *attachment, char *error, size_t n)
{
	LIBBPF_OPTS(bpf_link_create_opts, options,
		    .flags = mode == MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int fd = bpf_link_create(bpf_program__fd(object->xdp), interface->index, BPF_XDP, &options);

	if (fd < 0)
		return explain_xdp(-fd, object, interface, mode, error, n);
	attachment->xdp = fd;
	return 0;
}

int attach(const struct object *object, const struct interface *interface, enum mode mode,
	   struct attachment *out, char *error, size_t n)
{
	SCOPED(scoped_detach)
	struct attachment attachment = {.xdp = -1, .ingress = -1, .egress = -1};
	int err;

	err = attach_tc(object, interface, &attachment, error, n);
	if (!err)
		err = attach_xdp(object, interface, mode, &attachment, error, n);
	if (err)
		return err;
	*out = attachment;
	attachment = (struct attachment){.xdp = -1, .ingress = -1, .egress = -1};
	return 0;
}

static void drop_link(int *link)
{
	if (*link >= 0)
		close(*link);
	*link = -1;
}

void detach(struct attachment *attachment)
{
	drop_link(&attachment->xdp);
	drop_link(&attachment->ingress);
	drop_link(&attachment->egress);
	clsact_detach(&attachment->clsact);
}
