# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP segment by segment: each row of the design's table, by hand against the kernel's sockets."""

import itertools

import pytest
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Raw

from lib.clients import message, tcp_info
from lib.frames import CraftedTcp, Wire, checksum_right, ethernet, ip, options_of
from lib.mplex import attach
from lib.netns import CLIENT_MAC, SECOND, SERVER_MAC, Address
from lib.servers import Servers, TcpServer
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
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    with Servers(network.server, [5001, 5002], kinds=(TcpServer,)) as running:
        yield running


ports = itertools.count(20000)


@pytest.fixture
def peer(network, mplex, servers, version):
    """A connection not yet begun, with a port of its own."""
    servers.forget()
    with Wire(network.client) as wire:
        yield CraftedTcp(wire, version, source_port=next(ports))


def counted(mplex, before, key, count=1):
    """Waits until that counter has gone up, then says whether nothing else did."""
    wait_until(lambda: mplex.counters().since(before)[key] >= count)
    return mplex.counters().since(before) == {key: count}


def bind(peer, sent):
    """Sends the first message; returns the port of the server that echoed it, or None."""
    stream = peer.say(sent, len("5001\n") + len(sent))
    port, _, echo = stream.partition(b"\n")
    return int(port) if echo == sent else None


def server_connection(servers, version, port, peer):
    return servers.tcp(version, port).connection((peer.source, peer.source_port))


