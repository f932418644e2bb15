# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP with the kernel's own sockets at both ends: steered by connection, on its first message."""

import contextlib
import hashlib
import re
import socket
import struct
import threading
import time

import pytest

from lib import faults
from lib.clients import ask, connect, exchange, message, receive, tcp_info, who
from lib.frames import LAYER, TCP, Wire, again, options_of
from lib.mplex import attach
from lib.netns import CLIENT, FAMILY, SECOND, SERVER
from lib.servers import ANY, IPPROTO_MPTCP, Servers, TcpServer
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
      small:
        protocol: tcp
        port: 5100
        length: 100..110
        tag: {offset: 0}
        routes: {"aa": 5101}
      gentle:
        protocol: tcp
        port: 5200
        length: 290..294
        tag: {offset: 20}
        refuse: drop
        routes: {"600": 5001}
      fallback:
        protocol: tcp
        port: 5300
        length: 2..100
        tag: {offset: 0}
        otherwise: 5302
        routes: {"aa": 5301}
      plain:
        protocol: tcp
        port: 5400
        length: 2..100
        tag: {offset: 0}
        otherwise: pass
        routes: {"aa": 5401}
      strict:
        protocol: tcp
        port: 5500
        length: 20..600
        tag: {offset: 4, type: hex}
        require:
          - {offset: 0, bytes: "cafe"}
          - {offset: 10, bytes: "40", mask: "f0"}
        routes: {"00ff": 5501}
      spare:
        protocol: tcp
        port: 5600
        length: 2..100
        tag: {offset: 0}
        routes: {"aa": 5601, "bb": 5602}
      first_address:
        protocol: tcp
        port: 5700
        length: 2..100
        tag: {offset: 0}
        addresses: [192.0.2.1, "2001:db8::1"]
        routes: {"aa": 5701}
      second_address:
        protocol: tcp
        port: 5700
        length: 2..100
        tag: {offset: 0}
        addresses: [192.0.2.11, "2001:db8::11"]
        routes: {"aa": 5702, "bb": 5701}
