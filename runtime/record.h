/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The record of a generation: what was loaded and how, as it was then. Written before the
 * generation runs, never changed.
 */
#ifndef MPLEX_RUN_RECORD_H
#define MPLEX_RUN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "attach.h"
#include "host.h"
#include "manifest.h"

enum {
	RECORD_FORMAT = 1 /* the newest that is understood */
};

/* Strings and arrays belong to the record. */
struct record {
	const char *tool;	   /* version of the mplex-run that loaded it */
	const char *interface;	   /* its name then */
	const char *object;	   /* path, absolute */
	const char *manifest_text; /* the object's, JSON */
	int64_t since;		   /* seconds since 1970: when mplex was first attached here */
	int64_t loaded;		   /* likewise: when this generation was loaded */
	enum mode mode;
	bool observing;		       /* it counts verdicts and carries out none */
	uint32_t xdp, ingress, egress; /* ids of its programs; 0: none */
	uint32_t previous;	       /* id of the generation before; 0: none */
	struct addresses addresses;    /* the host's own that it was loaded with */
	struct manifest manifest;
	json_t *document; /* owns the strings */
};

/* The document of a record, from all but `manifest` and `document`; NULL when memory ran out. */
json_t *record_document(const struct record *record);

/*
 * Reads a document, which then belongs to the record, also when it fails. Returns 0; -EINVAL
 * (malformed), -ENOTSUP (a newer format) or -ENOMEM with a sentence that starts with "its record",
 * and then *out is untouched. Release with record_free.
 */
int record_parse(json_t *document, struct record *out, char *error, size_t n);

/* Harmless on a zeroed struct. */
void record_free(struct record *record);

#endif
