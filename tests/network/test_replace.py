# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""One object takes the place of another under load: no datagram is lost and no connection cut.

REPLACEMENTS=120 makes it longer (make check-operate).
"""

import collections
import contextlib
import os
import threading

import pytest

from lib import pins
from lib.clients import connect, exchange, message, receive, udp_socket, who
from lib.mplex import attach, compile_rules
from lib.netns import SERVER, Network
from lib.servers import Servers, TcpServer, UdpServer
from lib.waiting import wait_until

REPLACEMENTS = int(os.environ.get("REPLACEMENTS", "8"))

RULES = """
    version: 1
    listeners:
      feed:
        protocol: {protocol}
        port: 5000
        length: 290..294
        tag: {{offset: 20}}
        routes: {routes}
"""


def rules(protocol, routes):
    return compile_rules(RULES.format(protocol=protocol, routes=routes))


@pytest.fixture
def network():
    with Network() as made, pins.detached(made.server):
        yield made


class Load:
    """Threads that each repeat a step until the block ends, and what went wrong in them."""

    def __init__(self, *steps):
        self.failures = []
        self.counts = collections.Counter()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._loop, args=(step,)) for step in steps]

    def _loop(self, step):
        try:
            while not self.ended.is_set():
                self.counts[step] += step() or 1
        except Exception as failure:  # of any kind: it is shown by the test
            self.failures.append(failure)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def replace(network, load, *targets):
    """One after the other, REPLACEMENTS times, each while some load has gone by since the last."""
    for number in range(REPLACEMENTS):
        if load.failures:
            break
        before = load.counts.copy()
        pins.pin(network.server, targets[number % len(targets)])
        assert wait_until(lambda: load.failures or all(
            load.counts[step] > before[step] for step in before), timeout=60)
    assert not load.failures


class Datagrams:
    """A client that sends bursts and waits for the answer to each of them."""

    BURST = 8

    def __init__(self, network, version, tag, ports):
        self.sock = udp_socket(network.client, version, timeout=10)
        self.to = (SERVER[version], 5000)
        self.tag, self.ports = tag, ports
        self.sent = 0

    def step(self):
        waiting = {message(self.tag) for _ in range(self.BURST)}
        for data in waiting:
            self.sock.sendto(data, self.to)
        self.sent += len(waiting)
        while waiting:
            answer, source = self.sock.recvfrom(1 << 16)
            port, echo = answer.split(b"\n", 1)
            assert source[1] == 5000
            assert int(port) in self.ports
            waiting.remove(echo)


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_no_datagram_is_lost(network, mode):
    """Nor answered twice; and the counters have all of them, by route."""
    one = rules("udp", '{"600": 5001, "601": 5002, "602": 5003}')
    other = rules("udp", '{"600": 5001, "601": 5003, "603": 5002}')
    clients = [Datagrams(network, 4, "600", {5001}), Datagrams(network, 6, "600", {5001}),
               Datagrams(network, 4, "601", {5002, 5003})]
    with Servers(network.server, [5001, 5002, 5003], kinds=(UdpServer,)):
        pins.pin(network.server, one, "--mode", mode)
        path = pins.place(network.server)
        before = pins.link(path / "xdp")
        with Load(*(client.step for client in clients)) as load:
            replace(network, load, other, one)
        after = pins.link(path / "xdp")
    assert before["id"] == after["id"] and before["prog_id"] != after["prog_id"]
    sent = collections.Counter()
    for client in clients:
        sent["feed", client.tag] += client.sent
        sent["feed", "routed"] += client.sent
        client.sock.close()
    assert pins.counters(path) == sent


@pytest.mark.usefixtures("tcp_kernel")
def test_no_connection_is_cut(network):
    """Neither those that are there, nor those in their handshake, nor those that come meanwhile."""
    one = rules("tcp", '{"600": 5001, "601": 5002}')
    other = rules("tcp", '{"600": 5001, "601": 5002, "602": 5003}')
    server = network.server
    with Servers(server, [5001, 5002], kinds=(TcpServer,)) as servers, \
            contextlib.ExitStack() as stack:
        pins.pin(server, one)
        path = pins.place(server)
        kept = {version: stack.enter_context(connect(network.client, version, 5000, timeout=20))
                for version in (4, 6)}
        for sock in kept.values():
            assert exchange(sock, message("600")) == 5001

        def go_on(version):
            data = os.urandom(4000)
            kept[version].sendall(data)
            assert receive(kept[version], len(data)) == data

        def come(version):
            with connect(network.client, version, 5000, timeout=20) as sock:
                assert exchange(sock, message("601")) == 5002

        def come_slowly():
            """Says nothing until the object that answered the handshake has been replaced."""
            sock = connect(network.client, 4, 5000, timeout=20)
            with sock:
                program = pins.link(path / "xdp")["prog_id"]
                wait_until(lambda: load.ended.is_set() or
                           pins.link(path / "xdp")["prog_id"] != program, timeout=60, step=0.05)
                sock.sendall(message("601"))
                assert who(sock) == 5002

        steps = [lambda: go_on(4), lambda: go_on(6), lambda: come(4), lambda: come(6)]
        with Load(*steps) as load, Load(come_slowly) as slow:
            replace(network, load, other, one)
        assert not slow.failures and slow.counts
        # Counted once each, by generations that are gone but for the last.
        come_in = sum(load.counts[step] for step in steps[2:]) + sum(slow.counts.values())
        assert len(servers.tcp(4, 5002).connections) + \
            len(servers.tcp(6, 5002).connections) == come_in
        assert pins.counters(path)["feed", "601"] == come_in


@pytest.mark.usefixtures("tcp_kernel")
def test_tc_programs_stay(network):
    """They carry no rules: other rules for the same protocols do not touch them."""
    pins.pin(network.server, rules("[tcp, udp]", '{"600": 5001}'))
    path = pins.place(network.server)
    before = pins.tc_programs(network.server, path)
    pins.pin(network.server, rules("[tcp, udp]", '{"600": 5002, "601": 5003}'))
    assert pins.tc_programs(network.server, path) == before


def test_tc_programs_come_and_go(network):
    """With the rules that need them."""
    server = network.server
    path = pins.place(server)
    with Servers(server, [5001], kinds=(UdpServer,)):
        client = Datagrams(network, 4, "600", {5001})
        pins.pin(server, rules("udp", '{"600": 5001}\n        replies: none'))
        assert pins.tc_programs(server, path) == {}
        pins.pin(server, rules("udp", '{"600": 5001}'))
        client.step()
        assert set(pins.tc_programs(server, path)) == {"ingress", "egress"}
        pins.pin(server, rules("udp", '{"600": 5001}\n        replies: none'))
        assert pins.tc_programs(server, path) == {}
        client.sock.close()


def ask(network, port, tag):
    """Sends one datagram; the source port of the answer."""
    with udp_socket(network.client, 4) as sock:
        sock.sendto(message(tag), (SERVER[4], port))
        return sock.recvfrom(1 << 16)[1][1]


def test_stateless_replies_end_with_their_rule(network):
    """Else the server's own clients would get answers from a port that nobody listens on."""
    server = network.server
    stateless = '{"600": 5001, "601": 5002}\n        replies: stateless'
    with Servers(server, [5001, 5002], kinds=(UdpServer,)):
        pins.pin(server, rules("udp", stateless))
        assert ask(network, 5000, "600") == 5000 and ask(network, 5000, "601") == 5000
        assert ask(network, 5001, "600") == 5000  # that is what stateless means
        pins.pin(server, rules("udp", '{"601": 5002}\n        replies: stateless'))
        assert ask(network, 5001, "600") == 5001
        assert ask(network, 5002, "601") == 5000
        pins.pin(server, rules("udp", '{"601": 5002}'))
        assert ask(network, 5002, "601") == 5002
        assert ask(network, 5000, "601") == 5000


