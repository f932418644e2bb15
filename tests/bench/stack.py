# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What steering adds to a packet's whole way, beside stateless nftables doing the same.

The packets are real: bench_run --live hands them to the network stack of a namespace, as received
by its veth. What is passed ends at a UDP socket whose receive buffer is full, for all contenders
alike, and the socket's count of drops says which server it was for.
"""

import contextlib
import socket

from bench import packets, programs, run
from bench.programs import BUILD, LENGTHS, LISTEN_PORT, TAG_OFFSET
from lib.netns import Network

DRIVER = BUILD / "bench" / "drive_live.bpf.o"
TAGS, TAG_LENGTH = 64, 3

# Those that run in XDP, and those that nftables steers, behind a program that passes all.
IN_XDP = ("pass", "drop", "floor", "refusing", "mplex", "map")
NFT = "nft"


def nft_rules(tags):
    """The same rules for nftables, without connection tracking: one map, and drop what is left."""
    bits = len(tags[0]) * 8
    offset = (run.UDP_HEADER + TAG_OFFSET) * 8
    low, high = (length + run.UDP_HEADER for length in LENGTHS)
    routes = ", ".join(f"0x{tag.hex()} : {programs.port_of(index)}"
                       for index, tag in enumerate(tags))
    return f"""
table ip feed {{
    chain prerouting {{
        type filter hook prerouting priority raw
        udp dport != {LISTEN_PORT} accept
        udp length != {low}-{high} counter drop
        counter udp dport set @th,{offset},{bits} map {{ {routes} }}
        udp dport {LISTEN_PORT} counter drop
    }}
}}
"""


def full_sockets(namespace, ports):
    """Sockets that take next to nothing and are never read."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            sock = stack.enter_context(namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            sock.bind(("0.0.0.0", port))
        return stack.pop_all()


def arrivals(namespace):
    """Datagrams that each UDP port has dropped, its buffer being full."""
    lines = namespace.run("cat /proc/net/udp").splitlines()[1:]
    return {int(line.split()[1].split(":")[1], 16): int(line.split()[-1]) for line in lines}


class Stack:
    """A namespace that takes packets in, and its sockets."""

    def __init__(self, network, scratch, repeat):
        self.server = network.server
        self.repeat = repeat
        self.tags = programs.tag_set(TAGS, TAG_LENGTH)
        self.objects = packets.contenders(TAGS, TAG_LENGTH) | {
            "pass": programs.build(programs.bare(programs.PASS)),
            "drop": programs.build(programs.bare(programs.DROP)),
        }
        self.rows = scratch / "routes"
        self.rows.write_bytes(programs.map_rows(self.tags))
        # A veth has a receive queue that XDP knows only while GRO is on.
        self.server.run("ethtool -K eth0 gro on")
        with self.server.inside():
            self.index = socket.if_nametoindex("eth0")

    def _run(self, objects, mix):
        return run.measure(
            objects, run.frame(), driver=DRIVER, rows=self.rows, reloads=1, rounds=3,
            tags=(TAGS, TAG_LENGTH, run.PAYLOAD_AT + TAG_OFFSET), repeat=self.repeat,
            namespace=self.server, live=self.index, **packets.MIXES[mix])

    def round(self, mix):
        """{contender: nanoseconds}"""
        measured = self._run({name: self.objects[name] for name in IN_XDP}, mix)
        times = {name: measured.by_reload(name)[0] for name in IN_XDP}
        with self.server.firewall(nft_rules(self.tags)):
            times[NFT] = self._run({NFT: self.objects["pass"]}, mix).by_reload(NFT)[0]
        return times

    def delivered(self, name):
        """How many datagrams each server got, by tag. The same are sent to each contender."""
        before = arrivals(self.server)
        with self.server.firewall(nft_rules(self.tags) if name == NFT else ""):
            self._run({name: self.objects["pass" if name == NFT else name]}, "hits")
        after = arrivals(self.server)
        return [after[port] - before[port] for port in map(programs.port_of, range(TAGS))]

    def check_servers(self):
        """All that steer must have sent the same datagrams to the same servers."""
        counts = {name: self.delivered(name) for name in ("mplex", "map", NFT)}
        if not all(counts["mplex"]) or any(count != counts["mplex"] for count in counts.values()):
            raise RuntimeError(f"the contenders do not do the same: {counts}")


@contextlib.contextmanager
def ready(scratch, repeat):
    ports = [LISTEN_PORT, *map(programs.port_of, range(TAGS))]
    with Network() as network, full_sockets(network.server, ports):
        stack = Stack(network, scratch, repeat)
        stack.delivered("mplex")  # the first few datagrams still find room
        yield stack
