/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What mplex-run wants to know of the machine it runs on: the interface, the addresses, the
 * sysctls. All of it belongs to the network namespace of this process. It only asks and changes
 * nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>

#include "error.h"
#include "host.h"
#include "netlink.h"
#include "scope.h"

/* An ioctl about an interface; 0 or -errno. */
static int ask(const char *name, unsigned long what, struct ifreq *request)
{
	SCOPED(scoped_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", name);
	return ioctl(fd, what, request) ? -errno : 0;
}

int host_interface(const char *name, struct interface *out, char *error, size_t n)
{
	struct interface interface = {.index = if_nametoindex(name)};
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq request = {};
	int err;

	if (!interface.index || !if_indextoname(interface.index, interface.name))
		return failed(error, n, ENODEV,
			      "there is no interface %s in this network namespace; \"ip link\" "
			      "lists those that are",
			      name);
	err = ask(interface.name, SIOCGIFHWADDR, &request);
	if (!err) {
		interface.loopback = request.ifr_hwaddr.sa_family == ARPHRD_LOOPBACK;
		interface.ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
		memcpy(interface.mac, request.ifr_hwaddr.sa_data, sizeof(interface.mac));
		err = ask(interface.name, SIOCGIFFLAGS, &request);
		interface.up = request.ifr_flags & IFF_UP;
	}
	if (!err)
		err = ask(interface.name, SIOCGIFMTU, &request);
	if (err)
		return failed(error, n, -err, "cannot ask about interface %s: %s", name,
			      strerror(-err));
	interface.mtu = request.ifr_mtu;
	request.ifr_data = (char *)&driver;
	if (!ask(interface.name, SIOCETHTOOL, &request))
		memcpy(interface.driver, driver.driver, sizeof(interface.driver) - 1);
	*out = interface;
	return 0;
}

/* How an interface stands to others. */
struct relation {
	unsigned index;
	unsigned lower;	 /* the one it is made on, or a veth's peer; 0: none in this namespace */
	unsigned master; /* the bridge or bond it is a port of, or 0 */
	bool vlan;
	char name[IFNAMSIZ];
};

struct relations {
	struct relation *list;
	size_t count;
};

static void relations_free(struct relations *relations)
{
	free(relations->list);
}

static int add_relation(const struct nlmsghdr *message, void *data)
{
	const struct ifinfomsg *header = NLMSG_DATA(message);
	struct relations *relations = data;
	struct relation *grown, *relation;
	const void *info, *kind, *name;
	size_t size;

	if (message->nlmsg_type != RTM_NEWLINK)
		return 0;
	grown = reallocarray(relations->list, relations->count + 1, sizeof(*relations->list));
	if (!grown)
		return -ENOMEM;
	relations->list = grown;
	relation = &grown[relations->count++];
	memset(relation, 0, sizeof(*relation));
	relation->index = header->ifi_index;
	if (!netlink_attribute(message, sizeof(*header), IFLA_LINK_NETNSID, &size))
		relation->lower = netlink_u32(message, sizeof(*header), IFLA_LINK);
	relation->master = netlink_u32(message, sizeof(*header), IFLA_MASTER);
	name = netlink_attribute(message, sizeof(*header), IFLA_IFNAME, &size);
	if (name)
		snprintf(relation->name, sizeof(relation->name), "%.*s", (int)size,
			 (const char *)name);
	info = netlink_attribute(message, sizeof(*header), IFLA_LINKINFO, &size);
	kind = info ? netlink_nested(info, size, IFLA_INFO_KIND, &size) : NULL;
	relation->vlan = kind && size == sizeof("vlan") && !memcmp(kind, "vlan", size);
	return 0;
}

static int list_relations(struct relations *relations)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};

	return netlink_dump(RTM_GETLINK, &header, sizeof(header), add_relation, relations);
}

bool host_vlan_above(const struct interface *interface, char name[IFNAMSIZ])
{
	SCOPED(relations_free) struct relations relations = {};

	if (list_relations(&relations))
		return false;
	for (size_t i = 0; i < relations.count; i++) {
		if (relations.list[i].vlan && relations.list[i].lower == interface->index) {
			memcpy(name, relations.list[i].name, IFNAMSIZ);
			return true;
		}
	}
	return false;
}

/*
 * Whether frames for one interface arrive by the other: it is the same one, made on it (a VLAN), or
 * has it as a port (a bridge, a bond). Eight steps are more than anybody stacks.
 */
static bool above(const struct relations *relations, unsigned upper, unsigned lower, int steps)
{
	if (upper == lower)
		return true;
	for (size_t i = 0; steps && i < relations->count; i++) {
		const struct relation *relation = &relations->list[i];

		if (relation->index == upper && relation->lower &&
		    above(relations, relation->lower, lower, steps - 1))
			return true;
		if (relation->master == upper &&
		    above(relations, relation->index, lower, steps - 1))
			return true;
	}
	return false;
}

static int compare4(const void *a, const void *b)
{
	return memcmp(a, b, 4);
}

