/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The checks that a load asks. A kernel would refuse most of this, too, but with a number; here it
 * gets a sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>

#include "check.h"
#include "driver.h"
#include "error.h"
#include "finding.h"
#include "host.h"
#include "kernel.h"
#include "object.h"
#include "rights.h"
#include "scope.h"
#include "veth.h"

void check_rights(const struct subject *subject, struct findings *findings)
{
	(void)subject;
	/* CAP_SYS_ADMIN holds all of CAP_BPF and CAP_PERFMON. */
	if (rights_have(CAP_NET_ADMIN) &&
	    (rights_have(CAP_SYS_ADMIN) || (rights_have(CAP_BPF) && rights_have(CAP_PERFMON))))
		found(findings, "rights", VERDICT_OK, "this process may load and attach programs");
	else
		found(findings, "rights", VERDICT_PROBLEM,
		      "mplex-run needs the rights of root to load and attach programs: run it with "
		      "sudo, or give it CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
}

void check_interface(const struct subject *subject, struct findings *findings)
{
	const struct interface *interface = subject->interface;

	if (interface->loopback)
		found(findings, "interface", VERDICT_PROBLEM,
		      "%s is the loopback interface, where XDP programs are not safe; name the "
		      "interface that the clients' packets arrive on",
		      interface->name);
	else if (!interface->ethernet)
		found(findings, "interface", VERDICT_PROBLEM,
		      "%s is not an Ethernet interface, and mplex reads Ethernet frames; name one "
		      "that is",
		      interface->name);
	else if (interface->up)
		found(findings, "interface", VERDICT_OK, "%s is an Ethernet interface, and up",
		      interface->name);
	if (!interface->up) {
		found(findings, "interface", VERDICT_WARNING, "%s is down, so no packet arrives",
		      interface->name);
		mended_by(findings, "ip link set dev %s up", interface->name);
	}
}

/* Since when kernels have the functions that programs of mplexc call. */
static const char *kfunc_since(const char *name)
{
	return !strcmp(name, "bpf_sk_assign_tcp_reqsk") ? "6.8" : NULL;
}

static void look_at_kfunc(const char *path, const char *name, struct findings *findings)
{
	const char *since = kfunc_since(name);

	if (kernel_has_kfunc(name))
		found(findings, "kfunc", VERDICT_OK, "the kernel (%s) has %s", kernel_release(),
		      name);
	else if (!kernel_has_btf())
		found(findings, "kfunc", VERDICT_PROBLEM,
		      "%s needs a kernel that describes its types, and this one (%s) has no "
		      "/sys/kernel/btf/vmlinux: use a kernel with CONFIG_DEBUG_INFO_BTF",
		      path, kernel_release());
	else if (since)
		found(findings, "kfunc", VERDICT_PROBLEM,
		      "%s serves tcp, which needs Linux %s or later (the kernel function %s), and "
		      "this is %s: use a newer kernel, or a rule file with udp alone",
		      path, since, name, kernel_release());
	else
		found(findings, "kfunc", VERDICT_PROBLEM,
		      "%s needs the kernel function %s, which this kernel (%s) does not have: use "
		      "a newer kernel",
		      path, name, kernel_release());
}

void check_kfuncs(const struct subject *subject, struct findings *findings)
{
	const struct manifest *manifest = subject->manifest;

	for (size_t i = 0; i < manifest->kfunc_count; i++)
		look_at_kfunc(subject->path, manifest->kfuncs[i], findings);
}

static void look_at_sysctl(const char *object, const struct manifest_sysctl *sysctl,
			   struct findings *findings)
{
	char path[256];
	int64_t value;
	int err;

	snprintf(path, sizeof(path), "%s", sysctl->name);
	for (char *c = path; *c; c++) {
		if (*c == '.')
			*c = '/';
	}
	err = host_sysctl(path, &value, 1);
	if (err) {
		found(findings, "sysctl", VERDICT_PROBLEM, "cannot read the sysctl %s: %s",
		      sysctl->name, strerror(-err));
	} else if (value < sysctl->min) {
		found(findings, "sysctl", VERDICT_PROBLEM,
		      "the sysctl %s is %lld and %s needs at least %lld", sysctl->name,
		      (long long)value, object, (long long)sysctl->min);
		mended_by(findings, "sysctl -w %s=%lld", sysctl->name, (long long)sysctl->min);
	} else {
		found(findings, "sysctl", VERDICT_OK, "%s is %lld", sysctl->name, (long long)value);
	}
}

void check_sysctls(const struct subject *subject, struct findings *findings)
{
	const struct manifest *manifest = subject->manifest;

	for (size_t i = 0; i < manifest->sysctl_count; i++)
		look_at_sysctl(subject->path, &manifest->sysctls[i], findings);
}

/* The id of the link that holds an XDP program on an interface, or 0. */
static uint32_t find_xdp_link(unsigned ifindex, uint32_t program)
{
	uint32_t id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		SCOPED(scoped_close) int fd = bpf_link_get_fd_by_id(id);
		struct bpf_link_info info = {};
		uint32_t size = sizeof(info);

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) &&
		    info.type == BPF_LINK_TYPE_XDP && info.prog_id == program &&
		    info.xdp.ifindex == ifindex)
			return id;
	}
	return 0;
}

