/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The constants that an object learns at load: whose packets are its own, what it may offer on a
 * SYN, how its answers leave.
 *
 * The program answers handshakes in the kernel's place, so it has to offer what the kernel would:
 * the socket that is made afterwards takes these values for granted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "constants.h"
#include "error.h"
#include "host.h"
#include "object.h"

enum {
	WINDOW_SCALE_MAX = 14,	  /* RFC 7323 */
	WINDOW_SCALE_NEVER = 255, /* docs/object.md */
	IPV4_TCP_HEADERS = 40,
	IPV6_TCP_HEADERS = 60,
};

struct window window_select(int64_t rmem_initial, int64_t rmem_max, int64_t core_rmem_max,
			    uint32_t mss)
{
	/*
	 * As tcp_select_initial_window() of net/ipv4/tcp_output.c does for a listener that never
	 * set SO_RCVBUF. A socket's window is half its buffer (tcp_win_from_space(): the default
	 * of tcp_adv_win_scale, and of the ratio that followed it in Linux 6.6).
	 */
	const int64_t clamp = (int64_t)UINT16_MAX << WINDOW_SCALE_MAX;
	int64_t space = rmem_initial > 0 ? rmem_initial / 2 : 0, largest;
	struct window window = {};

	if (space > clamp)
		space = clamp;
	if (mss && space > mss)
		space -= space % mss;
	window.size = space < UINT16_MAX ? space : UINT16_MAX;

	largest = space > rmem_max ? space : rmem_max;
	if (largest < core_rmem_max)
		largest = core_rmem_max;
	if (largest > clamp)
		largest = clamp;
	while (window.scale < WINDOW_SCALE_MAX && largest >> window.scale > UINT16_MAX)
		window.scale++;
	return window;
}

bool constants_use_addresses(const struct object *object)
{
	return object_constant_size(object, "mplex_local_v4_count") ||
	       object_constant_size(object, "mplex_local_v6_count");
}

/* A constant that the program does not use is no error; one of another size is. */
static int set(struct object *object, const char *name, const void *value, size_t size, char *error,
	       size_t n)
{
	int err = object_set_constant(object, name, value, size);

	if (err && err != -ENOENT)
		return failed(error, n, EINVAL,
			      "%s has the constant %s in a size that this mplex-run does not "
			      "know: use the mplex-run that came with the mplexc that made it",
			      object->path, name);
	return 0;
}

int constants_set_byte(struct object *object, const char *name, uint8_t value, char *error,
		       size_t n)
{
	return set(object, name, &value, sizeof(value), error, n);
}

/* Whether the program's array holds a list; one that it does not use holds any. */
static int fits(const struct object *object, const char *name, size_t count, size_t size,
		const char *family, char *error, size_t n)
{
	size_t room = object_constant_size(object, name) / size;

	if (!object_constant_size(object, name) || count <= room)
		return 0;
	return failed(
		error, n, E2BIG,
		"this host has %zu %s addresses and the program can hold %zu: name those that "
		"it serves under \"addresses\" in the rule file and compile it again",
		count, family, room);
}

int constants_check_addresses(const struct object *object, const struct addresses *addresses,
			      char *error, size_t n)
{
	int err = fits(object, "mplex_local_v4", addresses->v4_count, 4, "IPv4", error, n);

	return err ? err
		   : fits(object, "mplex_local_v6", addresses->v6_count, 16, "IPv6", error, n);
}

static int set_list(struct object *object, const char *name, const char *count_name,
		    const void *list, size_t count, size_t size, char *error, size_t n)
{
	uint32_t count32 = count;
	int err;

	if (!object_constant_size(object, count_name))
		return 0;
	err = set(object, name, list, count * size, error, n);
	return err ? err : set(object, count_name, &count32, sizeof(count32), error, n);
}

int constants_set_addresses(struct object *object, const struct addresses *addresses, char *error,
			    size_t n)
{
	int err = constants_check_addresses(object, addresses, error, n);

	if (!err)
		err = set_list(object, "mplex_local_v4", "mplex_local_v4_count", addresses->v4,
			       addresses->v4_count, 4, error, n);
	if (!err)
		err = set_list(object, "mplex_local_v6", "mplex_local_v6_count", addresses->v6,
			       addresses->v6_count, 16, error, n);
	return err ? err : constants_set_byte(object, "mplex_local_known", 1, error, n);
}

int constants_set_key(struct object *object, char *error, size_t n)
{
	uint64_t key[2];

	if (getrandom(key, sizeof(key), 0) != sizeof(key))
		return failed(error, n, errno, "cannot draw a key: %s", strerror(errno));
	return set(object, "mplex_key", key, sizeof(key), error, n);
}

