# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Inside a test kernel, started by init.c: completes the machine, then runs one command.

guest.py FOLDER: the folder has the job (job.json, see machine.py) and gets the status.
"""

import json
import os
import pathlib
import subprocess
import sys
import termios

HOST = "/mnt"  # where init.c left the host's own files


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def complete(job):
    for kind, place in (("devpts", "/dev/pts"), ("tmpfs", "/dev/shm"), ("tmpfs", "/run"),
                        ("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup"),
                        ("tracefs", "/sys/kernel/tracing")):
        os.makedirs(place, exist_ok=True)
        mount("-t", kind, kind, place)
    modules = f"/lib/modules/{os.uname().release}"
    os.makedirs(modules)
    mount("--bind", job["folder"] + modules, modules)
    for kept in job["kept"]:
        mount("--bind", HOST + kept, kept)
    subprocess.run(["umount", "--lazy", HOST], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def plain_terminal():
    """Lines end as the program wrote them."""
    attributes = termios.tcgetattr(0)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, attributes)


def main():
    out = pathlib.Path(sys.argv[1])
    job = json.loads((out / "job.json").read_text())
    plain_terminal()
    complete(job)
    try:
        status = subprocess.run(job["command"], cwd=job["cwd"], env=job["environment"]).returncode
    except OSError as error:
        print(error, flush=True)
        status = 127
    termios.tcdrain(1)
    (out / "status").write_text(f"{status if status >= 0 else 128 - status}\n")


main()
