# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Addresses that change while the rules are attached: in the foreground, and pinned with `follow`."""

import pathlib
import subprocess

import pytest

import objects
from lib import pins
from lib.clients import ask_udp, connect, message, udp_socket, who
from lib.mplex import MPLEX_RUN, Mplex, compile_rules, kernel_hands_over_tcp
from lib.netns import SERVER, stop
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
        routes: {"600": 5001}
"""
TCP_RULES = RULES.replace("udp", "[tcp, udp]")
NEW = {4: "192.0.2.55", 6: "2001:db8::55"}  # an address that the server gets later
CHANGED_MAC = "02:00:00:00:00:77"


class Pinned:
    """What is pinned, and a process that follows for it. What it prints is in text()."""

    def __init__(self, namespace, target):
        self.namespace = namespace
        self.object = target
        namespace.run([str(MPLEX_RUN), "eth0", str(target), "--pin"])
        self.child = namespace.spawn([str(MPLEX_RUN), "follow", "eth0"], stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True)
        assert "following" in self.child.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        stop(self.child)
        self.child.stdout.close()
        with self.namespace.inside():  # with the interface its pins may be gone, too
            subprocess.run([MPLEX_RUN, "detach", "eth0"], capture_output=True, timeout=30)


@pytest.fixture(params=["foreground", "pinned"])
def kind(request):
    return {"foreground": Mplex, "pinned": Pinned}[request.param]


def answered(network, version, address=None):
    """Whether a message to that address of the server is answered from where it was sent to."""
    try:
        return ask_udp(network.client, version, 5000, message("600"), address=address,
                       timeout=0.3) == (5001, 5000)
    except (TimeoutError, ConnectionError):
        return False


def add_address(server, version):
    length = {4: 24, 6: 64}[version]
    server.run(f"ip address add {NEW[version]}/{length} dev eth0 " + "nodad" * (version == 6))


@pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
def test_a_new_address_is_served(own_network, kind, version):
    server = own_network.server
    with kind(server, compile_rules(RULES)), Servers(server, [5001], kinds=(UdpServer,)):
        add_address(server, version)
        assert wait_until(lambda: answered(own_network, version, NEW[version]), timeout=20)


def test_an_address_that_went_is_foreign(own_network, kind):
    """Its packets are not ours any more: not counted, and left to the host."""
    server = own_network.server
    add_address(server, 4)
    with kind(server, compile_rules(RULES)), Servers(server, [5001], kinds=(UdpServer,)):
        assert answered(own_network, 4, NEW[4])
        server.run(f"ip address del {NEW[4]}/24 dev eth0")
        server.run(f"ip route add local {NEW[4]} dev lo")  # still delivered, but nobody's address
        assert wait_until(lambda: not answered(own_network, 4, NEW[4]), timeout=20)
        assert answered(own_network, 4)


def test_a_new_mac_is_served(own_network, kind):
    server = own_network.server
    with kind(server, compile_rules(RULES)), Servers(server, [5001], kinds=(UdpServer,)):
        server.run(f"ip link set eth0 address {CHANGED_MAC}")
        own_network.client.run("ip neigh flush dev eth0")
        assert wait_until(lambda: answered(own_network, 4), timeout=20)


def test_connections_go_on(own_network, kind):
    if not kernel_hands_over_tcp():
        pytest.skip("needs a kernel that hands connections over")
    server = own_network.server
    with kind(server, compile_rules(TCP_RULES)), Servers(server, [5001]):
        with connect(own_network.client, 4, 5000) as before, \
                connect(own_network.client, 4, 5000) as silent:
            before.sendall(message("600"))
            assert who(before) == 5001
            add_address(server, 4)
            assert wait_until(lambda: answered(own_network, 4, NEW[4]), timeout=20)
            before.sendall(b"more")
            silent.sendall(message("600"))  # its handshake was with the program before
            assert who(silent) == 5001


@pytest.fixture
def own_object(tmp_path):
    path = tmp_path / "some.bpf.o"
    path.write_bytes(compile_rules(RULES).read_bytes())
    return path


def put_another(path):
    path.unlink()
    path.write_bytes(compile_rules(RULES.replace("600", "700")).read_bytes())


def test_another_object_does_not_get_in(own_network, own_object):
    """A process in the foreground has the object; who follows what is pinned reads it again."""
    server = own_network.server
    with Pinned(server, own_object) as pinned, Servers(server, [5001], kinds=(UdpServer,)):
        put_another(own_object)
        add_address(server, 4)
        assert "is not the object any more that runs" in pinned.child.stdout.readline()
        assert answered(own_network, 4) and not answered(own_network, 4, NEW[4])
        assert pinned.child.poll() is None


def test_the_object_may_be_gone(own_network, own_object):
    server = own_network.server
    with Mplex(server, own_object), Servers(server, [5001], kinds=(UdpServer,)):
        put_another(own_object)
        add_address(server, 4)
        assert wait_until(lambda: answered(own_network, 4, NEW[4]), timeout=20)


def test_too_many_addresses(own_network):
    server = own_network.server
    with Mplex(server, compile_rules(RULES)) as running, \
            Servers(server, [5001], kinds=(UdpServer,)):
        server.run(["ip", "-batch", "-"],
                   input="".join(f"address add 10.9.0.{i}/32 dev eth0\n" for i in range(1, 70)))
        assert wait_until(lambda: "and the program can hold" in running.text(), timeout=20)
        assert answered(own_network, 4)


def send(client):
    with udp_socket(client, 4) as sock:
        sock.sendto(b"message", (SERVER[4], 5000))


def test_addresses_change(own_network):
    """They are constants of the program, which is loaded anew, and goes on counting."""
    server = own_network.server
    with Mplex(server, objects.build()) as running:
        path = pins.place(server)
        before = pins.document(path / "process")
        send(own_network.client)
        server.run("ip link add dummy type bridge")
        server.run("ip address add 127.0.0.9/8 dev lo")  # never the host's own
        server.run("ip address add 203.0.113.7/32 dev lo")  # an address of the host, there too
        assert wait_until(lambda: "loaded anew" in running.text())
        after = pins.document(path / "process")
        assert before["program"] != after["program"]
        record = pins.document(
            pathlib.Path(after["generations"]) / str(after["program"]) / "record")
        assert "203.0.113.7" in record["v4"] and "127.0.0.9" not in record["v4"]
        send(own_network.client)
    assert running.text().count("loaded anew") == 1
    assert "feed routed: 2 packets" in running.text()


@pytest.mark.parametrize("change", ["mtu 1400", "address 02:00:00:00:00:77"])
def test_interface_changes(own_network, change):
    server = own_network.server
    with Mplex(server, objects.build()) as running:
        server.run(f"ip link set dev eth0 {change}")
        assert wait_until(lambda: "loaded anew" in running.text())


def test_addresses_of_no_interest(own_network):
    """A program that compares none is not loaded anew."""
    server = own_network.server
    target = objects.build(objects.MANIFEST, "WITHOUT_ADDRESSES")
    with Mplex(server, target, arguments=("--interval", "1")) as running:
        server.run("ip address add 203.0.113.7/32 dev eth0")
        send(own_network.client)
        # A report after the change: it was seen, and not found worth a word.
        assert wait_until(lambda: "1 packets" in running.text())
    assert "anew" not in running.text() and "changed" not in running.text()


def test_nothing_to_follow(network, refused):
    status, line = refused(network.server, "follow", "eth0")
    assert status == 1 and "nothing is pinned on eth0" in line


def test_it_ends_with_the_interface(own_network):
    with Pinned(own_network.server, compile_rules(RULES)) as pinned:
        own_network.server.run("ip link del eth0")
        assert pinned.child.wait(10) == 1
        assert "interface eth0 was removed" in pinned.child.stdout.read()


def test_rights_are_given_up(network):
    """What runs on has no more capabilities than its work takes, and no way to more."""
    with Mplex(network.server, compile_rules(RULES)) as running:
        def status():
            with open(f"/proc/{running.child.pid}/status") as lines:
                return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)
        assert wait_until(lambda: status()["NoNewPrivs"] == "1")
        # net_admin, dac_read_search, perfmon, bpf
        allowed = 1 << 12 | 1 << 2 | 1 << 38 | 1 << 39
        assert wait_until(lambda: not int(status()["CapEff"], 16) & ~allowed)
        for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
            assert not int(status()[name], 16) & ~allowed, name
