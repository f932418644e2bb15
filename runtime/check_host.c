/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What only the doctor asks of the kernel and of the interface: things that a load finds out by
 * itself, or that make mplex slower or do less than it could.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include <linux/capability.h>
#include <linux/magic.h>

#include "check.h"
#include "constants.h"
#include "driver.h"
#include "error.h"
#include "finding.h"
#include "host.h"
#include "kernel.h"
#include "object.h"
#include "rights.h"
#include "scope.h"

enum {
	STANDARD_MTU = 1500
};

static void look_at_jit(struct findings *findings)
{
	int jit = kernel_has_jit();

	if (jit < 0) {
		found(findings, "jit", VERDICT_UNKNOWN,
		      "whether the kernel compiles BPF programs cannot be tried: %s",
		      strerror(-jit));
	} else if (!jit) {
		found(findings, "jit", VERDICT_WARNING,
		      "the kernel interprets BPF programs, which is several times slower");
		mended_by(findings, "sysctl -w net.core.bpf_jit_enable=1");
	} else {
		found(findings, "jit", VERDICT_OK, "the kernel compiles BPF programs");
	}
}

void check_kernel(const struct subject *subject, struct findings *findings)
{
	int tcx;

	if (!kernel_has_btf())
		found(findings, "btf", VERDICT_WARNING,
		      "this kernel (%s) has no /sys/kernel/btf/vmlinux, so rules for tcp cannot run: "
		      "use a kernel with CONFIG_DEBUG_INFO_BTF",
		      kernel_release());
	else
		found(findings, "btf", VERDICT_OK, "the kernel (%s) describes its types",
		      kernel_release());
	tcx = kernel_has_tcx(subject->interface->index);
	if (tcx < 0)
		found(findings, "tcx", VERDICT_UNKNOWN,
		      "cannot ask how TC programs are attached: %s", strerror(-tcx));
	else
		found(findings, "tcx", VERDICT_OK, "TC programs are attached by %s",
		      tcx ? "tcx" : "a clsact qdisc, since this kernel has no tcx (Linux 6.6)");
	found(findings, "frags", VERDICT_OK,
	      kernel_has_frags() ? "XDP sees packets of several buffers"
				 : "XDP sees packets of one buffer only, before Linux 5.18");
	look_at_jit(findings);
}

void check_memlock(const struct subject *subject, struct findings *findings)
{
	struct rlimit limit;

	(void)subject;
	if (!kernel_limits_locked_memory() || getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	/* libbpf raises it where this process may. */
	if (limit.rlim_max == RLIM_INFINITY || rights_have(CAP_SYS_RESOURCE)) {
		found(findings, "memlock", VERDICT_OK, "locked memory is not limited");
		return;
	}
	found(findings, "memlock", VERDICT_PROBLEM,
	      "this kernel (%s) counts BPF maps as locked memory, and %llu bytes of it are allowed",
	      kernel_release(), (unsigned long long)limit.rlim_max);
	mended_by(findings, "ulimit -l unlimited");
}

void check_bpffs(const struct subject *subject, struct findings *findings)
{
	struct statfs info;

	(void)subject;
	if (!statfs("/sys/fs/bpf", &info) && info.f_type == BPF_FS_MAGIC) {
		found(findings, "bpffs", VERDICT_OK, "/sys/fs/bpf is mounted");
		return;
	}
	found(findings, "bpffs", VERDICT_WARNING,
	      "/sys/fs/bpf is not mounted, so nothing can be pinned there");
	mended_by(findings, "mount -t bpf bpf /sys/fs/bpf");
}

/* ---- the driver ---------------------------------------------------------------------------- */

/* What is known of native mode there: features are those of driver_xdp_features. */
static void look_at_native(const struct interface *interface, int err, uint64_t features,
			   struct findings *findings)
{
	const char *driver = interface->driver[0] ? interface->driver : "unknown";

	if (err == -EOPNOTSUPP) {
		found(findings, "native", VERDICT_UNKNOWN,
		      "this kernel (%s) does not tell whether the driver of %s (%s) runs XDP in "
		      "native mode: a run will say so",
		      kernel_release(), interface->name, driver);
	} else if (err) {
		found(findings, "native", VERDICT_UNKNOWN,
		      "cannot ask for the XDP features of %s: %s", interface->name, strerror(-err));
	} else if (features & DRIVER_XDP) {
		found(findings, "native", VERDICT_OK,
		      "the driver of %s (%s) runs XDP in native mode", interface->name, driver);
	} else {
		found(findings, "native", VERDICT_PROBLEM,
		      "the driver of %s (%s) does not run XDP in native mode: run mplex-run with "
		      "\"--mode generic\", which is slower",
		      interface->name, driver);
	}
}

static void look_at_mtu(const struct interface *interface, int err, uint64_t features,
			struct findings *findings)
{
	if (interface->mtu <= ONE_PAGE_MTU) {
		found(findings, "mtu", VERDICT_OK, "packets of %u bytes fit one page",
		      interface->mtu);
	} else if (!kernel_has_frags()) {
		found(findings, "mtu", VERDICT_PROBLEM,
		      "packets of %u bytes need several buffers, which XDP takes since Linux 5.18, "
		      "and this is %s",
		      interface->mtu, kernel_release());
		mended_by(findings, "ip link set dev %s mtu %u", interface->name, STANDARD_MTU);
	} else if (!err && features & DRIVER_XDP && !(features & DRIVER_XDP_FRAGS)) {
		found(findings, "mtu", VERDICT_PROBLEM,
		      "packets of %u bytes need several buffers, which the driver of %s (%s) does "
		      "not hand to XDP",
		      interface->mtu, interface->name, interface->driver);
		mended_by(findings, "ip link set dev %s mtu %u", interface->name, STANDARD_MTU);
	} else if (err || !(features & DRIVER_XDP)) {
		found(findings, "mtu", VERDICT_UNKNOWN,
		      "packets of %u bytes need several buffers, and it cannot be told whether the "
		      "driver of %s hands these to XDP",
		      interface->mtu, interface->name);
	} else {
		found(findings, "mtu", VERDICT_OK,
		      "packets of %u bytes need several buffers, which kernel and driver take",
		      interface->mtu);
	}
}

/* What joins packets in hardware hides their lengths, and drivers refuse XDP beside it. */
static void look_at_joining(const struct interface *interface, struct findings *findings)
{
	static const struct {
		const char *name, *option, *words;
	} features[] = {
		{"rx-lro", "lro", "large receive offload"},
		{"rx-gro-hw", "rx-gro-hw", "receive offload in hardware"},
	};
	bool any = false;

	for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++) {
		if (!driver_own_feature(interface, features[i].name))
			continue;
		any = true;
		found(findings, "offload", VERDICT_WARNING,
		      "%s has %s on, which joins messages before XDP sees them, and many drivers "
		      "refuse XDP with it",
		      interface->name, features[i].words);
		mended_by(findings, "ethtool -K %s %s off", interface->name, features[i].option);
	}
	if (!any)
		found(findings, "offload", VERDICT_OK, "%s joins no packets before XDP sees them",
		      interface->name);
}

