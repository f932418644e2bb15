# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""UDP with real servers and real clients: every datagram is judged by itself."""

import os
import socket
import struct

import pytest

from lib.clients import ask_udp, message, udp_socket
from lib.frames import UDP, Wire, checksum_right
from lib.mplex import attach, checked, kernel_has_frags
from lib.netns import CLIENT, SECOND, SERVER, Network
from lib.servers import Servers, UdpServer
from lib.waiting import wait_until

RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
      stateless:
        protocol: udp
        port: 5100
        length: 3..100
        tag: {offset: 0}
        replies: stateless
        routes: {"abc": 5101}
      oneway:
        protocol: udp
        port: 5200
        length: 3..100
        tag: {offset: 0}
        replies: none
        routes: {"abc": 5201}
      strict:
        protocol: udp
        port: 5300
        length: 20
        tag: {offset: 4, type: hex}
        require:
          - {offset: 0, bytes: "cafe"}
          - {offset: 10, bytes: "40", mask: "f0"}
        routes: {"00ff": 5301}
      fallback:
        protocol: udp
        port: 5400
        length: 3..100
        tag: {offset: 0}
        otherwise: 5402
        routes: {"abc": 5401}
      plain:
        protocol: udp
        port: 5500
        length: 3..100
        tag: {offset: 0}
        otherwise: pass
        routes: {"abc": 5501}
      little:
        protocol: udp
        port: 5600
        length: 8
        tag: {offset: 2, type: uint, length: 4, order: little}
        routes: {"70000": 5601}
      spare:
        protocol: udp
        port: 5900
        length: 3..100
        tag: {offset: 0}
        routes: {"abc": 5902, "def": 5001}
      elsewhere:
        protocol: udp
        port: 5700
        length: 3..100
        tag: {offset: 0}
        addresses: [239.1.2.3, "ff05::123"]
        routes: {"abc": 5701}
