/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_TESTS_COOKIES_H
#define MPLEX_TESTS_COOKIES_H

/*
 * Tries every value of a cookie's hash bits on one tuple, in so many of the eight time windows, the
 * youngest first. Prints what it found. Returns 0 when exactly the right ones did what they should.
 */
int cookies_sweep(unsigned windows);

#endif
