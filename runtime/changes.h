/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Hears of changes of the interfaces and addresses that a program was loaded for.
 */
#ifndef MPLEX_RUN_CHANGES_H
#define MPLEX_RUN_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

/* Changes come in bursts: this long after the last one they are looked at. */
enum {
	CHANGES_SETTLE = 200 /* milliseconds */
};

struct changes {
	int fd; /* to be polled for POLLIN */
	unsigned ifindex;
	const char *interface; /* its name, the caller's */
	bool gone;	       /* the interface was removed */
	bool due; /* something changed that was not looked at yet: the caller resets it */
};

/* Returns 0, or -errno with a sentence, and then there is nothing to close. */
int changes_open(struct changes *changes, const char *interface, unsigned ifindex, char *error,
		 size_t n);

void changes_close(struct changes *changes);

/*
 * Takes in what fd has. Returns 0, or -errno with a sentence: -ENODEV when the interface was
 * removed.
 */
int changes_receive(struct changes *changes, char *error, size_t n);

/* The timeout for poll(): what is due waits for the burst to end. */
int changes_timeout(const struct changes *changes);

#endif
