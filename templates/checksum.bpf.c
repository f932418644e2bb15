/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum: RFC 1071, and its update in place, RFC 1624. */
#pragma once
#include "kernel.bpf.c"

/* part: checksum_update (needs: kernel) */
/* The checksum after a 16-bit word has changed (RFC 1624, equation 3). */
static __always_inline __sum16 checksum_update(__sum16 check, __be16 from, __be16 to)
{
	__u32 sum = (__u16)~check + (__u16)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum;
}

/* part: checksum_fold (needs: kernel) */
/* A sum of less than 65,536 words of 16 or 32 bits as a checksum (RFC 1071). */
static __always_inline __sum16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}
