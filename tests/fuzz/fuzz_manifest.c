/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fuzzes mplex-run's reader of manifests: any bytes as an object's section .mplex. What it accepts
 * has to be what manifest.h promises, since nobody behind it asks again.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "error.h"
#include "fuzz.h"
#include "manifest.h"

static void check_listener(const struct manifest_listener *listener)
{
	expect(*listener->name && listener->port);
	expect(listener->protocols && !(listener->protocols & ~(MANIFEST_TCP | MANIFEST_UDP)));
	for (size_t i = 0; i < listener->address_count; i++) {
		const struct manifest_address *address = &listener->addresses[i];

		expect(address->family == 4 || address->family == 6);
		expect(address->prefix <= (address->family == 4 ? 32 : 128));
	}
	for (size_t i = 0; i < listener->port_count; i++)
		expect(listener->ports[i]);
	for (size_t i = 0; i < listener->route_count; i++)
		expect(listener->routes[i].port && listener->routes[i].tag);
}

static void check_test(const struct manifest *manifest, const struct manifest_test *test)
{
	uint8_t *payload;

	expect(test->listener < manifest->listener_count);
	expect(manifest->listeners[test->listener].protocols & test->protocol);
	expect(test->length <= MANIFEST_PAYLOAD);
	expect(!test->port == (test->expect != EXPECT_ROUTE));
	/* Exactly as long as it may be, so that the sanitizer sees a byte too many. */
	payload = malloc(test->length);
	expect(payload || !test->length);
	manifest_test_payload(test, payload);
	free(payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct manifest manifest, untouched;
	char error[ERROR_SIZE] = "";
	int err;

	memset(&manifest, 0x5a, sizeof(manifest));
	untouched = manifest;
	err = manifest_parse(bytes, size, &manifest, error, sizeof(error));
	if (err) {
		expect(err == -EINVAL || err == -ENOTSUP);
		expect(*error && !strchr(error, '\n'));
		expect(!memcmp(&manifest, &untouched, sizeof(manifest)));
		return 0;
	}
	expect(manifest.listener_count && manifest.listener_count <= MANIFEST_LISTENERS);
	expect(manifest.reason_count <= MANIFEST_REASONS);
	expect(manifest.ingress_reason_count <= MANIFEST_REASONS);
	for (size_t i = 0; i < manifest.listener_count; i++)
		check_listener(&manifest.listeners[i]);
	for (size_t i = 0; i < manifest.test_count; i++)
		check_test(&manifest, &manifest.tests[i]);
	manifest_check_counters(&manifest, 1000, 1000, error, sizeof(error));
	manifest_free(&manifest);
	return 0;
}
