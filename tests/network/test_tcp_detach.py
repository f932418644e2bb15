# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex comes and goes; established connections are the kernel's own and stay."""

import pytest

from lib.clients import ask, connect, exchange, message, receive
from lib.mplex import attach
from lib.netns import Network
from lib.servers import Servers, TcpServer

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


def test_a_connection_outlives_the_programs(mode, version):
    with Network() as network, Servers(network.server, [5001, 5002], kinds=(TcpServer,)):
        with attach(network.server, RULES, mode) as mplex:
            sock = connect(network.client, version, 5000)
            assert exchange(sock, message("601")) == 5002
            assert mplex.stop() == 0
        with sock:
            assert "xdp" not in network.server.run("ip -d link show eth0")
            sock.sendall(bytes(100000))
            assert receive(sock, 100000) == bytes(100000)
            with pytest.raises(ConnectionRefusedError):
                connect(network.client, version, 5000)


def test_an_older_connection_of_the_listen_port_goes_on(mode, version):
    """A server on the listen port is taken over; who was connected to it before stays so."""
    with Network() as network, Servers(network.server, [5001], kinds=(TcpServer,)), \
            TcpServer(network.server, version, 5000):
        with connect(network.client, version, 5000) as before:
            assert exchange(before, b"any message") == 5000
            with attach(network.server, RULES, mode):
                before.sendall(b"and another")
                assert receive(before, 11) == b"and another"
                assert ask(network.client, version, 5000, message("600")) == 5001
            before.sendall(b"still there")
            assert receive(before, 11) == b"still there"
        assert ask(network.client, version, 5000, b"any message") == 5000
