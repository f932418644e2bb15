# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP on busy days: many clients at once, and lost frames. Floods are in tests/attack."""

import pytest

from lib import faults
from lib.crowd import serve, tcp_client
from lib.mplex import attach
from lib.netns import Network
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


@pytest.fixture(scope="module")
def network(mode):
    with Network() as network:
        with attach(network.server, RULES, mode) as network.mplex, \
                Servers(network.server, PORTS, kinds=(TcpServer,)) as network.servers:
            yield network


def nothing_remains(network):
    """No socket of the server is in any state but listening or over."""
    return wait_until(lambda: not network.server.run(
        "ss -Htan exclude listening exclude time-wait"), timeout=20)


def messages_delivered(network):
    """How many connections there were, and how many brought other than one whole message."""
    connections = [c for port in PORTS for version in (4, 6)
                   for c in network.servers.tcp(version, port).connections]
    return len(connections), sum(len(c.data) < 290 for c in connections)


def test_many_clients_at_once(network):
    network.servers.forget()
    assert not serve(tcp_client, network, 300)
    assert messages_delivered(network) == (300, 0)
    assert nothing_remains(network)


def test_five_percent_of_all_frames_lost(network):
    """Both ways, with answers of some 20 kB."""
    network.servers.forget()
    with network.client.firewall(faults.lossy(5)):
        assert not serve(tcp_client, network, 12, 20000, at_once=1)
        assert not serve(tcp_client, network, 120, 20000, at_once=120)
    connections, torn = messages_delivered(network)
    assert (connections, torn) == (132, 0)
    assert nothing_remains(network)
