/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Asks about an interface's driver: what it does to frames before XDP sees them, and with XDP. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>

#include "driver.h"
#include "host.h"
#include "netlink.h"
#include "scope.h"

/* The generic netlink family "netdev", newer than the headers that this is compiled with. */
enum {
	NETDEV_DEV_GET = 1,	 /* NETDEV_CMD_DEV_GET */
	NETDEV_IFINDEX = 1,	 /* NETDEV_A_DEV_IFINDEX, u32 */
	NETDEV_XDP_FEATURES = 3, /* NETDEV_A_DEV_XDP_FEATURES, u64 */
};

enum {
	FEATURES_MAX = 512, /* of an interface; Linux has fewer than 64 */
};

struct generic_request {
	struct genlmsghdr head;
	struct nlattr attribute;
	char value[16];
};

static int ask_generic(int fd, uint16_t family, uint8_t command, uint16_t type, const void *value,
		       size_t size, netlink_handler handle, void *data)
{
	struct generic_request request = {
		.head = {.cmd = command, .version = 1},
		.attribute = {.nla_type = type, .nla_len = NLA_HDRLEN + size},
	};

	memcpy(request.value, value, size);
	return netlink_request(fd, family, 0, &request, GENL_HDRLEN + NLA_ALIGN(NLA_HDRLEN + size),
			       handle, data);
}

static int take_family(const struct nlmsghdr *message, void *data)
{
	size_t size;
	const void *id = netlink_attribute(message, GENL_HDRLEN, CTRL_ATTR_FAMILY_ID, &size);

	if (id && size == sizeof(uint16_t))
		memcpy(data, id, size);
	return 0;
}

static int take_features(const struct nlmsghdr *message, void *data)
{
	size_t size;
	const void *features = netlink_attribute(message, GENL_HDRLEN, NETDEV_XDP_FEATURES, &size);

	if (features && size == sizeof(uint64_t))
		memcpy(data, features, size);
	return 0;
}

int driver_xdp_features(const struct interface *interface, uint64_t *features)
{
	static const char name[] = "netdev";
	SCOPED(scoped_close) int fd = netlink_open(NETLINK_GENERIC);
	const uint64_t nothing = UINT64_MAX;
	uint64_t answer = nothing;
	uint16_t family = 0;
	uint32_t index = interface->index;
	int err;

	if (fd < 0)
		return fd;
	err = ask_generic(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, name,
			  sizeof(name), take_family, &family);
	if (err)
		return err == -ENOENT ? -EOPNOTSUPP : err;
	err = ask_generic(fd, family, NETDEV_DEV_GET, NETDEV_IFINDEX, &index, sizeof(index),
			  take_features, &answer);
	if (err)
		return err;
	if (answer == nothing)
		return -EOPNOTSUPP;
	*features = answer;
	return 0;
}

static int ethtool(int fd, const char *interface, void *command)
{
	struct ifreq request = {.ifr_data = command};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	return ioctl(fd, SIOCETHTOOL, &request) ? -errno : 0;
}

/* The number of a feature, or -1. */
static int find_feature(int fd, const char *interface, const char *name)
{
	/* The structures of ethtool end in arrays, which have to be given room. */
	_Alignas(uint64_t) char set_room[sizeof(struct ethtool_sset_info) + sizeof(uint32_t)] = {};
	_Alignas(uint64_t) char
		room[sizeof(struct ethtool_gstrings) + FEATURES_MAX * ETH_GSTRING_LEN] = {};
	struct ethtool_sset_info *set = (void *)set_room;
	struct ethtool_gstrings *strings = (void *)room;

	set->cmd = ETHTOOL_GSSET_INFO;
	set->sset_mask = 1ULL << ETH_SS_FEATURES;
	/* The kernel fills in as many names as there are, whatever was asked for. */
	if (ethtool(fd, interface, set) || set->data[0] > FEATURES_MAX)
		return -1;
	strings->cmd = ETHTOOL_GSTRINGS;
	strings->string_set = ETH_SS_FEATURES;
	strings->len = set->data[0];
	if (ethtool(fd, interface, strings))
		return -1;
	for (uint32_t i = 0; i < strings->len; i++) {
		if (!strncmp((char *)strings->data + i * ETH_GSTRING_LEN, name, ETH_GSTRING_LEN))
			return i;
	}
	return -1;
}

bool driver_feature(int fd, const char *interface, const char *name)
{
	_Alignas(uint64_t) char
		room[sizeof(struct ethtool_gfeatures) +
		     FEATURES_MAX / 32 * sizeof(struct ethtool_get_features_block)] = {};
	struct ethtool_gfeatures *features = (void *)room;
	int number = find_feature(fd, interface, name);

	features->cmd = ETHTOOL_GFEATURES;
	features->size = FEATURES_MAX / 32;
	if (number < 0 || ethtool(fd, interface, features))
		return false;
	return features->features[number / 32].active >> number % 32 & 1;
}

bool driver_own_feature(const struct interface *interface, const char *name)
{
	SCOPED(scoped_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && driver_feature(fd, interface->name, name);
}
