# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""From attach to detach: what is on the interface meanwhile, what is shown, and what is left."""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess

import pytest

import foreign
import objects
from lib import pins
from lib.mplex import MPLEX_RUN, Mplex
from lib.netns import CLIENT, SERVER, stop
from lib.waiting import wait_until


def send_from(host, address, count, port=5000, data=b"message"):
    with contextlib.closing(host.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for _ in range(count):
            sender.sendto(data, (address[4], port))


def send(network, count=1, port=5000):
    """Datagrams from the client to the server."""
    send_from(network.client, SERVER, count, port)


def held(running):
    """What the process keeps in the kernel: [(kind, id)] of its links, programs and maps."""
    found = set()
    for entry in os.scandir(f"/proc/{running.child.pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError):
            found |= pins.identified(entry.path)
    return found


def exists(kind, number):
    return subprocess.run(["bpftool", kind, "show", "id", str(number)],
                          capture_output=True).returncode == 0


def xdp_shown(namespace, interface="eth0"):
    shown, = json.loads(namespace.run(f"ip -json -details link show dev {interface}"))
    return shown.get("xdp", {}).get("mode", 0)


INGRESS, EGRESS = objects.MANIFEST["ingress_reasons"]  # under which the object counts what TC saw
NATIVE, GENERIC = 1, 2  # as the kernel numbers them: XDP_ATTACHED_DRV, XDP_ATTACHED_SKB


# ---- attach and detach ----------------------------------------------------------------------------

@pytest.mark.parametrize("mode, shown", [("native", NATIVE), ("generic", GENERIC)])
def test_mode(network, mode, shown):
    with Mplex(network.server, objects.build(), mode) as running:
        assert xdp_shown(network.server) == shown
        assert f"attached mplex_xdp in {mode} mode" in running.text()
        # TC sees frames with their Ethernet header in either mode.
        send(network)
        assert wait_until(lambda: running.counters()["feed", INGRESS] == 1)
        assert running.counters()["feed", "routed"] == 1
    assert xdp_shown(network.server) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("mode", ["native", "generic"])
def test_leaves_nothing(network, mode, number):
    running = Mplex(network.server, objects.build(), mode)
    kept = held(running)
    assert {kind for kind, _ in kept} == {"link", "prog", "map"}
    assert len([kind for kind, _ in kept if kind == "link"]) == 3
    assert all(exists(*one) for one in kept)
    status = stop(running.child, number)
    assert status == (-number if number == signal.SIGKILL else 0)
    assert wait_until(lambda: not any(exists(*one) for one in kept))
    assert xdp_shown(network.server) == 0
    assert "clsact" not in network.server.run("tc qdisc show dev eth0")
    running.stop()


def test_without_tc_programs(network):
    with Mplex(network.server, objects.build(objects.MANIFEST, "WITHOUT_TC")) as running:
        assert len([kind for kind, _ in held(running) if kind == "link"]) == 1
        assert "mplex_ingress" not in running.text()


def test_all_or_nothing(network):
    """XDP comes last; when it is refused, the TC programs that came before are off again."""
    network.server.run("ip link add br1 type bridge")
    with network.server.inside():
        done = subprocess.run([MPLEX_RUN, "br1", objects.build()], capture_output=True, text=True,
                              timeout=30)
    assert done.returncode == 1 and "does not support" in done.stderr
    with Mplex(network.server, objects.build(), "generic", "br1") as running:
        kept = held(running)
    assert len([kind for kind, _ in kept if kind == "link"]) == 3


@pytest.mark.parametrize("where", [foreign.TCX_INGRESS, foreign.TCX_EGRESS])
def test_programs_of_others(own_network, where):
    """Theirs was there first and ends the run of all behind it; ours and theirs both run."""
    server, client = own_network.server, own_network.client
    incoming = where == foreign.TCX_INGRESS
    ends = (client, SERVER) if incoming else (server, CLIENT)
    ours = "feed", INGRESS if incoming else EGRESS
    with foreign.Tcx(server, "eth0", where) as other:
        with Mplex(server, objects.build()) as running:
            before = other.seen()
            send_from(*ends, 3)
            assert wait_until(lambda: other.seen() >= before + 3)
            assert running.counters()[ours] >= 3
        before = other.seen()
        send_from(*ends, 1)
        assert wait_until(lambda: other.seen() > before)


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_large_mtu(own_network, mode):
    """A frame of several buffers is seen whole: in native mode the program says it takes them."""
    for host in (own_network.server, own_network.client):
        host.run("ip link set dev eth0 mtu 9000")
    with Mplex(own_network.server, objects.build(), mode) as running:
        send_from(own_network.client, SERVER, 1, data=bytes(8000))
        assert wait_until(lambda: running.counters()["feed", "routed"] == 1)


def test_interface_removed(own_network):
    server = own_network.server
    running = Mplex(server, objects.build())
    server.run("ip link del eth0")
    assert running.child.wait(10) == 1
    running.stop()
    assert "interface eth0 was removed" in running.text()


def test_port_leaves_a_bridge(own_network):
    """The kernel tells of it as of a removed link, but the interface is still there."""
    server = own_network.server
    server.run("ip link add br0 type bridge")
    server.run("ip link set eth0 master br0")
    with Mplex(server, objects.build(objects.MANIFEST, "WITHOUT_ADDRESSES")) as running:
        server.run("ip link set eth0 nomaster")
        send(own_network)
        wait_until(lambda: running.counters().total("routed") == 1)
        assert running.child.poll() is None


# ---- the warning about veth -----------------------------------------------------------------------

def test_veth_warning(network):
    target = objects.build(objects.manifest(objects.TCP))
    with Mplex(network.server, target) as running:
        assert "eth0 is a veth" in running.text()
        assert "gro on" in running.text()
    with Mplex(network.server, target, "generic") as running:
        assert "veth" not in running.text()
    with Mplex(network.server, objects.build()) as running:
        assert "veth" not in running.text()


def test_veth_whose_peer_can_be_asked(own_network):
    server = own_network.server
    server.run("ip link add here type veth peer name there")
    target = objects.build(objects.manifest(objects.TCP))
    for state, warned in (("off", True), ("on", False)):
        server.run(f"ethtool -K there gro {state}")
        with Mplex(server, target, interface="here") as running:
            assert ("here is a veth" in running.text()) == warned


# ---- what is shown --------------------------------------------------------------------------------

def test_lines(network):
    listener = {"routes": [{"tag": "600", "port": 5001, "counter": 0}]}
    target = objects.build(objects.manifest(listener))
    with Mplex(network.server, target, arguments=("--interval", "1")) as running:
        assert "feed: udp port 5000 -> 5001, 5002\n" in running.text()
        send(network, 3)
        assert wait_until(lambda: "feed 600 -> 5001: 3 packets, 147 bytes\n" in running.text())
        # What did not move is not said again, but at the end.
        said = len(running.text())
        send_from(network.server, CLIENT, 2)
        assert wait_until(lambda: f"feed {EGRESS}: " in running.text()[said:])
    assert running.text().count("feed 600 -> 5001: 3 packets") == 2
    assert running.text().endswith("eth0: detached\n")


def test_counts_to_the_end(network):
    with Mplex(network.server, objects.build(), arguments=("--interval", "3600")) as running:
        send(network, 5)
        wait_until(lambda: running.counters().total("routed") == 5)
    assert "feed routed: 5 packets, 245 bytes\n" in running.text()


def test_json(network):
    with Mplex(network.server, objects.build(),
               arguments=("--json", "--interval", "1")) as running:
        send(network, 2)
        assert wait_until(lambda: '"packets":2' in running.text())
    first, *reports, final, last = map(json.loads, running.text().splitlines())
    assert first["event"] == "attached"
    assert (first["interface"], first["mode"]) == ("eth0", "native")
    assert first["rules"] == objects.MANIFEST["rules"]
    assert [(one["name"], one["by"]) for one in first["programs"]] == [
        ("mplex_xdp", "xdp"), ("mplex_ingress", "tcx"), ("mplex_egress", "tcx")]
    assert first["listeners"] == [
        {"name": "feed", "protocols": ["udp"], "port": 5000, "ports": [5001, 5002]}]
    assert reports and all(one["event"] == "counters" and not one["final"] for one in reports)
    assert final["final"]
    by_reason = {one["reason"]: one for one in final["counters"]}
    assert by_reason["routed"] == {"listener": "feed", "reason": "routed", "packets": 2,
                                   "bytes": 98}
    assert set(by_reason) == {*objects.MANIFEST["reasons"], *objects.MANIFEST["ingress_reasons"]}
    assert last == {"event": "detached", "interface": "eth0"}


def test_terminal(network):
    """On a terminal a table, redrawn in place."""
    ours, theirs = pty.openpty()
    child = network.server.spawn([MPLEX_RUN, "eth0", objects.build()], stdout=theirs)
    os.close(theirs)
    shown = b""

    def read():
        nonlocal shown
        while select.select([ours], [], [], 0)[0]:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
        return shown

    try:
        assert wait_until(lambda: b"packets/s" in read())
        send(network, 4)
        assert wait_until(lambda: re.search(rb"feed +routed +4 +196 +4\r\n", read()))
        count = len(shown.split(b"\x1b["))
        assert wait_until(lambda: len(read().split(b"\x1b[")) > count)
    finally:
        assert stop(child, signal.SIGINT) == 0
        read()
        os.close(ours)
    # Every table but the first stands where the one before it stood: as many lines up, and clear.
    before, *tables = re.split(rb"\x1b\[(\d+)A\x1b\[J", shown)
    lines = before[before.index(b"listener "):].count(b"\n")
    for up, table in zip(tables[::2], tables[1::2]):
        assert int(up) == lines
        assert table.startswith(b"listener ")
        lines = table.count(b"\n")
    assert shown.endswith(b"eth0: detached\r\n")


def test_broken_pipe(network):
    """A reader that went away is a failure, not a silent run, and nothing stays attached."""
    reader, writer = os.pipe()
    child = network.server.spawn([MPLEX_RUN, "eth0", objects.build(), "--json", "--interval", "1"],
                                 stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    os.close(reader)
    assert child.wait(10) == 1
    assert "standard output" in child.stderr.read()
    child.stderr.close()
    assert xdp_shown(network.server) == 0
