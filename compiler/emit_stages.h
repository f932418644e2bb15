/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Between the files of emission only: what emit.c asks of emit_rules.c and emit_manifest.c. */
#ifndef MPLEX_EMIT_STAGES_H
#define MPLEX_EMIT_STAGES_H

#include <stdint.h>
#include <stdio.h>

#include "rules.h"

struct listener_plan;
struct plan;

/* Payload bytes below this are in the linear part of every driver's frames. */
enum {
	LINEAR_PAYLOAD = 1024,
};

/* A listener's name in capitals, as its constants have it. */
struct capitals {
	char name[NAME_MAX_LENGTH + 1];
};
struct capitals capitals(const char *name);

/* Whether the bytes may lie behind the linear part of the frame. */
bool is_deep(uint32_t offset, uint32_t length);

/* Constants: the listeners, their ports, windows and counters. */
void emit_constants(const struct plan *plan, FILE *out);

/* find_listener, with the addresses that the rule file names. */
void emit_find_listener(const struct plan *plan, FILE *out);

/* A judge for each listener, with its dispatch. */
void emit_judges(const struct plan *plan, FILE *out);

/* What chooses among them, for each protocol. */
void emit_datagram_verdict(const struct plan *plan, FILE *out);
void emit_payload_verdict(const struct plan *plan, FILE *out);

/* What a datagram with a new destination port leaves behind for its replies. */
void emit_replies(const struct plan *plan, FILE *out);

/* The section .mplex (docs/object.md). Returns 0 or -ENOMEM. */
int emit_manifest(const struct plan *plan, FILE *out);

#endif