"""

PORTS = [5001, 5002, 5003, 5101, 5301, 5302, 5400, 5401, 5501, 5701, 5702]
TAGS = [("600", 5001), ("601", 5002), ("602", 5003)]


@pytest.fixture(scope="module")
def mplex(network, mode):
    for host in (network.server, network.client):
        host.sysctl("net.ipv4.tcp_ecn", 1)
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    with Servers(network.server, PORTS, kinds=(TcpServer,)) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(servers):
    servers.forget()


class TestSteering:
    @pytest.mark.parametrize("tag, port", TAGS)
    def test_each_tag_reaches_its_server(self, network, mplex, servers, version, tag, port):
        sent = message(tag)
        with mplex.counted() as counters:
            assert ask(network.client, version, 5000, sent) == port
        assert servers.received() == {("TcpServer", version, port): [sent]}
        assert counters["feed", "routed"] == counters["feed", tag] == 1
        assert counters["feed", "syn"] == counters["feed", "handshake"] == 1

    def test_the_server_sees_the_real_client(self, network, mplex, servers, version):
        """And its own end has the port that the client connected to."""
        with connect(network.client, version, 5000) as sock:
            exchange(sock, message("600"))
            connection = servers.tcp(version, 5001).connection(sock.getsockname())
            assert connection.peer == (CLIENT[version], sock.getsockname()[1])
            assert connection.local_port == 5000
            assert sock.getpeername()[:2] == (SERVER[version], 5000)

    def test_messages_after_the_first_are_the_servers(self, network, mplex, version):
        """One decision for each connection: later bytes are a stream, whatever their tags."""
        with connect(network.client, version, 5000) as sock:
            assert exchange(sock, message("601")) == 5002
            for later in (message("600"), b"short", bytes(10000)):
                sock.sendall(later)
                assert receive(sock, len(later)) == later

    @pytest.mark.parametrize("length", [290, 294])
    def test_the_ends_of_the_window_belong_to_it(self, network, mplex, version, length):
        assert ask(network.client, version, 5000, message("601", length)) == 5002

    def test_otherwise_a_port(self, network, mplex, version):
        assert ask(network.client, version, 5300, b"aa") == 5301
        assert ask(network.client, version, 5300, b"ab") == 5302

    def test_otherwise_pass(self, network, mplex, version):
        """The server on the listen port itself, through the same handshake."""
        assert ask(network.client, version, 5400, b"aa") == 5401
        assert ask(network.client, version, 5400, b"ab") == 5400

    def test_required_bytes(self, network, mplex, version):
        sent = bytes.fromhex("cafe 0000 00ff 0000 0000 4d").ljust(40, b".")
        assert ask(network.client, version, 5500, sent) == 5501

    def test_two_listeners_by_address(self, network, mplex, version):
        for address, data, port in [(SERVER, b"aa", 5701), (SECOND, b"aa", 5702),
                                    (SECOND, b"bb", 5701)]:
            assert ask(network.client, version, 5700, data, address=address[version]) == port
        refused(network, mplex, version, 5700, b"bb", "tag")

    def test_every_own_address(self, network, mplex, version):
        assert ask(network.client, version, 5000, message("602"),
                   address=SECOND[version]) == 5003

    def test_a_direct_client_of_a_backend_port(self, network, mplex, servers, version):
        with mplex.counted() as counters:
            assert ask(network.client, version, 5001, b"any length, any tag") == 5001
        assert not counters.total("syn") and not counters.total("routed")

    def test_the_listen_port_without_pass_is_taken_over(self, network, mplex, servers, version):
        with TcpServer(network.server, version, 5000) as own:
            assert ask(network.client, version, 5000, message("600")) == 5001
            refused(network, mplex, version, 5000, message("999"), "tag")
            assert not own.connections


def listening(namespace, version, port, backlog=128):
    """A listening socket that nobody serves."""
    sock = namespace.socket(FAMILY[version], socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ANY[version], port))
    sock.listen(backlog)
    sock.settimeout(10)
    return sock


def reset_at_close(sock):
    """Makes close() end the connection at once, by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def refused(network, mplex, version, port, data, reason):
    """The client is told at once, and the reason is counted."""
    listeners = [one["name"] for one in mplex.manifest["listeners"] if one["port"] == port]
    with mplex.counted() as counters, connect(network.client, version, port) as sock:
        sock.sendall(data)
        started = time.monotonic()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert time.monotonic() - started < 1
    assert sum(counters[listener, reason] for listener in listeners) == 1
    assert sum(counters[listener, "routed"] for listener in listeners) == 0


class TestRefusals:
    @pytest.mark.parametrize("tag", ["603", "60 ", "\0\0\0"])
    def test_an_unknown_tag(self, network, mplex, servers, version, tag):
        refused(network, mplex, version, 5000, message(tag), "tag")
        assert not servers.received()

    @pytest.mark.parametrize("length", [2, 22, 289, 295, 495])
    def test_a_wrong_length(self, network, mplex, servers, version, length):
        refused(network, mplex, version, 5000, message("601", length), "length")
        assert not servers.received()

    @pytest.mark.parametrize("offset, byte", [(0, 0xCB), (10, 0x5D)])
    def test_a_required_byte_that_differs(self, network, mplex, servers, version, offset, byte):
        sent = bytearray(bytes.fromhex("cafe 0000 00ff 0000 0000 4d").ljust(40, b"."))
        sent[offset] = byte
        refused(network, mplex, version, 5500, bytes(sent), "require")
        assert not servers.received()

    def test_refuse_drop_says_nothing(self, network, mplex, servers, version):
        with mplex.counted() as counters, \
                connect(network.client, version, 5200, timeout=0.3) as sock:
            sock.sendall(message("999"))
            with pytest.raises(TimeoutError):
                sock.recv(1)
            reset_at_close(sock)
        assert counters["gentle", "tag"] >= 1
        assert not servers.received()

    def test_no_server_on_the_backend_port(self, network, mplex, version):
        with mplex.counted() as counters, connect(network.client, version, 5600) as sock:
            sock.sendall(b"aa")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert counters["spare", "no-listener"] == 1

    def test_an_mptcp_server(self, network, mplex, version):
        """The kernel cannot hand it a connection: the client is told, and it is counted."""
        with TcpServer(network.server, version, 5601, protocol=IPPROTO_MPTCP):
            with mplex.counted() as counters, connect(network.client, version, 5600) as sock:
                sock.sendall(b"aa")
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
            assert counters["spare", "mptcp-listener"] == 1


