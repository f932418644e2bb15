# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet costs inside the program, alone: bench_run on programs side by side.

Each measurement is a group of programs that meet the same packets in turns. A group always has the
empty program, which is what measuring costs; everything said afterwards is net of it.
"""

import collections
import functools
import socket
import struct
import subprocess

from scapy.layers.l2 import ARP

from bench import programs
from bench.programs import BENCH_RUN, BUILD, LISTEN_PORT, MESSAGE, TAG_OFFSET
from lib.clients import connect
from lib.frames import IP, TCP, UDP, Ether, Raw
from lib.mplex import RULES
from lib.netns import ABSENT, CLIENT, CLIENT_MAC, SERVER, SERVER_MAC, Network

DRIVER = BUILD / "bench" / "drive.bpf.o"

ETHERNET, IPV4, UDP_HEADER = 14, 20, 8
UDP_AT = ETHERNET + IPV4
PAYLOAD_AT = UDP_AT + UDP_HEADER

EMPTY = "empty"

ALWAYS = 0xFFFFFFFF


def frame(payload=bytes(MESSAGE), port=LISTEN_PORT, destination=SERVER[4], mac=SERVER_MAC):
    """A datagram from the client to the server."""
    return bytes(Ether(src=CLIENT_MAC, dst=mac) / IP(src=CLIENT[4], dst=destination)
                 / UDP(sport=40000, dport=port) / Raw(payload))


def tcp_frame(port, source_port=40000, destination=SERVER[4], payload=bytes(1448)):
    """A segment from the client to the server."""
    return bytes(Ether(src=CLIENT_MAC, dst=SERVER_MAC) / IP(src=CLIENT[4], dst=destination)
                 / TCP(sport=source_port, dport=port, flags="A", window=1000) / Raw(payload))


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


# ---- by table size -------------------------------------------------------------------------------

COUNTS = (1, 3, 8, 64, 1024, 16384, 65535)
TAG_LENGTHS = (3, 8, 16)
MIXES = {
    "hits": {},
    "misses": {"misses": ALWAYS},
    "half": {"misses": 1 << 31},
    "skewed": {"skewed": True},
}
# clang takes more than a minute for 1,024 tags as a chain.
CHAIN_MAX = 64


@functools.cache
def contenders(count, length):
    """{name: object}: all that route so many tags, and the floors."""
    source = programs.emit(programs.rules(count, length))
    tags = programs.tag_set(count, length)
    sources = {
        EMPTY: programs.bare(programs.PASS),
        "floor": programs.with_constant(source),
        "refusing": programs.with_none(source),
        "mplex": source,
        "map": programs.with_map(source, tags),
    }
    if count <= CHAIN_MAX:
        sources["chain"] = programs.with_chain(source, tags)
    return {name: programs.build(text) for name, text in sources.items()}


def check_verdicts(mix, measured):
    """All that look a tag up must have passed and dropped the same packets."""
    verdicts = {name: measured.programs[name].results
                for name in ("mplex", "map", "chain") if name in measured.programs}
    expected = {"misses": {programs.DROP}, "half": {programs.DROP, programs.PASS}}.get(
        mix, {programs.PASS})
    if any(results != verdicts["mplex"] for results in verdicts.values()) \
            or set(verdicts["mplex"]) != expected:
        raise RuntimeError(f"the contenders do not do the same: {mix}, {verdicts}")


def measure_table(count, length, mix, scratch, **options):
    """One group: how much so many tags of that length cost, in that traffic."""
    rows = scratch / "routes"
    rows.write_bytes(programs.map_rows(programs.tag_set(count, length)))
    measured = measure(contenders(count, length), frame(), rows=rows,
                       tags=(count, length, PAYLOAD_AT + TAG_OFFSET), **MIXES[mix], **options)
    check_verdicts(mix, measured)
    return {"count": count, "length": length, "mix": mix, **result(measured)}


def result(measured):
    """What is kept of a group: net nanoseconds by reload, and the programs' sizes."""
    return {
        "wrapper": measured.by_reload(EMPTY),
        "net": {name: measured.net(name) for name in measured.times if name != EMPTY},
        "instructions": {name: one.instructions for name, one in measured.programs.items()},
        "jited": {name: one.jited for name, one in measured.programs.items()},
    }


# ---- other packets -------------------------------------------------------------------------------

OTHER_PORT = 7000
# What is not for the rules of rules/mplex.yaml.
FOREIGN = {
    "UDP to another port": lambda: frame(port=OTHER_PORT),
    "TCP to another port": lambda: tcp_frame(OTHER_PORT),
    "UDP to the listen port of another host": lambda: frame(destination=ABSENT[4]),
    "ARP": lambda: bytes(Ether(src=CLIENT_MAC, dst=SERVER_MAC) / ARP(pdst=SERVER[4])),
}


def expect(measured, verdict, *names):
    for name in names:
        if set(measured.programs[name].results) != {verdict}:
            raise RuntimeError(f"{name} returned {measured.programs[name].results}, not {verdict}")


def measure_foreign(packet, **options):
    """Traffic that is not ours, through rules of both protocols."""
    measured = measure({EMPTY: programs.build(programs.bare(programs.PASS)),
                        "mplex": programs.build(programs.emit(RULES.read_text()))},
                       packet, restore=0, **options)
    expect(measured, programs.PASS, "mplex")
    return result(measured)


def measure_replies(**options):
    """Datagrams of established flows, by what is done about replies."""
    objects = {EMPTY: programs.build(programs.bare(programs.PASS))}
    for replies in ("none", "stateless", "tracked"):
        objects[replies] = programs.build(programs.emit(programs.rules(3, 3, replies=replies)))
    measured = measure(objects, frame(), tags=(3, 3, PAYLOAD_AT + TAG_OFFSET), **options)
    expect(measured, programs.PASS, "none", "stateless", "tracked")
    return result(measured)


def measure_established(**options):
    """A full segment of a connection that a socket of the server has."""
    with Network() as network:
        with network.server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind((SERVER[4], LISTEN_PORT))
            listener.listen()
            with connect(network.client, 4, LISTEN_PORT) as sock:
                packet = tcp_frame(LISTEN_PORT, sock.getsockname()[1])
                measured = measure({
                    EMPTY: programs.build(programs.bare(programs.PASS)),
                    "lookup": programs.build((programs.HERE / "lookup.bpf.c").read_text()),
                    "mplex": programs.build(programs.emit(RULES.read_text())),
                }, packet, restore=0, namespace=network.server, **options)
    expect(measured, programs.PASS, "lookup", "mplex")
    return result(measured)
