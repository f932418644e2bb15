/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The first program in a test kernel: makes the host's own files its root, with everything written
 * to them kept in memory, then runs guest.py and switches the machine off.
 *
 * It gets guest.py's arguments, a path on the host first. The folder /modules has the kernel
 * modules that it takes to get that far, in the order of their names.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Without its first process the kernel panics, and the machine stops: see machine.py. */
static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void insert_modules(void)
{
	struct dirent **entries;
	int count = scandir("/modules", &entries, NULL, alphasort);

	must(count, "/modules");
	for (int i = 0; i < count; i++) {
		char path[512];
		int fd;

		if (entries[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", entries[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		must(fd, path);
		must(syscall(SYS_finit_module, fd, "", 0), path);
		close(fd);
	}
}

static void mount_at(const char *type, const char *source, const char *target, const char *options)
{
	mkdir(target, 0755);
	must(mount(source, target, type, 0, options), target);
}

static void make_root(void)
{
	mount_at("virtiofs", "host", "/host", NULL);
	mount_at("tmpfs", "tmpfs", "/written", "size=75%,mode=0755");
	must(mkdir("/written/upper", 0755), "/written/upper");
	must(mkdir("/written/work", 0700), "/written/work");
	mount_at("overlay", "overlay", "/root",
		 "lowerdir=/host,upperdir=/written/upper,workdir=/written/work");
	mount_at("proc", "proc", "/root/proc", NULL);
	mount_at("sysfs", "sysfs", "/root/sys", NULL);
	mount_at("devtmpfs", "devtmpfs", "/root/dev", NULL);
	/* guest.py takes from there what is to be kept. */
	must(mount("/host", "/root/mnt", NULL, MS_MOVE, NULL), "/mnt");
	must(chdir("/root"), "/root");
	must(mount(".", "/", NULL, MS_MOVE, NULL), "/");
	must(chroot("."), "chroot");
}

static void run(char **arguments)
{
	pid_t child = fork(), ended;
	int fd;

	must(child, "fork");
	if (!child) {
		setsid();
		/* The other serial line is the kernel's. */
		fd = open("/dev/ttyS1", O_RDWR);
		must(fd, "/dev/ttyS1");
		for (int i = 0; i < 3; i++)
			dup2(fd, i);
		execv(arguments[0], arguments);
		must(-1, arguments[0]);
	}
	do {
		ended = wait(NULL);
	} while (ended != child && (ended >= 0 || errno == EINTR));
}

int main(int argc, char **argv)
{
	(void)argc;
	argv[0] = "/usr/bin/python3";
	insert_modules();
	make_root();
	run(argv);
	sync();
	must(reboot(RB_POWER_OFF), "power off");
}