"""

PORTS = [5001, 5002, 5003, 5101, 5201, 5301, 5401, 5402, 5500, 5501, 5601]


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    with Servers(network.server, PORTS, kinds=(UdpServer,)) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(servers):
    servers.forget()


@pytest.mark.parametrize("tag, port", [("600", 5001), ("601", 5002), ("602", 5003)])
def test_each_tag_reaches_its_server(network, mplex, servers, version, tag, port):
    sent = message(tag)
    with mplex.counted() as counters:
        assert ask_udp(network.client, version, 5000, sent) == (port, 5000)
    assert servers.received() == {("UdpServer", version, port): [sent]}
    assert counters == {("feed", "routed"): 1, ("feed", tag): 1}


def test_every_datagram_of_a_socket_is_judged_by_itself(network, mplex, version):
    """One client socket, so one flow to anybody who steers by flow."""
    with udp_socket(network.client, version) as sock:
        for tag, port in [("600", 5001), ("602", 5003), ("601", 5002), ("600", 5001)] * 5:
            assert ask_udp(network.client, version, 5000, message(tag), sock=sock) == (port, 5000)


@pytest.mark.parametrize("length", [290, 294])
def test_the_ends_of_the_length_window_belong_to_it(network, mplex, version, length):
    assert ask_udp(network.client, version, 5000, message("601", length)) == (5002, 5000)


def counted_for(network, mplex, version, port, data):
    """What is counted for a datagram that nobody answers."""
    before = mplex.counters()
    with udp_socket(network.client, version) as sock:
        sock.sendto(data, (SERVER[version], port))
        wait_until(lambda: mplex.counters().since(before))
    return mplex.counters().since(before)


def refused(network, mplex, servers, version, port, data, reason):
    """Whether that datagram is counted under the reason and reaches no server."""
    listener = next(one["name"] for one in mplex.manifest["listeners"] if one["port"] == port)
    assert counted_for(network, mplex, version, port, data) == {(listener, reason): 1}
    assert not servers.received()


@pytest.mark.parametrize("length", [0, 1, 22, 289, 295, 1000])
def test_a_message_outside_the_window_reaches_nobody(network, mplex, servers, version, length):
    refused(network, mplex, servers, version, 5000, message("601", length), "length")


def test_a_datagram_in_fragments_reaches_nobody(network, mplex, servers, version):
    """Its first fragment is dropped, so the kernel never completes it."""
    refused(network, mplex, servers, version, 5000, message("601", 4000), "fragment")


@pytest.mark.parametrize("tag", ["603", "60 ", "\0\0\0", "006"])
def test_an_unknown_tag_reaches_nobody(network, mplex, servers, version, tag):
    refused(network, mplex, servers, version, 5000, message(tag), "tag")


REQUIRED = bytes.fromhex("cafe 0000 00ff 0000 0000 4d").ljust(20, b".")


def test_a_message_with_all_required_bytes_is_steered(network, mplex, version):
    assert ask_udp(network.client, version, 5300, REQUIRED) == (5301, 5300)


@pytest.mark.parametrize("offset, byte", [(0, 0xCB), (1, 0xFF), (10, 0x5D), (10, 0x0D)])
def test_a_required_byte_that_differs(network, mplex, servers, version, offset, byte):
    wrong = REQUIRED[:offset] + bytes([byte]) + REQUIRED[offset + 1:]
    refused(network, mplex, servers, version, 5300, wrong, "require")


def test_bits_outside_a_mask_do_not_matter(network, mplex, version):
    other = REQUIRED[:10] + b"\x42" + REQUIRED[11:]
    assert ask_udp(network.client, version, 5300, other) == (5301, 5300)


def test_otherwise_a_port(network, mplex, version):
    assert ask_udp(network.client, version, 5400, b"abc") == (5401, 5400)
    with mplex.counted() as counters:
        assert ask_udp(network.client, version, 5400, b"abd") == (5402, 5400)
    assert counters == {("fallback", "tag"): 1}


def test_otherwise_pass(network, mplex, version):
    """The server on the listen port gets it, from a socket that also talks to a route."""
    with udp_socket(network.client, version) as sock:
        assert ask_udp(network.client, version, 5500, b"abc", sock=sock) == (5501, 5500)
        assert ask_udp(network.client, version, 5500, b"abd", sock=sock) == (5500, 5500)


def test_otherwise_pass_is_for_tags_only(network, mplex, servers, version):
    refused(network, mplex, servers, version, 5500, b"ab", "length")


def test_a_little_endian_number_as_tag(network, mplex, servers, version):
    sent = struct.pack("<HIH", 1, 70000, 2)
    assert ask_udp(network.client, version, 5600, sent) == (5601, 5600)
    servers.forget()
    refused(network, mplex, servers, version, 5600, struct.pack(">HIH", 1, 70000, 2), "tag")


def test_a_connected_client_gets_its_answers(network, mplex, version):
    """Its kernel takes answers from the address and port that it sent to, and no others."""
    with udp_socket(network.client, version) as sock:
        sock.connect((SERVER[version], 5000))
        sent = message("602")
        sock.send(sent)
        assert sock.recv(1 << 16) == b"5003\n" + sent


def test_an_answer_comes_from_the_address_that_was_asked(network, mplex, version):
    with UdpServer(network.server, version, 5902), udp_socket(network.client, version) as sock:
        for address in (SERVER, SECOND):
            sock.connect((address[version], 5900))
            sock.send(b"abc")
            assert sock.recv(1 << 16) == b"5902\nabc"


def test_stateless_replies(network, mplex, version):
    assert ask_udp(network.client, version, 5100, b"abc") == (5101, 5100)


def test_replies_none_leave_as_they_are(network, mplex, version):
    assert ask_udp(network.client, version, 5200, b"abc") == (5201, 5201)


@pytest.fixture
def one_cpu():
    """What a CPU remembers is met again."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_a_flow_that_others_pushed_out_comes_back(network, mplex, one_cpu, version):
    """A CPU that has just seen a flow does not look it up, until another one is added."""
    with udp_socket(network.client, version) as sock, udp_socket(network.client, version) as other:
        for _ in range(3):
            assert ask_udp(network.client, version, 5000, message("600"), sock=sock) == (5001, 5000)
        for entry in mplex.dump("flows"):
            checked(["bpftool", "map", "delete", "id", mplex.maps["flows"],
                     "key", "hex", *(byte[2:] for byte in entry["key"])])
        sock.sendto(message("600"), (SERVER[version], 5000))
        assert sock.recvfrom(1 << 16)[1][1] == 5001, "the flow is looked up at every datagram"
        assert ask_udp(network.client, version, 5000, message("601"), sock=other) == (5002, 5000)
        assert ask_udp(network.client, version, 5000, message("600"), sock=sock) == (5001, 5000)


