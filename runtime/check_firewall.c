/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whether the firewall lets through what it sees of the clients.
 *
 * Of a tcp connection it sees data in mid-stream first, since XDP answered the handshake; of a udp
 * message it sees the backend's port, since XDP wrote it there.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "check.h"
#include "error.h"
#include "finding.h"
#include "firewall.h"
#include "host.h"
#include "object.h"
#include "ports.h"
#include "scope.h"

enum {
	PORTS_TEXT = 160,
	UDP_PORTS_MAX = 1024, /* looked at, of a rule file with many routes */
};

/* IP versions, as bits. */
enum {
	V4 = 1 << 0,
	V6 = 1 << 1
};

static void scoped_json(json_t **json)
{
	json_decref(*json);
}

/* What is the same for all packets. */
struct examination {
	const json_t *ruleset;
	const char *interface;
	bool strict; /* nf_conntrack_tcp_loose is 0: a connection in mid-stream is invalid */
	struct findings *findings;
};

/* What becomes of a client's packets. */
struct judgement {
	struct firewall_answer answer; /* to the first, or to the first one that does not pass */
	bool later;		       /* not of the very first: of those that follow it */
};

static struct firewall_answer judge_packet(const struct examination *examination, uint8_t version,
					   uint8_t protocol, uint16_t port, const char *state)
{
	const struct firewall_packet packet = {
		.version = version,
		.protocol = protocol,
		.port = port,
		.state = state,
		.interface = examination->interface,
	};
	struct firewall_answer answer;

	firewall_judge(examination->ruleset, &packet, &answer);
	return answer;
}

static struct judgement judge(const struct examination *examination, uint8_t version,
			      uint8_t protocol, uint16_t port, bool strict)
{
	bool invalid = strict && protocol == IPPROTO_TCP;
	struct judgement judgement = {
		.answer = judge_packet(examination, version, protocol, port,
				       invalid ? "invalid" : "new"),
	};

	/* What is once invalid stays so. */
	if (judgement.answer.fate != FIREWALL_PASSES || invalid)
		return judgement;
	judgement.answer = judge_packet(examination, version, protocol, port, "established");
	judgement.later = judgement.answer.fate != FIREWALL_PASSES;
	return judgement;
}

/* Writes ports as "5001,5003-5007", at most so many of either. */
static void list_ports(const struct ports *ports, char dash, const char *before, const char *after,
		       unsigned max, char *list, size_t size)
{
	unsigned port = ports_next(ports, 0), count = 0;
	size_t length = 0;

	*list = '\0';
	while (port < 65536 && count++ < max && length < size) {
		unsigned last = port;

		while (last + 1 < 65536 && ports_have(ports, last + 1))
			last++;
		length += snprintf(list + length, size - length, "%s%s%u", length ? after : "",
				   before, port);
		if (last > port && length < size)
			length += snprintf(list + length, size - length, "%c%u", dash, last);
		port = ports_next(ports, last + 1);
	}
}

/* The command that opens ports, by the tool that the rules belong to. */
static void mend(const struct examination *examination, const struct firewall_answer *answer,
		 const char *protocol, const struct ports *ports)
{
	enum {
		MULTIPORT_MAX = 7, /* ranges in one rule of iptables: 15 numbers */
		LIST_MAX = 20,
	};
	struct findings *findings = examination->findings;
	char list[400], after[32];

	if (!strcmp(answer->table, "firewalld")) {
		snprintf(after, sizeof(after), "/%s ", protocol);
		list_ports(ports, '-', "--add-port=", after, MULTIPORT_MAX, list, sizeof(list));
		mended_by(findings, "firewall-cmd %s/%s", list, protocol);
	} else if (!strcmp(answer->chain, "INPUT") || !strcmp(answer->chain, "PREROUTING")) {
		/* iptables writes the names of its chains in capitals. */
		list_ports(ports, ':', "", ",", MULTIPORT_MAX, list, sizeof(list));
		mended_by(findings, "%s -t %s -I %s -p %s -m multiport --dports %s -j ACCEPT",
			  strcmp(answer->family, "ip6") ? "iptables" : "ip6tables", answer->table,
			  answer->chain, protocol, list);
	} else {
		list_ports(ports, '-', "", ",", LIST_MAX, list, sizeof(list));
		mended_by(findings, "nft insert rule %s %s %s %s dport %s%s%s accept",
			  answer->family, answer->table, answer->chain, protocol,
			  strchr(list, ',') ? "{" : "", list, strchr(list, ',') ? "}" : "");
	}
}

/* The IP versions that a finding is about. */
static const char *versions_name(unsigned versions)
{
	return versions == (V4 | V6) ? "" : versions == V4 ? "IPv4 " : "IPv6 ";
}

/* What of the clients' packets is meant. */
static const char *later_words(const struct judgement *judgement)
{
	return judgement->later ? "what follows the first packet of " : "";
}

