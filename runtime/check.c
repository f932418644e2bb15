/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What has to hold before an object is loaded. A kernel would refuse most of this, too, but with a
 * number; here it gets a sentence.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>

#include "check.h"
#include "error.h"
#include "host.h"
#include "kernel.h"
#include "object.h"
#include "scope.h"

static bool has_capability(const struct __user_cap_data_struct *data, int capability)
{
	return data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

int check_rights(char *error, size_t n)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

	syscall(SYS_capget, &header, data);
	/* CAP_SYS_ADMIN holds all of CAP_BPF and CAP_PERFMON. */
	if (has_capability(data, CAP_NET_ADMIN) &&
	    (has_capability(data, CAP_SYS_ADMIN) ||
	     (has_capability(data, CAP_BPF) && has_capability(data, CAP_PERFMON))))
		return 0;
	return failed(error, n, EPERM,
		      "mplex-run needs the rights of root to load and attach programs: run it with "
		      "sudo, or give it CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
}

/* Since when kernels have the functions that programs of mplexc call. */
static const char *kfunc_since(const char *name)
{
	return !strcmp(name, "bpf_sk_assign_tcp_reqsk") ? "6.8" : NULL;
}

int check_kernel(const struct object *object, char *error, size_t n)
{
	const struct manifest *manifest = &object->manifest;

	for (size_t i = 0; i < manifest->kfunc_count; i++) {
		const char *name = manifest->kfuncs[i];
		const char *since = kfunc_since(name);

		if (kernel_has_kfunc(name))
			continue;
		if (access("/sys/kernel/btf/vmlinux", R_OK))
			return failed(error, n, EOPNOTSUPP,
				      "%s needs a kernel that describes its types, and this one "
				      "(%s) has no /sys/kernel/btf/vmlinux: use a kernel with "
				      "CONFIG_DEBUG_INFO_BTF",
				      object->path, kernel_release());
		if (since)
			return failed(error, n, EOPNOTSUPP,
				      "%s serves tcp, which needs Linux %s or later (the kernel "
				      "function %s), and this is %s: use a newer kernel, or a rule "
				      "file with udp alone",
				      object->path, since, name, kernel_release());
		return failed(error, n, EOPNOTSUPP,
			      "%s needs the kernel function %s, which this kernel (%s) does not "
			      "have: use a newer kernel",
			      object->path, name, kernel_release());
	}
	return 0;
}

int check_sysctls(const struct object *object, char *error, size_t n)
{
	const struct manifest *manifest = &object->manifest;

	for (size_t i = 0; i < manifest->sysctl_count; i++) {
		const struct manifest_sysctl *sysctl = &manifest->sysctls[i];
		char path[256];
		int64_t value;
		int err;

		snprintf(path, sizeof(path), "%s", sysctl->name);
		for (char *c = path; *c; c++) {
			if (*c == '.')
				*c = '/';
		}
		err = host_sysctl(path, &value, 1);
		if (err)
			return failed(error, n, -err, "cannot read the sysctl %s: %s", sysctl->name,
				      strerror(-err));
		if (value < sysctl->min)
			return failed(error, n, EINVAL,
				      "the sysctl %s is %lld and %s needs at least %lld: run "
				      "\"sysctl -w %s=%lld\"",
				      sysctl->name, (long long)value, object->path,
				      (long long)sysctl->min, sysctl->name, (long long)sysctl->min);
	}
	return 0;
}

int check_interface(const struct interface *interface, char *error, size_t n)
{
	if (interface->loopback)
		return failed(error, n, EINVAL,
			      "%s is the loopback interface, where XDP programs are not safe; name "
			      "the interface that the clients' packets arrive on",
			      interface->name);
	if (!interface->ethernet)
		return failed(error, n, EINVAL,
			      "%s is not an Ethernet interface, and mplex reads Ethernet frames; "
			      "name one that is",
			      interface->name);
	return 0;
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

int check_xdp_free(const struct interface *interface, char *error, size_t n)
{
	static const char *const switches[] = {
		[XDP_ATTACHED_DRV] = "xdpdrv",
		[XDP_ATTACHED_SKB] = "xdpgeneric",
		[XDP_ATTACHED_HW] = "xdpoffload",
	};
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	SCOPED(scoped_close) int fd = -1;
	struct bpf_prog_info info = {};
	uint32_t size = sizeof(info), id, link;
	char remedy[128];
	int err;

	err = bpf_xdp_query(interface->index, 0, &query);
	if (err)
		return failed(error, n, -err, "cannot ask for the XDP program of %s: %s",
			      interface->name, strerror(-err));
	if (query.attach_mode == XDP_ATTACHED_NONE)
		return 0;
	id = query.prog_id	 ? query.prog_id
	     : query.drv_prog_id ? query.drv_prog_id
	     : query.skb_prog_id ? query.skb_prog_id
				 : query.hw_prog_id;
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		strcpy(info.name, "?");

	link = find_xdp_link(interface->index, id);
	if (link)
		snprintf(remedy, sizeof(remedy), "bpftool link detach id %u", link);
	else
		snprintf(remedy, sizeof(remedy), "ip link set dev %s %s off", interface->name,
			 query.attach_mode < sizeof(switches) / sizeof(*switches)
				 ? switches[query.attach_mode]
				 : "xdp");
	return failed(error, n, EBUSY,
		      "%s already has an XDP program, %s (id %u): end the program that holds it, "
		      "or run \"%s\"",
		      interface->name, info.name, id, remedy);
}

int check_vlan(const struct interface *interface, const struct object *object, char *error,
	       size_t n)
{
	char vlan[IFNAMSIZ];

	/* Only tcp answers; what is passed on keeps its tag. */
	if (!manifest_has(&object->manifest, MANIFEST_TCP) || !host_strips_vlan(interface) ||
	    !host_vlan_above(interface, vlan))
		return 0;
	return failed(error, n, EINVAL,
		      "%s has the VLAN device %s above it and takes VLAN tags off before XDP sees "
		      "them, so answers would leave without: run \"ethtool -K %s rxvlan off\"%s",
		      interface->name, vlan, interface->name,
		      strcmp(interface->driver, "veth") ? "" : ", and \"txvlan off\" on its peer");
}

int check_veth(const struct interface *interface, const struct object *object, enum mode mode,
	       char *error, size_t n)
{
	if (mode != MODE_NATIVE || strcmp(interface->driver, "veth") ||
	    !manifest_has(&object->manifest, MANIFEST_TCP) || host_peer_has_gro(interface))
		return 0;
	return failed(error, n, ENETUNREACH,
		      "%s is a veth: its peer needs generic receive offload (\"ethtool -K PEER gro "
		      "on\") or a native XDP program, or the answers to tcp clients vanish; bulk "
		      "uploads through it slow down, \"--mode generic\" keeps their speed",
		      interface->name);
}