class TestStream:
    """How a first message may look on a stream: design, the window on a stream."""

    def test_two_messages_in_one_write(self, network, mplex, servers, version):
        sent = message("601") + message("602")
        assert ask(network.client, version, 5000, sent) == 5002
        assert servers.received() == {("TcpServer", version, 5002): [sent]}

    @pytest.mark.parametrize("length", [100, 110, 200, 220, 305, 330, 400, 440])
    def test_whole_messages_in_one_short_segment(self, network, mplex, version, length):
        assert ask(network.client, version, 5100, message("aa", length, 0)) == 5101

    @pytest.mark.parametrize("length", [99, 111, 199, 221, 299, 331, 399, 441])
    def test_no_number_of_whole_messages(self, network, mplex, version, length):
        refused(network, mplex, version, 5100, message("aa", length, 0), "length")

    @pytest.mark.parametrize("length", [495, 496, 499, 600, 1200])
    def test_a_long_first_segment_may_have_been_cut(self, network, mplex, version, length):
        """441..499 is no number of messages; from 496 on nobody can know."""
        if length < 496:
            refused(network, mplex, version, 5100, message("aa", length, 0), "length")
        else:
            assert ask(network.client, version, 5100, message("aa", length, 0)) == 5101

    def test_a_long_first_segment_is_judged_by_its_tag(self, network, mplex, version):
        refused(network, mplex, version, 5000, message("999", 1200), "tag")
        long = bytes.fromhex("cafe 0000 00ff 0000 0000 5d").ljust(590, b".")
        refused(network, mplex, version, 5500, long, "require")

    def test_back_to_back_writes(self, network, mplex, servers, version):
        """Segments reach mplex before the socket exists: none may be lost or doubled."""
        parts = [message("601") for _ in range(20)]
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with mplex.counted() as counters, \
                connect(network.client, version, 5000, options=options) as sock:
            for part in parts:
                sock.sendall(part)
            assert who(sock) == 5002
            assert receive(sock, 292 * 20) == b"".join(parts)
        assert servers.received() == {("TcpServer", version, 5002): [b"".join(parts)]}
        assert counters["feed", "routed"] == 1

    def test_a_split_first_message_is_put_together_again(self, network, mplex, servers, version):
        """Refused by silence the client sends again, both parts in one segment."""
        sent = message("600")
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with connect(network.client, version, 5200, options=options) as sock:
            sock.sendall(sent[:10])
            sock.sendall(sent[10:])
            assert who(sock) == 5001
            assert receive(sock, len(sent)) == sent
        assert servers.received() == {("TcpServer", version, 5001): [sent]}

    def test_a_split_first_message_is_reset_by_default(self, network, mplex, servers, version):
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with connect(network.client, version, 5000, options=options) as sock:
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                sock.sendall(message("600")[:10])
                sock.sendall(message("600")[10:])
                sock.recv(1)
        assert not servers.received()

    def test_100_kb_in_the_first_write(self, network, mplex, mode, servers, version):
        """In native mode it is cut into segments that all arrive before there is a socket."""
        sent = message("601") + bytes(range(256)) * 400
        with mplex.counted() as counters:
            assert ask(network.client, version, 5000, sent) == 5002
        assert counters["feed", "stray"] == 0
        assert mode == "generic" or counters["feed", "pending"] > 0
        assert servers.received() == {("TcpServer", version, 5002): [sent]}

    def test_large_transfers_both_ways(self, network, mplex, servers, version):
        """32 MB there and back at the same time."""
        block = hashlib.sha512(b"mplex").digest() * 2048
        blocks = 256
        with connect(network.client, version, 5000, timeout=30) as sock:
            assert exchange(sock, message("602")) == 5003
            writer = threading.Thread(target=lambda: [sock.sendall(block) for _ in range(blocks)])
            writer.start()
            got = hashlib.sha256(receive(sock, len(block) * blocks))
            writer.join()
            peer = servers.tcp(version, 5003).connection(sock.getsockname())
        want = hashlib.sha256(block * blocks).digest()
        assert got.digest() == want
        assert hashlib.sha256(peer.data[292:]).digest() == want


