# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every failure is one sentence with cause and remedy, and where the remedy is a command, it works."""

import re
import shlex
import signal
import subprocess

import pytest

import foreign
import objects
from lib.mplex import MPLEX_RUN, Mplex
from lib.netns import stop


def commands(sentence):
    """What a sentence puts in quotes."""
    return re.findall(r'"([^"]+)"', sentence)


def follow(namespace, command):
    """Runs a command that a sentence proposed; mplex-run itself until it has attached."""
    words = shlex.split(command)
    if words[0] == "mplex-run":
        interface, target, *rest = words[1:]
        mode = rest[rest.index("--mode") + 1]
        with Mplex(namespace, target, mode, interface) as running:
            return running.text()
    return namespace.run(words)


@pytest.mark.parametrize("arguments", [
    (), ("eth0",), ("eth0", "a", "b"), ("eth0", "a", "--mode", "offload"), ("eth0", "a", "--mode"),
    ("eth0", "a", "--interval", "0"), ("eth0", "a", "--interval", "1x"), ("eth0", "a", "--frobnicate"),
    ("test", "a", "--mode", "generic"),
])
def test_usage(network, refused, arguments):
    status, sentence = refused(network.server, *arguments)
    assert status == 2
    assert commands(sentence) == ["mplex-run --help"]


def test_help_and_version():
    for option, text in (("--help", "Usage: mplex-run"), ("--version", "mplex-run ")):
        done = subprocess.run([MPLEX_RUN, option], capture_output=True, text=True, timeout=10)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(text)


def test_no_such_interface(network, refused):
    status, sentence = refused(network.server, "eth7", objects.build())
    assert status == 1
    assert "no interface eth7" in sentence
    network.server.run(commands(sentence)[0])


def test_loopback(network, refused):
    status, sentence = refused(network.server, "lo", objects.build())
    assert status == 1
    assert "loopback" in sentence


def test_not_ethernet(own_network, refused):
    try:
        own_network.server.run("ip tuntap add dev tun0 mode tun")
    except RuntimeError:
        own_network.server.run("ip link add tun0 type ipip local 192.0.2.1 remote 192.0.2.2")
    status, sentence = refused(own_network.server, "tun0", objects.build())
    assert status == 1
    assert "not an Ethernet interface" in sentence


@pytest.mark.parametrize("missing", ["all", "-net_admin", "-bpf,-sys_admin", "-perfmon,-sys_admin"])
def test_rights(network, refused, missing):
    sets = "-all" if missing == "all" else missing
    status, sentence = refused(network.server, "eth0", objects.build(),
                               prefix=("setpriv", "--bounding-set", sets, "--inh-caps", sets))
    assert status == 1
    assert "sudo" in sentence


def test_three_capabilities_are_enough(network):
    """As a service would run it: the sentence about rights names what is really needed."""
    with network.server.inside():
        child = subprocess.Popen(
            ["setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin",
             MPLEX_RUN, "eth0", objects.build()], stdout=subprocess.PIPE, text=True)
    try:
        assert "feed.yaml" in child.stdout.readline()
        assert "attached" in child.stdout.readline()
    finally:
        stop(child, signal.SIGINT)
        child.stdout.close()


# ---- the object -----------------------------------------------------------------------------------

def test_unreadable(network, refused, tmp_path):
    status, sentence = refused(network.server, "eth0", tmp_path / "absent.o")
    assert status == 1
    assert "No such file" in sentence
    status, sentence = refused(network.server, "eth0", tmp_path)
    assert status == 3
    assert "not a regular file" in sentence


@pytest.mark.parametrize("data", [b"", b"\x7f", b"\x7fELF", b"#include <bpf.h>\n", bytes(4096)])
def test_not_an_object(network, refused, tmp_path, data):
    path = tmp_path / "x.o"
    path.write_bytes(data)
    status, sentence = refused(network.server, "eth0", path)
    assert status == 3
    assert "not a BPF object file" in sentence and "mplexc" in sentence