void check_driver(const struct subject *subject, struct findings *findings)
{
	const struct interface *interface = subject->interface;
	uint64_t features = 0;
	int err;

	if (subject->mode == MODE_GENERIC) {
		found(findings, "generic", VERDICT_OK,
		      "generic mode works with every driver and is slower");
		return;
	}
	err = driver_xdp_features(interface, &features);
	look_at_native(interface, err, features, findings);
	look_at_mtu(interface, err, features, findings);
	look_at_joining(interface, findings);
}

/* ---- the object ---------------------------------------------------------------------------- */

void check_addresses(const struct subject *subject, struct findings *findings)
{
	SCOPED(addresses_free) struct addresses own = {};
	char error[ERROR_SIZE];

	if (!constants_use_addresses(subject->object))
		return;
	if (host_addresses(subject->interface, &own, error, sizeof(error)) ||
	    constants_check_addresses(subject->object, &own, error, sizeof(error)))
		found(findings, "addresses", VERDICT_PROBLEM, "%s", error);
	else if (!own.v4_count && !own.v6_count)
		found(findings, "addresses", VERDICT_WARNING,
		      "this host has no address, so no packet is its own");
	else
		found(findings, "addresses", VERDICT_OK,
		      "the host has %zu IPv4 and %zu IPv6 addresses, which the program can hold",
		      own.v4_count, own.v6_count);
}

/* What the answer to a SYN offers only where a sysctl allows it. */
static const struct {
	const char *path, *name, *words;
} tcp_options[] = {
	{"net/ipv4/tcp_window_scaling", "net.ipv4.tcp_window_scaling", "windows beyond 64 KiB"},
	{"net/ipv4/tcp_sack", "net.ipv4.tcp_sack", "selective acknowledgements"},
	{"net/ipv4/tcp_timestamps", "net.ipv4.tcp_timestamps", "timestamps"},
};

void check_tcp_options(const struct subject *subject, struct findings *findings)
{
	bool all = true;

	if (!manifest_has(subject->manifest, MANIFEST_TCP))
		return;
	for (size_t i = 0; i < sizeof(tcp_options) / sizeof(*tcp_options); i++) {
		int64_t value;

		if (host_sysctl(tcp_options[i].path, &value, 1) || value)
			continue;
		all = false;
		found(findings, "options", VERDICT_WARNING,
		      "tcp clients are not offered %s, since %s is 0; a change counts from the next "
		      "start of mplex-run on",
		      tcp_options[i].words, tcp_options[i].name);
		mended_by(findings, "sysctl -w %s=1", tcp_options[i].name);
	}
	if (all)
		found(findings, "options", VERDICT_OK,
		      "tcp clients are offered window scaling, SACK and timestamps");
}
