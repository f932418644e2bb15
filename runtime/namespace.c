/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The other network namespaces of the machine, and sockets in them. A socket belongs for good to
 * the namespace that it was made in, so nothing else needs to be done there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "namespace.h"
#include "scope.h"

/* Newer than the headers that this may be compiled with. */
enum {
	NETNS_COOKIE = 71 /* SO_NETNS_COOKIE */
};

static const char own_path[] = "/proc/self/ns/net";

static void scoped_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static bool is_known(const struct namespaces *namespaces, uint64_t inode)
{
	for (size_t i = 0; i < namespaces->count; i++) {
		if (namespaces->list[i].inode == inode)
			return true;
	}
	return false;
}

/* Adds the namespace of a path if it is a new one. Returns it, or NULL. */
static struct namespace *add(struct namespaces *namespaces, uint64_t own, const char *path)
{
	struct namespace *grown, *added;
	struct stat stat_now;

	if (stat(path, &stat_now)) {
		/* A process may end meanwhile. */
		if (errno != ENOENT && errno != ESRCH)
			namespaces->partial = true;
		return NULL;
	}
	if (stat_now.st_ino == own || is_known(namespaces, stat_now.st_ino))
		return NULL;
	grown = reallocarray(namespaces->list, namespaces->count + 1, sizeof(*grown));
	if (!grown) {
		namespaces->partial = true;
		return NULL;
	}
	namespaces->list = grown;
	added = &grown[namespaces->count++];
	added->inode = stat_now.st_ino;
	snprintf(added->path, sizeof(added->path), "%s", path);
	return added;
}

/* What a process calls itself, with nothing in it that a terminal would take for a command. */
static void process_name(const char *pid, char *name, size_t size)
{
	SCOPED(scoped_fclose) FILE *file = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	file = fopen(path, "re");
	if (!file || !fgets(name, size, file))
		snprintf(name, size, "?");
	name[strcspn(name, "\n")] = '\0';
	for (char *c = name; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

static void add_of_processes(struct namespaces *namespaces, uint64_t own)
{
	SCOPED(scoped_closedir) DIR *dir = opendir("/proc");
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct namespace *added;
		char path[64], name[32];

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.16s/ns/net", entry->d_name);
		added = add(namespaces, own, path);
		if (!added)
			continue;
		process_name(entry->d_name, name, sizeof(name));
		snprintf(added->owner, sizeof(added->owner), "process %.16s (%s)", entry->d_name,
			 name);
	}
}

static void add_of_iproute(struct namespaces *namespaces, uint64_t own)
{
	SCOPED(scoped_closedir) DIR *dir = opendir("/run/netns");
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct namespace *added;
		char path[128];

		if (entry->d_name[0] == '.' || (size_t)snprintf(path, sizeof(path), "/run/netns/%s",
								entry->d_name) >= sizeof(path))
			continue;
		added = add(namespaces, own, path);
		if (added)
			snprintf(added->owner, sizeof(added->owner), "ip netns %.64s",
				 entry->d_name);
	}
}

int namespaces_list(struct namespaces *out)
{
	struct namespaces namespaces = {};
	struct stat own;

	if (stat(own_path, &own))
		return -errno;
	add_of_processes(&namespaces, own.st_ino);
	add_of_iproute(&namespaces, own.st_ino);
	*out = namespaces;
	return 0;
}

void namespaces_free(struct namespaces *namespaces)
{
	free(namespaces->list);
	memset(namespaces, 0, sizeof(*namespaces));
}

uint64_t namespace_cookie(int socket)
{
	uint64_t cookie;
	socklen_t size = sizeof(cookie);

	return getsockopt(socket, SOL_SOCKET, NETNS_COOKIE, &cookie, &size) ? 0 : cookie;
}

int namespace_socket(const struct namespace *namespace, int domain, int type, int protocol)
{
	SCOPED(scoped_close) int own = open(own_path, O_RDONLY | O_CLOEXEC);
	SCOPED(scoped_close) int there = open(namespace->path, O_RDONLY | O_CLOEXEC);
	int fd;

	if (own < 0 || there < 0 || setns(there, CLONE_NEWNET))
		return -errno;
	fd = socket(domain, type | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		fd = -errno;
	/* Lost in another namespace, whatever came next would be wrong. */
	if (setns(own, CLONE_NEWNET))
		abort();
	return fd;
}