class TestFaults:
    def test_a_lost_first_segment(self, network, mplex, servers, version):
        sent = message("601")
        with network.client.firewall(faults.lose_first(5000)):
            assert ask(network.client, version, 5000, sent) == 5002
        assert servers.received() == {("TcpServer", version, 5002): [sent]}

    def test_a_lost_first_segment_with_more_behind_it(self, network, mplex, servers, version):
        """The client sends again what is one segment now."""
        parts = [message("601"), message("602"), message("600")]
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        with network.client.firewall(faults.lose_first(5000)), \
                connect(network.client, version, 5000, options=options) as sock:
            for part in parts:
                sock.sendall(part)
            assert who(sock) == 5002
            assert receive(sock, 3 * 292) == b"".join(parts)
        assert servers.received() == {("TcpServer", version, 5002): [b"".join(parts)]}

    def test_a_doubled_first_segment(self, network, mplex, servers, version):
        """Both copies arrive back to back; the message is delivered once."""
        sent = message("601")
        with network.client.firewall(faults.double_first(version, 5000)), \
                Wire(network.client, outgoing=True) as wire:
            assert ask(network.client, version, 5000, sent) == 5002
            copies = wire.frames(lambda p: TCP in p and sent in bytes(p))
        assert len(copies) == 2
        settle()
        assert servers.received() == {("TcpServer", version, 5002): [sent]}

    @pytest.mark.parametrize("first_to_close", ["client", "server", "reset"])
    def test_a_copy_after_the_close(self, network, mplex, servers, version, first_to_close):
        """A delayed duplicate of the first segment must not deliver the message twice."""
        if first_to_close == "server":
            server = TcpServer(network.server, version, 5601, closes_after=10)
            port, sent = 5600, b"aa a first message"
        else:
            server = contextlib.nullcontext(servers.tcp(version, 5002))
            port, sent = 5000, message("601")
        with server as server, Wire(network.client, outgoing=True) as wire:
            sock = connect(network.client, version, port)
            exchange(sock, sent)
            connection = server.connection(sock.getsockname())
            if first_to_close == "reset":
                reset_at_close(sock)
            if first_to_close == "server":
                assert sock.recv(1) == b""
            sock.close()
            assert connection.ended.wait(5)
            frame = again(wire.frame(lambda p: TCP in p and sent in bytes(p)))
            settle()
            for _ in range(3):
                wire.send(frame)
                settle()
            assert server.received().count(sent) == 1
            assert len(server.connections) == 1

    def test_a_copy_after_the_close_of_a_busy_server(self, network, mplex, version):
        """Its listener has had to drop others since, which says nothing of this connection."""
        with listening(network.server, version, 5602, 1) as listener, \
                Wire(network.client, outgoing=True) as wire, contextlib.ExitStack() as stack:
            sock = connect(network.client, version, 5600)
            sock.sendall(b"bb the first message")
            served = stack.enter_context(listener.accept()[0])
            assert served.recv(100) == b"bb the first message"
            reset_at_close(sock)
            sock.close()
            with pytest.raises(ConnectionResetError):
                served.recv(1)
            frame = again(wire.frame(lambda p: TCP in p and b"bb the first message" in bytes(p)))
            for _ in range(4):
                other = stack.enter_context(network.client.socket(FAMILY[version],
                                                                  socket.SOCK_STREAM))
                other.setblocking(False)
                other.connect_ex((SERVER[version], 5602))
            assert wait_until(lambda: drops(network.server, 5602) > 0)
            for _ in range(2):
                stack.enter_context(listener.accept()[0])
            wire.send(frame)
            listener.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    late = stack.enter_context(listener.accept()[0])
                    late.settimeout(0.1)
                    with pytest.raises(TimeoutError):
                        late.recv(100)

    @pytest.mark.parametrize("timestamps", [1, 0])
    def test_a_tuple_in_time_wait_is_used_again(self, network, mplex, version, timestamps):
        """The server closed first, so its kernel remembers the tuple for a minute."""
        network.client.sysctl("net.ipv4.tcp_timestamps", timestamps)
        try:
            with TcpServer(network.server, version, 5602, closes_after=20) as server:
                with connect(network.client, version, 5600) as sock:
                    assert exchange(sock, b"bb first connection ") == 5602
                    assert sock.recv(1) == b""
                    source_port = sock.getsockname()[1]
                assert wait_until(lambda: time_wait(network.server, source_port))
                for number in range(3):
                    assert wait_until(lambda: is_free(network.client, source_port))
                    sent = b"bb connection %06d" % number
                    with connect(network.client, version, 5600,
                                 source_port=source_port) as sock:
                        assert exchange(sock, sent) == 5602
                        assert sock.recv(1) == b""
                    assert server.received().count(sent) == 1
        finally:
            network.client.sysctl("net.ipv4.tcp_timestamps", 1)

    def test_a_tuple_is_used_again_after_a_clean_close(self, network, mplex, version):
        """The client closed first, so the server's kernel remembers nothing."""
        source_port = 3300 + version
        for _ in range(3):
            with connect(network.client, version, 5000, source_port=source_port) as sock:
                assert exchange(sock, message("600")) == 5001
                reset_at_close(sock)


