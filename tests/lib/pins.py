# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What mplex-run has pinned (docs/object.md), read without its help."""

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import subprocess

from lib.mplex import MPLEX_RUN, Counters, checked
from lib.waiting import wait_until

ROOT = pathlib.Path("/sys/fs/bpf/mplex")
SO_NETNS_COOKIE = 71


def run(namespace, *arguments, prefix=(), **options):
    """Runs mplex-run to its end."""
    with namespace.inside():
        return subprocess.run([*prefix, MPLEX_RUN, *map(str, arguments)], timeout=120,
                              capture_output=True, text=True, **options)


def pin(namespace, target, *arguments, interface="eth0"):
    """mplex-run --pin, which has to succeed; returns what it said."""
    done = run(namespace, interface, target, "--pin", *arguments)
    assert done.returncode == 0, done.stderr
    return done


@contextlib.contextmanager
def detached(namespace):
    """Whatever the block pins in the namespace is taken off after it."""
    try:
        yield
    finally:
        run(namespace, "detach")


def place(namespace, interface="eth0"):
    """The directory of an interface's pins."""
    with namespace.inside():
        index = socket.if_nametoindex(interface)
    with namespace.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8),
                                    "little")
        except OSError:  # before Linux 5.14
            cookie = os.fstat(namespace.descriptor).st_ino
    return ROOT / f"{cookie}-{index}"


def bpftool(*words):
    return json.loads(checked(["bpftool", "-j", *words]))


def link(path):
    """A pinned link, as bpftool shows it."""
    return bpftool("link", "show", "pinned", path)


def tc_programs(namespace, path, interface="eth0"):
    """The ids of its TC programs by direction: of pinned links, or of filters before Linux 6.6."""
    found = {}
    for direction in ("ingress", "egress"):
        if (path / direction).exists():
            found[direction] = link(path / direction)["prog_id"]
            continue
        filters = json.loads(namespace.run(f"tc -j filter show dev {interface} {direction}"))
        found.update({direction: one["options"]["prog"]["id"] for one in filters
                      if one.get("pref") == 97 and "prog" in one.get("options", ())})
    return found


def generations(path):
    return sorted(int(entry.name) for entry in path.iterdir() if entry.name.isdigit())


def current(path):
    """The directory of the generation that runs."""
    return path / str(link(path / "xdp")["prog_id"])


def document(path):
    """The JSON of a pinned document."""
    chunks = bpftool("map", "dump", "pinned", path)
    text = b"".join(bytes(int(byte, 16) for byte in chunk["value"]) for chunk in chunks)
    return json.loads(text.rstrip(b"\0"))


def entries(path):
    """Packets by index of a pinned map of counters."""
    return {one["formatted"]["key"]: sum(cpu["value"]["packets"]
                                         for cpu in one["formatted"]["values"])
            for one in bpftool("map", "dump", "pinned", path)}


def counters(path):
    """What was counted since the first attach, by (listener, reason) and (listener, tag)."""
    generation = current(path)
    manifest = json.loads(document(generation / "record")["manifest"])
    totals = document(generation / "totals") if (generation / "totals").exists() else {}
    packets = entries(generation / "maps" / "counters")
    counted = Counters()
    for listener in manifest["listeners"]:
        name = listener["name"]
        before = totals.get("rows", {}).get(name, {})
        for reason, text in enumerate(manifest["reasons"]):
            counted[name, text] = (packets[listener["counters"] + reason] +
                                   before.get("reasons", {}).get(text, [0])[0])
        if not listener.get("routes"):
            counted[name, "routed"] += sum(count for count, _ in
                                           before.get("routes", {}).values())
        for route in listener.get("routes", ()):
            counted[name, route["tag"]] = (packets[route["counter"]] +
                                           before.get("routes", {}).get(route["tag"], [0])[0])
            counted[name, "routed"] += counted[name, route["tag"]]
    return Counters({key: count for key, count in counted.items() if count})


libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def identified(fdinfo):
    """The kernel's ids in the description of an open file: {(kind, id)}."""
    with open(fdinfo) as lines:
        return {(kind, int(number)) for kind, _, number in
                (line.partition("_id:") for line in lines) if kind in ("link", "prog", "map")}


def pinned(path):
    """The ids of all links, programs and maps pinned below a path."""
    found = set()
    for entry in path.rglob("*"):
        if entry.is_file():
            descriptor = libbpf.bpf_obj_get(os.fsencode(entry))
            assert descriptor >= 0, entry
            found |= identified(f"/proc/self/fdinfo/{descriptor}")
            os.close(descriptor)
    return found


def soon(condition, timeout=20):
    """As wait_until, of what a process changes meanwhile: what is looked at may just be going."""
    def holds():
        with contextlib.suppress(RuntimeError, FileNotFoundError):
            return condition()
    return wait_until(holds, timeout)


def listed(kind):
    """All of a kind in the kernel. bpftool fails where one just comes or goes, of whoever."""
    shown, = soon(lambda: [bpftool(kind, "show")])
    return shown


def kernel_objects():
    """The ids of all links, programs and maps in the kernel, of whoever."""
    return {(kind, one["id"]) for kind in ("link", "prog", "map") for one in listed(kind)}
