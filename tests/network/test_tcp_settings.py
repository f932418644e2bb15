# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP answers follow the host: its sysctls, its MTU, its routes and its neighbours."""

import itertools
import socket

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from lib.clients import ask, connect, exchange, message, tcp_info
from lib.frames import CraftedTcp, Wire, options_of
from lib.mplex import attach
from lib.netns import ABSENT, CLIENT_MAC, REMOTE, THIRD, Network
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

ports = itertools.count(30000)


class TestEverythingOff:
    """What a sysctl has switched off is never offered: the kernel would refuse the connection."""

    @pytest.fixture(scope="class")
    def network(self, mode):
        with Network(mtu=1400) as network:
            for name in ("tcp_timestamps", "tcp_sack", "tcp_window_scaling", "tcp_ecn"):
                network.server.sysctl(f"net.ipv4.{name}", 0)
            network.server.sysctl("net.ipv4.ip_default_ttl", 77)
            network.server.sysctl("net.ipv6.conf.eth0.hop_limit", 88)
            with attach(network.server, RULES, mode), \
                    Servers(network.server, PORTS, kinds=(TcpServer,)):
                yield network

    def test_connections_work(self, network, version):
        sent = message("601") + bytes(50000)
        assert ask(network.client, version, 5000, sent) == 5002

    def test_nothing_is_offered(self, network, version):
        with Wire(network.client) as wire:
            peer = CraftedTcp(wire, version, source_port=next(ports))
            peer.send("SEC", options=peer.options)
            answer = peer.answer()
        assert options_of(answer) == {"MSS": {4: 1360, 6: 1340}[version]}
        assert str(answer[TCP].flags) == "SA"
        if version == 4:
            assert answer[IP].ttl == 77
        else:
            assert answer[IPv6].hlim == 88


class TestOneOff:
    @pytest.mark.parametrize("sysctl, option", [("tcp_timestamps", "Timestamp"),
                                                ("tcp_sack", "SAckOK"),
                                                ("tcp_window_scaling", "WScale")])
    def test_the_others_stay(self, mode, sysctl, option):
        with Network() as network:
            network.server.sysctl(f"net.ipv4.{sysctl}", 0)
            with attach(network.server, RULES, mode), Wire(network.client) as wire, \
                    Servers(network.server, PORTS, kinds=(TcpServer,)):
                for version in (4, 6):
                    answer = CraftedTcp(wire, version, source_port=next(ports)).open()
                    assert set(options_of(answer)) \
                        == {"MSS", "Timestamp", "SAckOK", "WScale"} - {option}
                    assert ask(network.client, version, 5000, message("601")) == 5002


@pytest.mark.parametrize("rmem", ["4096 8192 16384", "4096 131072 67108864"])
def test_the_window_scale_is_the_kernels(mode, rmem):
    with Network() as network:
        network.server.sysctl("net.ipv4.tcp_rmem", rmem)
        with attach(network.server, RULES, mode), Wire(network.client) as wire, \
                Servers(network.server, PORTS, kinds=(TcpServer,)):
            for version in (4, 6):
                own = CraftedTcp(wire, version, 5001, next(ports)).open()
                ours = CraftedTcp(wire, version, 5000, next(ports)).open()
                assert options_of(ours)["WScale"] == options_of(own)["WScale"]
                assert ask(network.client, version, 5000, message("601")) == 5002


def test_jumbo_frames(mode):
    """A first segment of several buffers, and the MSS that goes with the MTU."""
    with Network(mtu=9000) as network, attach(network.server, RULES, mode), \
            Servers(network.server, PORTS, kinds=(TcpServer,)), Wire(network.client) as wire:
        for version in (4, 6):
            answer = CraftedTcp(wire, version, source_port=next(ports)).open()
            assert options_of(answer)["MSS"] == {4: 8960, 6: 8940}[version]
            for length in (0, 4000, 8000, 100000):
                assert ask(network.client, version, 5000, message("601") + bytes(length)) == 5002


def test_the_largest_segment(mode):
    """Its checksum is reckoned to the last byte before the hand-over."""
    with Network(mtu=65535) as network, attach(network.server, RULES, mode), \
            Servers(network.server, PORTS, kinds=(TcpServer,)) as servers, \
            Wire(network.client) as wire:
        for version in (4, 6):
            crafted = CraftedTcp(wire, version, source_port=next(ports))
            crafted.open()
            sent = message("601", 65535 - 12 - {4: 40, 6: 60}[version])
            assert crafted.say(sent, len(sent)).startswith(b"5002")
            assert servers.received() == {("TcpServer", version, 5002): [sent]}
            servers.forget()


