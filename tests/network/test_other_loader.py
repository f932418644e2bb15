# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The XDP program loaded by `ip link`, which knows nothing of TC, addresses or keys.

docs/object.md says what then is left: datagrams are steered, their answers stay as the server sends
them, and TCP is refused, never let through to be answered by somebody else.
"""

import socket

import pytest

from lib.clients import ask_udp, connect, message, udp_socket
from lib.mplex import compile_rules
from lib.netns import SERVER, Network
from lib.servers import Servers, TcpServer, UdpServer
from lib.waiting import settle

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


@pytest.fixture(params=["xdpdrv", "xdpgeneric"])
def loaded(request):
    """A network whose server runs the rules' program; takes the rules."""
    with Network() as network:
        def load(rules):
            network.server.run(f"ip link set dev eth0 {request.param}"
                               f" object {compile_rules(rules)} program mplex_xdp")
            return network
        yield load


def test_datagrams_are_steered(loaded, version):
    network = loaded(RULES)
    with Servers(network.server, [5001, 5002], kinds=(UdpServer,)) as servers, \
            udp_socket(network.client, version) as sock:
        assert ask_udp(network.client, version, 5000, message("601")) == (5002, 5002)
        servers.forget()
        sock.sendto(message("999"), (SERVER[version], 5000))
        sock.sendto(message("601", 289), (SERVER[version], 5000))
        settle()
        assert not servers.received()


@pytest.mark.usefixtures("tcp_kernel")
def test_tcp_is_refused(loaded, version):
    network = loaded(RULES.replace("udp", "tcp"))
    with TcpServer(network.server, version, 5000), pytest.raises(socket.timeout):
        connect(network.client, version, 5000, timeout=0.3)
