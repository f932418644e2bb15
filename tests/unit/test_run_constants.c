/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The window of a SYN-ACK. That it is the running kernel's own is tested from outside
 * (tests/runtime); here are the edges that no machine is set to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "constants.h"

static const struct {
	int64_t rmem_initial, rmem_max, core_rmem_max;
	uint32_t mss;
	uint16_t size;
	uint8_t scale;
} windows[] = {
	{131072, 6291456, 212992, 1460, 64240, 7}, /* the kernel's defaults: the familiar 64240 */
	{131072, 33554432, 212992, 1460, 64240, 10},
	{131072, 212992, 6291456, 1460, 64240, 7}, /* the larger of the two limits decides */
	{4096, 4096, 4096, 1460, 1460, 0},
	{1000, 4096, 4096, 1460, 500, 0}, /* less than a segment: not rounded */
	{131072, 65535, 65535, 1460, 64240, 0},
	{131072, 65536, 0, 1460, 64240, 1},
	{1 << 20, 6291456, 0, 1460, 65535, 7}, /* 16 bits hold no more */
	{131072, INT32_MAX, 0, 1460, 64240, 14},
	{INT32_MAX, INT32_MAX, INT32_MAX, 1460, 65535, 14},
	{0, 0, 0, 1460, 0, 0},
	{131072, 6291456, 212992, 0, 65535, 7},
};

static void test_window(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
		struct window window = window_select(windows[i].rmem_initial, windows[i].rmem_max,
						     windows[i].core_rmem_max, windows[i].mss);

		if (window.size != windows[i].size || window.scale != windows[i].scale)
			fail_msg("%zu: %u << %u", i, window.size, window.scale);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
