/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_NETLINK_H
#define MPLEX_RUN_NETLINK_H

#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

enum {
	NETLINK_REQUEST_MAX = 128
};

/* Called for each message that arrives; data is the caller's. A result other than 0 ends it. */
typedef int (*netlink_handler)(const struct nlmsghdr *message, void *data);

/* A socket of a netlink protocol (NETLINK_...), or -errno. */
int netlink_open(int protocol);

/*
 * Sends a request, with flags (NLM_F_DUMP: to list) and a body of size bytes, at most
 * NETLINK_REQUEST_MAX, and hands over what is answered. Returns 0, what the kernel answered
 * (-errno), or the handler's result.
 */
int netlink_request(int fd, uint16_t type, uint16_t flags, const void *body, size_t size,
		    netlink_handler handle, void *data);

/* Lists all that a request of rtnetlink (RTM_GET...) with this fixed header stands for. */
int netlink_dump(uint16_t type, const void *header, size_t size, netlink_handler handle,
		 void *data);

/* A non-blocking socket that hears of the groups (RTMGRP_...), or -errno. */
int netlink_subscribe(uint32_t groups);

/*
 * Hands what has arrived on such a socket to handle; -EAGAIN is no error. Returns 0, -errno or the
 * handler's result. -ENOBUFS says that messages were lost, which the caller may take as a change.
 */
int netlink_receive(int fd, netlink_handler handle, void *data);

/*
 * The attribute of a type in a message whose fixed header has header_size bytes, or NULL; *size is
 * its payload's length.
 */
const void *netlink_attribute(const struct nlmsghdr *message, size_t header_size, uint16_t type,
			      size_t *size);

/* Likewise, among attributes nested in size bytes at nest. */
const void *netlink_nested(const void *nest, size_t nest_size, uint16_t type, size_t *size);

/* An attribute's u32, or 0 where it is missing. */
uint32_t netlink_u32(const struct nlmsghdr *message, size_t header_size, uint16_t type);

#endif
