# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex@.service under a systemd that runs: start, reload, crash, stop.

It is installed where it belongs, so this runs only in a machine that is thrown away afterwards:
`make check-service` starts one. systemd gets a PID namespace of its own there, and no udev, so the
unit goes without its device; all the rest is as shipped.
"""

import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from lib.clients import ask_udp, message
from lib.mplex import ROOT, compile_rules
from lib.netns import CLIENT, CLIENT_MAC, SERVER, SERVER_MAC, Namespace
from lib.servers import Servers, UdpServer
from lib.waiting import wait_until

pytestmark = pytest.mark.skipif("MPLEX_MACHINE" not in os.environ,
                                reason="needs a machine of its own: make check-service")

RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"TAG": 5001}
        tests: [{payload: {length: 292, at: {20: "TAG"}}, expect: 5001}]
"""
FIRST, SECOND = (RULES.replace("TAG", tag) for tag in ("600", "601"))
UNIT = "mplex@eth9.service"
OBJECT = pathlib.Path("/etc/mplex/eth9.bpf.o")
PATIENCE = 120  # seconds: a machine that is emulated is slow


class Here:
    """This machine as a host."""

    socket = staticmethod(socket.socket)


@pytest.fixture(scope="module")
def client():
    """A host beside this machine, joined to its eth9."""
    namespace = Namespace()
    subprocess.run(["ip", "link", "add", "eth9", "address", SERVER_MAC, "type", "veth", "peer",
                    "name", "eth0", "address", CLIENT_MAC, "netns", namespace.path], check=True)
    subprocess.run(["ip", "link", "set", "eth9", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{SERVER[4]}/24", "dev", "eth9"], check=True)
    namespace.run("ip link set eth0 up")
    namespace.run(f"ip address add {CLIENT[4]}/24 dev eth0")
    namespace.run("ethtool -K eth0 gro on")
    yield namespace
    namespace.close()


@pytest.fixture(scope="module")
def systemd():
    """Starts systemd; yields a function that runs a command in its view of the machine."""
    subprocess.run(["make", "-s", "install", "PREFIX=/usr/local"], cwd=ROOT, check=True)
    unit = pathlib.Path("/usr/local/lib/systemd/system/mplex@.service")
    unit.write_text("".join(line for line in unit.read_text().splitlines(keepends=True)
                            if ".device" not in line))
    for wants in pathlib.Path("/etc/systemd/system").glob("*.wants"):
        shutil.rmtree(wants)
    target = pathlib.Path("/etc/systemd/system/test.target")
    target.write_text("[Unit]\nRequires=basic.target\nAfter=basic.target\n")
    OBJECT.parent.mkdir(exist_ok=True)
    OBJECT.write_bytes(compile_rules(FIRST).read_bytes())
    child = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child",
         "/lib/systemd/systemd", "--system", f"--unit={target.name}", "--show-status=no"],
        env={"PATH": os.environ["PATH"], "container": "mplex"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def init():
        found = subprocess.run(["pgrep", "--exact", "--parent", str(child.pid), "systemd"],
                               capture_output=True, text=True)
        return found.stdout.strip()

    def run(*words, check=True):
        return subprocess.run(["nsenter", "--target", init(), "--pid", "--mount", "--", *words],
                              check=check, capture_output=True, text=True, timeout=PATIENCE)

    assert wait_until(init, PATIENCE, 0.5)
    assert wait_until(lambda: run("systemctl", "is-active", target.name, check=False).stdout
                      == "active\n", PATIENCE, 0.5)
    yield run
    child.kill()
    child.wait()


def served(client, tag):
    try:
        return ask_udp(client, 4, 5000, message(tag), timeout=1) == (5001, 5000)
    except (TimeoutError, ConnectionError):
        return False


def state(systemd):
    shown = systemd("systemctl", "show", UNIT, "--property=ActiveState,MainPID,NRestarts").stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def journal(systemd):
    return systemd("journalctl", "--no-pager", "--unit", UNIT).stdout


def test_life(systemd, client):
    with Servers(Here(), [5001], kinds=(UdpServer,), versions=(4,)):
        # Start: attached, and a process that follows.
        started = systemd("systemctl", "start", UNIT, check=False)
        assert started.returncode == 0, started.stderr + journal(systemd)
        assert served(client, "600") and not served(client, "601")
        assert "1 ok, 0 failed" in journal(systemd)  # the rule file's examples

        # Reload: the new object, and not a new process.
        before = state(systemd)
        OBJECT.write_bytes(compile_rules(SECOND).read_bytes())
        systemd("systemctl", "reload", UNIT)
        assert served(client, "601") and not served(client, "600")
        assert state(systemd) == before

        # An object that is none: the reload fails, and what ran runs on.
        OBJECT.write_bytes(b"nothing")
        assert systemd("systemctl", "reload", UNIT, check=False).returncode != 0
        assert served(client, "601")
        assert state(systemd) == before
        OBJECT.write_bytes(compile_rules(SECOND).read_bytes())

        # A process that is killed: served without it, and back again.
        systemd("kill", "-KILL", before["MainPID"])
        assert served(client, "601")
        assert wait_until(lambda: state(systemd)["NRestarts"] == "1" and
                          state(systemd)["ActiveState"] == "active", PATIENCE, 0.5)
        assert served(client, "601")

        # An address that comes is followed within the unit's confines.
        subprocess.run(["ip", "address", "add", "192.0.2.55/24", "dev", "eth9"], check=True)
        assert wait_until(lambda: "loaded anew" in journal(systemd), PATIENCE, 0.5)

        # Stop: nothing is left.
        systemd("systemctl", "stop", UNIT)
        assert not served(client, "601")
        assert not list(pathlib.Path("/sys/fs/bpf/mplex").glob("*/*"))
