# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A cookie in time: it opens a connection in two windows, and one connection only.

The programs under test are the emitted one but for a constant: how long a window lasts.
"""

import contextlib
import itertools
import select
import socket
import struct
import time

import pytest
from scapy.layers.inet import TCP
from scapy.packet import Raw

from lib.clients import message
from lib.frames import CraftedTcp, Wire
from lib.mplex import Mplex, compile_rules
from lib.netns import FAMILY
from lib.servers import ANY, Servers, TcpServer
from lib.waiting import settle, wait_until

pytestmark = pytest.mark.usefixtures("tcp_kernel")

RULES = """
    version: 1
    listeners:
      feed:
        protocol: tcp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003, "603": 5004}
"""
BINDS, WINDOWS = 2, 8


class Clock:
    """Time in windows of 2^shift ns: mplex on the server's interface, and what it reckons with."""

    def __init__(self, network, shift):
        self.shift = shift
        self.mplex = Mplex(network.server, compile_rules(
            RULES, [("COOKIE_WINDOW_SHIFT = 36", f"COOKIE_WINDOW_SHIFT = {shift}")]))

    def now(self):
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> self.shift

    def wait(self, window):
        """Until that window begins, if it has not yet."""
        assert wait_until(lambda: self.now() >= window, timeout=60)
        return self.now()


@pytest.fixture
def clock(network, request):
    made = Clock(network, request.param)
    with made.mplex:
        yield made


def open_all(clock, wire, keys, ports):
    """A peer for each key, all with cookies of one window; and that window."""
    while True:
        now = clock.wait(clock.now() + 1)
        peers = {key: CraftedTcp(wire, key[0], source_port=next(ports)) for key in keys}
        for peer in peers.values():
            assert peer.open()
        if clock.now() == now:
            return peers, now


def answers_by_age(clock, wire, keys, ports):
    """What the first messages of the ages in keys, (version, age), are answered with.

    Those that this process was too slow for are left out.
    """
    peers, made = open_all(clock, wire, keys, ports)
    answers = {}
    for (version, age), peer in sorted(peers.items(), key=lambda item: item[0][1]):
        clock.wait(made + age)
        peer.send("PA", message("600"))
        answer = peer.answer(0.1)
        if clock.now() == made + age:
            answers[version, age] = answer and str(answer[TCP].flags)
    return answers


@pytest.mark.parametrize("clock", [29], indirect=True)
def test_ages(network, clock):
    """It binds, is told that it is late, or, once its bits mean a later window, is nothing."""
    missing = {(version, age) for version in (4, 6) for age in range(WINDOWS + 2)}
    ports = itertools.count(30000)
    seen = {}
    with Servers(network.server, [5001], kinds=(TcpServer,)), Wire(network.client) as wire:
        for _ in range(20):
            seen |= answers_by_age(clock, wire, missing, ports)
            missing -= set(seen)
            if not missing:
                break
    for (version, age), flags in seen.items():
        if age < BINDS:
            assert flags in ("A", "PA")
        else:
            assert flags == ("R" if age < WINDOWS else None)
    assert not missing


