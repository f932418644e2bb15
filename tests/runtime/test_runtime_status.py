# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run status and counters: what is attached, what no longer holds, and what was counted."""

import datetime
import json
import os
import shlex
import signal
import socket
import subprocess

import pytest

import objects
from lib.mplex import MPLEX_RUN, Mplex
from lib.netns import SERVER, Namespace, stop
from lib.waiting import wait_until
from watching import Status, detach, mplex_run, pin

ROUTES = {"routes": [{"tag": "600", "port": 5001, "counter": 0},
                     {"tag": "601", "port": 5002, "counter": 1}], "counters": 2}


def send(network, count=1):
    with network.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"message", (SERVER[4], 5000))


def recent(text):
    then = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return abs((datetime.datetime.utcnow() - then).total_seconds()) < 300


# ---- the command ----------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [
    ("status", "a", "b"), ("status", "--watch"), ("counters",), ("counters", "a", "b"),
    ("counters", "eth0", "--interval", "3"), ("counters", "eth0", "--watch", "--interval", "0"),
    ("metrics", "eth0"), ("metrics", "--textfile"),
])
def test_usage(network, refused, arguments):
    status, sentence = refused(network.server, *arguments)
    assert status == 2 and "--help" in sentence


@pytest.mark.parametrize("command", ["status", "counters"])
def test_nothing_there(network, refused, command):
    status, sentence = refused(network.server, command, "eth0")
    assert status == 1 and "nothing of mplex is attached to eth0" in sentence
    status, sentence = refused(network.server, command, "eth7")
    assert status == 1 and "no interface eth7" in sentence


def test_nothing_at_all(network):
    """Others may have something attached on this machine, but not here."""
    done = mplex_run(network.server, "status", "--json")
    assert done.returncode in (0, 1)
    assert not [entry for entry in json.loads(done.stdout) if entry["here"]]


@pytest.mark.parametrize("command", [("status",), ("status", "eth0"), ("counters", "eth0"),
                                     ("metrics",)])
def test_without_rights(own_network, command):
    pin(own_network.server, objects.build())
    sets = ("setpriv", "--reuid", "65534", "--clear-groups", "--bounding-set", "-all",
            "--inh-caps", "-all")
    done = mplex_run(own_network.server, *command, prefix=sets)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done


# ---- what is attached -----------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["native", "generic"])
def test_pinned(own_network, mode):
    server, target = own_network.server, objects.build()
    pin(server, target, "--mode", mode)
    found = Status(server)
    entry = found.entry
    assert found.is_well(), entry
    assert (entry["interface"], entry["here"], entry["attached"]) == ("eth0", True, True)
    assert (entry["mode"], entry["pinned"]) == (mode, True)
    assert "process" not in entry and "confirm" not in entry
    assert entry["rules"] == objects.MANIFEST["rules"]
    assert entry["object"] == str(target)
    assert recent(entry["since"]) and entry["since"] == entry["loaded"]
    assert [(one["name"], one["by"]) for one in entry["programs"]] == [
        ("mplex_xdp", "xdp"), ("mplex_ingress", "tcx"), ("mplex_egress", "tcx")]
    for program in entry["programs"]:
        shown = json.loads(subprocess.run(
            ["bpftool", "-j", "prog", "show", "id", str(program["id"])], check=True,
            capture_output=True, text=True).stdout)
        assert shown["name"] == program["name"]
    assert {"192.0.2.1", "192.0.2.11", "2001:db8::1"} <= set(entry["addresses"])
    assert entry["listeners"] == [
        {"name": "feed", "protocols": ["udp"], "port": 5000, "ports": [5001, 5002]}]
    detach(server)


def test_foreground(own_network):
    with Mplex(own_network.server, objects.build()) as running:
        found = Status(own_network.server)
        assert found.is_well(), found.entry
        assert not found.entry["pinned"]
        assert found.entry["process"] == running.child.pid


def test_text_says_what_json_says(own_network):
    server = own_network.server
    pin(server, objects.build())
    server.sysctl("net.ipv4.ip_default_ttl", 77)
    entry = Status(server).entry
    done = mplex_run(server, "status", "eth0")
    assert done.returncode == 0
    for word in (entry["rules"]["file"], entry["rules"]["sha256"][:12], entry["mode"], "by tcx",
                 entry["object"], entry["since"], *entry["addresses"],
                 *(str(program["id"]) for program in entry["programs"]),
                 *(finding["text"] for finding in entry["findings"]),
                 *(f"run: {finding['remedy']}" for finding in entry["findings"]
                   if "remedy" in finding)):
        assert word in done.stdout
    assert "detach eth0" in done.stdout


