# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a packet costs inside the program, alone: by table size, and packets of other kinds.

All times are net of the empty program's.
"""

import functools
import socket

from scapy.layers.l2 import ARP

from bench import programs
from bench.programs import LISTEN_PORT, TAG_OFFSET
from bench.run import ALWAYS, EMPTY, PAYLOAD_AT, frame, measure, tcp_frame
from lib.clients import connect
from lib.frames import Ether
from lib.mplex import RULES
from lib.netns import ABSENT, CLIENT_MAC, SERVER, SERVER_MAC, Network

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