static void tell_tcp(const struct examination *examination, uint16_t port, unsigned versions,
		     const struct judgement *judgement)
{
	const struct firewall_answer *answer = &judgement->answer;
	struct ports ports = {};

	if (answer->fate == FIREWALL_DEPENDS) {
		found(examination->findings, "firewall", VERDICT_UNKNOWN,
		      "%s of chain %s in table %s %s may drop %s%sclients of tcp port %u: that depends "
		      "on \"%s\", which cannot be told from here; the firewall sees data in "
		      "mid-stream first, so accept the port by number, before rules that want a SYN",
		      answer->what, answer->chain, answer->family, answer->table,
		      later_words(judgement), versions_name(versions), port, answer->depends);
		return;
	}
	found(examination->findings, "firewall", VERDICT_PROBLEM,
	      "%s of chain %s in table %s %s drops %s%sclients of tcp port %u: their handshake is "
	      "answered before the firewall, which sees data in mid-stream first%s",
	      answer->what, answer->chain, answer->family, answer->table, later_words(judgement),
	      versions_name(versions), port,
	      examination->strict ? " and takes it for invalid, as nf_conntrack_tcp_loose is 0"
				  : "; accept the port by number, before rules that want a SYN");
	/* The switch, where that alone mends it. */
	if (examination->strict &&
	    judge(examination, versions & V4 ? 4 : 6, IPPROTO_TCP, port, false).answer.fate ==
		    FIREWALL_PASSES) {
		mended_by(examination->findings,
			  "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1");
		return;
	}
	ports_add(&ports, port);
	mend(examination, answer, "tcp", &ports);
}

/* Whether two packets meet the same end at the same place. */
static bool same(const struct judgement *one, const struct judgement *other)
{
	const struct firewall_answer *a = &one->answer, *b = &other->answer;

	return one->later == other->later && a->fate == b->fate && a->family == b->family &&
	       a->table == b->table && a->chain == b->chain && !strcmp(a->what, b->what) &&
	       !strcmp(a->depends, b->depends);
}

/* Returns whether the packets pass. */
static bool look_at_tcp(const struct examination *examination,
			const struct manifest_listener *listener, unsigned versions)
{
	struct judgement v4 = {}, v6 = {};

	if (versions & V4)
		v4 = judge(examination, 4, IPPROTO_TCP, listener->port, examination->strict);
	if (versions & V6)
		v6 = judge(examination, 6, IPPROTO_TCP, listener->port, examination->strict);
	if (v4.answer.fate != FIREWALL_PASSES && same(&v4, &v6)) {
		tell_tcp(examination, listener->port, V4 | V6, &v4);
		return false;
	}
	if (v4.answer.fate != FIREWALL_PASSES)
		tell_tcp(examination, listener->port, V4, &v4);
	if (v6.answer.fate != FIREWALL_PASSES)
		tell_tcp(examination, listener->port, V6, &v6);
	return v4.answer.fate == FIREWALL_PASSES && v6.answer.fate == FIREWALL_PASSES;
}

/* The ports of a udp listener that the firewall does not let through, for one IP version. */
struct shut {
	struct ports dropped, doubtful;
	struct judgement dropping, depending; /* of the last of each */
};

static struct shut judge_udp(const struct examination *examination,
			     const struct manifest_listener *listener, uint8_t version)
{
	struct shut shut = {};

	for (size_t i = 0; i < listener->port_count && i < UDP_PORTS_MAX; i++) {
		struct judgement judgement =
			judge(examination, version, IPPROTO_UDP, listener->ports[i], false);

		if (judgement.answer.fate == FIREWALL_DROPS) {
			ports_add(&shut.dropped, listener->ports[i]);
			shut.dropping = judgement;
		} else if (judgement.answer.fate == FIREWALL_DEPENDS) {
			ports_add(&shut.doubtful, listener->ports[i]);
			shut.depending = judgement;
		}
	}
	return shut;
}

static void tell_udp(const struct examination *examination, unsigned versions,
		     const struct shut *shut)
{
	const struct firewall_answer *dropping = &shut->dropping.answer;
	const struct firewall_answer *depending = &shut->depending.answer;
	char text[PORTS_TEXT];

	if (ports_count(&shut->doubtful))
		found(examination->findings, "firewall", VERDICT_UNKNOWN,
		      "%s of chain %s in table %s %s may drop %s%smessages for udp %s: that depends on "
		      "\"%s\", which cannot be told from here; the firewall sees messages with the "
		      "ports that they are routed to",
		      depending->what, depending->chain, depending->family, depending->table,
		      later_words(&shut->depending), versions_name(versions),
		      ports_text(&shut->doubtful, text, sizeof(text)), depending->depends);
	if (ports_count(&shut->dropped)) {
		found(examination->findings, "firewall", VERDICT_PROBLEM,
		      "%s of chain %s in table %s %s drops %s%smessages for udp %s: the firewall sees "
		      "messages with the ports that they are routed to",
		      dropping->what, dropping->chain, dropping->family, dropping->table,
		      later_words(&shut->dropping), versions_name(versions),
		      ports_text(&shut->dropped, text, sizeof(text)));
		mend(examination, dropping, "udp", &shut->dropped);
	}
}