def test_another_machine(network, refused):
    status, sentence = refused(network.server, "eth0", "/bin/true")
    assert status == 3
    assert "not a BPF object file" in sentence


def test_another_byte_order(network, refused):
    status, sentence = refused(network.server, "eth0", objects.build(target="bpfeb"))
    assert status == 3
    assert "byte order" in sentence


@pytest.mark.parametrize("command", [("eth0",), ("test",)])
def test_not_made_by_mplexc(network, refused, command):
    status, sentence = refused(network.server, *command,
                               objects.build(objects.MANIFEST, "WITHOUT_MANIFEST"))
    assert status == 3
    assert "was not made by mplexc" in sentence


def test_newer_manifest(network, refused):
    status, sentence = refused(network.server, "eth0", objects.build({"format": 2}))
    assert status == 3
    assert "format 2" in sentence and "mplex-run" in sentence


@pytest.mark.parametrize("manifest, word", [
    ("", "JSON"),
    ("[" * 100000, "JSON"),
    ({"format": 1}, "version"),
    (objects.manifest({"port": 65536}), "listeners[0].port"),
    (objects.manifest({"counters": 30}), "beyond the map counters"),
    (objects.manifest({"counters": 2**32 - 1}), "beyond the map counters"),
    (objects.manifest({"routes": [{"tag": "600", "port": 1, "counter": 32}]}),
     "beyond the map counters"),
    (objects.manifest(ingress_reasons=["r"] * 64) | {
        "listeners": objects.MANIFEST["listeners"] * 4}, "ingress_counters"),
], ids=["empty", "deep", "bare", "port", "counters", "wrap", "route", "ingress"])
def test_lying_manifest(network, refused, manifest, word):
    status, sentence = refused(network.server, "eth0", objects.build(manifest))
    assert status == 3
    assert "malformed" in sentence and word in sentence


def test_no_xdp_program(network, refused):
    status, sentence = refused(network.server, "eth0",
                               objects.build(objects.MANIFEST, "WITHOUT_XDP"))
    assert status == 3
    assert "no XDP program mplex_xdp" in sentence


def test_truncated(network, tmp_path):
    """Cut off anywhere, an object is refused: no crash, no attached program, no hang."""
    data = objects.build().read_bytes()
    path = tmp_path / "cut.o"
    # Around the ends of the ELF header and of the file, and at steps between.
    sizes = {*range(0, 130, 3), *range(0, len(data), len(data) // 100),
             *range(len(data) - 130, len(data), 3)}
    for size in sorted(sizes):
        path.write_bytes(data[:size])
        done = subprocess.run([MPLEX_RUN, "test", path], capture_output=True, text=True, timeout=30)
        assert done.returncode == 3, (size, done)
        assert len(done.stderr.splitlines()) == 1, (size, done)


def test_damaged(network, tmp_path):
    """Any byte of the ELF headers turned over: perhaps refused, perhaps not, but never a crash."""
    data = objects.build().read_bytes()
    headers = int.from_bytes(data[40:48], "little")
    path = tmp_path / "damaged.o"
    for place in [*range(64), *range(headers, len(data), 7)]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xff]) + data[place + 1:])
        done = subprocess.run([MPLEX_RUN, "test", path], capture_output=True, timeout=30)
        assert done.returncode in (0, 1, 3), (place, done)