@pytest.mark.parametrize("small", [False, True])
def test_the_clients_mss_on_a_jumbo_link(mode, small):
    """Here nothing but the cookie's memory of it keeps the server from sending more."""
    options = [(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)] if small else []
    with Network(mtu=9000) as network, attach(network.server, RULES, mode), \
            Servers(network.server, PORTS, kinds=(TcpServer,)) as servers:
        for version in (4, 6):
            with connect(network.client, version, 5000, options=options) as sock:
                exchange(sock, message("600"))
                peer = servers.tcp(version, 5001).connection(sock.getsockname()).socket
                timestamps = 12
                assert tcp_info(peer).send_mss + timestamps == (
                    {4: 1460, 6: 1440} if small else {4: 8960, 6: 8940})[version]


def test_link_local_addresses(mode):
    """Every IPv6 host has one, and its peers on the link may use it."""
    with Network() as network:
        link_local = {host: host.run("ip -6 -o address show dev eth0 scope link").split()[3]
                      .partition("/")[0] for host in (network.server, network.client)}
        with network.client.inside():
            scope = socket.if_nametoindex("eth0")
        with attach(network.server, RULES, mode), \
                Servers(network.server, PORTS, kinds=(TcpServer,)) as servers, \
                network.client.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect((link_local[network.server], 5000, 0, scope))
            assert exchange(sock, message("602")) == 5003
            peer = servers.tcp(6, 5003).connections[0].peer
            assert peer[0].partition("%")[0] == link_local[network.client]


class TestTheWayBack:
    """Where the host forwards packets: only then does the kernel tell a program its routes."""

    @pytest.fixture(scope="class")
    def network(self, mode):
        with Network(third=True) as network:
            for family in ("ipv4", "ipv6"):
                network.server.sysctl(f"net.{family}.conf.all.forwarding", 1)
            with attach(network.server, RULES, mode) as network.mplex, \
                    Servers(network.server, PORTS, kinds=(TcpServer,)):
                yield network

    def test_the_next_hop_of_the_route(self, network, version):
        """Not the sender of the frame: with two routers they may differ."""
        ask(network.client, version, 5000, message("600"))  # the server knows its neighbour now
        with Wire(network.client) as wire:
            peer = CraftedTcp(wire, version, source_port=next(ports))
            peer.send("S", source_mac="02:00:00:00:00:99", options=peer.options)
            assert peer.answer().dst == CLIENT_MAC

    def test_connections_work(self, network, version):
        assert ask(network.client, version, 5000, message("601")) == 5002

    def test_no_neighbour_known(self, network, version):
        """Then the frame goes back to where it came from."""
        with Wire(network.client) as wire:
            peer = CraftedTcp(wire, version, source_port=next(ports), source=ABSENT[version])
            peer.send("S", source_mac="02:00:00:00:00:99", options=peer.options)
            assert peer.answer().dst == "02:00:00:00:00:99"

    def test_a_route_by_another_interface(self, network, version):
        """An answer here would be lost, or help somebody who forges addresses."""
        before = network.mplex.counters()
        with Wire(network.client) as wire, Wire(network.third) as elsewhere:
            peer = CraftedTcp(wire, version, source_port=next(ports), source=THIRD[version])
            peer.send("S")
            assert wait_until(lambda: network.mplex.counters().since(before)
                              == {("feed", "no-way-back"): 1})
            assert peer.silent()
            assert elsewhere.silent(peer.is_answer)

    @pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
    def test_no_route(self, network, version, kind):
        family = "-6 " if version == 6 else ""
        network.server.run(f"ip {family}route add {kind} {REMOTE[version]}")
        try:
            before = network.mplex.counters()
            with Wire(network.client) as wire:
                peer = CraftedTcp(wire, version, source_port=next(ports))
                peer.send("S")
                assert wait_until(lambda: network.mplex.counters().since(before)
                                  == {("feed", "no-way-back"): 1})
                assert peer.silent()
        finally:
            network.server.run(f"ip {family}route del {kind} {REMOTE[version]}")


def test_a_host_that_does_not_forward_answers_the_sender(mode, version):
    """Nothing tells it another way."""
    with Network(third=True) as network, attach(network.server, RULES, mode), \
            Wire(network.client) as wire:
        for source in (REMOTE[version], THIRD[version]):
            peer = CraftedTcp(wire, version, source_port=next(ports), source=source)
            peer.send("S", source_mac="02:00:00:00:00:99", options=peer.options)
            assert peer.answer().dst == "02:00:00:00:00:99"