def is_free(namespace, port):
    """Whether no socket of the namespace has that port, but for TIME_WAIT."""
    return not namespace.run(f"ss -Htan exclude time-wait sport = {port}")


def drops(namespace, port):
    """How much the listener on the port has had to drop."""
    return int(re.search(r",d(\d+)\)", namespace.run(f"ss -Htlnm sport = {port}")).group(1))


def time_wait(namespace, port):
    """The namespace's sockets in TIME_WAIT towards that port."""
    return namespace.run(f"ss -Htan state time-wait dport = {port}")


class TestBeforeTheFirstMessage:
    def test_a_silent_client(self, network, mplex, servers, version):
        """No server hears of it, and no socket exists for it."""
        with connect(network.client, version, 5000) as sock:
            settle()
            assert not network.server.run(f"ss -Htan dport = {sock.getsockname()[1]}")
            assert exchange(sock, message("600")) == 5001

    def test_keepalive_probes_are_answered(self, network, mplex, version):
        """Two unanswered ones would end the connection in the third second."""
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                   (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
                   (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
                   (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 1)]
        with mplex.counted() as counters, \
                connect(network.client, version, 5000, options=options) as sock:
            time.sleep(3.3)
            assert exchange(sock, message("602")) == 5003
        assert counters["feed", "keepalive"] >= 2

    def test_a_client_that_closes_without_a_word(self, network, mplex, servers, version):
        """It gets its FIN answered, and no state was ever made."""
        with mplex.counted() as counters, connect(network.client, version, 5000) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
            port = sock.getsockname()[1]
        assert counters["feed", "close"] == 1
        assert not network.server.run(f"ss -Htan dport = {port}")
        assert not servers.received()

    def test_a_client_that_resets_without_a_word(self, network, mplex, servers, version):
        with mplex.counted() as counters, Wire(network.client) as wire:
            sock = connect(network.client, version, 5000)
            port = sock.getsockname()[1]
            reset_at_close(sock)
            sock.close()
            answers = wire.frames(lambda p: TCP in p and p[TCP].dport == port)
        assert len(answers) == 1 and answers[0][TCP].flags.S
        assert counters["feed", "stray"] == 1
        assert not servers.received()

    def test_data_and_fin_in_one(self, network, mplex, servers, version):
        """A client that sends its message and closes its side at once."""
        with connect(network.client, version, 5000) as sock:
            sent = message("601")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            assert who(sock) == 5002
            assert receive(sock, 1000) == sent
        assert servers.received() == {("TcpServer", version, 5002): [sent]}


class TestOptions:
    """What both ends could do without mplex they can do with it."""

    def synack(self, network, version, port, data):
        """The SYN-ACK of a connection, the client's and the server's view of it."""
        with Wire(network.client) as wire, connect(network.client, version, port) as sock:
            server_port = exchange(sock, data)
            answer = wire.frame(lambda p: TCP in p and p[TCP].flags.S)
            return answer, tcp_info(sock), server_port, sock.getsockname()

    def test_the_syn_ack_is_the_kernels_own(self, network, mplex, servers, version):
        """All but the numbers: options, scale, MSS, hop limit, ECN, as on a direct connection."""
        direct, direct_client, *_ = self.synack(network, version, 5001, message("600"))
        ours, our_client, port, name = self.synack(network, version, 5000, message("600"))
        assert port == 5001

        def shape(answer):
            options = options_of(answer)
            return ({name: None if name == "Timestamp" else value
                     for name, value in options.items()}, str(answer[TCP].flags),
                    answer[LAYER[version]].ttl if version == 4 else answer[LAYER[version]].hlim)

        assert shape(ours) == shape(direct)
        assert our_client == direct_client

    def test_both_ends_agree(self, network, mplex, servers, version):
        with connect(network.client, version, 5000) as sock:
            exchange(sock, message("600"))
            peer = servers.tcp(version, 5001).connection(sock.getsockname()).socket
            client, server = tcp_info(sock), tcp_info(peer)
            assert server.timestamps and server.sack and server.window_scale and server.ecn
            assert client.timestamps and client.sack and client.window_scale and client.ecn
            assert client.send_scale == server.receive_scale
            assert client.receive_scale == server.send_scale
            assert client.send_mss == server.send_mss

    @pytest.mark.parametrize("sysctl, field", [("tcp_timestamps", "timestamps"),
                                               ("tcp_sack", "sack"),
                                               ("tcp_window_scaling", "window_scale"),
                                               ("tcp_ecn", "ecn")])
    def test_what_the_client_does_not_offer(self, network, mplex, servers, version, sysctl,
                                            field):
        network.client.sysctl(f"net.ipv4.{sysctl}", 0)
        try:
            with connect(network.client, version, 5000) as sock:
                exchange(sock, message("600"))
                peer = servers.tcp(version, 5001).connection(sock.getsockname()).socket
                client, server = tcp_info(sock), tcp_info(peer)
            assert not getattr(client, field)
            assert not getattr(server, field)
            others = {"timestamps", "sack", "window_scale", "ecn"} - {field}
            assert all(getattr(server, other) for other in others)
        finally:
            network.client.sysctl(f"net.ipv4.{sysctl}", 1)

    def test_nothing_offered_at_all(self, network, mplex, servers, version):
        names = ["tcp_timestamps", "tcp_sack", "tcp_window_scaling", "tcp_ecn"]
        for name in names:
            network.client.sysctl(f"net.ipv4.{name}", 0)
        try:
            sent = message("601") + bytes(100000)
            assert ask(network.client, version, 5000, sent) == 5002
        finally:
            for name in names:
                network.client.sysctl(f"net.ipv4.{name}", 1)

    @pytest.mark.parametrize("mss", [536, 1000, 1220, 1460])
    def test_a_small_mss(self, network, mplex, servers, version, mss):
        """The cookie keeps the client's MSS, rounded down, so no answer is too long for it.

        1220 is the least that the kernel's own cookies have for IPv6.
        """
        options = [(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)]
        with connect(network.client, version, 5000, options=options) as sock:
            exchange(sock, message("600"))
            peer = servers.tcp(version, 5001).connection(sock.getsockname()).socket
            timestamps = 12
            assert tcp_info(peer).send_mss + timestamps <= max(mss, {4: 536, 6: 1220}[version])
            if mss == 1460:
                assert tcp_info(peer).send_mss == tcp_info(sock).send_mss
            sock.sendall(bytes(20000))
            assert receive(sock, 20000) == bytes(20000)


class TestServers:
    def test_a_reuseport_group(self, network, mplex, version):
        """Connections are spread over the group as always."""
        with TcpServer(network.server, version, 5601, reuse_port=True) as one, \
                TcpServer(network.server, version, 5601, reuse_port=True) as other:
            for _ in range(40):
                assert ask(network.client, version, 5600, b"aa") == 5601
            assert wait_until(lambda: len(one.connections) + len(other.connections) == 40)
            assert one.connections and other.connections

    def test_a_dual_stack_server(self, network, mplex):
        with TcpServer(network.server, 6, 5601, dual=True) as server:
            for version in (4, 6):
                with connect(network.client, version, 5600) as sock:
                    assert exchange(sock, b"aa") == 5601
                    assert server.connection((CLIENT[version], sock.getsockname()[1]))

    def test_a_server_bound_to_one_address(self, network, mplex, version):
        with TcpServer(network.server, version, 5601, address=SECOND[version]):
            assert ask(network.client, version, 5600, b"aa", address=SECOND[version]) == 5601
            with connect(network.client, version, 5600) as sock:
                sock.sendall(b"aa")
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)

    def test_a_server_that_is_slow_to_accept(self, network, mplex, version):
        """Its queue, which holds one more than it asked for, is full for a while; the clients'
        kernels send again."""
        with listening(network.server, version, 5602, 1) as listener:
            clients = [connect(network.client, version, 5600) for _ in range(6)]
            before = mplex.counters()
            with mplex.counted() as counters:
                for number, sock in enumerate(clients):
                    sock.sendall(b"bb %d" % number)
                    if number < 2:
                        assert wait_until(lambda: mplex.counters()["spare", "delivered"]
                                          == before["spare", "delivered"] + number + 1)
                assert wait_until(lambda: mplex.counters()["spare", "backlog"]
                                  > before["spare", "backlog"])
            accepted = [listener.accept()[0] for _ in clients]
            assert sorted(sock.recv(10) for sock in accepted) == [b"bb %d" % n for n in range(6)]
            for sock in clients + accepted:
                sock.close()
            assert counters["spare", "backlog"] >= 1

    def test_a_server_that_starts_late(self, network, mplex, version):
        """The client connected before: it is its first message that needs a server."""
        with connect(network.client, version, 5600) as sock, \
                TcpServer(network.server, version, 5601):
            assert exchange(sock, b"aa") == 5601

    def test_a_reset_reaches_the_server(self, network, mplex, servers, version):
        with connect(network.client, version, 5000) as sock:
            exchange(sock, message("600"))
            connection = servers.tcp(version, 5001).connection(sock.getsockname())
            reset_at_close(sock)
        assert connection.ended.wait(5)
        assert isinstance(connection.error, ConnectionResetError)

    def test_a_server_s_reset_reaches_the_client(self, network, mplex, version):
        with listening(network.server, version, 5602) as listener:
            with connect(network.client, version, 5600) as sock:
                sock.sendall(b"bb")
                peer, _ = listener.accept()
                reset_at_close(peer)
                peer.close()
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)


def test_checksums_in_software(network, mplex, servers, version):
    for host in (network.client, network.server):
        host.run("ethtool -K eth0 tx off")
    try:
        sent = message("601") + bytes(50000)
        assert ask(network.client, version, 5000, sent) == 5002
        refused(network, mplex, version, 5000, message("999"), "tag")
    finally:
        for host in (network.client, network.server):
            host.run("ethtool -K eth0 tx on")