static int compare16(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

/* Sorts and leaves each element once; returns how many. */
static size_t unique(void *list, size_t count, size_t size,
		     int (*compare)(const void *, const void *))
{
	size_t kept = 0;

	qsort(list, count, size, compare);
	for (size_t i = 0; i < count; i++) {
		const char *element = (char *)list + i * size;

		if (!kept || compare((char *)list + (kept - 1) * size, element))
			memmove((char *)list + kept++ * size, element, size);
	}
	return kept;
}

/* Moves an element, at least the first-th, to place first. Returns the place behind it. */
static size_t move_to(size_t first, const void *element, void *list, size_t count, size_t size)
{
	char *place = (char *)list + first * size;

	for (size_t i = first; i < count; i++) {
		char *at = (char *)list + i * size;

		if (memcmp(at, element, size))
			continue;
		memmove(place + size, place, at - place);
		memcpy(place, element, size);
		return first + 1;
	}
	return first;
}

static bool is_own_v4(const struct sockaddr_in *address)
{
	return ntohl(address->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET;
}

static bool is_own_v6(const struct sockaddr_in6 *address, const struct relations *relations,
		      unsigned index)
{
	if (IN6_IS_ADDR_LOOPBACK(&address->sin6_addr))
		return false;
	return !IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr) ||
	       above(relations, address->sin6_scope_id, index, 8);
}

static void scoped_freeifaddrs(struct ifaddrs **list)
{
	if (*list)
		freeifaddrs(*list);
}

/* Those that most packets through the interface are to come first: the program compares in turn. */
static void put_own_first(struct addresses *addresses, const struct ifaddrs *list,
			  const struct relations *relations, unsigned index)
{
	size_t v4_first = 0, v6_first = 0;

	for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
		const struct sockaddr_in *v4 = (struct sockaddr_in *)entry->ifa_addr;
		const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)entry->ifa_addr;

		if (!entry->ifa_addr ||
		    !above(relations, if_nametoindex(entry->ifa_name), index, 8))
			continue;
		if (v4->sin_family == AF_INET)
			v4_first = move_to(v4_first, &v4->sin_addr, addresses->v4,
					   addresses->v4_count, sizeof(*addresses->v4));
		else if (v6->sin6_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
			v6_first = move_to(v6_first, &v6->sin6_addr, addresses->v6,
					   addresses->v6_count, sizeof(*addresses->v6));
	}
}

int host_addresses(const struct interface *interface, struct addresses *out, char *error, size_t n)
{
	SCOPED(relations_free) struct relations relations = {};
	SCOPED(addresses_free) struct addresses addresses = {};
	SCOPED(scoped_freeifaddrs) struct ifaddrs *list = NULL;
	size_t count = 1;
	int err;

	err = list_relations(&relations);
	if (!err && getifaddrs(&list))
		err = -errno;
	if (err)
		return failed(error, n, -err, "cannot list the host's addresses: %s",
			      strerror(-err));
	for (struct ifaddrs *entry = list; entry; entry = entry->ifa_next)
		count++;
	addresses.v4 = calloc(count, sizeof(*addresses.v4));
	addresses.v6 = calloc(count, sizeof(*addresses.v6));
	if (!addresses.v4 || !addresses.v6)
		return failed(error, n, ENOMEM, "cannot list the host's addresses: out of memory");

	for (struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
		const struct sockaddr_in *v4 = (struct sockaddr_in *)entry->ifa_addr;
		const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)entry->ifa_addr;

		if (!entry->ifa_addr)
			continue;
		if (v4->sin_family == AF_INET && is_own_v4(v4))
			memcpy(addresses.v4[addresses.v4_count++], &v4->sin_addr, 4);
		else if (v6->sin6_family == AF_INET6 && is_own_v6(v6, &relations, interface->index))
			memcpy(addresses.v6[addresses.v6_count++], &v6->sin6_addr, 16);
	}
	addresses.v4_count = unique(addresses.v4, addresses.v4_count, 4, compare4);
	addresses.v6_count = unique(addresses.v6, addresses.v6_count, 16, compare16);
	put_own_first(&addresses, list, &relations, interface->index);
	*out = addresses;
	memset(&addresses, 0, sizeof(addresses));
	return 0;
}

void addresses_free(struct addresses *addresses)
{
	free(addresses->v4);
	free(addresses->v6);
	memset(addresses, 0, sizeof(*addresses));
}

bool addresses_equal(const struct addresses *a, const struct addresses *b)
{
	return a->v4_count == b->v4_count && a->v6_count == b->v6_count &&
	       !memcmp(a->v4, b->v4, a->v4_count * sizeof(*a->v4)) &&
	       !memcmp(a->v6, b->v6, a->v6_count * sizeof(*a->v6));
}

int host_sysctl(const char *name, int64_t *values, size_t count)
{
	SCOPED(scoped_fclose) FILE *file = NULL;
	char path[256];

	snprintf(path, sizeof(path), "/proc/sys/%s", name);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		if (fscanf(file, "%" SCNd64, &values[i]) != 1)
			return -EINVAL;
	}
	return 0;
}
