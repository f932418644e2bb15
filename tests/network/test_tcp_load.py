# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP on bad days: lost frames, a flood of forged SYNs, many clients at once."""

import concurrent.futures
import random
import struct
import threading

import pytest
from scapy.layers.inet import TCP

from lib import faults
from lib.clients import connect, exchange, message
from lib.frames import CraftedTcp, Wire
from lib.mplex import attach
from lib.netns import Network
from lib.servers import Servers, TcpServer
from lib.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tcp_kernel")

RULES = """
    version: 1
    listeners:
      feed:
        protocol: tcp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""

PORTS = [5001, 5002, 5003]
TAGS = {"600": 5001, "601": 5002, "602": 5003}


@pytest.fixture(scope="module")
def network(mode):
    with Network() as network:
        with attach(network.server, RULES, mode) as network.mplex, \
                Servers(network.server, PORTS, kinds=(TcpServer,)) as network.servers:
            yield network


def one_client(network, number, size):
    """One whole connection: returns what went wrong, or None."""
    version = 4 if number % 2 else 6
    tag = random.choice(list(TAGS))
    sent = message(tag) + bytes(size)
    try:
        with connect(network.client, version, 5000, timeout=40) as sock:
            port = exchange(sock, sent)
    except OSError as error:
        return f"client {number}, IPv{version}: {error!r}"
    if port != TAGS[tag]:
        return f"client {number}, IPv{version}: tag {tag} went to port {port}"
    return None


def many_clients(network, count, size=0, at_once=50):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda number: one_client(network, number, size), range(count))
        return [result for result in results if result]


def nothing_remains(network):
    """No socket of the server is in any state but listening or over."""
    return wait_until(lambda: not network.server.run(
        "ss -Htan exclude listening exclude time-wait"), timeout=20)


def messages_delivered(network):
    """How many connections there were, and how many brought other than one whole message."""
    connections = [c for port in PORTS for version in (4, 6)
                   for c in network.servers.tcp(version, port).connections]
    return len(connections), sum(len(c.data) < 290 for c in connections)


def test_many_clients_at_once(network):
    network.servers.forget()
    assert not many_clients(network, 300)
    assert messages_delivered(network) == (300, 0)
    assert nothing_remains(network)


def test_five_percent_of_all_frames_lost(network):
    """Both ways, with answers of some 20 kB."""
    network.servers.forget()
    with network.client.firewall(faults.lossy(5)):
        assert not many_clients(network, 12, 20000, at_once=1)
        assert not many_clients(network, 120, 20000, at_once=120)
    connections, torn = messages_delivered(network)
    assert (connections, torn) == (132, 0)
    assert nothing_remains(network)


def ones_complement(words):
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def forged(version, flags, payload, count, seed):
    """Frames from that many invented addresses and ports, with right checksums."""
    generator = random.Random(seed)
    template = bytearray(bytes(CraftedTcp(None, version, source_port=0).packet(
        flags, payload, seq=0, ack=0)))
    if version == 4:
        source, tcp, ip_sum = 14 + 12 + 2, 34, 24  # the low half of the address
    else:
        source, tcp, ip_sum = 14 + 8 + 14, 54, None
    base = struct.unpack_from("!H", template, source)[0]
    tcp_sum = struct.unpack_from("!H", template, tcp + 16)[0]
    header_sum = struct.unpack_from("!H", template, ip_sum)[0] if ip_sum else 0
    for _ in range(count):
        # 203.0.113.0/24 and 2001:db8:66::/112: behind the client.
        low = (base & 0xFF00 if version == 4 else 0) | generator.randrange(1, 255)
        port, sequence, number = (generator.randrange(1024, 65536),
                                  generator.randrange(1 << 16), generator.randrange(1 << 16))
        frame = template.copy()
        struct.pack_into("!H", frame, source, low)
        struct.pack_into("!H", frame, tcp, port)
        struct.pack_into("!H", frame, tcp + 4, sequence)
        struct.pack_into("!H", frame, tcp + 8, number)
        change = low + (~base & 0xFFFF)
        struct.pack_into("!H", frame, tcp + 16, ~ones_complement(
            [~tcp_sum & 0xFFFF, change, port, sequence, number]) & 0xFFFF)
        if ip_sum:
            struct.pack_into("!H", frame, ip_sum, ~ones_complement(
                [~header_sum & 0xFFFF, change]) & 0xFFFF)
        yield bytes(frame)


def test_a_flood_of_syns(network):
    """40,000 forged SYNs and 20,000 forged messages: every real client is served meanwhile."""
    network.servers.forget()
    flood = [frame for version in (4, 6)
             for kind in (forged(version, "S", b"", 20000, version),
                          forged(version, "PA", message("600"), 10000, version))
             for frame in kind]
    random.Random(0).shuffle(flood)
    before = network.mplex.counters()
    stop = threading.Event()
    peak = []

    def send():
        with Wire(network.client) as wire:
            for frame in flood:
                wire.send(frame)

    def watch():
        while not stop.wait(0.1):
            peak.append(len(network.server.run("ss -Htan state syn-recv").splitlines()))

    workers = [threading.Thread(target=send), threading.Thread(target=watch)]
    for worker in workers:
        worker.start()
    failed = many_clients(network, 200)
    workers[0].join()
    stop.set()
    workers[1].join()
    assert not failed
    assert messages_delivered(network) == (200, 0)
    assert max(peak, default=0) == 0
    assert nothing_remains(network)
    during = network.mplex.counters().since(before)
    # The small ring of a veth drops some of a flood before any program sees it.
    assert during["feed", "syn"] > 10000
    assert during["feed", "stray"] > 5000
    assert during["feed", "routed"] == 200


def test_forged_frames_are_what_they_should_be():
    """Their checksums are right, so that nothing else lets them fail."""
    from scapy.layers.l2 import Ether

    from lib.frames import checksum_right
    for version in (4, 6):
        for frame in forged(version, "PA", b"payload", 20, 1):
            assert checksum_right(Ether(frame), TCP)
