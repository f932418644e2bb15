/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Kept failures. Each line of a .trial is a name and a value; numbers are decimal, bytes are hex
 * without the zeros at their end. The names are those of struct kept.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kept.h"

enum {
	LINE_MAX = 2 * FRAME_MAX + 64,
	SEQ = 4, /* where they stand in a TCP header */
	ACK = 8,
	CHECKSUM = 16,
	TCP_HEADER = 20,
	WINDOWS = 8,
};

struct member {
	const char *name;
	size_t offset, size;
	bool bytes;
};

#define NUMBER(member)                                                                            \
	{                                                                                         \
#member, offsetof(struct kept, member), sizeof(((struct kept *)0)->member), false \
	}
#define BYTES(member)                                                                            \
	{                                                                                        \
#member, offsetof(struct kept, member), sizeof(((struct kept *)0)->member), true \
	}

/* The length of the frame comes before its bytes. */
static const struct member members[] = {
	NUMBER(plan.dispatch),
	NUMBER(plan.counters),
	BYTES(host.mac),
	NUMBER(host.local_known),
	NUMBER(host.local_v4_count),
	NUMBER(host.local_v6_count),
	BYTES(host.local_v4),
	BYTES(host.local_v6),
	BYTES(host.key),
	NUMBER(host.mss_v4),
	NUMBER(host.mss_v6),
	NUMBER(host.window),
	NUMBER(host.window_scale),
	NUMBER(host.sack),
	NUMBER(host.timestamps),
	NUMBER(host.ecn),
	NUMBER(host.ttl),
	NUMBER(host.hop_limit),
	NUMBER(host.redirect),
	NUMBER(host.observe),
	NUMBER(host.linear),
	NUMBER(forwarding),
	NUMBER(trial.situation.pending.present),
	NUMBER(trial.situation.pending.isn),
	NUMBER(trial.situation.pending.waiting),
	NUMBER(trial.situation.way_back.other_interface),
	NUMBER(trial.situation.way_back.neighbour_known),
	BYTES(trial.situation.way_back.next_hop),
	NUMBER(trial.pending_age),
	NUMBER(trial.delivered),
	NUMBER(trial.way),
	NUMBER(trial.linear),
	NUMBER(trial.transport),
	NUMBER(cookie.present),
	NUMBER(cookie.probe),
	NUMBER(cookie.age),
	NUMBER(trial.tuple.family),
	BYTES(trial.tuple.source),
	BYTES(trial.tuple.destination),
	BYTES(trial.tuple.source_port),
	BYTES(trial.tuple.destination_port),
	NUMBER(trial.length),
	BYTES(trial.frame),
};

static uint32_t get32(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
	       bytes[3];
}

/* ---- The cookie ---- */

static bool has_tcp_header(const struct trial *trial)
{
	return trial->transport && trial->transport + TCP_HEADER <= trial->length;
}

static int make_cookie(const struct kept *kept, uint64_t now, uint8_t options, uint32_t *cookie)
{
	const uint8_t *tcp = kept->trial.frame + kept->trial.transport;
	uint32_t isn = get32(tcp + SEQ) - !kept->cookie.probe;

	return cookie_make(&kept->host, &kept->trial.tuple, isn,
			   (now >> COOKIE_WINDOW_NS_LOG2) - kept->cookie.age, options, cookie);
}

/* Finds out whether the frame acknowledges a cookie, and which. */
static int find_cookie(struct kept *kept, uint64_t now)
{
	const uint8_t *tcp = kept->trial.frame + kept->trial.transport;

	if (!has_tcp_header(&kept->trial))
		return 0;

	uint32_t cookie = get32(tcp + ACK) - 1, made;

	for (unsigned i = 0; i < 2 * WINDOWS; i++) {
		kept->cookie.probe = i % 2;
		kept->cookie.age = i / 2;

		int err = make_cookie(kept, now, cookie & COOKIE_OPTIONS, &made);

		if (err)
			return err;
		if (made == cookie) {
			kept->cookie.present = true;
			return 0;
		}
	}
	kept->cookie.probe = false;
	kept->cookie.age = 0;
	return 0;
}

