# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is not addressed to this host is never answered, never changed and never counted."""

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.packet import Raw

from lib.clients import ask_udp, message
from lib.frames import CraftedTcp, Wire, ethernet, ip
from lib.mplex import attach
from lib.netns import ABSENT, CLIENT, SECOND, SERVER, SERVER_MAC, Address
from lib.servers import Servers, UdpServer

UDP_RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""

TCP_RULES = UDP_RULES.replace("protocol: udp", "protocol: tcp")

ONE_ADDRESS_RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        addresses: [192.0.2.8/29, "2001:db8::11"]
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""

BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
OTHER_MAC = "02:00:00:00:00:77"
GROUP_MAC = Address("01:00:5e:01:02:03", "33:33:00:00:01:23")
ALL_MAC = Address("01:00:5e:00:00:01", "33:33:00:00:00:01")

# Destinations by name: (Ethernet address, IP address), for an IP version.
FOREIGN = {
    "another host's MAC": lambda v: (OTHER_MAC, SERVER[v]),
    "another host": lambda v: (OTHER_MAC, ABSENT[v]),
    "another host's address": lambda v: (SERVER_MAC, ABSENT[v]),
    "an address behind the server": lambda v: (SERVER_MAC, Address("100.64.9.9", "fd00::9")[v]),
    "a group": lambda v: (GROUP_MAC[v], Address("239.1.2.3", "ff05::123")[v]),
    "all hosts": lambda v: (ALL_MAC[v], Address("224.0.0.1", "ff02::1")[v]),
    "subnet broadcast": lambda v: (BROADCAST_MAC, Address("192.0.2.255", "ff02::1")[v]),
    "limited broadcast": lambda v: (BROADCAST_MAC, Address("255.255.255.255", "ff02::1")[v]),
    "broadcast to the MAC alone": lambda v: (SERVER_MAC, Address("192.0.2.255", "ff02::1")[v]),
    "the loopback address": lambda v: (SERVER_MAC, Address("127.0.0.1", "::1")[v]),
    "no address": lambda v: (SERVER_MAC, Address("0.0.0.0", "::")[v]),
}

# A host's own address behind a group's MAC: TCP has no business there, UDP has.
GROUP_MACS = {
    "own address by broadcast": lambda v: (BROADCAST_MAC, SERVER[v]),
    "own address by a group's MAC": lambda v: (GROUP_MAC[v], SERVER[v]),
}


def passes_unanswered(mplex, network, frame):
    """The frame arrives byte by byte, uncounted, and nothing from the listen port comes back."""
    def answered(packet):
        return ((TCP in packet and packet[TCP].sport == 5000)
                or (UDP in packet and packet[UDP].sport == 5000))

    with Wire(network.client) as here, Wire(network.server) as there, mplex.counted() as counters:
        here.send(frame)
        assert there.arrives(bytes(frame)), "the frame did not come through"
        assert here.silent(answered)
    assert not counters


class TestUdp:
    @pytest.fixture(scope="class")
    def mplex(self, network, mode):
        with attach(network.server, UDP_RULES, mode) as running:
            yield running

    @pytest.mark.parametrize("place", FOREIGN.values(), ids=FOREIGN)
    def test_foreign(self, network, mplex, version, place):
        mac, address = place(version)
        with UdpServer(network.server, version, 5002) as server:
            passes_unanswered(mplex, network,
                              ethernet(destination=mac) / ip(version, destination=address)
                              / UDP(sport=40000, dport=5000) / Raw(message("601")))
            assert not server.received()

    @pytest.mark.parametrize("place", GROUP_MACS.values(), ids=GROUP_MACS)
    def test_own_address_in_a_group_frame_is_ours(self, network, mplex, version, place):
        mac, address = place(version)
        with Wire(network.client) as here, Wire(network.server) as there:
            here.send(ethernet(destination=mac) / ip(version, destination=address)
                      / UDP(sport=40000, dport=5000) / Raw(message("601")))
            assert there.frame(lambda p: UDP in p and p[UDP].dport == 5002) is not None

    def test_every_own_address_is_ours(self, network, mplex, version):
        with Servers(network.server, [5001], kinds=(UdpServer,)):
            for address in (SERVER, SECOND):
                with mplex.counted() as counters, Wire(network.client) as here:
                    here.send(ethernet() / ip(version, CLIENT[version], address[version])
                              / UDP(sport=40000, dport=5000) / Raw(message("600")))
                    assert here.frame(lambda p: UDP in p and p[UDP].sport == 5000) is not None
                assert counters["feed", "routed"] == 1


class TestAddresses:
    @pytest.fixture(scope="class")
    def mplex(self, network, mode):
        with attach(network.server, ONE_ADDRESS_RULES, mode) as running:
            yield running

    def test_a_named_address_is_ours(self, network, mplex, version):
        with UdpServer(network.server, version, 5001, address=SECOND[version]):
            assert ask_udp(network.client, version, 5000, message("600"),
                           address=SECOND[version]) == (5001, 5000)

    def test_own_but_not_named(self, network, mplex, version):
        passes_unanswered(mplex, network, ethernet() / ip(version)
                          / UDP(sport=40000, dport=5000) / Raw(message("600")))

    def test_named_but_another_host_s_mac(self, network, mplex, version):
        passes_unanswered(mplex, network,
                          ethernet(destination=OTHER_MAC) / ip(version, None, SECOND[version])
                          / UDP(sport=40000, dport=5000) / Raw(message("600")))


@pytest.mark.usefixtures("tcp_kernel")
class TestTcp:
    @pytest.fixture(scope="class")
    def mplex(self, network, mode):
        with attach(network.server, TCP_RULES, mode) as running:
            yield running

    @pytest.mark.parametrize("place", (FOREIGN | GROUP_MACS).values(), ids=FOREIGN | GROUP_MACS)
    @pytest.mark.parametrize("flags", ["S", "PA", "F", "R", "A"])
    def test_foreign(self, network, mplex, version, flags, place):
        mac, address = place(version)
        passes_unanswered(mplex, network,
                          ethernet(destination=mac) / ip(version, destination=address)
                          / TCP(sport=40000, dport=5000, flags=flags, seq=1, ack=1)
                          / Raw(message("601") if flags == "PA" else b""))

    SOURCES = {
        "the server itself": SERVER,
        "loopback": Address("127.0.0.1", "::1"),
        "broadcast": Address("255.255.255.255", "ff02::1"),
        "a group": Address("239.1.2.3", "ff05::123"),
        "nobody": Address("0.0.0.0", "::"),
    }

    @pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
    def test_a_syn_from_an_impossible_source_is_not_answered(self, network, mplex, version,
                                                             source):
        with Wire(network.client) as here:
            peer = CraftedTcp(here, version, source=source[version])
            peer.send("S", options=peer.options)
            assert peer.silent()
