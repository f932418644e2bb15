/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The model of what TC does, from docs/object.md and design §3: first the UDP replies and the ICMP
 * errors, then the hand-over, then the comparison.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../../compiler/interpret_packet.h"
#include "tc.h"

enum {
	TC_NEXT = -1,
	TC_DROP = 2,
	PORT_TRACKED = 0x10000,
	ICMP_HEADER = 8,
	UDP_HEADER = 8,
	TCP_HEADER = 20,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	FRESH_NS = 200 * 1000 * 1000,
};

struct prediction {
	int action;
	const char *reason; /* counted at the hand-over, or NULL */
};

static const char *last_reason;
static struct observation observation;
static uint8_t predicted[FRAME_MAX + ANSWER_MAX];

const char *tc_last_reason(void)
{
	return last_reason;
}

/* ---- Replies and errors ---- */

/* The program reads packets of the families that some listener has. */
static bool has_family(const struct rules *rules, uint8_t family)
{
	for (size_t i = 0; i < rules->listener_count; i++) {
		const struct listener *listener = &rules->listeners[i];

		if (!listener->address_count)
			return true;
		for (size_t j = 0; j < listener->address_count; j++)
			if (listener->addresses[j].family == family)
				return true;
	}
	return false;
}

static bool read_packet(const struct program *program, const struct trial *trial,
			struct packet *packet)
{
	return packet_parse(trial->frame, trial->length, packet) &&
	       has_family(&program->rules, packet->family);
}

static bool same_client(const struct talk *talk, const struct tuple *tuple)
{
	return tuple->family == talk->tuple.family &&
	       !memcmp(tuple->source, talk->tuple.source, 16) &&
	       !memcmp(tuple->destination, talk->tuple.destination, 16) &&
	       !memcmp(tuple->source_port, talk->tuple.source_port, 2);
}

static struct tuple turned(const struct packet *packet)
{
	struct tuple tuple = packet_tuple(packet), other = {.family = tuple.family};

	memcpy(other.source, tuple.destination, 16);
	memcpy(other.destination, tuple.source, 16);
	memcpy(other.source_port, tuple.destination_port, 2);
	memcpy(other.destination_port, tuple.source_port, 2);
	return other;
}

static bool is_backend(const struct talk *talk, uint16_t port)
{
	for (size_t i = 0; i < talk->count; i++)
		if (talk->backends[i] == port)
			return true;
	return false;
}

void talk_note(struct talk *talk, uint16_t backend)
{
	if (is_backend(talk, backend))
		return;
	talk->backends[talk->count++] = backend;
	talk->last = backend;
}

/* Writes a port, and updates the UDP checksum over it if it is there. */
static void turn_port(uint8_t *udp, size_t left, size_t at, uint16_t to)
{
	uint16_t from = get16(udp + at), checksum = left < UDP_HEADER ? 0 : get16(udp + 6);

	put16(udp + at, to);
	if (!checksum)
		return;
	checksum = checksum_update(checksum, from, to);
	put16(udp + 6, checksum ? checksum : 0xffff);
}

static void turn_reply(const struct program *program, struct talk *talk,
		       const struct packet *packet)
{
	uint32_t noted = program->expected_ports->replies.port[packet->source_port];
	struct tuple client = turned(packet);

	if (!noted)
		return;
	if (noted == PORT_TRACKED) {
		if (!same_client(talk, &client) || !is_backend(talk, packet->source_port))
			return;
		noted = talk->listen;
		talk->last = packet->source_port;
	}
	turn_port(predicted + packet->transport, packet->length - packet->transport, 0,
		  (uint16_t)noted);
}

/* The UDP datagram that an ICMP error quotes: its whole UDP header is there. */
static bool read_quote(const struct packet *packet, struct packet *quote)
{
	uint8_t type = packet->frame[packet->transport];
	size_t ip = packet->transport + ICMP_HEADER;

	if (ip > packet->length)
		return false;
	if (packet->family == 4
		    ? packet->protocol != IP_ICMP || (type != 3 && type != 11 && type != 12)
		    : packet->protocol != IP_ICMPV6 || type < 1 || type > 4)
		return false;
	return packet_parse_ip(packet->frame, packet->length, ip, packet->family, quote) &&
	       quote->protocol == IP_UDP && quote->transport + UDP_HEADER <= packet->length;
}

/* The ICMP checksum is over all that changes in the quote. */
static void turn_quote(const struct packet *packet, const struct packet *quote, size_t at,
		       uint16_t to)
{
	uint8_t *icmp = predicted + packet->transport, *udp = predicted + quote->transport;
	uint16_t port = get16(udp + at), checksum = get16(udp + 6), sum = get16(icmp + 2);

	turn_port(udp, UDP_HEADER, at, to);
	sum = checksum_update(sum, port, to);
	if (get16(udp + 6) != checksum)
		sum = checksum_update(sum, checksum, get16(udp + 6));
	put16(icmp + 2, sum);
}