def test_refused_by_the_verifier(network):
    """The one failure whose sentence is followed by more: the end of the verifier's log."""
    with network.server.inside():
        done = subprocess.run([MPLEX_RUN, "eth0", objects.build(objects.MANIFEST, "UNVERIFIABLE")],
                              capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    sentence, *log = done.stderr.splitlines()
    assert "the kernel refuses the programs of" in sentence
    assert 0 < len(log) <= 12
    assert "packet" in "\n".join(log)


# ---- the host -------------------------------------------------------------------------------------

def test_kernel_function(network, refused):
    needs = {"kfuncs": ["bpf_no_such_function"]}
    status, sentence = refused(network.server, "eth0", objects.build(objects.manifest(needs=needs)))
    assert status == 1
    assert "bpf_no_such_function" in sentence and "use a newer kernel" in sentence


def test_syncookies_off(own_network, refused):
    needs = {"sysctls": {"net.ipv4.tcp_syncookies": {"min": 1}}}
    target = objects.build(objects.manifest(needs=needs))
    own_network.server.sysctl("net.ipv4.tcp_syncookies", 0)
    status, sentence = refused(own_network.server, "eth0", target)
    assert status == 1
    assert "net.ipv4.tcp_syncookies is 0" in sentence
    follow(own_network.server, commands(sentence)[0])
    with Mplex(own_network.server, target):
        pass


def test_unknown_sysctl(network, refused):
    needs = {"sysctls": {"net.ipv4.no_such_thing": {"min": 1}}}
    status, sentence = refused(network.server, "eth0", objects.build(objects.manifest(needs=needs)))
    assert status == 1
    assert "net.ipv4.no_such_thing" in sentence


@pytest.mark.parametrize("held, wanted", [("native", "native"), ("native", "generic"),
                                          ("generic", "native")])
def test_busy_with_a_link(own_network, refused, held, wanted):
    server = own_network.server
    with foreign.XdpLink(server, "eth0", held):
        status, sentence = refused(server, "eth0", objects.build(), "--mode", wanted)
        assert status == 1
        assert re.search(r"foreign_xdp \(id \d+\)", sentence)
        follow(server, commands(sentence)[0])
        with Mplex(server, objects.build(), wanted):
            pass


@pytest.mark.parametrize("mode", ["xdpdrv", "xdpgeneric"])
def test_busy_without_a_link(own_network, refused, mode):
    server = own_network.server
    server.run(f"ip link set dev eth0 {mode} obj {foreign.compiled()} sec xdp")
    status, sentence = refused(server, "eth0", objects.build())
    assert status == 1
    assert re.search(r"foreign_xdp \(id \d+\)", sentence)
    follow(server, commands(sentence)[0])
    with Mplex(server, objects.build()):
        pass


def test_native_mode_not_supported(own_network, refused):
    server = own_network.server
    server.run("ip link add br0 type bridge")
    status, sentence = refused(server, "br0", objects.build())
    assert status == 1
    assert "bridge" in sentence and "does not support native XDP" in sentence
    assert "generic mode" in follow(server, commands(sentence)[0])


@pytest.fixture
def vlan(own_network):
    """A VLAN device above the server's interface, whose tags XDP does not see."""
    try:
        own_network.server.run("ip link add link eth0 name eth0.100 type vlan id 100")
    except RuntimeError:
        pytest.skip("needs VLAN devices (8021q) in the kernel")
    own_network.server.run("ethtool -K eth0 rxvlan on")
    return own_network.server


def test_vlan_tags_out_of_sight(vlan, refused):
    target = objects.build(objects.manifest(objects.TCP))
    status, sentence = refused(vlan, "eth0", target)
    assert status == 1
    assert "eth0.100" in sentence
    follow(vlan, commands(sentence)[0])
    with Mplex(vlan, target):
        pass


def test_vlan_tags_do_not_matter_to_udp(vlan):
    with Mplex(vlan, objects.build()):
        pass


def test_too_many_addresses(own_network, refused):
    server = own_network.server
    batch = "".join(f"address add 10.0.0.{i}/32 dev eth0\n" for i in range(1, 64))
    server.run("ip -batch -", input=batch)  # 63 and the two that eth0 has
    status, sentence = refused(server, "eth0", objects.build())
    assert status == 1
    assert "65 IPv4 addresses" in sentence and "rule file" in sentence
    with Mplex(server, objects.build(objects.MANIFEST, "WITHOUT_ADDRESSES")):
        pass
    server.run("ip address del 10.0.0.1/32 dev eth0")
    with Mplex(server, objects.build()):
        pass