/* A sysctl's number, or what holds where it cannot be read (IPv6 switched off, say). */
static int64_t sysctl_or(const char *name, int64_t otherwise)
{
	int64_t value;

	return host_sysctl(name, &value, 1) ? otherwise : value;
}

static uint16_t mss(const struct interface *interface, unsigned headers)
{
	unsigned size = interface->mtu > headers ? interface->mtu - headers : 1;

	return size < UINT16_MAX ? size : UINT16_MAX;
}

/* Adds a constant of up to 8 bytes to a list. */
static void add(struct constants *list, const char *name, const char *source, bool vital,
		const void *value, size_t size)
{
	struct constant *constant = &list->list[list->count++];

	*constant = (struct constant){.name = name, .source = source, .vital = vital, .size = size};
	memcpy(constant->value, value, size);
}

static void add_byte(struct constants *list, const char *name, const char *source, bool vital,
		     uint8_t value)
{
	add(list, name, source, vital, &value, sizeof(value));
}

static int add_window(struct constants *list, uint16_t mss, char *error, size_t n)
{
	int64_t rmem[3];
	struct window window;
	int err = host_sysctl("net/ipv4/tcp_rmem", rmem, 3);

	if (err)
		return failed(error, n, -err, "cannot read the sysctl net.ipv4.tcp_rmem: %s",
			      strerror(-err));
	/* net.core.rmem_max can be read in the first namespace only, before Linux 6.9. */
	window = window_select(rmem[1], rmem[2], sysctl_or("net/core/rmem_max", 0), mss);
	if (!sysctl_or("net/ipv4/tcp_window_scaling", 1))
		window.scale = WINDOW_SCALE_NEVER;
	add(list, "mplex_window", "the receive window (net.ipv4.tcp_rmem, the MTU)", false,
	    &window.size, sizeof(window.size));
	add_byte(list, "mplex_window_scale",
		 "the window scale (net.ipv4.tcp_window_scaling, net.ipv4.tcp_rmem)", true,
		 window.scale);
	return 0;
}

int constants_collect(const struct interface *interface, bool native, struct constants *out,
		      char *error, size_t n)
{
	uint16_t mss_v4 = mss(interface, IPV4_TCP_HEADERS);
	uint16_t mss_v6 = mss(interface, IPV6_TCP_HEADERS);
	struct constants list = {};
	char hop_limit[64];
	int err;

	/* With slashes, because an interface's name may have dots. */
	snprintf(hop_limit, sizeof(hop_limit), "net/ipv6/conf/%s/hop_limit", interface->name);
	add(&list, "mplex_mac", "the Ethernet address", true, interface->mac,
	    sizeof(interface->mac));
	add(&list, "mplex_mss_v4", "the MTU", true, &mss_v4, sizeof(mss_v4));
	add(&list, "mplex_mss_v6", "the MTU", true, &mss_v6, sizeof(mss_v6));
	err = add_window(&list, mss_v4, error, n);
	if (err)
		return err;
	add_byte(&list, "mplex_sack", "net.ipv4.tcp_sack", true,
		 !!sysctl_or("net/ipv4/tcp_sack", 1));
	add_byte(&list, "mplex_timestamps", "net.ipv4.tcp_timestamps", true,
		 !!sysctl_or("net/ipv4/tcp_timestamps", 1));
	/* 1 to 5 differ in what is asked for; whoever asks is answered by all of them. */
	add_byte(&list, "mplex_ecn", "net.ipv4.tcp_ecn", false, !!sysctl_or("net/ipv4/tcp_ecn", 0));
	add_byte(&list, "mplex_ttl", "net.ipv4.ip_default_ttl", false,
		 sysctl_or("net/ipv4/ip_default_ttl", 64));
	add_byte(&list, "mplex_hop_limit", "the interface's IPv6 hop_limit", false,
		 sysctl_or(hop_limit, 64));
	/* XDP_TX on a veth reaches only a peer that runs an XDP program itself. */
	add_byte(&list, "mplex_redirect", "the driver", true,
		 native && !strcmp(interface->driver, "veth"));
	*out = list;
	return 0;
}

int constants_set(struct object *object, const struct interface *interface,
		  const struct addresses *addresses, bool native, char *error, size_t n)
{
	struct constants constants;
	int err = constants_set_addresses(object, addresses, error, n);

	if (!err)
		err = constants_set_key(object, error, n);
	if (!err)
		err = constants_collect(interface, native, &constants, error, n);
	for (size_t i = 0; !err && i < constants.count; i++) {
		const struct constant *constant = &constants.list[i];

		err = set(object, constant->name, constant->value, constant->size, error, n);
	}
	return err;
}