static void turn_error_out(const struct program *program, const struct talk *talk,
			   const struct packet *packet)
{
	struct packet quote;
	struct tuple client;

	if (!read_quote(packet, &quote))
		return;
	client = packet_tuple(&quote);
	if (program->expected_ports->replies.port[quote.destination_port] == PORT_TRACKED &&
	    same_client(talk, &client) && is_backend(talk, quote.destination_port))
		turn_quote(packet, &quote, 2, talk->listen);
}

static void turn_error_in(const struct talk *talk, const struct packet *packet)
{
	struct packet quote;
	struct tuple client;

	if (!read_quote(packet, &quote))
		return;
	client = turned(&quote);
	if (talk->count && same_client(talk, &client) && quote.source_port == talk->listen)
		turn_quote(packet, &quote, 0, talk->last);
}

/* ---- The hand-over ---- */

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* As the kernel will check it: right, or that of the pseudo-header alone, to be filled in later. */
static bool checksum_holds(const struct packet *packet)
{
	const uint8_t *tcp = packet->frame + packet->transport;
	size_t length = packet->end - packet->transport, address = packet->family == 4 ? 4 : 16;
	uint64_t sum = IP_TCP + (uint16_t)length;

	for (size_t i = 0; i < address; i += 2)
		sum += get16(packet->source + i) + get16(packet->destination + i);
	if (get16(tcp + 16) == fold(sum))
		return true;
	if (packet->end > packet->length || packet->end < packet->transport)
		return false;
	for (size_t i = 0; i < length; i++)
		sum += i % 2 ? tcp[i] : (uint32_t)tcp[i] << 8;
	return fold(sum) == 0xffff;
}

static struct prediction give(const struct hand_over *hand_over, bool fresh)
{
	const struct memory *memory = &hand_over->memory;
	bool group = hand_over->server == SERVER_GROUP;
	bool dropped_nothing = !group && memory->drops == hand_over->drops;

	if (hand_over->server == SERVER_NONE)
		return (struct prediction){TC_NEXT, "no-listener"};
	if (memory->kept || (memory->delivered && (dropped_nothing || fresh)))
		return (struct prediction){fresh ? TC_DROP : TC_NEXT, "replay"};
	if (hand_over->server == SERVER_FULL)
		return (struct prediction){TC_DROP, "backlog"};
	return (struct prediction){TC_NEXT, hand_over->server == SERVER_MPTCP ? "mptcp-listener"
									      : "not-taken"};
}

/* Also notes in the entry, as the program does, that the connection's socket was seen. */
static struct prediction predict_hand_over(const struct program *program,
					   struct hand_over *hand_over, const struct packet *packet)
{
	static const struct prediction next = {TC_NEXT, NULL};
	struct memory *memory = &hand_over->memory;
	const uint8_t *tcp = packet->frame + packet->transport;
	struct tuple tuple = packet_tuple(packet);
	bool fresh = observation.before - memory->bound_at < FRESH_NS;

	if (!program->expected_ports->bound[packet->destination_port] ||
	    packet->transport + TCP_HEADER > packet->length)
		return next;
	if (!hand_over->known || memcmp(&tuple, &hand_over->tuple, sizeof(tuple)) ||
	    tcp[13] & (TCP_SYN | TCP_RST))
		return next;
	if (memory->delivered && hand_over->connected)
		memory->kept = true;
	if (get32(tcp + 4) != memory->binding.isn + 1)
		return (struct prediction){!memory->delivered && fresh ? TC_DROP : TC_NEXT, NULL};
	if ((memory->kept && hand_over->connected) || !checksum_holds(packet))
		return next;
	return give(hand_over, fresh);
}

/* ---- Holding against ---- */

static void compare(const struct trial *trial, int action, struct difference *difference)
{
	if (observation.action != (uint32_t)action) {
		snprintf(difference->text, sizeof(difference->text),
			 "expected TC action %d, got %d", action, (int)observation.action);
		return;
	}
	if (observation.length != trial->length) {
		snprintf(difference->text, sizeof(difference->text),
			 "expected a frame of %zu bytes, got %zu", trial->length,
			 observation.length);
		return;
	}
	for (size_t i = 0; i < trial->length; i++)
		if (predicted[i] != observation.frame[i]) {
			snprintf(difference->text, sizeof(difference->text),
				 "byte %zu: expected %02x, got %02x (was %02x)", i, predicted[i],
				 observation.frame[i], trial->frame[i]);
			return;
		}
}