def test_a_direct_client_of_a_backend_port_keeps_working(network, mplex, version):
    """At the same time as others come through the listener."""
    with udp_socket(network.client, version) as direct, \
            udp_socket(network.client, version) as steered:
        for _ in range(3):
            assert ask_udp(network.client, version, 5001, message("600"), sock=direct) \
                == (5001, 5001)
            assert ask_udp(network.client, version, 5000, message("600"), sock=steered) \
                == (5001, 5000)
        assert ask_udp(network.client, version, 5001, b"any length", sock=direct) == (5001, 5001)


def test_a_client_of_two_listen_ports_of_one_server(network, mplex, version):
    """An answer comes from the port that was asked last."""
    with udp_socket(network.client, version) as sock:
        for port, sent in [(5000, message("600")), (5900, b"def"), (5000, message("600"))]:
            assert ask_udp(network.client, version, port, sent, sock=sock) == (5001, port)


def test_other_ports_are_nobodys_business(network, mplex, version):
    with UdpServer(network.server, version, 4999), mplex.counted() as counters:
        assert ask_udp(network.client, version, 4999, message("600")) == (4999, 4999)
    assert not counters


def test_the_same_port_of_another_protocol_is_untouched(network, mplex, version):
    with network.client.socket(socket.AF_INET if version == 4 else socket.AF_INET6,
                               socket.SOCK_STREAM) as sock, mplex.counted() as counters:
        with pytest.raises(ConnectionRefusedError):
            sock.connect((SERVER[version], 5000))
    assert not counters


def test_a_dual_stack_server(network, mplex):
    with UdpServer(network.server, 6, 5902, dual=True):
        for version in (4, 6):
            assert ask_udp(network.client, version, 5900, b"abc") == (5902, 5900)


SO_NO_CHECK = 11


@pytest.fixture
def checksums_in_software(network):
    """Without offload every frame on the wire carries its own checksum."""
    for host in (network.client, network.server):
        host.run("ethtool -K eth0 tx off")
    yield
    for host in (network.client, network.server):
        host.run("ethtool -K eth0 tx on")


@pytest.mark.parametrize("port, backend", [(5000, 5002), (5400, 5402)])
def test_checksums_stay_right_both_ways(network, mplex, checksums_in_software, version, port,
                                        backend):
    sent = message("601") if port == 5000 else b"xyz, any tag"
    with Wire(network.server) as there, Wire(network.client) as here:
        assert ask_udp(network.client, version, port, sent) == (backend, port)
        steered = there.frame(lambda p: UDP in p and p[UDP].dport == backend)
        answer = here.frame(lambda p: UDP in p and p[UDP].sport == port)
    assert checksum_right(steered, UDP)
    assert checksum_right(answer, UDP)


def test_no_checksum_stays_no_checksum(network, mplex, checksums_in_software):
    """Both ways; over IPv4, where a sender may leave it out."""
    no_check = [(socket.SOL_SOCKET, SO_NO_CHECK, 1)]
    with UdpServer(network.server, 4, 5902, options=no_check), \
            udp_socket(network.client, 4) as sock, \
            Wire(network.server) as there, Wire(network.client) as here:
        sock.setsockopt(*no_check[0])
        assert ask_udp(network.client, 4, 5900, b"abc", sock=sock) == (5902, 5900)
        assert there.frame(lambda p: UDP in p and p[UDP].dport == 5902)[UDP].chksum == 0
        assert here.frame(lambda p: UDP in p and p[UDP].sport == 5900)[UDP].chksum == 0


