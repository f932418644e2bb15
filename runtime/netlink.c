/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * As much of rtnetlink as mplex-run needs: ask, list, listen.
 *
 * libbpf has its own inside but keeps it there, and a netlink library would be one more package for
 * a handful of requests.
 */
#include <errno.h>
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

static struct nlmsghdr *head(struct netlink_request *request)
{
	return (struct nlmsghdr *)request->buffer;
}

void netlink_start(struct netlink_request *request, uint16_t type, uint16_t flags,
		   const void *header, size_t size)
{
	memset(request, 0, sizeof(*request));
	head(request)->nlmsg_type = type;
	head(request)->nlmsg_flags = flags | NLM_F_REQUEST;
	memcpy(NLMSG_DATA(head(request)), header, size);
	head(request)->nlmsg_len = NLMSG_SPACE(size);
}

void netlink_add(struct netlink_request *request, uint16_t type, const void *data, size_t size)
{
	struct rtattr *attribute =
		(struct rtattr *)(request->buffer + NLMSG_ALIGN(head(request)->nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(attribute), data, size);
	head(request)->nlmsg_len = NLMSG_ALIGN(head(request)->nlmsg_len) + RTA_SPACE(size);
}

size_t netlink_open_nest(struct netlink_request *request, uint16_t type)
{
	size_t nest = NLMSG_ALIGN(head(request)->nlmsg_len);

	netlink_add(request, type, NULL, 0);
	return nest;
}

void netlink_close_nest(struct netlink_request *request, size_t nest)
{
	struct rtattr *attribute = (struct rtattr *)(request->buffer + nest);

	attribute->rta_len = head(request)->nlmsg_len - nest;
}

static int open_socket(uint32_t groups, int flags)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	SCOPED(scoped_close) int fd = -1;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return TAKE_FD(fd);
}

/* Returns 1 when the last message of an answer was among them. */
static int handle_messages(const char *buffer, size_t length, netlink_handler handle, void *data)
{
	const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
	int err;

	for (; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
		if (message->nlmsg_type == NLMSG_DONE)
			return 1;
		if (message->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *answer = NLMSG_DATA(message);

			return answer->error ? answer->error : 1;
		}
		err = handle ? handle(message, data) : 0;
		if (err)
			return err;
	}
	return 0;
}

int netlink_talk(struct netlink_request *request, netlink_handler handle, void *data)
{
	SCOPED(scoped_close) int fd = open_socket(0, 0);
	SCOPED(scoped_free) char *buffer = malloc(RECEIVE_SIZE);
	int result = 0;

	if (fd < 0)
		return fd;
	if (!buffer)
		return -ENOMEM;
	if (!(head(request)->nlmsg_flags & NLM_F_DUMP))
		head(request)->nlmsg_flags |= NLM_F_ACK;
	if (send(fd, request->buffer, head(request)->nlmsg_len, 0) < 0)
		return -errno;
	while (!result) {
		ssize_t length = recv(fd, buffer, RECEIVE_SIZE, 0);

		if (length < 0)
			return -errno;
		result = handle_messages(buffer, length, handle, data);
	}
	return result < 0 ? result : 0;
}

int netlink_subscribe(uint32_t groups)
{
	return open_socket(groups, SOCK_NONBLOCK);
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