class Resetting:
    """A listener whose connections get an answer and then a reset, which is the server's own."""

    def __init__(self, namespace, version, port, group=False):
        self.socket = namespace.socket(FAMILY[version], socket.SOCK_STREAM)
        if version == 6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, group)
        self.socket.bind((ANY[version], port))
        self.socket.listen(8)
        self.socket.settimeout(10)
        self.messages = 0

    def accept(self):
        sock, _ = self.socket.accept()
        sock.settimeout(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.messages += len(sock.recv(1000)) > 0
        sock.sendall(b"answer")
        return sock

    def accept_all(self):
        self.socket.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while True:
                self.accept().close()


class Ended:
    """A connection that was opened with a cookie and will end, and its first segment."""

    def __init__(self, network, wire, version, tag, port):
        self.network = network
        self.peer = CraftedTcp(wire, version, source_port=port)
        self.sent = message(tag)
        self.peer.open()
        self.first = self.peer.packet("PA", self.sent)

    def exchange(self):
        """With one of TcpServer, as a client's kernel would."""
        self.peer.say(self.sent, len("5001\n") + len(self.sent))

    def state(self):
        """The state of the server's socket, empty when there is none."""
        return self.network.server.run(f"ss -Htan dport = {self.peer.source_port}").split(" ")[0]

    def over(self):
        return self.state() in ("", "TIME-WAIT")

    def answered_by_reset(self, listener):
        """Sends the message, takes its answer and acknowledges it; the server then resets."""
        self.peer.wire.send(self.first)
        self.peer.sequence += len(self.sent)
        with listener().accept():
            answer = self.peer.wire.frame(lambda p: self.peer.is_answer(p) and Raw in p)
            self.peer.acknowledged = answer[TCP].seq + len(answer[Raw].load)
            self.peer.send("A")
            settle()


def closed_by_client(network, wire, version, servers, port):
    connection = Ended(network, wire, version, "600", port)
    connection.exchange()
    connection.peer.send("FA")
    assert wait_until(lambda: connection.state() == "LAST-ACK")
    connection.peer.send("A", seq=connection.peer.sequence + 1,
                         ack=connection.peer.acknowledged + 1)
    return connection


def reset_by_client(network, wire, version, servers, port):
    connection = Ended(network, wire, version, "600", port)
    connection.exchange()
    connection.peer.send("R")
    return connection


def closed_by_server(network, wire, version, servers, port):
    """So that the tuple is in TIME_WAIT."""
    connection = Ended(network, wire, version, "601", port)
    connection.exchange()
    assert wait_until(lambda: connection.state().startswith("FIN-WAIT"))
    connection.peer.send("FA", ack=connection.peer.acknowledged + 1)
    assert wait_until(lambda: connection.state() == "TIME-WAIT")
    return connection


def reset_by_server(network, wire, version, servers, port):
    connection = Ended(network, wire, version, "602", port)
    connection.answered_by_reset(lambda: servers.resetting[version])
    return connection


def reset_by_server_of_a_group(network, wire, version, servers, port):
    def member():
        """The one that the kernel chose."""
        ready, _, _ = select.select([one.socket for one in servers.group[version]], [], [], 10)
        return next(one for one in servers.group[version] if one.socket in ready)

    connection = Ended(network, wire, version, "603", port)
    connection.answered_by_reset(member)
    return connection


WAYS = [closed_by_client, reset_by_client, closed_by_server, reset_by_server,
        reset_by_server_of_a_group]


@pytest.fixture
def servers(network):
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(Servers(network.server, [5001], kinds=(TcpServer,)))
        made.closing = stack.enter_context(Servers(network.server, [5002], kinds=(TcpServer,),
                                                   closes_after=len(message("601"))))
        made.resetting = {version: Resetting(network.server, version, 5003) for version in (4, 6)}
        made.group = {version: [Resetting(network.server, version, 5004, True) for _ in range(2)]
                      for version in (4, 6)}
        made.listeners = [*made.resetting.values(), *made.group[4], *made.group[6]]
        for one in made.listeners:
            stack.enter_context(one.socket)
        yield made


def messages(servers):
    """How many messages were delivered, to each kind of server."""
    for one in servers.listeners:
        one.accept_all()
    return {5001: sum(map(len, servers.received().values())),
            5002: sum(map(len, servers.closing.received().values())),
            5003: sum(one.messages for one in servers.resetting.values()),
            5004: sum(one.messages for version in (4, 6) for one in servers.group[version])}


@pytest.mark.parametrize("clock", [31], indirect=True)
def test_replays(network, clock, servers):
    """However a connection ended: copies of its first segment open no other.

    Neither while its cookie would bind nor later.
    """
    ports = itertools.count(31000)
    with Wire(network.client) as wire:
        clock.wait(clock.now() + 1)
        ended = [way(network, wire, version, servers, next(ports))
                 for way in WAYS for version in (4, 6)]
        assert wait_until(lambda: all(connection.over() for connection in ended))
        once = {5001: 4, 5002: 2, 5003: 2, 5004: 2}
        assert messages(servers) == once
        late = clock.now() + BINDS
        with clock.mplex.counted() as counters:
            while clock.now() <= late:
                for connection in ended:
                    wire.send(connection.first)
                settle()
                assert messages(servers) == once
        # Both while it would have bound and later.
        assert counters["feed", "pending"] > 2 * len(ended)
        assert counters["feed", "late"] > len(ended)
        assert all(connection.over() for connection in ended)
