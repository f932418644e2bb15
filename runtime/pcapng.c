/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A block is its type, its length, a body, options, and its length again; everything is padded to
 * words of 32 bits. Each function writes one block, and adds up its length before it does.
 */
#include <string.h>

#include "pcapng.h"

enum {
	SECTION_HEADER = 0x0a0d0d0a,
	INTERFACE_DESCRIPTION = 1,
	INTERFACE_STATISTICS = 5,
	ENHANCED_PACKET = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
	LINKTYPE_ETHERNET = 1,
	FRAME_LENGTHS = 12, /* type and the two lengths */
};

/* Codes of options; what they mean depends on the block. */
enum {
	OPTION_END = 0,
	OPTION_COMMENT = 1,
	SECTION_APPLICATION = 4,
	INTERFACE_NAME = 2,
	INTERFACE_RESOLUTION = 9,
	PACKET_FLAGS = 2,
	STATISTICS_RECEIVED = 4,
	STATISTICS_DROPPED = 5,
	RESOLUTION_NANOSECONDS = 9, /* 10^-9 s */
	FLAGS_INBOUND = 1,
};

struct option {
	uint16_t code;
	uint16_t length;
	const void *value;
};

static uint32_t padded(uint32_t length)
{
	return (length + 3) & ~3u;
}

static void put(FILE *out, const void *bytes, uint32_t length)
{
	fwrite(bytes, 1, length, out);
}

static void put_padded(FILE *out, const void *bytes, uint32_t length)
{
	put(out, bytes, length);
	put(out, "\0\0\0", padded(length) - length);
}

static void put_u32(FILE *out, uint32_t value)
{
	put(out, &value, sizeof(value));
}

static struct option text_option(uint16_t code, const char *text)
{
	size_t length = strlen(text);

	return (struct option){code, length < UINT16_MAX ? length : UINT16_MAX, text};
}

/* A block of a fixed body, data that may be empty, and options. */
static void put_block(FILE *out, uint32_t type, const void *body, uint32_t body_length,
		      const void *data, uint32_t data_length, const struct option *options,
		      unsigned count)
{
	static const struct option end = {OPTION_END, 0, ""};
	uint32_t length = FRAME_LENGTHS + body_length + padded(data_length) + 4;

	for (unsigned i = 0; i < count; i++)
		length += 4 + padded(options[i].length);
	put_u32(out, type);
	put_u32(out, length);
	put(out, body, body_length);
	put_padded(out, data, data_length);
	for (unsigned i = 0; i <= count; i++) {
		const struct option *option = i < count ? &options[i] : &end;

		put(out, &option->code, sizeof(option->code));
		put(out, &option->length, sizeof(option->length));
		put_padded(out, option->value, option->length);
	}
	put_u32(out, length);
}

void pcapng_start(FILE *out, const char *application, const char *interface, uint32_t snaplen)
{
	static const uint8_t resolution = RESOLUTION_NANOSECONDS;
	const struct {
		uint32_t magic;
		uint16_t major, minor;
		uint64_t length; /* of the section: not known */
	} __attribute__((packed)) section = {BYTE_ORDER_MAGIC, 1, 0, UINT64_MAX};
	const struct {
		uint16_t link_type, reserved;
		uint32_t snaplen;
	} description = {LINKTYPE_ETHERNET, 0, snaplen};
	const struct option of_section = text_option(SECTION_APPLICATION, application);
	const struct option of_interface[] = {
		text_option(INTERFACE_NAME, interface),
		{INTERFACE_RESOLUTION, sizeof(resolution), &resolution},
	};

	put_block(out, SECTION_HEADER, &section, sizeof(section), "", 0, &of_section, 1);
	put_block(out, INTERFACE_DESCRIPTION, &description, sizeof(description), "", 0,
		  of_interface, 2);
}

void pcapng_packet(FILE *out, const struct pcapng_packet *packet)
{
	static const uint32_t inbound = FLAGS_INBOUND;
	const uint32_t body[] = {0 /* the interface */, packet->time >> 32, (uint32_t)packet->time,
				 packet->captured, packet->length};
	const struct option options[] = {
		{PACKET_FLAGS, sizeof(inbound), &inbound},
		text_option(OPTION_COMMENT, packet->comment),
	};

	put_block(out, ENHANCED_PACKET, body, sizeof(body), packet->data, packet->captured, options,
		  2);
}

void pcapng_end(FILE *out, uint64_t time, uint64_t seen, uint64_t dropped)
{
	const uint32_t body[] = {0 /* the interface */, time >> 32, (uint32_t)time};
	const struct option options[] = {
		{STATISTICS_RECEIVED, sizeof(seen), &seen},
		{STATISTICS_DROPPED, sizeof(dropped), &dropped},
	};

	put_block(out, INTERFACE_STATISTICS, body, sizeof(body), "", 0, options, 2);
}
