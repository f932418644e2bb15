# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A kernel, booted under qemu to run one command.

The guest's root is the host's (virtiofs), so all programs, libraries and tests are there as they
are here; what the guest writes stays in its memory, but for the folders named as kept. There is no
KVM in it: it runs anywhere, an order of magnitude slower.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from archive import CACHE
from lib.mplex import BUILD
from lib.netns import stop
from lib.waiting import wait_until

HERE = pathlib.Path(__file__).resolve().parent
# What it takes to mount the root; the kernel loads all others by itself.
MODULES = ("virtio_pci", "virtiofs", "overlay")
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")  # since 8.0 a package of its own
# From init on, and in seconds: for a command that does not say otherwise.
TIMEOUT = 900
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "PYTHONDONTWRITEBYTECODE": "1"}


class Failure(Exception):
    """The machine did not come to the command's end; the text says why."""


def modules(kernel):
    """The files of the modules in MODULES and of what they need, in the order to insert them."""
    files = []
    for name in MODULES:
        shown = subprocess.run(["/sbin/modprobe", "-d", kernel.folder, "-S", kernel.release,
                                "--show-depends", name], check=True, capture_output=True, text=True)
        for line in shown.stdout.splitlines():
            kind, *rest = line.split()
            if kind == "insmod" and rest[0] not in files:
                files.append(rest[0])
    return files


def initramfs(kernel, place):
    """init.c and the modules, in the form that the kernel reads."""
    tree = place / "initramfs"
    for folder in ("modules", "host", "written", "root", "dev"):
        (tree / folder).mkdir(parents=True)
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static", "-Wall", "-Wextra",
                    "-Werror", HERE / "init.c", "-o", tree / "init"], check=True)
    for number, file in enumerate(modules(kernel)):
        target = tree / "modules" / f"{number:02}.ko"
        if file.endswith(".xz"):
            with open(target, "wb") as out:
                subprocess.run(["xz", "-dc", file], stdout=out, check=True)
        else:
            shutil.copyfile(file, target)
    names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
    made = place / "initramfs.cpio"
    with open(made, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, stdout=out, check=True,
                       input=names.encode())
    return made


@contextlib.contextmanager
def host_files(place):
    """Serves the host's files to the guest; yields the socket."""
    program = next(filter(os.path.exists, VIRTIOFSD), None)
    if program is None:
        raise Failure("virtiofsd is missing: install the package virtiofsd or qemu-system-common")
    path = place / "files"
    with open(place / "virtiofsd.log", "wb") as log:
        child = subprocess.Popen([program, f"--socket-path={path}", "-o", "source=/",
                                  "-o", "cache=always", "-o", "sandbox=chroot"],
                                 stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: path.exists() or child.poll() is not None, timeout=30)
        if not path.exists():
            said = (place / "virtiofsd.log").read_text(errors="replace").strip()
            raise Failure(f"virtiofsd does not start: {said}")
        yield path
    finally:
        stop(child)


def qemu(kernel, archive, files, arguments, console, cpus, memory):
    words = [HERE / "guest.py", *arguments]
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35,memory-backend=memory",
        "-cpu", "max", "-smp", str(cpus), "-m", memory,
        "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
        "-chardev", f"socket,id=files,path={files}",
        "-device", "vhost-user-fs-pci,chardev=files,tag=host",
        "-kernel", str(kernel.image), "-initrd", str(archive),
        # A kernel in trouble stops at once instead of limping on.
        "-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off audit=0"
                   f" random.trust_cpu=on rdinit=/init -- {' '.join(map(str, words))}",
        "-no-reboot", "-nodefaults", "-display", "none",
        "-serial", f"file:{console}", "-serial", "stdio",
    ]


def last_words(console):
    """What the kernel said in the end, for a failure's text."""
    text = console.read_text(errors="replace") if console.exists() else ""
    return "\n".join(text.splitlines()[-25:])


def run(kernel, command, *, output=None, kept=(), cpus=2, memory="3G", timeout=TIMEOUT,
        environment=()):
    """Runs a command in the kernel, from the working directory; returns its exit status.

    Its standard output and error, one stream, go to output or to our own. kept: folders whose new
    contents stay. Raises Failure, with what the kernel said last, when it did not end.
    """
    objects = BUILD / "tests" / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Of the two only out is kept; the path of a socket has to be short.
        out = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE)))
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mplex-")))
        # What one kernel compiled, the next need not.
        folders = [out, objects, *map(pathlib.Path, kept)]
        (out / "job.json").write_text(json.dumps({
            "command": list(map(str, command)), "cwd": os.getcwd(), "folder": str(kernel.folder),
            "kept": [str(folder.resolve()) for folder in folders],
            "environment": ENVIRONMENT | dict(environment)}))
        console = place / "console"
        archive = initramfs(kernel, place)
        files = stack.enter_context(host_files(place))
        child = subprocess.Popen(qemu(kernel, archive, files, [out], console, cpus, memory),
                                 stdin=subprocess.DEVNULL if output else None, stdout=output)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{kernel.release}: not done after {timeout} s\n"
                          f"{last_words(console)}") from None
        finally:
            stop(child)
            sys.stdout.flush()
        status = out / "status"
        if not status.exists():
            raise Failure(f"{kernel.release} stopped before the command ended:\n"
                          f"{last_words(console)}")
        return int(status.read_text())
