# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""UDP in frames that a client's kernel would not send: crafted, and seen behind XDP."""

import socket
import struct

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPOption_NOP, IPOption_Router_Alert
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrRouting
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from lib.clients import message
from lib.frames import Wire, checksum_right, datagram, ethernet, ip
from lib.mplex import attach
from lib.netns import REMOTE, SERVER
from lib.servers import Servers, UdpServer
from lib.waiting import SETTLED, wait_until

RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
      short:
        protocol: udp
        port: 5100
        length: 4..10
        tag: {offset: 0}
        routes: {"aaa": 5101}
"""


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    with Servers(network.server, [5002, 5101], kinds=(UdpServer,)) as running:
        yield running


@pytest.fixture
def wires(network, mplex, servers):
    """The client's end, to send, and the server's, to see what XDP let through."""
    servers.forget()
    with Wire(network.client) as here, Wire(network.server) as there:
        yield here, there


def steered(mplex, wires, frame, port=5002, listener="feed"):
    """The frame behind XDP, with its new port; every other byte of the message as it was."""
    here, there = wires
    with mplex.counted() as counters:
        here.send(frame)
        seen = there.frame(lambda p: UDP in p and p[UDP].dport == port)
        assert seen is not None, "nothing came through"
    assert counters[listener, "routed"] == 1
    expected = Ether(bytes(frame))
    expected[UDP].dport = port
    expected[UDP].chksum = seen[UDP].chksum
    assert bytes(seen) == bytes(expected)
    if seen[UDP].chksum:
        assert checksum_right(seen, UDP)
    return seen


def delivered(servers, version, port, payload):
    return wait_until(lambda: servers.udp(version, port).received() == [payload])


def dropped(mplex, wires, servers, frame, reason, listener="feed"):
    """The frame is counted under the reason, once, and does not come through."""
    here, there = wires
    before = mplex.counters()
    here.send(frame)
    assert wait_until(lambda: mplex.counters().since(before)), "nothing was counted"
    assert mplex.counters().since(before) == {(listener, reason): 1}
    assert not there.arrives(bytes(frame), SETTLED)
    assert not servers.received()


def untouched(mplex, wires, frame):
    """The frame comes through byte by byte as it was sent, is not counted and not answered."""
    here, there = wires
    data = bytes(frame)
    with mplex.counted() as counters:
        here.send(frame)
        assert there.arrives(data), "nothing came through"
    assert not counters
    assert here.silent(lambda p: UDP in p and p[UDP].sport == 5000)


def test_a_plain_datagram(mplex, wires, servers, version):
    sent = message("601")
    steered(mplex, wires, datagram(version, sent))
    assert delivered(servers, version, 5002, sent)


@pytest.mark.parametrize("words", range(1, 11))
def test_ipv4_options(mplex, wires, servers, words):
    sent = message("601")
    options = [IPOption_Router_Alert()] + [IPOption_NOP()] * (4 * (words - 1))
    frame = ethernet() / ip(4, options=options) / UDP(sport=40000, dport=5000) / Raw(sent)
    assert Ether(bytes(frame))[IP].ihl == 5 + words
    steered(mplex, wires, frame)
    assert delivered(servers, 4, 5002, sent)


def extended(count, payload):
    """A datagram behind that many IPv6 extension headers: hop-by-hop, then destination options.

    Each is filled with one option that is skipped where it is not known (RFC 4727), and they are 8
    to 32 bytes long.
    """
    kinds = [0, *[60] * (count - 1), socket.IPPROTO_UDP]
    chain = b""
    for number in range(count):
        units = number % 4
        filler = 8 * units + 4
        chain += struct.pack("BBBB", kinds[number + 1], units, 0x1E, filler) + bytes(filler)
    body = chain + bytes(Ether(bytes(datagram(6, payload)))[UDP])
    return Ether(bytes(ethernet() / ip(6, nh=kinds[0], plen=len(body)) / Raw(body)))


@pytest.mark.parametrize("count", range(1, 9))
def test_ipv6_extension_headers(mplex, wires, servers, count):
    sent = message("601")
    steered(mplex, wires, extended(count, sent))
    assert delivered(servers, 6, 5002, sent)


def test_a_ninth_extension_header_is_not_ours(mplex, wires):
    untouched(mplex, wires, extended(9, message("601")))


def test_a_routing_header_that_has_arrived(mplex, wires, servers):
    sent = message("601")
    steered(mplex, wires, ethernet() / ip(6) / IPv6ExtHdrRouting(segleft=0, addresses=[])
            / UDP(sport=40000, dport=5000) / Raw(sent))
    assert delivered(servers, 6, 5002, sent)


def test_an_authentication_header(mplex, wires):
    """It counts its length in other units than the rest. The kernel has no key for it."""
    upper = bytes(Ether(bytes(datagram(6, message("601"))))[UDP])
    header = struct.pack("!BBHII", socket.IPPROTO_UDP, 4, 0, 1, 1) + bytes(12)
    body = header + upper
    frame = ethernet() / ip(6, nh=51, plen=len(body)) / Raw(body)
    here, there = wires
    with mplex.counted() as counters:
        here.send(frame)
        seen = there.frame(lambda p: IPv6 in p and p[IPv6].nh == 51)
    assert counters["feed", "routed"] == 1
    assert bytes(seen)[14 + 40 + 24:][2:4] == struct.pack("!H", 5002)


def test_esp_is_not_ours(mplex, wires):
    upper = bytes(Ether(bytes(datagram(6, message("601"))))[UDP])
    untouched(mplex, wires, ethernet() / ip(6, nh=50, plen=len(upper)) / Raw(upper))


def test_an_atomic_fragment_is_no_fragment(mplex, wires, servers):
    sent = message("601")
    steered(mplex, wires, ethernet() / ip(6) / IPv6ExtHdrFragment(offset=0, m=0, id=7)
            / UDP(sport=40000, dport=5000) / Raw(sent))
    assert delivered(servers, 6, 5002, sent)


def fragment(version, payload, offset, more):
    """A fragment: its payload is what stands behind the IP header, offset in bytes."""
    if version == 4:
        header = ip(4, flags="MF" if more else 0, frag=offset // 8, id=7, proto=17)
    else:
        header = ip(6) / IPv6ExtHdrFragment(offset=offset // 8, m=more, id=7, nh=17)
    return ethernet() / header / Raw(payload)


def test_a_first_fragment_is_dropped(mplex, wires, servers, version):
    whole = bytes(Ether(bytes(datagram(version, message("601"))))[UDP])
    dropped(mplex, wires, servers, fragment(version, whole[:200], 0, True), "fragment")


def test_a_later_fragment_has_no_ports(mplex, wires, version):
    """Not even where its bytes look like a whole datagram to the listen port."""
    whole = bytes(Ether(bytes(datagram(version, message("601"))))[UDP])
    untouched(mplex, wires, fragment(version, whole, 400, True))
    untouched(mplex, wires, fragment(version, whole, 400, False))


TAGS = {
    "vlan": [Dot1Q(vlan=0)],
    "vlan-id": [Dot1Q(vlan=5, prio=3)],
    "qinq": [Dot1AD(vlan=0), Dot1Q(vlan=0)],
    "qinq-id": [Dot1AD(vlan=100), Dot1Q(vlan=200)],
    "stacked-8100": [Dot1Q(vlan=100), Dot1Q(vlan=200)],
}


def tagged(version, payload, tags):
    frame = ethernet()
    for tag in tags:
        frame /= tag.copy()
    return frame / ip(version) / UDP(sport=40000, dport=5000) / Raw(payload)


@pytest.mark.parametrize("tags", TAGS.values(), ids=TAGS)
def test_vlan_tags(mplex, wires, servers, version, tags):
    sent = message("601")
    steered(mplex, wires, tagged(version, sent, tags))
    if all(tag.vlan == 0 for tag in tags):
        # A priority tag: the kernel takes the frame without a VLAN device.
        assert delivered(servers, version, 5002, sent)


def test_three_vlan_tags_are_not_ours(mplex, wires, version):
    untouched(mplex, wires, tagged(version, message("601"),
                                   [Dot1AD(vlan=1), Dot1Q(vlan=2), Dot1Q(vlan=3)]))


def test_padding_is_not_payload(mplex, wires, servers, version):
    """A NIC pads short frames to 60 bytes; the message is as long as its headers say."""
    frame = bytes(datagram(version, b"aaa?", 5100))
    steered(mplex, wires, Ether(frame.ljust(74, b"\0")), 5101, "short")
    assert delivered(servers, version, 5101, b"aaa?")


@pytest.mark.parametrize("payload", [b"", b"aaa"])
def test_padding_does_not_make_a_message(mplex, wires, servers, version, payload):
    frame = bytes(datagram(version, payload, 5100))
    dropped(mplex, wires, servers, Ether(frame.ljust(70, b"a")), "length", "short")


def test_a_checksum_of_zero_stays_zero(mplex, wires, version):
    seen = steered(mplex, wires, datagram(version, message("601"), chksum=0))
    assert seen[UDP].chksum == 0


def test_a_checksum_that_comes_out_as_zero_is_sent_as_ones(mplex, wires, servers, version):
    """0 would say that there is none."""
    sent = message("601")[:-2] + b"\0\0"
    arrived = Ether(bytes(datagram(version, sent, port=5002)))
    sent = sent[:-2] + struct.pack("!H", arrived[UDP].chksum)
    seen = steered(mplex, wires, datagram(version, sent))
    assert seen[UDP].chksum == 0xFFFF
    assert delivered(servers, version, 5002, sent)


def test_a_wrong_checksum_stays_wrong(mplex, wires, servers, version):
    """The change is incremental: it must not repair what was damaged on the way."""
    right = Ether(bytes(datagram(version, message("601"))))
    here, there = wires
    here.send(datagram(version, bytes(right[Raw]), chksum=right[UDP].chksum ^ 0x0101))
    seen = there.frame(lambda p: UDP in p and p[UDP].dport == 5002)
    assert not checksum_right(seen, UDP)
    assert not servers.received()


WRONG_UDP_LENGTHS = {"0": 0, "7": 7, "beyond the packet": 301, "65535": 65535}


@pytest.mark.parametrize("length", WRONG_UDP_LENGTHS.values(), ids=WRONG_UDP_LENGTHS)
def test_a_wrong_udp_length(mplex, wires, servers, version, length):
    dropped(mplex, wires, servers, datagram(version, message("601"), len=length), "malformed")


def test_bytes_behind_the_udp_length_are_no_payload(mplex, wires, servers, version):
    """RFC 768 allows a UDP length short of the packet: the message is what it covers."""
    frame = datagram(version, message("601", 400), len=8 + 292)
    here, _ = wires
    with mplex.counted() as counters:
        here.send(frame)
        assert wait_until(lambda: mplex.counters()["feed", "routed"])
    assert counters["feed", "routed"] == 1


@pytest.mark.parametrize("difference", [-300, -292, -1, 1, 1000])
def test_an_ip_length_that_contradicts_the_rest(mplex, wires, servers, version, difference):
    frame = Ether(bytes(datagram(version, message("601"))))
    if version == 4:
        frame[IP].len += difference
        del frame[IP].chksum
    else:
        frame[IPv6].plen += difference
    dropped(mplex, wires, servers, frame, "malformed")


@pytest.mark.parametrize("ihl", [0, 4])
def test_an_ipv4_header_shorter_than_it_can_be_is_not_ours(mplex, wires, ihl):
    frame = Ether(bytes(datagram(4, message("601"))))
    frame[IP].ihl = ihl
    untouched(mplex, wires, frame)


@pytest.mark.parametrize("ports", range(4))
def test_a_frame_that_ends_before_its_ports_is_not_ours(mplex, wires, version, ports):
    header = {4: 20, 6: 40}[version]
    untouched(mplex, wires, Raw(bytes(datagram(version, message("601")))[:14 + header + ports]))


def test_a_frame_that_ends_behind_its_ports_is_malformed(mplex, wires, servers, version):
    header = {4: 20, 6: 40}[version]
    dropped(mplex, wires, servers,
            Ether(bytes(datagram(version, message("601")))[:14 + header + 4]), "malformed")


def test_other_protocols_are_not_ours(mplex, wires, version):
    """Also where the bytes in the ports' place are the listen port's."""
    upper = bytes(Ether(bytes(datagram(version, message("601"))))[UDP])
    for protocol in (6, 132, 136):
        field = {4: "proto", 6: "nh"}[version]
        untouched(mplex, wires, ethernet() / ip(version, **{field: protocol}) / Raw(upper))


def test_other_ether_types_are_not_ours(mplex, wires):
    untouched(mplex, wires, Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01", type=0x88B5)
              / Raw(bytes(datagram(4, message("601")))[14:]))
    untouched(mplex, wires, ethernet() / IP(src=REMOTE[4], dst=SERVER[4], version=6)
              / UDP(sport=1, dport=5000) / Raw(message("601")))


def test_ping_goes_on(mplex, wires):
    here, _ = wires
    here.send(ethernet() / ip(4) / ICMP(type=8, id=99) / Raw(b"ping"))
    assert here.frame(lambda p: ICMP in p and p[ICMP].type == 0 and p[ICMP].id == 99) is not None
