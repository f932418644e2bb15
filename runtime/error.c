/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How every part of mplex-run says what went wrong: the function that knows the cause writes the
 * sentence into the caller's buffer; only main prints it.
 */
#include <stdarg.h>
#include <stdio.h>

#include "error.h"

int failed(char *error, size_t size, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return -code;
}
