/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Fuzzes mplex-run's reader of objects: any bytes as a file, from ELF sections and manifest to what
 * libbpf makes of the rest, up to where the kernel would be asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sanitizer/common_interface_defs.h>

#include "error.h"
#include "fuzz.h"
#include "object.h"
#include "section.h"

static void check_section(const uint8_t *bytes, size_t size)
{
	const struct bytes file = {.data = (char *)bytes, .size = size};
	struct bytes section, untouched;
	char error[ERROR_SIZE] = "";
	int err;

	memset(&section, 0x5a, sizeof(section));
	untouched = section;
	err = section_find(&file, ".mplex", &section, error, sizeof(error));
	if (err) {
		expect((err == -EINVAL || err == -ENOENT) && *error);
		expect(!memcmp(&section, &untouched, sizeof(section)));
		return;
	}
	expect(section.data >= file.data && section.data <= file.data + size);
	expect(section.size <= (size_t)(file.data + size - section.data));
}

/* A file of these bytes, in memory. */
static int file_of(const uint8_t *bytes, size_t size, char path[64])
{
	int fd = memfd_create("object", MFD_CLOEXEC);

	expect(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

/* In a process that mplex-run started to see whether libbpf crashes, a crash is no find. */
static void crash_quietly(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		signal(signals[i], SIG_DFL);
	__sanitizer_set_death_callback(NULL);
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return pthread_atfork(NULL, NULL, crash_quietly);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct object object, untouched;
	char path[64], error[ERROR_SIZE] = "";
	int fd, err;

	check_section(bytes, size);
	fd = file_of(bytes, size, path);
	memset(&object, 0x5a, sizeof(object));
	untouched = object;
	err = object_open(path, &object, error, sizeof(error));
	if (err) {
		expect(err < 0 && *error);
		expect(!memcmp(&object, &untouched, sizeof(object)));
	} else {
		object_constant_size(&object, "mplex_key");
		object_close(&object);
	}
	close(fd);
	return 0;
}
