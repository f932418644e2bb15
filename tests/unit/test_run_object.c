/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An object whose file ends too early, wherever that is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "object.h"

static const char *program; /* this one, which is beside what it tests */

/* The object of a rule file of the project, as a user makes it. */
static void make_object(const char *path)
{
	char command[1024];

	snprintf(command, sizeof(command),
		 "%.*s../mplexc rules/binary.yaml -o %s.c && "
		 "${CLANG:-clang} -O2 -g -target bpf -c %s.c -o %s && rm %s.c",
		 (int)(strrchr(program, '/') + 1 - program), program, path, path, path, path);
	assert_int_equal(system(command), 0);
}

static void test_truncated_at_every_byte(void **state)
{
	char path[] = "/tmp/mplex-object-XXXXXX";
	int fd = mkstemp(path);
	struct object object = {};
	char error[ERROR_SIZE];
	struct stat status;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	make_object(path);
	assert_int_equal(object_open(path, &object, error, sizeof(error)), 0);
	object_close(&object);
	assert_int_equal(stat(path, &status), 0);
	while (status.st_size-- > 0) {
		assert_int_equal(truncate(path, status.st_size), 0);
		*error = '\0';
		assert_int_equal(object_open(path, &object, error, sizeof(error)), -EINVAL);
		assert_non_null(strstr(error, path));
		assert_null(object.bpf);
	}
	unlink(path);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_truncated_at_every_byte),
	};

	(void)argc;
	program = argv[0];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
