# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What it was measured on, and how busy that was."""

import os
import platform
import re
import subprocess
import time


def first_line(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=20)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0]


def version_of(*command):
    found = re.search(r"\d+(\.\d+)+", first_line(*command))
    return found[0] if found else "none"


def processor():
    with open("/proc/cpuinfo") as lines:
        fields = dict(re.split(r"\s*:\s*", line.strip(), maxsplit=1) for line in lines
                      if ":" in line)
    model = fields.get("model name") or platform.machine()
    virtual = " (virtual)" if "hypervisor" in fields.get("flags", "").split() else ""
    return model + virtual


def caches():
    """Of one CPU, as the kernel knows them: L1 data, L2, L3."""
    sizes = {}
    folder = "/sys/devices/system/cpu/cpu0/cache"
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if entry.startswith("index"):
            read = {name: open(f"{folder}/{entry}/{name}").read().strip()
                    for name in ("level", "type", "size")}
            if read["type"] != "Instruction":
                sizes["L" + read["level"]] = read["size"]
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def busy_seconds():
    """CPU time that the machine has spent, on anything but waiting."""
    with open("/proc/stat") as lines:
        ticks = [int(word) for word in next(lines).split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = ticks
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def busy_share(seconds=3):
    """Of all CPUs, while this does nothing."""
    before = busy_seconds()
    time.sleep(seconds)
    return (busy_seconds() - before) / seconds / os.cpu_count()


def describe():
    return {
        "processor": processor(),
        "cpus": os.cpu_count(),
        "caches": caches(),
        "kernel": platform.release().partition("-")[0],
        "clang": version_of(os.environ.get("CLANG") or "clang", "--version"),
        "nftables": version_of("nft", "--version"),
        "haproxy": version_of("haproxy", "-v"),
        "sslh": version_of("sslh", "-V"),
        "busy": busy_share(),
    }
