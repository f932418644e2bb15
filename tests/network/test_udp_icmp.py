# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""ICMP errors about steered UDP reach the socket that sent what they are about.

Such an error quotes the packet as the host that sends it saw it, with a port that the other host
does not know of, until mplex turns it back.
"""

import errno
import socket

import pytest
from scapy.layers.inet import ICMP, IPerror, UDPerror
from scapy.layers.inet6 import ICMPv6DestUnreach, IPerror6

from lib.clients import ask_udp, message, udp_socket
from lib.frames import Wire
from lib.mplex import attach
from lib.netns import FAMILY, SERVER
from lib.servers import ANY, Servers, UdpServer
from lib.waiting import settle, wait_until

RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""


@pytest.fixture(scope="module")
def mplex(network, mode):
    # Errors are limited in number by default, so many tests in a second would wait for each other.
    for host in (network.server, network.client):
        host.sysctl("net.ipv4.icmp_ratelimit", 0)
        host.sysctl("net.ipv6.icmp.ratelimit", 0)
    with attach(network.server, RULES, mode) as running:
        yield running


def test_a_closed_backend_port_refuses_the_client(network, mplex, version):
    """As it does without mplex: on the next use of the client's connected socket."""
    with udp_socket(network.client, version) as sock:
        sock.connect((SERVER[version], 5000))
        sock.send(message("601"))
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1000)


def test_the_error_quotes_what_the_client_sent(network, mplex, version):
    error = {4: (ICMP, IPerror), 6: (ICMPv6DestUnreach, IPerror6)}[version]
    with udp_socket(network.client, version) as sock, Wire(network.client) as here:
        sock.sendto(message("601"), (SERVER[version], 5000))
        seen = here.frame(lambda p: error[0] in p)
        assert seen is not None
        assert seen[UDPerror].dport == 5000
        assert seen[UDPerror].sport == sock.getsockname()[1]
        again = seen.copy()
        layer = again[error[0]]
        right = layer.chksum if version == 4 else layer.cksum
        if version == 4:
            del layer.chksum
            assert type(seen)(bytes(again))[ICMP].chksum == right
        else:
            del layer.cksum
            assert type(seen)(bytes(again))[ICMPv6DestUnreach].cksum == right


def test_an_error_about_a_direct_datagram_stays_as_it_is(network, mplex, version):
    with udp_socket(network.client, version) as sock, Wire(network.client) as here:
        sock.connect((SERVER[version], 5002))
        sock.send(message("601"))
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1000)
        assert here.frame(lambda p: UDPerror in p)[UDPerror].dport == 5002


def test_other_servers_of_a_client_are_not_hit(network, mplex, version):
    """One socket, three servers, the second down: the others go on."""
    with Servers(network.server, [5001, 5003], kinds=(UdpServer,)), \
            udp_socket(network.client, version) as sock:
        assert ask_udp(network.client, version, 5000, message("600"), sock=sock) == (5001, 5000)
        sock.sendto(message("601"), (SERVER[version], 5000))
        settle()
        assert ask_udp(network.client, version, 5000, message("602"), sock=sock) == (5003, 5000)
        assert ask_udp(network.client, version, 5000, message("600"), sock=sock) == (5001, 5000)


def test_a_client_that_is_gone_refuses_the_right_server(network, mplex, version):
    """The client's host quotes the listen port; the server's socket is on its own port."""
    sockets = {}
    try:
        for port in (5001, 5002, 5003):
            sockets[port] = sock = network.server.socket(FAMILY[version], socket.SOCK_DGRAM)
            sock.bind((SERVER[version], port))
            sock.settimeout(5)
        with udp_socket(network.client, version) as client:
            for port, tag in [(5001, "600"), (5002, "601"), (5003, "602")]:
                client.sendto(message(tag), (SERVER[version], 5000))
                _, peer = sockets[port].recvfrom(1000)
                sockets[port].connect(peer)
        sockets[5002].send(b"is anybody there?")

        def error(port):
            return sockets[port].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

        assert wait_until(lambda: error(5002)) == errno.ECONNREFUSED
        settle()
        assert (error(5001), error(5003)) == (0, 0)
    finally:
        for sock in sockets.values():
            sock.close()


def test_a_client_that_is_gone_refuses_a_direct_server(network, mplex, version):
    """A server on a backend port whose client talked to it directly."""
    with network.server.socket(FAMILY[version], socket.SOCK_DGRAM) as sock:
        sock.bind((ANY[version], 5001))
        sock.settimeout(5)
        with udp_socket(network.client, version) as client:
            client.sendto(b"direct", (SERVER[version], 5001))
            _, peer = sock.recvfrom(1000)
        sock.connect(peer)
        sock.send(b"is anybody there?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)