static int run(int fd, const struct trial *trial, struct difference *difference)
{
	difference->text[0] = '\0';
	last_reason = NULL;
	memcpy(predicted, trial->frame, trial->length);
	return program_run_tc(fd, trial, &observation);
}

int tc_check_egress(struct program *program, struct talk *talk, const struct trial *trial,
		    struct difference *difference)
{
	struct packet packet;
	int err = run(program->egress, trial, difference);

	if (err)
		return err;
	if (read_packet(program, trial, &packet)) {
		if (packet.protocol == IP_UDP)
			turn_reply(program, talk, &packet);
		else
			turn_error_out(program, talk, &packet);
	}
	if (memcmp(predicted, trial->frame, trial->length))
		last_reason = packet.protocol == IP_UDP ? "reply" : "error outwards";
	compare(trial, TC_NEXT, difference);
	return 0;
}

int tc_check_ingress(struct program *program, const struct talk *talk, const struct trial *trial,
		     struct difference *difference)
{
	struct packet packet;
	int err = run(program->ingress, trial, difference);

	if (err)
		return err;
	if (read_packet(program, trial, &packet) && packet.protocol != IP_TCP)
		turn_error_in(talk, &packet);
	if (memcmp(predicted, trial->frame, trial->length))
		last_reason = "error inwards";
	compare(trial, TC_NEXT, difference);
	return 0;
}

static int count(const struct program *program, uint32_t listener, const char *reason,
		 struct tally *tally)
{
	uint32_t counter;
	int err = program_ingress_counter(program, listener, reason, &counter);

	return err ? err : program_ingress_counter_read(program, counter, tally);
}

/* All reasons of a listener, so that what is counted wrongly shows, too. */
static int count_all(const struct program *program, uint32_t listener, struct tally *tallies,
		     size_t *reasons)
{
	const struct manifest *manifest = &program->object.manifest;
	int err = 0;

	*reasons = manifest->ingress_reason_count < 8 ? manifest->ingress_reason_count : 8;
	for (size_t i = 0; i < *reasons && !err; i++)
		err = count(program, listener, manifest->ingress_reasons[i], &tallies[i]);
	return err;
}

static void compare_counts(const struct program *program, const struct packet *packet,
			   const struct prediction *prediction, const struct tally *before,
			   const struct tally *after, size_t reasons, struct difference *difference)
{
	for (size_t i = 0; i < reasons; i++) {
		const char *reason = program->object.manifest.ingress_reasons[i];
		bool counted = prediction->reason && !strcmp(prediction->reason, reason);

		if (after[i].packets - before[i].packets == counted &&
		    after[i].bytes - before[i].bytes == (counted ? packet->end - packet->ip : 0))
			continue;
		snprintf(difference->text, sizeof(difference->text),
			 "%s: expected %d packets counted, got %lu of %lu bytes", reason, counted,
			 after[i].packets - before[i].packets, after[i].bytes - before[i].bytes);
		return;
	}
}

/* The entry is as expected: nothing was delivered. */
static void compare_memory(const struct program *program, const struct hand_over *hand_over,
			   struct difference *difference)
{
	const struct memory *before = &hand_over->memory;
	struct memory after;

	if (!hand_over->known)
		return;
	if (program_pending_read(program, &hand_over->tuple, &after))
		snprintf(difference->text, sizeof(difference->text), "the entry is gone");
	else if (after.delivered != before->delivered || after.kept != before->kept ||
		 after.bound_at != before->bound_at || after.drops != before->drops)
		snprintf(difference->text, sizeof(difference->text),
			 "the entry: expected delivered %d, kept %d, drops %u; got %d, %d, %u, %s",
			 before->delivered, before->kept, before->drops, after.delivered,
			 after.kept, after.drops,
			 after.bound_at == before->bound_at ? "bound then" : "bound anew");
}

int tc_check_hand_over(struct program *program, struct hand_over *hand_over,
		       const struct trial *trial, struct difference *difference)
{
	struct prediction prediction = {TC_NEXT, NULL};
	struct tally before[8], after[8];
	struct packet packet;
	size_t reasons;
	int err = count_all(program, hand_over->memory.listener, before, &reasons);

	if (!err)
		err = run(program->ingress, trial, difference);
	if (!err)
		err = count_all(program, hand_over->memory.listener, after, &reasons);
	if (err)
		return err;
	if (read_packet(program, trial, &packet) && packet.protocol == IP_TCP)
		prediction = predict_hand_over(program, hand_over, &packet);
	last_reason = prediction.reason		     ? prediction.reason
		      : prediction.action == TC_DROP ? "held back"
						     : NULL;
	compare(trial, prediction.action, difference);
	if (!difference->text[0])
		compare_counts(program, &packet, &prediction, before, after, reasons, difference);
	if (!difference->text[0])
		compare_memory(program, hand_over, difference);
	return 0;
}
