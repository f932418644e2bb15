/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_TESTS_COOKIES_H
#define MPLEX_TESTS_COOKIES_H

/*
 * Tries every value of a cookie's hash bits on one tuple of each IP version, in so many of the
 * eight time windows. Prints what it found. Returns 0 when exactly the right ones did what they
 * should.
 */
int cookies_sweep(unsigned windows);

#endif