class TestSyn:
    def test_the_answer(self, peer, mplex):
        before = mplex.counters()
        peer.send("S", options=peer.options)
        answer = peer.answer()
        assert str(answer[TCP].flags) == "SA"
        assert answer[TCP].ack == peer.sequence + 1
        assert (answer.src, answer.dst) == (SERVER_MAC, CLIENT_MAC)
        assert checksum_right(answer, TCP)
        if peer.version == 4:
            assert checksum_right(answer, IP)
            assert answer[IP].len == len(answer) - 14
        else:
            assert answer[IPv6].plen == len(answer) - 54
        assert counted(mplex, before, ("feed", "syn"))

    def test_no_two_cookies_are_alike(self, peer):
        seen = set()
        for number in range(20):
            peer.sequence = 1000 * number
            peer.send("S", options=peer.options)
            seen.add(peer.answer()[TCP].seq)
        assert len(seen) == 20

    def test_a_syn_that_comes_again_gets_the_same_answer(self, peer, servers):
        peer.send("S", options=peer.options)
        first = peer.answer()
        assert peer.open()[TCP].seq == first[TCP].seq
        assert bind(peer, message("600")) == 5001

    @pytest.mark.parametrize("options, offered", [
        ([], set()),
        ([("MSS", 1000)], set()),
        ([("MSS", 1460), ("SAckOK", b"")], {"SAckOK"}),
        ([("MSS", 1460), ("NOP", None), ("WScale", 14)], {"WScale"}),
        ([("MSS", 1460), ("Timestamp", (7, 0))], {"Timestamp"}),
        ([("NOP", None)] * 8 + [("WScale", 3), ("EOL", None)], {"WScale"}),
        ([("SAckOK", b""), ("Timestamp", (0xFFFFFFFF, 0)), ("NOP", None), ("WScale", 0),
          ("MSS", 9000)], {"SAckOK", "WScale", "Timestamp"}),
        ([(253, b"unknown"), ("WScale", 5)], {"WScale"}),
    ])
    def test_options_are_answered_with_options(self, network, peer, servers, options, offered):
        """Only what the client offered, wherever it stands, and the connection has them."""
        peer.options = options
        answer = peer.open()
        assert set(options_of(answer)) - {"MSS"} == offered
        sent = message("601")
        assert bind(peer, sent) == 5002
        info = tcp_info(server_connection(servers, peer.version, 5002, peer).socket)
        assert (info.sack, info.window_scale, info.timestamps) == tuple(
            name in offered for name in ("SAckOK", "WScale", "Timestamp"))
        scale = dict(options).get("WScale")
        if scale is not None:
            assert info.send_scale == scale
        default = {4: 536, 6: 1220}[peer.version]
        assert info.send_mss <= max(dict(options).get("MSS", default), default)

    @pytest.mark.parametrize("options", [b"\x02", b"\x02\x00\x00\x00", b"\x02\x01\x05\xb4",
                                         b"\x03\x28\x07\x00", b"\x08\x0a\x00\x00",
                                         b"\x02\x03\x05\x00", b"\xff" * 4])
    def test_broken_options_do_no_harm(self, peer, servers, options):
        """As the kernel does: what cannot be read is as if it were not there."""
        packet = peer.packet("S", options=[("NOP", None)])
        data = bytearray(bytes(packet))
        start = len(data) - 4
        data[start:] = options.ljust(4, b"\0")
        frame = Ether(bytes(data))
        del frame[TCP].chksum
        peer.wire.send(frame)
        answer = peer.answer()
        assert answer is not None
        assert not {"WScale", "SAckOK", "Timestamp"} & set(options_of(answer))

    def test_a_syn_with_data_is_a_syn(self, peer, servers):
        """TCP Fast Open without a cookie: the data is not acknowledged and comes again."""
        sent = message("600")
        peer.send("S", sent, options=peer.options)
        answer = peer.answer()
        assert answer[TCP].ack == peer.sequence + 1
        peer.sequence += 1
        peer.acknowledged = answer[TCP].seq + 1
        peer.timestamp = (1001, options_of(answer)["Timestamp"][0])
        assert bind(peer, sent) == 5001

    @pytest.mark.parametrize("flags", ["SA", "SF", "SR", "SAF", "SRA"])
    def test_a_syn_with_other_flags_is_none(self, peer, flags):
        peer.send(flags, ack=12345)
        assert peer.silent()

    @pytest.mark.parametrize("flags, echo", [("SEC", True), ("S", False), ("SE", False),
                                             ("SC", False)])
    def test_ecn(self, network, mplex, peer, flags, echo):
        """ECN is agreed on by both flags together (RFC 3168)."""
        peer.send(flags, options=peer.options)
        assert bool(peer.answer()[TCP].flags.E) == echo

    VLANS = {
        "vlan": [Dot1Q(vlan=5, prio=2)],
        "qinq": [Dot1AD(vlan=100), Dot1Q(vlan=200)],
    }

    @pytest.mark.parametrize("tags", VLANS.values(), ids=VLANS)
    def test_the_answer_has_the_vlan_tags_of_the_syn(self, peer, tags):
        frame = ethernet()
        for tag in tags:
            frame /= tag.copy()
        sent = Ether(bytes(frame / ip(peer.version)
                           / TCP(sport=peer.source_port, dport=5000, flags="S", seq=1)))
        peer.wire.send(sent)
        answer = peer.answer()
        assert bytes(answer)[12:14 + 4 * len(tags)] == bytes(sent)[12:14 + 4 * len(tags)]
        assert checksum_right(answer, TCP)

    def test_headers_of_the_syn_are_not_sent_back(self, peer, version):
        """IPv4 options and IPv6 extension headers: the answer has none."""
        if version == 4:
            header = ip(4, options=[IPOption_NOP()] * 8)
        else:
            header = ip(6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
        peer.wire.send(ethernet() / header
                       / TCP(sport=peer.source_port, dport=5000, flags="S", seq=1,
                             options=peer.options))
        answer = peer.answer()
        assert checksum_right(answer, TCP)
        if version == 4:
            assert answer[IP].ihl == 5
            assert checksum_right(answer, IP)
        else:
            assert answer[IPv6].nh == 6

    def test_a_syn_as_an_atomic_fragment(self, peer):
        if peer.version == 6:
            peer.wire.send(ethernet() / ip(6) / IPv6ExtHdrFragment(offset=0, m=0, id=1)
                           / TCP(sport=peer.source_port, dport=5000, flags="S", seq=1))
            assert str(peer.answer()[TCP].flags) == "SA"

    def test_the_flow_label_of_the_syn(self, peer):
        if peer.version == 6:
            peer.send("S", ip_fields={"fl": 0x12345})
            assert peer.answer()[IPv6].fl == 0x12345


class TestFirstSegment:
    def test_it_binds(self, peer, mplex, servers, version):
        peer.open()
        sent = message("600")
        assert bind(peer, sent) == 5001
        assert servers.received() == {("TcpServer", version, 5001): [sent]}

    def test_data_on_the_acknowledgement(self, peer, servers):
        """The handshake's last segment may bring the message itself."""
        peer.open(acknowledge=False)
        assert bind(peer, message("601")) == 5002

    def test_data_with_fin(self, peer, servers, version):
        peer.open()
        sent = message("601")
        peer.send("FPA", sent)
        connection = server_connection(servers, version, 5002, peer)
        assert connection.ended.wait(5)
        assert connection.data == sent

    def test_a_second_segment_right_behind(self, peer, mplex, servers, version):
        """Before the kernel has made the socket: let through, not judged."""
        peer.open()
        parts = [message("600"), b"not a message", message("999")]
        sequence = peer.sequence
        for part in parts:
            peer.send("PA", part, seq=sequence)
            sequence += len(part)
        assert wait_until(lambda: servers.received()
                          == {("TcpServer", version, 5001): [b"".join(parts)]})

    def test_a_copy_right_behind(self, peer, mplex, servers, version):
        peer.open()
        sent = message("600")
        for _ in range(5):
            peer.send("PA", sent)
        assert wait_until(servers.received)
        settle()
        assert servers.received() == {("TcpServer", version, 5001): [sent]}

    def test_every_bit_of_the_cookie_counts(self, peer, mplex, servers):
        """One wrong bit anywhere, in those for the options, too, and nothing is bound."""
        peer.open()
        before = mplex.counters()
        for bit in range(32):
            wrong = ((peer.acknowledged - 1) ^ (1 << bit)) + 1
            peer.send("PA", message("600"), ack=wrong & 0xFFFFFFFF)
        assert counted(mplex, before, ("feed", "stray"), 32)
        assert peer.silent()
        assert not servers.received()
        assert bind(peer, message("600")) == 5001

    @pytest.mark.parametrize("change", ["port", "address", "sequence", "listen address"])
    def test_a_cookie_is_for_one_tuple(self, peer, mplex, servers, change):
        peer.open()
        before = mplex.counters()
        sent = message("600")
        if change == "port":
            peer.send("PA", sent, sport=peer.source_port ^ 0x4000)
        elif change == "sequence":
            peer.send("PA", sent, seq=peer.sequence + 2)
        elif change == "address":
            other = Address("203.0.113.67", "2001:db8:66::67")[peer.version]
            peer.wire.send(CraftedTcp(peer.wire, peer.version, source=other,
                                      source_port=peer.source_port)
                           .packet("PA", sent, seq=peer.sequence, ack=peer.acknowledged))
        else:
            peer.send("PA", sent, destination=SECOND[peer.version])
        assert counted(mplex, before, ("feed", "stray"))
        assert not servers.received()

    def test_a_damaged_copy_does_not_use_up_the_cookie(self, peer, servers, version):
        """The kernel throws away what has a wrong checksum; the next copy is delivered."""
        peer.open()
        sent = message("600")
        peer.send("PA", sent, chksum=0x1234)
        settle()
        assert not servers.received()
        assert bind(peer, sent) == 5001
        assert servers.received() == {("TcpServer", version, 5001): [sent]}

    def test_padding_is_not_payload(self, peer, mplex, servers):
        """A bare ACK of 54 bytes comes padded to 60: it is no data."""
        peer.options = []
        peer.open(acknowledge=False)
        before = mplex.counters()
        peer.wire.send(Raw(bytes(peer.packet("A")) + bytes(6)))
        assert counted(mplex, before, ("feed", "handshake"))
        assert peer.silent()

    def test_a_priority_tag(self, peer, servers):
        """VLAN 0: the kernel takes it without a VLAN device, and so does the hand-over."""
        peer.open()
        packet = peer.packet("PA", message("600"))
        peer.wire.send(ethernet() / Dot1Q(vlan=0) / packet.payload)
        while Raw not in (answer := peer.answer()):
            pass
        assert answer[Raw].load == b"5001\n"

    def test_ip_headers_of_all_lengths(self, peer, servers, version):
        peer.open()
        segment = peer.packet("PA", message("601"))[TCP]
        header = (ip(4, options=[IPOption_NOP()] * 40) if version == 4
                  else ip(6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt())
        peer.wire.send(ethernet() / header / segment)
        while Raw not in (answer := peer.answer()):
            pass
        assert answer[Raw].load == b"5002\n"

    def test_a_refusal_is_a_proper_reset(self, peer, servers):
        """Its number is the one that the client expects next, or it would be ignored."""
        peer.open()
        sent = message("999")
        peer.send("PA", sent)
        answer = peer.answer()
        assert answer[TCP].flags.R
        assert answer[TCP].seq == peer.acknowledged
        assert checksum_right(answer, TCP)
        assert peer.silent()


class TestBeforeTheFirstSegment:
    def test_the_bare_ack_is_absorbed(self, peer, mplex):
        peer.open(acknowledge=False)
        before = mplex.counters()
        peer.send("A")
        assert counted(mplex, before, ("feed", "handshake"))
        assert peer.silent()

    @pytest.mark.parametrize("payload", [b"", b"\0"])
    def test_a_keepalive_probe(self, peer, mplex, payload):
        peer.open()
        wait_until(lambda: mplex.counters()["feed", "handshake"])
        before = mplex.counters()
        peer.send("A", payload, seq=peer.sequence - 1)
        answer = peer.answer()
        assert str(answer[TCP].flags) == "A"
        assert (answer[TCP].seq, answer[TCP].ack) == (peer.acknowledged, peer.sequence)
        assert checksum_right(answer, TCP)
        assert counted(mplex, before, ("feed", "keepalive"))
        assert bind(peer, message("600")) == 5001

    def test_two_bytes_are_no_probe(self, peer, mplex):
        peer.open()
        peer.send("A", b"..", seq=peer.sequence - 1)
        assert peer.silent()

    def test_a_fin(self, peer, mplex, network):
        peer.open()
        peer.send("FA")
        answer = peer.answer()
        assert str(answer[TCP].flags) == "FA"
        assert (answer[TCP].seq, answer[TCP].ack) == (peer.acknowledged, peer.sequence + 1)
        assert checksum_right(answer, TCP)
        # The client's kernel acknowledges the FIN; nobody is there to say more.
        peer.send("A", seq=peer.sequence + 1, ack=peer.acknowledged + 1)
        assert peer.silent()
        assert not network.server.run(f"ss -Htan dport = {peer.source_port}")


class TestStrays:
    @pytest.mark.parametrize("flags", ["R", "RA", "", "P", "F", "U", "FPU"])
    def test_a_reset_or_no_ack(self, peer, mplex, flags):
        """Also with the right numbers."""
        peer.open()
        settle()
        before = mplex.counters()
        peer.send(flags, b"" if "R" in flags else message("600"))
        assert counted(mplex, before, ("feed", "stray"))
        assert peer.silent()

    @pytest.mark.parametrize("flags", ["A", "PA", "FA", "FPA"])
    def test_out_of_the_blue(self, peer, mplex, servers, flags):
        """Neither answered nor shown to the kernel, which would reset."""
        before = mplex.counters()
        peer.send(flags, message("600") if "P" in flags else b"", seq=555, ack=777)
        assert counted(mplex, before, ("feed", "stray"))
        assert peer.silent()
        assert not servers.received()

    @pytest.mark.parametrize("offset", [0, 4, 15])
    def test_a_data_offset_that_cannot_be(self, peer, mplex, offset):
        before = mplex.counters()
        frame = Ether(bytes(peer.packet("S", b"x" * 10)))
        frame[TCP].dataofs = offset
        peer.wire.send(frame)
        assert counted(mplex, before, ("feed", "malformed"))
        assert peer.silent()

    def test_a_first_fragment(self, peer, mplex):
        before = mplex.counters()
        segment = bytes(Ether(bytes(peer.packet("S", b"x" * 100)))[TCP])[:64]
        if peer.version == 4:
            header = ip(4, proto=6, flags="MF")
        else:
            header = ip(6) / IPv6ExtHdrFragment(m=1, nh=6)
        peer.wire.send(ethernet() / header / Raw(segment))
        assert counted(mplex, before, ("feed", "fragment"))
        assert peer.silent()

    def test_a_frame_that_ends_in_its_tcp_header(self, peer, mplex):
        header = {4: 34, 6: 54}[peer.version]
        for length in (4, 12, 19):
            before = mplex.counters()
            peer.wire.send(Raw(bytes(peer.packet("S"))[:header + length]))
            assert counted(mplex, before, ("feed", "malformed"))
        assert peer.silent()


class TestLiveConnection:
    def test_a_syn_is_challenged_by_the_kernel(self, peer, mplex, servers):
        peer.open()
        assert bind(peer, message("600")) == 5001
        while peer.answer(0.1):
            pass
        before = mplex.counters()
        peer.send("S", seq=peer.sequence + 100000, options=peer.options)
        answer = peer.answer()
        assert str(answer[TCP].flags) == "A"
        assert answer[TCP].ack == peer.sequence
        assert counted(mplex, before, ("feed", "established"))

    def test_a_copy_of_the_first_segment(self, peer, mplex, servers, version):
        peer.open()
        sent = message("600")
        first = peer.packet("PA", sent)
        assert bind(peer, sent) == 5001
        for _ in range(3):
            peer.wire.send(first)
        settle()
        assert servers.received() == {("TcpServer", version, 5001): [sent]}

    @pytest.mark.parametrize("way", ["client closes", "client resets"])
    def test_a_copy_after_the_end(self, network, peer, mplex, servers, version, way):
        peer.open()
        sent = message("600")
        first = peer.packet("PA", sent)
        assert bind(peer, sent) == 5001
        connection = server_connection(servers, version, 5001, peer)
        if way == "client resets":
            peer.send("R", seq=peer.sequence)
        else:
            peer.send("FA")
            peer.sequence += 1
            peer.acknowledged += 1
        assert connection.ended.wait(5)
        if way == "client closes":
            peer.send("A")
        assert wait_until(
            lambda: not network.server.run(f"ss -Htan dport = {peer.source_port}"))
        before = mplex.counters()
        for _ in range(3):
            peer.wire.send(first)
        assert wait_until(lambda: mplex.counters().since(before)["feed", "replay"] == 3)
        assert servers.received() == {("TcpServer", version, 5001): [sent]}
        assert not network.server.run(f"ss -Htan dport = {peer.source_port}")
