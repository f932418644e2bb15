# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Firewalls on the server: which shapes go with mplex, and what the others do to it.

The first packet of a TCP connection that netfilter sees is its first data, addressed to the listen
port. The shapes that lose connections are part of the manual, so their tests say how: connect()
succeeds, then the message is lost, and the client hangs or is told late. UDP is in netfilter what
mplex made of it: to the backend port.
"""

import pytest

from lib.clients import ask, ask_udp, connect, exchange, message, udp_socket
from lib.mplex import attach, kernel_hands_over_tcp
from lib.netns import SERVER
from lib.servers import Servers
from lib.waiting import settle, wait_until

RULES = """
    version: 1
    listeners:
      feed:
        protocol: [tcp, udp]
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""

UDP_RULES = RULES.replace("[tcp, udp]", "udp")

# Neighbour discovery is ICMPv6, without it there is no IPv6 at all.
CHAIN = """
    table inet filter {{
        chain input {{
            type filter hook input priority filter; policy {policy};
            icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            {rules}
        }}
    }}
"""

LISTEN_PORT_OPEN = CHAIN.format(policy="drop", rules="""
            tcp dport 5000 accept
            udp dport { 5001, 5002, 5003 } accept
            ct state established,related accept
            ct state invalid drop
""")

LISTEN_PORT_OPEN_BY_STATE = CHAIN.format(policy="drop", rules="""
            ct state established,related accept
            ct state invalid drop
            tcp dport 5000 accept
            udp dport { 5001, 5002, 5003 } accept
""")

STRICT_CONNTRACK = CHAIN.format(policy="accept", rules="ct state invalid drop")

NEW_MUST_BE_SYN = CHAIN.format(policy="accept", rules="""
            tcp flags & (fin | syn | rst | ack) != syn ct state new drop
""")

ACCEPT_ONLY_SYN = CHAIN.format(policy="drop", rules="""
            ct state established,related accept
            tcp dport 5000 tcp flags & (fin | syn | rst | ack) == syn ct state new accept
""")

ONLY_BACKEND_PORTS = CHAIN.format(policy="drop", rules="""
            ct state established,related accept
            tcp dport { 5001, 5002, 5003 } accept
            udp dport { 5001, 5002, 5003 } accept
""")

ONLY_LISTEN_PORT = CHAIN.format(policy="drop", rules="""
            ct state established,related accept
            tcp dport 5000 accept
            udp dport 5000 accept
""")


@pytest.fixture(scope="module")
def mplex(network, mode):
    rules = RULES if kernel_hands_over_tcp() else UDP_RULES
    with attach(network.server, rules, mode) as running:
        yield running


@pytest.fixture(scope="module")
def servers(network):
    with Servers(network.server, [5001, 5002, 5003]) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(servers):
    servers.forget()


WORKING = {"listen port by port alone": LISTEN_PORT_OPEN,
           "ct at its defaults": LISTEN_PORT_OPEN_BY_STATE}


@pytest.mark.usefixtures("tcp_kernel")
@pytest.mark.parametrize("rules", WORKING.values(), ids=WORKING)
def test_tcp_works(network, mplex, servers, version, rules):
    with network.server.firewall(rules):
        with connect(network.client, version, 5000) as sock:
            assert exchange(sock, message("601")) == 5002
            sock.sendall(b"more")
            assert sock.recv(4) == b"more"


def lost(network, mplex, servers, version):
    """connect() succeeds, the message is judged and steered, and no server ever sees it."""
    with mplex.counted() as counters, \
            connect(network.client, version, 5000, timeout=0.7) as sock:
        sock.sendall(message("601"))
        with pytest.raises((TimeoutError, ConnectionResetError)):
            sock.recv(1)
    assert counters["feed", "routed"] >= 1
    assert not servers.received()


@pytest.mark.usefixtures("tcp_kernel")
def test_tcp_is_lost_without_loose_tracking(network, mplex, servers, version):
    """The same rules work at the sysctl's default."""
    with network.server.firewall(STRICT_CONNTRACK):
        assert ask(network.client, version, 5000, message("601")) == 5002
        network.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
        servers.forget()
        try:
            lost(network, mplex, servers, version)
        finally:
            network.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", 1)


LOSING = {"new must be syn": NEW_MUST_BE_SYN,
          "accept only syn": ACCEPT_ONLY_SYN,
          "only backend ports open": ONLY_BACKEND_PORTS}


@pytest.mark.usefixtures("tcp_kernel")
@pytest.mark.parametrize("rules", LOSING.values(), ids=LOSING)
def test_tcp_is_lost(network, mplex, servers, version, rules):
    with network.server.firewall(rules):
        lost(network, mplex, servers, version)


@pytest.mark.parametrize("rules", (WORKING | {"only backend ports": ONLY_BACKEND_PORTS}).values(),
                         ids=WORKING | {"only backend ports": ONLY_BACKEND_PORTS})
def test_udp_wants_the_backend_ports_open(network, mplex, version, rules):
    with network.server.firewall(rules):
        assert ask_udp(network.client, version, 5000, message("601")) == (5002, 5000)


def test_udp_is_lost_with_only_the_listen_port_open(network, mplex, servers, version):
    before = mplex.counters()
    with network.server.firewall(ONLY_LISTEN_PORT), udp_socket(network.client, version) as sock:
        sock.sendto(message("601"), (SERVER[version], 5000))
        assert wait_until(lambda: mplex.counters().since(before)["feed", "routed"] == 1)
        settle()
    assert not servers.received()


def test_a_firewall_that_tracks_udp_knows_the_answers(network, mplex, version):
    """On the way out netfilter sees the backend port, too: the answer belongs to the flow."""
    with network.server.firewall(ONLY_BACKEND_PORTS
                                 + """
        table inet out {
            chain output {
                type filter hook output priority filter; policy drop;
                ct state established accept
                icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
            }
        }
    """):
        assert ask_udp(network.client, version, 5000, message("602")) == (5003, 5000)
