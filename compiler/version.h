/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef MPLEX_VERSION_H
#define MPLEX_VERSION_H

/* Of both tools; every object carries the version that made it. */
#define MPLEX_VERSION "0.1.0"

#endif
