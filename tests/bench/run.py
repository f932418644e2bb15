# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Drives bench_run: the frames, the constants that a loader writes, and what it prints.

Each measurement is a group of programs that meet the same packets in turns. A group always has the
empty program, which is what measuring costs.
"""

import collections
import struct
import subprocess

from bench.programs import BUILD, LISTEN_PORT, MESSAGE
from lib.frames import IP, TCP, UDP, Ether, Raw
from lib.netns import CLIENT, CLIENT_MAC, SERVER, SERVER_MAC

BENCH_RUN = BUILD / "bench" / "bench_run"
DRIVER = BUILD / "bench" / "drive.bpf.o"

ETHERNET, IPV4, UDP_HEADER = 14, 20, 8
UDP_AT = ETHERNET + IPV4
PAYLOAD_AT = UDP_AT + UDP_HEADER

EMPTY = "empty"

ALWAYS = 0xFFFFFFFF


def frame(port=LISTEN_PORT, destination=SERVER[4]):
    """A datagram from the client, with a message of zeros."""
    return bytes(Ether(src=CLIENT_MAC, dst=SERVER_MAC) / IP(src=CLIENT[4], dst=destination)
                 / UDP(sport=40000, dport=port) / Raw(bytes(MESSAGE)))


def tcp_frame(port, source_port=40000):
    """A full segment from the client to the server."""
    return bytes(Ether(src=CLIENT_MAC, dst=SERVER_MAC) / IP(src=CLIENT[4], dst=SERVER[4])
                 / TCP(sport=source_port, dport=port, flags="A", window=1000) / Raw(bytes(1448)))


def constants():
    """What mplex-run writes into .rodata, for bench_run: the host's addresses are compared."""
    v4 = bytes(map(int, SERVER[4].split(".")))
    values = {
        "mplex_mac": bytes.fromhex(SERVER_MAC.replace(":", "")),
        "mplex_local_known": b"\1",
        "mplex_local_v4_count": struct.pack("<I", 1),
        "mplex_local_v4": v4,
        "mplex_key": bytes(range(16)),
    }
    return [f"--set={name}={value.hex()}" for name, value in values.items()]


Program = collections.namedtuple("Program", "instructions jited results frames")


class Measured:
    """What bench_run printed: times by program and reload, and what the programs did."""

    def __init__(self, output):
        self.times = collections.defaultdict(lambda: collections.defaultdict(list))
        self.programs = {}
        frames = collections.defaultdict(list)
        for line in output.splitlines():
            name, *words = line.split()
            if words[0] == ">":
                frames[name].append(bytes.fromhex(words[1]))
            elif words[0] == "=":
                results = {int(word.split(":")[0]): int(word.split(":")[1]) for word in words[3:]}
                self.programs[name] = Program(int(words[1]), int(words[2]), results, frames[name])
            else:
                self.times[name][int(words[0])].append(float(words[2]))

    def by_reload(self, name):
        """The time of each reload. What disturbs a round only ever adds: the fastest counts."""
        return [min(rounds) for _, rounds in sorted(self.times[name].items())]

    def net(self, name):
        """The same above the empty program's, reload by reload."""
        return [time - floor for time, floor in zip(self.by_reload(name), self.by_reload(EMPTY))]


def measure(objects, packet, *, driver=DRIVER, tags=None, misses=0, skewed=False, reloads=5,
            rounds=3, repeat=10000, rows=None, namespace=None, live=0, frames=False,
            restore=UDP_AT):
    """Runs programs, {name: object}, in turns. tags: (how many, of what length, where)."""
    words = [BENCH_RUN, "--driver", driver, "--frame", packet.hex(), "--reloads", reloads,
             "--rounds", rounds, "--repeat", repeat, *constants()]
    if tags:
        count, length, offset = tags
        words += ["--tag-count", count, "--tag-length", length, "--tag-offset", offset,
                  "--miss-share", misses]
    if restore:
        words += ["--restore-offset", restore]
    if skewed:
        words.append("--skewed")
    if rows:
        words += ["--fill", f"routes={rows}"]
    if live:
        words += ["--live", live]
    if frames:
        words.append("--frames")
    words += [f"{name}={target}" for name, target in objects.items()]
    words = [str(word) for word in words]
    if namespace:
        return Measured(namespace.run(words))
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Measured(done.stdout)