int kept_renew(struct kept *kept, uint64_t now)
{
	uint8_t *tcp = kept->trial.frame + kept->trial.transport;

	if (!kept->cookie.present || !has_tcp_header(&kept->trial))
		return 0;

	uint32_t before = get32(tcp + ACK), cookie;
	int err = make_cookie(kept, now, (before - 1) & COOKIE_OPTIONS, &cookie);

	if (err)
		return err;

	/* RFC 1624: ~checksum + ~before + after */
	uint32_t after = cookie + 1, sum = (uint16_t) ~(tcp[CHECKSUM] << 8 | tcp[CHECKSUM + 1]);

	sum += (~before >> 16) + (~before & 0xffff) + (after >> 16) + (after & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16));
	for (int i = 0; i < 4; i++)
		tcp[ACK + i] = (uint8_t)(after >> (24 - 8 * i));
	tcp[CHECKSUM] = (uint8_t)(sum >> 8);
	tcp[CHECKSUM + 1] = (uint8_t)sum;
	return 0;
}

/* ---- Files ---- */

static FILE *create(const char *folder, const char *name, const char *ending)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s%s", folder, name, ending) >= (int)sizeof(path))
		return NULL;
	return fopen(path, "we");
}

static int finish(FILE *out)
{
	bool failed = ferror(out);

	return fclose(out) || failed ? -EIO : 0;
}

static void write_member(const struct member *member, const struct kept *kept, FILE *out)
{
	const uint8_t *at = (const uint8_t *)kept + member->offset;
	uint64_t number = 0;
	size_t size = member->size;

	fprintf(out, "%s ", member->name);
	if (member->bytes) {
		while (size && !at[size - 1])
			size--;
		for (size_t i = 0; i < size; i++)
			fprintf(out, "%02x", at[i]);
	} else {
		memcpy(&number, at, size);
		fprintf(out, "%lu", number);
	}
	fputc('\n', out);
}

static int write_trial(const char *folder, const char *name, const char *comment,
		       const struct kept *kept)
{
	FILE *out = create(folder, name, ".trial");

	if (!out)
		return -errno;
	fprintf(out, "# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause\n# %s\n", comment);
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		write_member(&members[i], kept, out);
	return finish(out);
}

/* What lies behind the counts and behind the frame is of no use. */
static void clear_rest(struct kept *kept)
{
	struct host *host = &kept->host;
	struct trial *trial = &kept->trial;

	for (uint32_t i = host->local_v4_count; i < HOST_ADDRESSES_MAX; i++)
		memset(host->local_v4[i], 0, sizeof(host->local_v4[i]));
	for (uint32_t i = host->local_v6_count; i < HOST_ADDRESSES_MAX; i++)
		memset(host->local_v6[i], 0, sizeof(host->local_v6[i]));
	memset(trial->frame + trial->length, 0, sizeof(trial->frame) - trial->length);
}

int kept_write(const char *folder, const char *name, const char *rules, const char *comment,
	       uint64_t now, struct kept *kept)
{
	FILE *out = create(folder, name, ".yaml");
	int err;

	if (!out)
		return -errno;
	fprintf(out, "# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause\n# %s\n%s", comment,
		rules);
	err = finish(out);
	if (err || kept->trial.situation.socket.state != SOCKET_NONE)
		return err;
	err = find_cookie(kept, now);
	if (err)
		return err;
	clear_rest(kept);
	return write_trial(folder, name, comment, kept);
}

static int read_bytes(const char *text, uint8_t *at, size_t size)
{
	unsigned byte;

	memset(at, 0, size);
	for (; *text; text += 2, at++, size--) {
		if (!size || sscanf(text, "%2x", &byte) != 1)
			return -EINVAL;
		*at = (uint8_t)byte;
	}
	return 0;
}

static int read_member(const char *name, const char *value, struct kept *kept)
{
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		const struct member *member = &members[i];
		uint8_t *at = (uint8_t *)kept + member->offset;

		if (strcmp(name, member->name))
			continue;
		if (member->bytes)
			return read_bytes(value, at, member->size);

		uint64_t number = strtoull(value, NULL, 10);

		memcpy(at, &number, member->size);
		return 0;
	}
	return -ENOENT;
}

int kept_read(const char *path, struct kept *kept)
{
	static char line[LINE_MAX];
	FILE *in = fopen(path, "re");
	int err = 0;

	if (!in)
		return -errno;
	memset(kept, 0, sizeof(*kept));
	while (!err && fgets(line, sizeof(line), in)) {
		char *value = strchr(line, ' ');

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '#' || !value)
			continue;
		*value++ = '\0';
		err = read_member(line, value, kept);
	}
	fclose(in);
	if (!err && kept->trial.length > FRAME_MAX)
		err = -EINVAL;
	return err;
}