void check_xdp_free(const struct subject *subject, struct findings *findings)
{
	static const char *const switches[] = {
		[XDP_ATTACHED_DRV] = "xdpdrv",
		[XDP_ATTACHED_SKB] = "xdpgeneric",
		[XDP_ATTACHED_HW] = "xdpoffload",
	};
	const struct interface *interface = subject->interface;
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	SCOPED(scoped_close) int fd = -1;
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info), id, link;
	int err;

	err = bpf_xdp_query(interface->index, 0, &query);
	if (err) {
		found(findings, "xdp", VERDICT_PROBLEM, "cannot ask for the XDP program of %s: %s",
		      interface->name, strerror(-err));
		return;
	}
	if (query.attach_mode == XDP_ATTACHED_NONE) {
		found(findings, "xdp", VERDICT_OK, "%s has no XDP program", interface->name);
		return;
	}
	id = query.prog_id	 ? query.prog_id
	     : query.drv_prog_id ? query.drv_prog_id
	     : query.skb_prog_id ? query.skb_prog_id
				 : query.hw_prog_id;
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		strcpy(info.name, "?");

	found(findings, "xdp", VERDICT_PROBLEM,
	      "%s already has an XDP program, %s (id %u): end the program that holds it, or take it "
	      "off",
	      interface->name, info.name, id);
	link = find_xdp_link(interface->index, id);
	/* The one that libxdp puts in front of several. */
	if (!strcmp(info.name, "xdp_dispatcher"))
		mended_by(findings, "xdp-loader unload %s --all", interface->name);
	else if (link)
		mended_by(findings, "bpftool link detach id %u", link);
	else
		mended_by(findings, "ip link set dev %s %s off", interface->name,
			  query.attach_mode < sizeof(switches) / sizeof(*switches)
				  ? switches[query.attach_mode]
				  : "xdp");
}

void check_vlan(const struct subject *subject, struct findings *findings)
{
	const struct interface *interface = subject->interface;
	bool above, stripped = driver_own_feature(interface, "rx-vlan-hw-parse");
	char vlan[IFNAMSIZ];

	above = host_vlan_above(interface, vlan);
	/* Only tcp answers; what is passed on keeps its tag. */
	if (subject->manifest && !manifest_has(subject->manifest, MANIFEST_TCP)) {
		found(findings, "vlan", VERDICT_OK, "the rules answer nothing, so tags stay");
	} else if (!above || !stripped) {
		found(findings, "vlan", VERDICT_OK, "%s has %s VLAN device above it and %s tags",
		      interface->name, above ? "a" : "no",
		      stripped ? "takes off" : "leaves XDP their");
	} else {
		found(findings, "vlan", subject->manifest ? VERDICT_PROBLEM : VERDICT_WARNING,
		      "%s has the VLAN device %s above it and takes VLAN tags off before XDP sees "
		      "them, so answers to tcp clients would leave without%s",
		      interface->name, vlan,
		      strcmp(interface->driver, "veth") ? ""
							: "; on a veth, its peer needs txvlan off");
		mended_by(findings, "ethtool -K %s rxvlan off", interface->name);
	}
}

void check_veth(const struct subject *subject, struct findings *findings)
{
	const struct interface *interface = subject->interface;
	struct veth_peer peer;

	if (subject->mode != MODE_NATIVE || strcmp(interface->driver, "veth") ||
	    (subject->manifest && !manifest_has(subject->manifest, MANIFEST_TCP)))
		return;
	if (veth_find_peer(interface, &peer)) {
		found(findings, "veth", VERDICT_WARNING,
		      "%s is a veth: its peer, which cannot be asked from here, needs generic "
		      "receive offload (\"ethtool -K PEER gro on\") or a native XDP program, or the "
		      "answers to tcp clients vanish; bulk uploads through it slow down, \"--mode "
		      "generic\" keeps their speed",
		      interface->name);
	} else if (!peer.ready) {
		found(findings, "veth", VERDICT_PROBLEM,
		      "%s is a veth: its peer %s needs generic receive offload or a native XDP "
		      "program, or the answers to tcp clients vanish",
		      interface->name, peer.name);
		mended_by(findings, "%sethtool -K %s gro on", peer.enter, peer.name);
	} else {
		found(findings, "veth", VERDICT_OK,
		      "the peer %s takes answers; bulk uploads through a veth slow down, \"--mode "
		      "generic\" keeps their speed",
		      peer.name);
	}
}

int check_require(check *check, const struct subject *subject, char *error, size_t n)
{
	SCOPED(findings_free) struct findings findings = {};

	check(subject, &findings);
	for (size_t i = 0; i < findings.count; i++) {
		if (findings.list[i].verdict == VERDICT_PROBLEM) {
			finding_sentence(&findings.list[i], error, n);
			return -EINVAL;
		}
	}
	return findings.incomplete ? failed(error, n, ENOMEM, "out of memory") : 0;
}