static bool is_open(const struct shut *shut)
{
	return !ports_count(&shut->dropped) && !ports_count(&shut->doubtful);
}

/* Returns whether the packets pass. */
static bool look_at_udp(const struct examination *examination,
			const struct manifest_listener *listener, unsigned versions)
{
	struct shut v4 = {}, v6 = {};

	if (versions & V4)
		v4 = judge_udp(examination, listener, 4);
	if (versions & V6)
		v6 = judge_udp(examination, listener, 6);
	if (!memcmp(&v4.dropped, &v6.dropped, sizeof(v4.dropped)) &&
	    !memcmp(&v4.doubtful, &v6.doubtful, sizeof(v4.doubtful)) &&
	    same(&v4.dropping, &v6.dropping) && same(&v4.depending, &v6.depending)) {
		tell_udp(examination, V4 | V6, &v4);
	} else {
		tell_udp(examination, V4, &v4);
		tell_udp(examination, V6, &v6);
	}
	return is_open(&v4) && is_open(&v6);
}

/* Whether clients of an IP version can reach the listener at all. */
static bool serves(const struct manifest_listener *listener, const struct addresses *own,
		   uint8_t version)
{
	for (size_t i = 0; i < listener->address_count; i++) {
		if (listener->addresses[i].family == version)
			return true;
	}
	if (listener->address_count)
		return false;
	if (version == 4)
		return own->v4_count;
	/* Every host has link-local addresses, few have clients there. */
	for (size_t i = 0; i < own->v6_count; i++) {
		if (own->v6[i][0] != 0xfe || (own->v6[i][1] & 0xc0) != 0x80)
			return true;
	}
	return false;
}

static void look_at_listener(const struct examination *examination,
			     const struct manifest_listener *listener, const struct addresses *own)
{
	unsigned versions =
		(serves(listener, own, 4) ? V4 : 0) | (serves(listener, own, 6) ? V6 : 0);
	bool passes = true;

	if (listener->protocols & MANIFEST_TCP)
		passes &= look_at_tcp(examination, listener, versions);
	if (listener->protocols & MANIFEST_UDP)
		passes &= look_at_udp(examination, listener, versions);
	if (passes)
		found(examination->findings, "firewall", VERDICT_OK,
		      "nftables lets the clients of %s through", listener->name);
}

/* Rules of the older kind can be seen to be there, but not read. */
static void look_at_legacy(struct findings *findings)
{
	static const char *const lists[] = {"/proc/net/ip_tables_names",
					    "/proc/net/ip6_tables_names"};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		SCOPED(scoped_fclose) FILE *file = fopen(lists[i], "re");
		char name[64];

		if (file && fgets(name, sizeof(name), file))
			found(findings, "firewall", VERDICT_UNKNOWN,
			      "there are rules of %s too, which mplex-run cannot read: see that they "
			      "accept the listen ports by number, before rules that want a SYN "
			      "(\"%s-save\" shows them)",
			      i ? "ip6tables-legacy" : "iptables-legacy",
			      i ? "ip6tables-legacy" : "iptables-legacy");
	}
}

void check_firewall(const struct subject *subject, struct findings *findings)
{
	const struct manifest *manifest = subject->manifest;
	SCOPED(addresses_free) struct addresses own = {};
	SCOPED(scoped_json) json_t *ruleset = NULL;
	char error[ERROR_SIZE];
	int64_t loose = 1;
	struct examination examination = {
		.interface = subject->interface->name,
		.findings = findings,
	};

	look_at_legacy(findings);
	/* It is missing where connections are not tracked. */
	host_sysctl("net/netfilter/nf_conntrack_tcp_loose", &loose, 1);
	examination.strict = !loose;
	if (firewall_read(&ruleset, error, sizeof(error)) ||
	    host_addresses(subject->interface, &own, error, sizeof(error))) {
		found(findings, "firewall", VERDICT_UNKNOWN, "%s", error);
		return;
	}
	examination.ruleset = ruleset;
	for (size_t i = 0; i < manifest->listener_count; i++)
		look_at_listener(&examination, &manifest->listeners[i], &own);
	if (examination.strict && manifest_has(manifest, MANIFEST_TCP)) {
		found(findings, "conntrack", VERDICT_WARNING,
		      "nf_conntrack_tcp_loose is 0, so connection tracking takes the clients' "
		      "connections for invalid: rules that drop these, and NAT, fail for them");
		mended_by(findings, "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1");
	}
}
