# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex_connections_total: each connection that a server was handed, once, and nothing else."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lib import pins
from lib.clients import ask, ask_udp, connect, message, who
from lib.mplex import attach, compile_rules
from lib.netns import Network
from lib.servers import Servers, TcpServer
from lib.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tcp_kernel")

RULES = """
    version: 1
    listeners:
      both:
        protocol: [tcp, udp]
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002}
      stream:
        protocol: tcp
        port: 5100
        length: 290..294
        tag: {offset: 20}
        otherwise: pass
        routes: {"600": 5001, "609": 5009}
      datagrams:
        protocol: udp
        port: 5200
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001}
"""


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    """Nobody listens on 5009."""
    with Servers(network.server, [5001, 5002, 5100]) as running:
        yield running


def connections(network):
    """By listener, as Prometheus reads it."""
    done = pins.run(network.server, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    return {sample.labels["listener"]: sample.value
            for family in text_string_to_metric_families(done.stdout) for sample in family.samples
            if sample.name == "mplex_connections_total"}


@pytest.fixture
def made(network, mplex):
    """What was counted since the test began, by listener."""
    before = connections(network)
    return lambda: {name: count - before[name] for name, count in connections(network).items()}


def test_each_connection_once(network, servers, made, version):
    """Datagrams of the same listener are none, whatever their tag."""
    for tag, port in [("600", 5001), ("601", 5002), ("601", 5002)]:
        assert ask(network.client, version, 5000, message(tag) * 3) == port
    for tag, port in [("600", 5001), ("999", 5100)]:  # the latter passes: a connection as well
        assert ask(network.client, version, 5100, message(tag)) == port
    for port in (5000, 5000, 5000, 5000, 5200):
        assert ask_udp(network.client, version, port, message("600"))[0] == 5001
    assert made() == {"both": 3, "stream": 2}


def test_nobody_listens(network, mplex, made, version):
    """Judged and routed, but refused at the hand-over."""
    with mplex.counted() as counters, connect(network.client, version, 5100) as sock:
        sock.sendall(message("609"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert counters["stream", "routed"] == counters["stream", "no-listener"] == 1
    assert made() == {"both": 0, "stream": 0}


def test_refused_or_silent(network, mplex, made, version):
    with connect(network.client, version, 5000) as sock:
        sock.sendall(message("999"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    before = mplex.counters()["both", "close"]
    connect(network.client, version, 5000).close()
    assert wait_until(lambda: mplex.counters()["both", "close"] > before)
    assert made() == {"both": 0, "stream": 0}


def test_given_again(network, mplex, made, version):
    """Of an SO_REUSEPORT group the kernel drops what does not fit into the queue."""
    server = TcpServer(network.server, version, 5009, reuse_port=True, backlog=1)
    clients = [connect(network.client, version, 5100, timeout=20) for _ in range(6)]
    before = mplex.counters()["stream", "pending"]
    for sock in clients:
        sock.sendall(message("609"))
    assert wait_until(lambda: mplex.counters()["stream", "pending"] > before, timeout=20)
    with server:
        for sock in clients:
            assert who(sock) == 5009
            sock.close()
    assert made() == {"both": 0, "stream": 6}


def test_nothing_is_handed_over_on_trial(version):
    with Network() as network, attach(network.server, RULES, arguments=["--observe"]) as mplex, \
            TcpServer(network.server, version, 5000):
        assert ask(network.client, version, 5000, message("600")) == 5000
        assert mplex.counters()["both", "routed"] == 1
        assert connections(network) == {"both": 0, "stream": 0}


RULE = """
      {name}:
        protocol: tcp
        port: {port}
        length: 290..294
        tag: {{offset: 20}}
        routes: {{"600": 5001}}
"""
PORTS = {"one": 5000, "two": 5100, "three": 5200}


def rules(*names):
    return compile_rules("    version: 1\n    listeners:" +
                         "".join(RULE.format(name=name, port=PORTS[name]) for name in names))


@pytest.fixture
def replaced():
    """A network with its server, in which tests replace the rules."""
    with Network() as network, pins.detached(network.server), TcpServer(network.server, 4, 5001):
        yield network


def come(network, names, expected):
    """Clients of each listener, of no two the same number."""
    for number, name in enumerate(names, start=1):
        for _ in range(number):
            assert ask(network.client, 4, PORTS[name], message("600")) == 5001
        expected[name] += number


def test_over_replacements(replaced):
    """By the names of the listeners; a listener's number changes with those that come and go."""
    expected = {}
    for names in [("one", "three", "two"), ("three", "two"), ("two",), ("one", "three", "two")]:
        pins.pin(replaced.server, rules(*names))
        expected = {name: expected.get(name, 0) for name in names}
        assert connections(replaced) == expected
        come(replaced, names, expected)
        assert connections(replaced) == expected


def test_not_confirmed(replaced):
    """What the rules counted that were taken back goes by name as well."""
    expected = {"one": 0, "two": 0, "three": 0}
    pins.pin(replaced.server, rules("one", "three", "two"))
    come(replaced, ["two"], expected)
    pins.pin(replaced.server, rules("three", "two"), "--confirm", "5")
    come(replaced, ["three", "two"], expected)
    path = pins.place(replaced.server)
    assert pins.soon(lambda: len(pins.generations(path)) == 1, timeout=60)
    assert connections(replaced) == expected
    come(replaced, ["one", "three", "two"], expected)
    assert connections(replaced) == expected