def test_several_interfaces(own_network):
    server = own_network.server
    server.run("ip link add here type veth peer name there")
    pin(server, objects.build())
    pin(server, objects.build(), interface="here")
    entries = [entry for entry in json.loads(mplex_run(server, "status", "--json").stdout)
               if entry["here"]]
    assert [entry["interface"] for entry in entries] == ["eth0", "here"]


def test_seen_from_another_namespace(own_network):
    server = own_network.server
    pin(server, objects.build())
    child = server.spawn(["sleep", "600"])
    other = Namespace()
    try:
        def entry():
            mine = Status(server).entry["netns"]
            return next(one for one in json.loads(mplex_run(other, "status", "--json").stdout)
                        if one["netns"] == mine)
        assert wait_until(lambda: f"process {child.pid}" in str(entry()["findings"]))
        found = entry()
        assert not found["here"] and found["attached"]
        finding, = found["findings"]
        assert finding["verdict"] == "unknown"
        # Where it says to ask, the whole answer is given.
        words = shlex.split(finding["remedy"])
        words[words.index("mplex-run")] = MPLEX_RUN
        assert "all programs are attached" in other.run([str(word) for word in words])
    finally:
        stop(child)
        other.close()


def test_confirm(own_network):
    server = own_network.server
    pin(server, objects.build())
    pin(server, objects.build(), "--confirm", "500")
    entry = Status(server).entry
    assert 0 < entry["confirm"] <= 500
    assert "mplex-run confirm eth0" in mplex_run(server, "status", "eth0").stdout
    found = Status(server)
    finding = found.one("confirm", "warning", "not confirmed yet")
    assert "pins" not in {one["check"] for one in found.entry["findings"]}  # the old one is wanted
    assert mplex_run(server, *shlex.split(finding["remedy"])[1:]).returncode == 0
    assert "confirm" not in Status(server).entry and Status(server).is_well()


# ---- what no longer holds -------------------------------------------------------------------------

def again(server, finding):
    """Follows the remedy: the rules are loaded again."""
    words = shlex.split(finding["remedy"])
    assert words[0] == "mplex-run"
    done = mplex_run(server, *words[1:])
    assert done.returncode == 0, done.stderr
    assert Status(server).is_well()


def test_addresses_changed(own_network):
    server = own_network.server
    pin(server, objects.build())
    server.run("ip address add 203.0.113.7/32 dev lo")
    again(server, Status(server).one("addresses", "problem", "have changed"))
    # A program that compares no addresses does not mind.
    pin(server, objects.build(objects.MANIFEST, "WITHOUT_ADDRESSES"))
    server.run("ip address add 203.0.113.8/32 dev lo")
    assert Status(server).is_well()


@pytest.mark.parametrize("name, verdict", [
    ("tcp_sack", "problem"), ("tcp_timestamps", "problem"), ("tcp_window_scaling", "problem"),
    ("ip_default_ttl", "warning"),
])
def test_sysctl_changed(own_network, name, verdict):
    server = own_network.server
    pin(server, objects.build())
    server.sysctl(f"net.ipv4.{name}", 77 if "ttl" in name else 0)
    again(server, Status(server).one("constants", verdict, name))


@pytest.mark.parametrize("change, word", [
    ("ip link set dev eth0 mtu 1400", "the MTU has changed"),
    ("ip link set dev eth0 address 02:00:00:00:00:77", "the Ethernet address has changed"),
])
def test_interface_changed(own_network, change, word):
    server = own_network.server
    pin(server, objects.build())
    server.run(change)
    again(server, Status(server).one("constants", "problem", word))


def test_interface_down(own_network):
    server = own_network.server
    pin(server, objects.build())
    server.run("ip link set dev eth0 down")
    server.run(shlex.split(Status(server).one("interface", "warning", "is down")["remedy"]))
    assert Status(server).verdicts("interface") == ["ok"]


def test_needs(own_network):
    server = own_network.server
    pin(server, objects.build(objects.manifest(
        needs={"sysctls": {"net.ipv4.tcp_syncookies": {"min": 1}}})))
    assert Status(server).is_well()
    server.sysctl("net.ipv4.tcp_syncookies", 0)
    server.run(shlex.split(Status(server).one("sysctl", "problem")["remedy"]))
    assert Status(server).is_well()


def test_program_taken_off(own_network):
    """By somebody with bpftool."""
    server = own_network.server
    pin(server, objects.build())
    programs = {one["name"]: one["id"] for one in Status(server).entry["programs"]}
    links = json.loads(subprocess.run(["bpftool", "-j", "link", "show"], check=True,
                                      capture_output=True, text=True).stdout)
    for name in ("mplex_ingress", "mplex_egress"):
        link, = (one["id"] for one in links if one.get("prog_id") == programs[name])
        subprocess.run(["bpftool", "link", "detach", "id", str(link)], check=True)
        Status(server).one("programs", "problem", name)
    link, = (one["id"] for one in links if one.get("prog_id") == programs["mplex_xdp"])
    subprocess.run(["bpftool", "link", "detach", "id", str(link)], check=True)
    finding = Status(server).one("pins", "problem", "nothing is attached")
    assert finding["remedy"] == "mplex-run detach eth0"
    # Any other mplex-run on this machine may have tidied it up meanwhile.
    mplex_run(server, "detach", "eth0")
    assert mplex_run(server, "status", "eth0").returncode == 1