def test_a_tracked_flow_goes_on(network):
    """A client that the old rules knew is answered from the listen port under the new ones."""
    server = network.server
    with UdpServer(server, 4, 5001, answers=False) as backend:
        pins.pin(server, rules("udp", '{"600": 5001}'))
        with udp_socket(network.client, 4) as sock:
            sock.sendto(message("600"), (SERVER[4], 5000))
            assert wait_until(lambda: backend.datagrams)
            pins.pin(server, rules("udp", '{"601": 5002}'))
            backend.socket.sendto(b"late answer", backend.datagrams[0][0])
            assert sock.recvfrom(1 << 16)[1][1] == 5000


def test_an_address_that_comes_is_served(network):
    """In the foreground: by the same object, which takes its own place."""
    with attach(network.server, RULES.format(protocol="udp", routes='{"600": 5001}')), \
            UdpServer(network.server, 4, 5001), udp_socket(network.client, 4, 0.2) as sock:
        def served():
            with contextlib.suppress(OSError):
                sock.sendto(message("600"), ("192.0.2.55", 5000))
                return sock.recvfrom(1 << 16)[1] == ("192.0.2.55", 5000)
        assert not served()
        network.server.run("ip address add 192.0.2.55/24 dev eth0")
        assert wait_until(served, timeout=20)
