/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Asks the kernel for its sockets, as ss(8) does: sock_diag(7). */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include "netlink.h"
#include "scope.h"
#include "sockets.h"

/* What is asked for, and where it goes. */
struct question {
	struct sockets *sockets;
	uint16_t remote_port; /* 0: any */
};

int sockets_open(void)
{
	return netlink_open(NETLINK_SOCK_DIAG);
}

/* A multipath socket listens through an ordinary one, which names its upper layer. */
static bool is_mptcp(const struct nlmsghdr *message)
{
	size_t size, length;
	const void *info =
		netlink_attribute(message, sizeof(struct inet_diag_msg), INET_DIAG_ULP_INFO, &size);
	const char *name = info ? netlink_nested(info, size, INET_ULP_INFO_NAME, &length) : NULL;

	return name && length == sizeof("mptcp") && !memcmp(name, "mptcp", length);
}

static int add_socket(const struct nlmsghdr *message, void *data)
{
	const struct inet_diag_msg *seen = NLMSG_DATA(message);
	struct question *question = data;
	struct sockets *sockets = question->sockets;
	struct socket_seen *grown, *added;
	const uint8_t *v6_only;
	size_t size;

	if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    message->nlmsg_len < NLMSG_LENGTH(sizeof(*seen)) || !seen->id.idiag_sport)
		return 0;
	if (question->remote_port && ntohs(seen->id.idiag_dport) != question->remote_port)
		return 0;
	grown = reallocarray(sockets->list, sockets->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	sockets->list = grown;
	added = &grown[sockets->count++];
	*added = (struct socket_seen){
		.family = seen->idiag_family,
		.local_port = ntohs(seen->id.idiag_sport),
		.remote_port = ntohs(seen->id.idiag_dport),
		.mptcp = is_mptcp(message),
	};
	memcpy(added->local, seen->id.idiag_src, sizeof(added->local));
	memcpy(added->remote, seen->id.idiag_dst, sizeof(added->remote));
	v6_only = netlink_attribute(message, sizeof(*seen), INET_DIAG_SKV6ONLY, &size);
	added->v6_only = v6_only && size && *v6_only;
	return 0;
}

static int ask(int fd, uint8_t protocol, uint32_t states, struct question *question)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < sizeof(families); i++) {
		struct inet_diag_req_v2 request = {
			.sdiag_family = families[i],
			.sdiag_protocol = protocol,
			.idiag_states = states,
			/* What names the upper layer, too. */
			.idiag_ext = 1 << (INET_DIAG_INFO - 1),
		};
		int err = netlink_request(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request,
					  sizeof(request), add_socket, question);

		if (err)
			return err;
	}
	return 0;
}

int sockets_waiting(int fd, uint8_t protocol, struct sockets *sockets)
{
	/* A udp socket that is connected to nobody is "closed". */
	return ask(fd, protocol, 1U << (protocol == IPPROTO_TCP ? TCP_LISTEN : TCP_CLOSE),
		   &(struct question){.sockets = sockets});
}

int sockets_connected_to(int fd, uint16_t port, struct sockets *sockets)
{
	return ask(fd, IPPROTO_TCP, 1U << TCP_ESTABLISHED,
		   &(struct question){.sockets = sockets, .remote_port = port});
}

void sockets_free(struct sockets *sockets)
{
	free(sockets->list);
	memset(sockets, 0, sizeof(*sockets));
}
