/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files and their ELF sections.
 *
 * An object is read once, so that what was checked is what gets loaded, even when a compiler is
 * just writing it anew. libelf checks every offset of the headers against the size of the memory;
 * what it hands out lies inside.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gelf.h>
#include <libelf.h>

#include "error.h"
#include "scope.h"
#include "section.h"

enum {
	FILE_MAX = 256 << 20
};

int file_read(const char *path, struct bytes *out, char *error, size_t n)
{
	SCOPED(scoped_close) int fd = -1;
	SCOPED(scoped_free) char *data = NULL;
	size_t size = 0;
	struct stat status;

	/* Without O_NONBLOCK a FIFO would keep us waiting for its writer. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &status))
		return failed(error, n, errno, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return failed(error, n, EINVAL, "cannot read %s: it is not a regular file", path);
	if (status.st_size > FILE_MAX)
		return failed(error, n, EFBIG, "cannot read %s: it is larger than 256 MB", path);

	data = malloc(status.st_size + 1);
	if (!data)
		return failed(error, n, ENOMEM, "cannot read %s: out of memory", path);
	while (size < (size_t)status.st_size) {
		ssize_t got = read(fd, data + size, status.st_size - size);

		if (got < 0)
			return failed(error, n, errno, "cannot read %s: %s", path, strerror(errno));
		if (!got)
			break;
		size += got;
	}
	out->data = TAKE(data);
	out->size = size;
	return 0;
}

static void scoped_elf_end(Elf **elf)
{
	elf_end(*elf);
}

/* What libelf could not do: for lack of memory, or because the file is not what it says. */
static int unreadable(const char *why, char *error, size_t n)
{
	return errno == ENOMEM ? failed(error, n, ENOMEM, "out of memory")
			       : failed(error, n, EINVAL, "%s", why);
}

int section_find(const struct bytes *file, const char *name, struct bytes *out, char *error,
		 size_t n)
{
	SCOPED(scoped_elf_end) Elf *elf = NULL;
	Elf_Scn *section = NULL;
	size_t names;
	GElf_Ehdr header;

	errno = 0;
	elf_version(EV_CURRENT);
	elf = elf_memory(file->data, file->size);
	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &header) ||
	    header.e_machine != EM_BPF)
		return unreadable("it is not a BPF object file", error, n);
	if (header.e_ident[EI_DATA] !=
	    (__BYTE_ORDER == __LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB))
		return failed(error, n, EINVAL, "it was compiled for the other byte order");
	if (elf_getshdrstrndx(elf, &names))
		return unreadable("it is cut off or damaged", error, n);

	while ((section = elf_nextscn(elf, section))) {
		const char *found;
		GElf_Shdr shape;
		Elf_Data *data;

		if (!gelf_getshdr(section, &shape))
			return unreadable("it is cut off or damaged", error, n);
		found = elf_strptr(elf, names, shape.sh_name);
		if (!found || strcmp(found, name))
			continue;
		data = shape.sh_type == SHT_NOBITS ? NULL : elf_rawdata(section, NULL);
		if (!data || !data->d_buf || (char *)data->d_buf < file->data ||
		    data->d_size > file->size - ((char *)data->d_buf - file->data))
			return failed(error, n, EINVAL, "its section %s is cut off", name);
		out->data = data->d_buf;
		out->size = data->d_size;
		return 0;
	}
	return failed(error, n, ENOENT, "it has no section %s", name);
}