def test_interface_removed(own_network):
    server = own_network.server
    pin(server, objects.build())
    netns = Status(server).entry["netns"]
    server.run("ip link del eth0")
    done = mplex_run(server, "status", "--json")
    entry, = (one for one in json.loads(done.stdout) if one["netns"] == netns)
    assert not entry["attached"]
    finding, = entry["findings"]
    assert finding["verdict"] == "warning" and "was removed" in finding["text"]


def test_change_broken_off(own_network):
    """A generation that a killed process left beside the current one."""
    server = own_network.server
    pin(server, objects.build())
    netns = Status(server).entry["netns"]
    place, = (entry.path for entry in os.scandir("/sys/fs/bpf/mplex")
              if entry.name.startswith(f"{netns}-"))
    os.mkdir(f"{place}/4000000000")
    Status(server).one("pins", "warning", "1 generation behind")
    pin(server, objects.build())
    assert Status(server).is_well()


# ---- counters -------------------------------------------------------------------------------------

def counters(server, interface="eth0"):
    done = mplex_run(server, "counters", interface, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["event"] == "counters" and report["interface"] == interface and report["final"]
    return {one.get("route", one["reason"]): (one["packets"], one["bytes"])
            for one in report["counters"]}


def test_counters_of_a_pinned_one(own_network):
    server = own_network.server
    pin(server, objects.build(objects.manifest(ROUTES)))
    assert counters(server)["600"] == (0, 0)
    send(own_network, 3)
    assert wait_until(lambda: counters(server)["600"] == (3, 147))
    done = mplex_run(server, "counters", "eth0")
    assert "feed 600 -> 5001: 3 packets, 147 bytes\n" in done.stdout
    assert "601" not in done.stdout  # nothing to tell


def test_counters_go_on(own_network):
    """Through a replacement, which counts in maps of its own."""
    server = own_network.server
    pin(server, objects.build(objects.manifest(ROUTES)))
    send(own_network, 3)
    assert wait_until(lambda: counters(server)["600"][0] == 3)
    before = Status(server).entry["programs"][0]["id"]
    pin(server, objects.build(objects.manifest(ROUTES | {"ports": [5001, 5002, 5003]})))
    assert Status(server).entry["programs"][0]["id"] != before
    assert counters(server)["600"][0] == 3
    send(own_network, 2)
    assert wait_until(lambda: counters(server)["600"] == (5, 5 * 49))
    entry = Status(server).entry
    assert entry["since"] <= entry["loaded"]


def test_counters_of_a_foreground_one(own_network):
    with Mplex(own_network.server, objects.build()) as running:
        send(own_network, 4)
        assert wait_until(lambda: running.counters()["feed", "routed"] == 4)
        assert counters(own_network.server)["routed"] == (4, 4 * 49)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_watch(own_network, tmp_path, form):
    """Reports as long as something is attached, through a replacement, and says when it ends."""
    server, path = own_network.server, tmp_path / "shown"
    pin(server, objects.build(objects.manifest(ROUTES)))
    with open(path, "w") as output:
        child = server.spawn([MPLEX_RUN, "counters", "eth0", "--watch", "--interval", "1", *form],
                             stdout=output)
    packets = '"packets":{}' if form else "600 -> 5001: {} packets"
    send(own_network, 3)
    assert wait_until(lambda: packets.format(3) in path.read_text(), timeout=20)
    pin(server, objects.build())  # other rows
    send(own_network, 2)
    packets = '"packets":{}' if form else "routed: {} packets"
    assert wait_until(lambda: packets.format(5) in path.read_text(), timeout=20)
    before = path.read_text().count("600")
    pin(server, objects.build(objects.manifest(ROUTES)))  # more rows
    send(own_network, 1)
    assert wait_until(lambda: path.read_text().count("600") > before, timeout=20)
    assert child.poll() is None
    detach(server)
    assert child.wait(20) == 0
    assert path.read_text().endswith('{"event":"detached","interface":"eth0"}\n' if form
                                     else "eth0: detached\n")


def test_watch_ends_by_a_signal(own_network):
    pin(own_network.server, objects.build())
    child = own_network.server.spawn([MPLEX_RUN, "counters", "eth0", "--watch"],
                                     stdout=subprocess.DEVNULL)
    assert stop(child, signal.SIGINT) in (0, -signal.SIGINT)
    assert Status(own_network.server).is_well()
