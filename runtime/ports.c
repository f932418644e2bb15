/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "ports.h"

enum {
	PORTS_SHOWN = 8
};

unsigned ports_next(const struct ports *ports, unsigned from)
{
	while (from < 65536 && !ports_have(ports, from))
		from++;
	return from;
}

unsigned ports_count(const struct ports *ports)
{
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(ports->bits) / sizeof(*ports->bits); i++)
		count += __builtin_popcountll(ports->bits[i]);
	return count;
}

const char *ports_text(const struct ports *ports, char *text, size_t size)
{
	unsigned count = ports_count(ports), shown = 0;
	size_t length = snprintf(text, size, count == 1 ? "port" : "ports");

	for (unsigned port = ports_next(ports, 0); port < 65536 && shown < PORTS_SHOWN;
	     port = ports_next(ports, port + 1), shown++) {
		if (length < size)
			length += snprintf(text + length, size - length, "%s %u", shown ? "," : "",
					   port);
	}
	if (shown < count && length < size)
		snprintf(text + length, size - length, " and %u more", count - shown);
	return text;
}
