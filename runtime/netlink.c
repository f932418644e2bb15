/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * As much of netlink as mplex-run needs: ask, list and listen.
 *
 * libbpf has its own inside but keeps it there, and a netlink library would be one more package for
 * a handful of requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "netlink.h"
#include "scope.h"

/* The kernel fills a dump's messages up to this size. */
enum {
	RECEIVE_SIZE = 32 << 10
};

int netlink_open(int protocol)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	return fd < 0 ? -errno : fd;
}

/* Returns 1 when the last message of an answer was among them. */
static int handle_messages(const char *buffer, size_t length, netlink_handler handle, void *data)
{
	const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
	int err = 0;

	for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
		if (message->nlmsg_type == NLMSG_DONE) {
			/* A list may fail on its way. */
			if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(err)))
				memcpy(&err, NLMSG_DATA(message), sizeof(err));
			return err < 0 ? err : 1;
		}
		if (message->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *answer = NLMSG_DATA(message);

			return answer->error ? answer->error : 1;
		}
		err = handle(message, data);
		if (err)
			return err;
	}
	return 0;
}

int netlink_request(int fd, uint16_t type, uint16_t flags, const void *body, size_t size,
		    netlink_handler handle, void *data)
{
	struct {
		struct nlmsghdr head;
		char body[NETLINK_REQUEST_MAX];
	} request = {
		.head.nlmsg_type = type,
		/* Without an acknowledgement nothing ends an answer that is no list. */
		.head.nlmsg_flags = NLM_F_REQUEST | (flags & NLM_F_DUMP ? 0 : NLM_F_ACK) | flags,
		.head.nlmsg_len = NLMSG_LENGTH(size),
	};
	SCOPED(scoped_free) char *buffer = malloc(RECEIVE_SIZE);
	int result = 0;

	if (!buffer)
		return -ENOMEM;
	memcpy(request.body, body, size);
	if (send(fd, &request, request.head.nlmsg_len, 0) < 0)
		return -errno;
	while (!result) {
		ssize_t length = recv(fd, buffer, RECEIVE_SIZE, 0);

		if (length < 0)
			return -errno;
		result = handle_messages(buffer, length, handle, data);
	}
	return result < 0 ? result : 0;
}

int netlink_dump(uint16_t type, const void *header, size_t size, netlink_handler handle, void *data)
{
	SCOPED(scoped_close) int fd = netlink_open(NETLINK_ROUTE);

	return fd < 0 ? fd : netlink_request(fd, type, NLM_F_DUMP, header, size, handle, data);
}

int netlink_subscribe(uint32_t groups)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	SCOPED(scoped_close) int fd = netlink_open(NETLINK_ROUTE);

	if (fd < 0)
		return fd;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    fcntl(fd, F_SETFL, O_NONBLOCK))
		return -errno;
	return TAKE_FD(fd);
}

int netlink_receive(int fd, netlink_handler handle, void *data)
{
	SCOPED(scoped_free) char *buffer = malloc(RECEIVE_SIZE);

	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t length = recv(fd, buffer, RECEIVE_SIZE, 0);
		int result;

		if (length < 0)
			return errno == EAGAIN ? 0 : -errno;
		result = handle_messages(buffer, length, handle, data);
		if (result < 0)
			return result;
	}
}

const void *netlink_nested(const void *nest, size_t nest_size, uint16_t type, size_t *size)
{
	const struct rtattr *attribute = nest;

	for (; RTA_OK(attribute, nest_size); attribute = RTA_NEXT(attribute, nest_size)) {
		if ((attribute->rta_type & NLA_TYPE_MASK) == type) {
			*size = RTA_PAYLOAD(attribute);
			return RTA_DATA(attribute);
		}
	}
	return NULL;
}

const void *netlink_attribute(const struct nlmsghdr *message, size_t header_size, uint16_t type,
			      size_t *size)
{
	if (message->nlmsg_len < NLMSG_SPACE(header_size))
		return NULL;
	return netlink_nested((const char *)message + NLMSG_SPACE(header_size),
			      message->nlmsg_len - NLMSG_SPACE(header_size), type, size);
}

uint32_t netlink_u32(const struct nlmsghdr *message, size_t header_size, uint16_t type)
{
	uint32_t value = 0;
	size_t size;
	const void *data = netlink_attribute(message, header_size, type, &size);

	if (data && size >= sizeof(value))
		memcpy(&value, data, sizeof(value));
	return value;
}
