# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What an object is told at load. What it may offer on a SYN is compared with what this very kernel
offers from a listener of its own, under the same sysctls."""

import re
import socket
import struct

import pytest

import objects
from lib.frames import Wire
from lib.mplex import Mplex
from lib.netns import FAMILY, SECOND, SERVER
from lib.waiting import wait_until

PORT = 7000


def constants(namespace, mode="native", interface="eth0", target=None):
    """All constants of a running object, by name."""
    with Mplex(namespace, target or objects.build(), mode, interface) as running:
        dump, = running.dump("mplex.rodata")
    return {name: value for entry in dump["formatted"]["value"][".rodata"]
            for name, value in entry.items()}


def kernel_offers(network, version):
    """The kernel's own SYN-ACK, as the client gets it."""
    with Wire(network.client) as wire, \
            network.server.socket(FAMILY[version], socket.SOCK_STREAM) as listener, \
            network.client.socket(FAMILY[version], socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", PORT))
        listener.listen()
        client.connect((SERVER[version], PORT))
        return wire.frame(lambda frame: "TCP" in frame and frame["TCP"].sport == PORT
                          and "S" in frame["TCP"].flags)


SETTINGS = {
    "defaults": {},
    "no window scaling": {"net.ipv4.tcp_window_scaling": 0},
    "small buffers": {"net.ipv4.tcp_rmem": "4096 16384 65536"},
    "large buffers": {"net.ipv4.tcp_rmem": "4096 600000 100000000"},
    "tiny buffers": {"net.ipv4.tcp_rmem": "2304 2304 2304"},
    "no sack": {"net.ipv4.tcp_sack": 0},
    "no ecn": {"net.ipv4.tcp_ecn": 0},
    "ecn": {"net.ipv4.tcp_ecn": 1},
    "ecn on request": {"net.ipv4.tcp_ecn": 2},
    "accurate ecn": {"net.ipv4.tcp_ecn": 3},
    "accurate ecn on request": {"net.ipv4.tcp_ecn": 5},
    "ttl": {"net.ipv4.ip_default_ttl": 99},
    "hop limit": {"net.ipv6.conf.eth0.hop_limit": 77},
}


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_offers_what_the_kernel_offers(own_network, settings, version):
    server = own_network.server
    # With timestamps the kernel makes the window a multiple of a segment without the option.
    settings = settings | {"net.ipv4.tcp_timestamps": 0}
    for name, value in settings.items():
        try:
            server.sysctl(name, value)
        except OSError:
            pytest.skip(f"this kernel refuses {name} = {value}")
    own_network.client.sysctl("net.ipv4.tcp_ecn", 1)
    frame = kernel_offers(own_network, version)
    options = dict(frame["TCP"].options)
    told = constants(server)

    # The program has one window for both versions: a multiple of the larger segment, IPv4's.
    assert told["mplex_window"] <= frame["TCP"].window + (1460 if version == 6 else 0)
    if version == 4:
        assert told["mplex_window"] == frame["TCP"].window
    assert told["mplex_window_scale"] == options.get("WScale", 255)
    assert told[f"mplex_mss_v{version}"] == options["MSS"]
    assert told["mplex_sack"] == ("SAckOK" in options)
    assert told["mplex_timestamps"] == ("Timestamp" in options)
    assert told["mplex_ecn"] == ("E" in frame["TCP"].flags)
    if version == 4:
        assert told["mplex_ttl"] == frame["IP"].ttl
    else:
        assert told["mplex_hop_limit"] == frame["IPv6"].hlim


def test_timestamps(own_network):
    frame = kernel_offers(own_network, 4)
    assert "Timestamp" in dict(frame["TCP"].options)
    assert constants(own_network.server)["mplex_timestamps"] == 1


def test_mss_follows_the_mtu(own_network):
    for mtu, v4, v6 in ((1400, 1360, 1340), (1280, 1240, 1220), (9000, 8960, 8940)):
        for host in (own_network.server, own_network.client):
            host.run(f"ip link set dev eth0 mtu {mtu}")
        told = constants(own_network.server)
        assert (told["mplex_mss_v4"], told["mplex_mss_v6"]) == (v4, v6)


def test_answers_leave_by_redirect_on_a_veth_in_native_mode(own_network):
    server = own_network.server
    server.run("ip link add br0 type bridge")
    assert constants(server, "native")["mplex_redirect"] == 1
    assert constants(server, "generic")["mplex_redirect"] == 0
    assert constants(server, "generic", "br0")["mplex_redirect"] == 0


def test_interface_address(network):
    told = constants(network.server)
    with network.server.socket(socket.AF_PACKET, socket.SOCK_RAW) as any_socket:
        with network.server.inside():
            any_socket.bind(("eth0", 0))
        mac = any_socket.getsockname()[4]
    assert bytes(told["mplex_mac"]) == mac


def addresses(told, version):
    """The local addresses of one version, as text."""
    count = told[f"mplex_local_v{version}_count"]
    rows = told[f"mplex_local_v{version}"]
    assert not any(map(any, rows[count:]) if version == 6 else rows[count:])
    family = FAMILY[version]
    words = [[row] if version == 4 else row for row in rows[:count]]
    return [socket.inet_ntop(family, struct.pack(f"={len(row)}I", *row)) for row in words]


def link_local(host, interface):
    """The link-local address that the kernel gives an interface, once it has."""
    def find():
        return re.search(r"inet6 (fe80:[0-9a-f:]+)/",
                         host.run(f"ip -6 address show dev {interface}"))
    return wait_until(find)[1]


def test_local_addresses(own_network):
    """Of all interfaces, lo included, each once; link-local ones only where they are reached by the
    interface."""
    server = own_network.server
    server.run("ip link add other type veth peer name beyond")
    server.run("ip link set beyond up")
    server.run("ip link set other up")
    server.run("ip address add 10.9.0.1/24 dev other")
    server.run(f"ip address add {SERVER[4]}/32 dev other")  # twice on this host
    server.run("ip address add 203.0.113.5/32 dev lo")
    server.run("ip address add 127.0.0.5/8 dev lo")
    server.run("ip -6 address add 2001:db8:9::1/128 dev lo")
    server.run("ip link add br0 type bridge")
    server.run("ip link set br0 up")
    server.run("ip link set eth0 master br0")
    # The bridge above eth0 has a link-local address of its own; that of the other interface is out
    # of reach.
    own = {link_local(server, "eth0"), link_local(server, "br0")}
    other = link_local(server, "other")
    told = constants(server)
    assert told["mplex_local_known"] == 1
    assert sorted(addresses(told, 4)) == sorted([SERVER[4], SECOND[4], "10.9.0.1", "203.0.113.5"])
    assert set(addresses(told, 4)[:2]) == {SERVER[4], SECOND[4]}, "the interface's own come first"
    assert set(addresses(told, 6)[:2]) == {SERVER[6], SECOND[6]}, "the interface's own come first"
    assert sorted(addresses(told, 6)) == sorted({SERVER[6], SECOND[6], "2001:db8:9::1", *own})
    assert other not in own


def test_host_without_addresses(own_network):
    """The lists are complete, though empty: no destination is the host's."""
    own_network.server.run("ip address flush dev eth0")
    told = constants(own_network.server)
    assert (told["mplex_local_known"], told["mplex_local_v4_count"],
            told["mplex_local_v6_count"]) == (1, 0, 0)


def test_key(network):
    """Drawn anew at every load."""
    first, second = (constants(network.server)["mplex_key"] for _ in range(2))
    assert all(first) and all(second)
    assert first != second


def test_frames_of_one_buffer(network):
    """Generic mode has no others, and neither has a kernel without the helper that measures them."""
    with open("/proc/kallsyms") as symbols:
        frags = any(line.split()[2] == "bpf_xdp_get_buff_len" for line in symbols)
    assert constants(network.server, "native")["mplex_linear"] == (0 if frags else 1)
    assert constants(network.server, "generic")["mplex_linear"] == 1
