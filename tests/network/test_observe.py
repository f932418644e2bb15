# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run --observe: a service on the listen port runs undisturbed, while the counters say what
would have become of its packets."""

import itertools
import json

import pytest
from scapy.layers.inet import TCP

from lib.clients import ask, ask_udp, connect, exchange, message, receive, who
from lib.frames import CraftedTcp, Wire, datagram
from lib.mplex import MPLEX_RUN, attach, compile_rules
from lib.netns import Network
from lib.servers import Servers
from lib.waiting import wait_until

RULES = """
    version: 1
    listeners:
      feed:
        protocol: [tcp, udp]
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002}
"""


client_ports = itertools.count(40000)  # the kernel keeps a crafted client's connection


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode, arguments=["--observe"]) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    """The service itself, and servers that would have the messages if the rules held."""
    with Servers(network.server, [5000, 5001, 5002]) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(servers):
    servers.forget()


@pytest.fixture
def wire(network):
    with Wire(network.client) as made:
        yield made


def test_it_says_so(mplex):
    assert "observing" in mplex.text()
    assert "mplex_ingress" not in mplex.text() and "mplex_egress" not in mplex.text()


@pytest.mark.parametrize("payload, counted", [
    (message("600"), {("feed", "routed"): 1, ("feed", "600"): 1}),
    (message("999"), {("feed", "tag"): 1}),
    (b"too short", {("feed", "length"): 1}),
], ids=["routed", "tag", "length"])
def test_datagrams(network, mplex, servers, version, payload, counted):
    with mplex.counted() as counters:
        assert ask_udp(network.client, version, 5000, payload) == (5000, 5000)
    assert servers.received() == {("UdpServer", version, 5000): [payload]}
    assert counters == counted


def test_a_fragment_and_a_malformed_datagram_pass(network, mplex, wire):
    with Wire(network.server) as seen, mplex.counted() as counters:
        whole = datagram(4, message("600"), len=7)
        wire.send(whole)
        assert seen.arrives(bytes(whole))
        first = datagram(4, message("600"))
        first["IP"].flags = "MF"
        wire.send(first)
        assert seen.arrives(bytes(first))
    assert counters == {("feed", "malformed"): 1, ("feed", "fragment"): 1}


@pytest.mark.parametrize("payload, outcome", [
    (message("601"), {("feed", "routed"): 1, ("feed", "601"): 1}),
    (message("999"), {("feed", "tag"): 1}),
    (b"too short", {("feed", "length"): 1}),
], ids=["routed", "tag", "length"])
def test_connections(network, mplex, servers, version, payload, outcome):
    """The first data is judged, and only that; the service gets all of it."""
    with mplex.counted() as counters:
        with connect(network.client, version, 5000) as sock:
            assert exchange(sock, payload) == 5000
            for _ in range(3):
                sock.sendall(b"more")
                assert receive(sock, 4) == b"more"
    assert servers.received() == {("TcpServer", version, 5000): [payload + b"more" * 3]}
    established = counters.pop(("feed", "established"))
    assert established >= 3
    assert counters.pop(("feed", "handshake")) >= 1
    assert counters == {("feed", "syn"): 1, **outcome}


def test_a_client_that_says_nothing(network, mplex, version):
    with mplex.counted() as counters:
        connect(network.client, version, 5000).close()
        # The FIN would be answered; what follows belongs to no connection.
        assert wait_until(lambda: mplex.counters()["feed", "close"])
    assert counters["feed", "syn"] == counters["feed", "close"] == 1
    assert not counters["feed", "routed"]


@pytest.mark.parametrize("tag, outcome", [("600", "routed"), ("999", "tag")])
def test_a_copy_of_the_first_segment_is_not_judged_again(network, mplex, wire, tag, outcome):
    client = CraftedTcp(wire, 4, source_port=next(client_ports))
    assert client.open()
    before = mplex.counters()
    sent = message(tag)
    client.send("PA", sent)
    assert client.answer() is not None
    client.send("PA", sent)
    assert wait_until(lambda: mplex.counters().since(before)["feed", "established"])
    assert mplex.counters().since(before) == {
        ("feed", outcome): 1, ("feed", "established"): 1,
        **({("feed", tag): 1} if outcome == "routed" else {})}


def test_what_belongs_to_no_connection(network, mplex, wire):
    """The kernel answers it, as it does without mplex."""
    client = CraftedTcp(wire, 4, source_port=next(client_ports))
    client.acknowledged = 4711
    with mplex.counted() as counters:
        client.send("PA", message("600"))
        assert "R" in client.answer()[TCP].flags
    assert counters == {("feed", "stray"): 1}


def test_a_connection_that_was_there_before(network, mode, servers):
    with Network() as other, Servers(other.server, [5000]) as service:
        with connect(other.client, 4, 5000) as sock:
            assert exchange(sock, b"before") == 5000
            with attach(other.server, RULES, mode, arguments=["--observe"]) as mplex:
                sock.sendall(message("999"))
                assert receive(sock, 292)
                counters = mplex.counters()
            assert counters.total("established") == sum(counters.values())
            sock.sendall(b"after")
            assert receive(sock, 5) == b"after"
        assert service.tcp(4, 5000).connections


def attached(host, *arguments):
    """What a run with --pin says in JSON."""
    said = host.run([str(MPLEX_RUN), "eth0", str(compile_rules(RULES)), "--pin", "--json",
                     *arguments])
    return json.loads(said.splitlines()[0])


@pytest.mark.usefixtures("tcp_kernel")
def test_from_observing_to_enforcing_and_back():
    """Connections of before go on; later ones are steered."""
    with Network() as network, Servers(network.server, [5000, 5001]):
        first = attached(network.server, "--observe")
        assert first["observing"] is True
        assert [program["name"] for program in first["programs"]] == ["mplex_xdp"]
        with connect(network.client, 4, 5000) as judged, connect(network.client, 4, 5000) as idle:
            assert exchange(judged, message("600")) == 5000
            second = attached(network.server)
            assert second["observing"] is False
            assert len(second["programs"]) == 3
            assert ask(network.client, 4, 5000, message("600")) == 5001
            assert ask_udp(network.client, 4, 5000, message("600")) == (5001, 5000)
            judged.sendall(b"more")
            assert receive(judged, 4) == b"more"
            idle.sendall(b"at last")
            assert who(idle) == 5000
        attached(network.server, "--observe")
        assert ask(network.client, 4, 5000, message("600")) == 5000
        assert ask_udp(network.client, 4, 5000, message("600")) == (5000, 5000)
        assert "observing" in network.server.run([str(MPLEX_RUN), "status", "eth0"])
        network.server.run([str(MPLEX_RUN), "detach", "eth0"])
