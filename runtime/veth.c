/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The peer of a veth. It decides whether answers that XDP redirects arrive: its NAPI has to run,
 * and that runs with generic receive offload or with a native XDP program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include "driver.h"
#include "host.h"
#include "namespace.h"
#include "netlink.h"
#include "scope.h"
#include "veth.h"

/* What rtnetlink says of a link. */
struct link {
	char name[IFNAMSIZ];
	unsigned lower; /* of a veth: its peer's index */
	int netnsid;	/* the peer's namespace; -1: this one */
	bool native_xdp;
};

static int take_link(const struct nlmsghdr *message, void *data)
{
	const size_t head = sizeof(struct ifinfomsg);
	struct link *link = data;
	const void *value;
	const uint8_t *attached;
	size_t size;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	value = netlink_attribute(message, head, IFLA_IFNAME, &size);
	if (value)
		snprintf(link->name, sizeof(link->name), "%.*s", (int)size, (const char *)value);
	link->lower = netlink_u32(message, head, IFLA_LINK);
	value = netlink_attribute(message, head, IFLA_LINK_NETNSID, &size);
	if (value && size >= sizeof(link->netnsid))
		memcpy(&link->netnsid, value, sizeof(link->netnsid));
	value = netlink_attribute(message, head, IFLA_XDP, &size);
	attached = value ? netlink_nested(value, size, IFLA_XDP_ATTACHED, &size) : NULL;
	link->native_xdp = attached && size &&
			   (*attached == XDP_ATTACHED_DRV || *attached == XDP_ATTACHED_MULTI);
	return 0;
}

static int ask_link(int fd, unsigned index, struct link *out)
{
	struct ifinfomsg request = {.ifi_family = AF_UNSPEC, .ifi_index = index};
	struct link link = {.netnsid = -1};
	int err = netlink_request(fd, RTM_GETLINK, 0, &request, sizeof(request), take_link, &link);

	if (!err)
		*out = link;
	return err;
}

static int take_netnsid(const struct nlmsghdr *message, void *data)
{
	size_t size;
	const void *id = netlink_attribute(message, sizeof(struct rtgenmsg), NETNSA_NSID, &size);

	if (message->nlmsg_type == RTM_NEWNSID && id && size >= sizeof(int))
		memcpy(data, id, sizeof(int));
	return 0;
}

/* The number by which this namespace knows another one, or -1. */
static int netnsid_of(int fd, const struct namespace *namespace)
{
	SCOPED(scoped_close) int there = open(namespace->path, O_RDONLY | O_CLOEXEC);
	struct {
		struct rtgenmsg head;
		struct nlattr attribute __attribute__((aligned(NLMSG_ALIGNTO)));
		int fd;
	} request = {
		.head.rtgen_family = AF_UNSPEC,
		.attribute = {.nla_type = NETNSA_FD, .nla_len = NLA_HDRLEN + sizeof(int)},
		.fd = there,
	};
	int id = -1;

	if (there < 0 ||
	    netlink_request(fd, RTM_GETNSID, 0, &request, sizeof(request), take_netnsid, &id))
		return -1;
	return id;
}

static const struct namespace *find_namespace(int fd, const struct namespaces *namespaces,
					      int netnsid)
{
	for (size_t i = 0; i < namespaces->count; i++) {
		if (netnsid_of(fd, &namespaces->list[i]) == netnsid)
			return &namespaces->list[i];
	}
	return NULL;
}

/* Asks about the peer on sockets of its namespace. */
static int ask_peer(int route, int inet, unsigned index, struct veth_peer *peer)
{
	struct link link;
	int err = ask_link(route, index, &link);

	if (err)
		return err;
	memcpy(peer->name, link.name, sizeof(peer->name));
	peer->ready = link.native_xdp || driver_feature(inet, link.name, "rx-gro");
	return 0;
}

static int ask_elsewhere(int own, const struct link *link, struct veth_peer *peer)
{
	SCOPED(namespaces_free) struct namespaces namespaces = {};
	SCOPED(scoped_close) int route = -1;
	SCOPED(scoped_close) int inet = -1;
	const struct namespace *namespace;
	int err = namespaces_list(&namespaces);

	if (err)
		return err;
	namespace = find_namespace(own, &namespaces, link->netnsid);
	if (!namespace)
		return -ENOENT;
	route = namespace_socket(namespace, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	inet = namespace_socket(namespace, AF_INET, SOCK_DGRAM, 0);
	if (route < 0 || inet < 0)
		return route < 0 ? route : inet;
	snprintf(peer->enter, sizeof(peer->enter), "nsenter --net=%s ", namespace->path);
	return ask_peer(route, inet, link->lower, peer);
}

int veth_find_peer(const struct interface *interface, struct veth_peer *out)
{
	SCOPED(scoped_close) int route = netlink_open(NETLINK_ROUTE);
	SCOPED(scoped_close) int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct veth_peer peer = {};
	struct link link;
	int err;

	if (route < 0 || inet < 0)
		return -EMFILE;
	err = ask_link(route, interface->index, &link);
	if (!err && !link.lower)
		err = -ENOENT;
	if (!err)
		err = link.netnsid < 0 ? ask_peer(route, inet, link.lower, &peer)
				       : ask_elsewhere(route, &link, &peer);
	if (err)
		return err;
	*out = peer;
	return 0;
}
