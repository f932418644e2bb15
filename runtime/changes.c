/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is heard is only that something changed, from rtnetlink: messages may be lost, so the state
 * is compared as a whole afterwards, by whoever asked.
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include <linux/rtnetlink.h>

#include "changes.h"
#include "error.h"
#include "netlink.h"

int changes_open(struct changes *changes, const char *interface, unsigned ifindex, char *error,
		 size_t n)
{
	int fd = netlink_subscribe(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);

	if (fd < 0)
		return failed(error, n, -fd, "cannot follow the interfaces: %s", strerror(-fd));
	*changes = (struct changes){.fd = fd, .ifindex = ifindex, .interface = interface};
	return 0;
}

void changes_close(struct changes *changes)
{
	if (changes->fd >= 0)
		close(changes->fd);
	changes->fd = -1;
}

static int see(const struct nlmsghdr *message, void *data)
{
	const struct ifinfomsg *link = NLMSG_DATA(message);
	struct changes *changes = data;

	changes->due = true;
	/* A bridge says so, too, when a port leaves it, but in its own family. */
	if (message->nlmsg_type == RTM_DELLINK && link->ifi_family == AF_UNSPEC &&
	    (unsigned)link->ifi_index == changes->ifindex)
		changes->gone = true;
	return 0;
}

int changes_receive(struct changes *changes, char *error, size_t n)
{
	int err = netlink_receive(changes->fd, see, changes);

	/* Lost messages (-ENOBUFS) may have been about us. */
	if (err && err != -ENOBUFS)
		return failed(error, n, -err, "cannot follow the interfaces: %s", strerror(-err));
	if (err) {
		changes->due = true;
		changes->gone =
			changes->gone || if_nametoindex(changes->interface) != changes->ifindex;
	}
	if (changes->gone)
		return failed(error, n, ENODEV,
			      "interface %s was removed, and the programs with it: start mplex-run "
			      "again once it is back",
			      changes->interface);
	return 0;
}

int changes_timeout(const struct changes *changes)
{
	return changes->due ? CHANGES_SETTLE : -1;
}
