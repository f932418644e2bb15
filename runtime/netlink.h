/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_RUN_NETLINK_H
#define MPLEX_RUN_NETLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

/* A request under construction. */
struct netlink_request {
	union {
		char buffer[512];
		uint32_t align;
	};
};

/*
 * Starts a request: type and flags (NLM_F_REQUEST is implied) and the fixed header of the family
 * that the type belongs to, size bytes.
 */
void netlink_start(struct netlink_request *request, uint16_t type, uint16_t flags,
		   const void *header, size_t size);

/* Appends an attribute. The caller sees to it that the request does not outgrow its buffer. */
void netlink_add(struct netlink_request *request, uint16_t type, const void *data, size_t size);

/* Opens a nested attribute; its end is set by netlink_close_nest. */
size_t netlink_open_nest(struct netlink_request *request, uint16_t type);
void netlink_close_nest(struct netlink_request *request, size_t nest);

/* Called for each message of an answer; data is the caller's. A result other than 0 ends it. */
typedef int (*netlink_handler)(const struct nlmsghdr *message, void *data);

/*
 * Sends a request and hands the answers to handle (NULL: none are expected) until the kernel says
 * done or acknowledges. Returns 0, what the kernel answered (-errno), or the handler's result.
 */
int netlink_talk(struct netlink_request *request, netlink_handler handle, void *data);

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