@pytest.mark.parametrize("version, group", [(4, "239.1.2.3"), (6, "ff05::123")],
                         ids=["ipv4", "ipv6"])
def test_a_group_named_in_addresses(network, mplex, version, group):
    """A multicast feed is steered like any other; its replies are the server's own."""
    with network.server.inside():
        index = struct.pack("@I", socket.if_nametoindex("eth0"))
    if version == 4:
        member = (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                  socket.inet_aton(group) + socket.inet_aton(SERVER[4]))
    else:
        member = (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                  socket.inet_pton(socket.AF_INET6, group) + index)
    with UdpServer(network.server, version, 5701, options=[member]), \
            udp_socket(network.client, version) as sock, network.client.inside():
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(CLIENT[4]))
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF,
                            socket.if_nametoindex("eth0"))
        assert ask_udp(network.client, version, 5700, b"abc to the group", address=group,
                       sock=sock) == (5701, 5701)


def test_addresses_leave_other_destinations_alone(network, mplex, version):
    with UdpServer(network.server, version, 5700), mplex.counted() as counters:
        assert ask_udp(network.client, version, 5700, b"abc") == (5700, 5700)
    assert not counters


UDP_SEGMENT = 103


def test_a_segmented_burst_arrives_datagram_by_datagram(network, mplex, mode, servers, version):
    """A sender with UDP_SEGMENT: ten messages in one call.

    In generic mode they arrive as one packet of ten times the length, which is no message.
    """
    messages = [message("601") for _ in range(10)]
    before = mplex.counters()
    with udp_socket(network.client, version) as sock:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 292)
        sock.sendto(b"".join(messages), (SERVER[version], 5000))
        if mode == "native":
            assert wait_until(lambda: servers.udp(version, 5002).received() == messages)
        else:
            assert wait_until(lambda: mplex.counters().since(before) == {("feed", "length"): 1})


JUMBO_RULES = """
    version: 1
    listeners:
      jumbo:
        protocol: udp
        port: 5000
        length: 3000..8900
        tag: {offset: 2990}
        routes: {"600": 5001, "601": 5002}
      deep:
        protocol: udp
        port: 5100
        length: 8000..8900
        tag: {offset: 7990}
        routes: {"deep tag": 5002}
"""


@pytest.fixture(scope="module")
def jumbo(mode):
    if mode == "native" and not kernel_has_frags():
        with Network(mtu=9000) as network, pytest.raises(RuntimeError, match="for the MTU of 9000"):
            attach(network.server, JUMBO_RULES, mode)
        pytest.skip("needs a kernel whose XDP sees frames of several buffers (5.18 or later)")
    with Network(mtu=9000) as network, attach(network.server, JUMBO_RULES, mode) as running, \
            Servers(network.server, [5001, 5002], kinds=(UdpServer,)):
        yield network, running


@pytest.mark.parametrize("length", [3000, 3500, 4096, 8000, 8900])
def test_jumbo_frames(jumbo, version, length):
    """One page does not hold them: the driver hands XDP several buffers."""
    network, running = jumbo
    with running.counted() as counters:
        assert ask_udp(network.client, version, 5000, message("601", length, 2990)) == (5002, 5000)
    assert counters["jumbo", "routed"] == 1


def test_a_tag_deep_in_a_jumbo_frame(jumbo, version):
    network, running = jumbo
    assert ask_udp(network.client, version, 5100, message("deep tag", 8200, 7990)) == (5002, 5100)
    assert counted_for(network, running, version, 5100, message("deep tug", 8200, 7990)) \
        == {("deep", "tag"): 1}
