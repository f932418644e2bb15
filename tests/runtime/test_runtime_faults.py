# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Faults of the host while mplex-run works: calls that fail, links that go down, and many cycles."""

import contextlib
import json
import os
import signal
import socket

import pytest

import foreign
import objects
from lib import pins
from lib.mplex import Mplex
from lib.netns import SERVER, stop
from lib.pins import pin, run, soon
from lib.waiting import wait_until

OTHER = objects.manifest(rules={"file": "other.yaml", "sha256": "fedcba9876543210" * 4})

# How many times something is attached and taken off; make check-cycles does it 10,000 times.
CYCLES = int(os.environ.get("CYCLES", "30"))
# Calls that a change is made of, and which of them fail here.
CALLS = {"bpf": range(1, 200, 1 if "KILLS" in os.environ else 7), "mkdir": range(1, 8)}


@pytest.fixture
def server(own_network):
    with pins.detached(own_network.server):
        yield own_network.server


def send(network):
    with network.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"message", (SERVER[4], 5000))


def failing(namespace, call, error, number, *arguments):
    """Runs mplex-run, whose call of that number fails."""
    return run(namespace, *arguments, prefix=(
        "strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
        "-e", f"inject={call}:error={error}:when={number}"))


@pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails(server, call, error):
    """Nothing is attached then, or what ran before runs on; or it did not matter."""
    path = pins.place(server)
    failed = 0
    for number in CALLS[call]:
        done = failing(server, call, error, number, "eth0", objects.build(), "--pin")
        assert done.returncode in (0, 1), (number, done)
        if done.returncode:
            failed += 1
            assert done.stdout == "" and done.stderr.startswith("mplex-run: "), (number, done)
            assert not path.exists(), number
            assert "xdp" not in server.run("ip link show dev eth0"), number
            pin(server, objects.build())
        program = pins.link(path / "xdp")["prog_id"]
        done = failing(server, call, error, number, "eth0", objects.build(OTHER), "--pin")
        assert done.returncode in (0, 1), (number, done)
        now = pins.link(path / "xdp")["prog_id"]
        assert (now == program) == (done.returncode == 1), (number, done)
        assert run(server, "detach", "eth0").returncode == 0
        assert not path.exists()
    assert failed


def test_a_rename_that_fails(server):
    """Either the one before runs on, or it is said what the next one will tidy up."""
    pin(server, objects.build())
    path = pins.place(server)
    failed = 0
    for number in range(1, 6):
        program = pins.link(path / "xdp")["prog_id"]
        done = failing(server, "rename", "ENOSPC", number, "eth0", objects.build(OTHER), "--pin")
        assert done.returncode in (0, 1), (number, done)
        now = pins.link(path / "xdp")["prog_id"]
        assert (now == program) == (done.returncode == 1), (number, done)
        failed += "No space left on device" in done.stderr
        if done.returncode == 0:
            assert (len(pins.generations(path)) == 1 or
                    "the next mplex-run will try again" in done.stderr), (number, done)
        pin(server, objects.build())
        assert len(pins.generations(path)) == 1
    assert failed


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "foreground"])
def test_link_down_and_up(own_network, server, pinned):
    """It stays attached, and goes on counting."""
    with contextlib.ExitStack() as stack:
        if pinned:
            pin(server, objects.build())
            count = lambda: pins.counters(pins.place(server))["feed", "routed"]  # noqa: E731
        else:
            running = stack.enter_context(Mplex(server, objects.build(
                objects.MANIFEST, "WITHOUT_ADDRESSES")))
            count = lambda: running.counters()["feed", "routed"]  # noqa: E731
        send(own_network)
        assert wait_until(lambda: count() == 1)
        server.run("ip link set dev eth0 down")
        assert "xdp" in server.run("ip link show dev eth0")
        server.run("ip link set dev eth0 up")

        def counted():
            send(own_network)
            return count() > 1
        assert wait_until(counted, 20, 0.1)


def test_cycles(server):
    """Attached and taken off again and again, nothing is left: no program, map, link or pin."""
    path = pins.place(server)
    files = len(os.listdir("/proc/self/fd"))
    seen = set()
    for cycle in range(CYCLES):
        pin(server, objects.build())
        if cycle % 2:
            pin(server, objects.build(OTHER))
        ids = pins.pinned(path)
        assert {kind for kind, _ in ids} == {"link", "prog", "map"}
        seen |= ids
        assert run(server, "detach", "eth0").returncode == 0
        assert not path.exists()
    assert len(os.listdir("/proc/self/fd")) == files
    assert soon(lambda: not seen & pins.kernel_objects(), 60)


def test_cycles_in_the_foreground(server):
    path = pins.place(server)
    seen = set()
    for _ in range(CYCLES):
        running = Mplex(server, objects.build())
        for entry in os.scandir(f"/proc/{running.child.pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError):
                seen |= pins.identified(entry.path)
        assert stop(running.child, signal.SIGTERM) == 0
        running.stop()
        server.children.clear()
        assert not path.exists()
    assert {kind for kind, _ in seen} == {"link", "prog", "map"}
    assert soon(lambda: not seen & pins.kernel_objects(), 60)


def test_files_of_one_process(own_network, server):
    """What replaces itself again and again keeps no more open than at first."""
    with Mplex(server, objects.build()) as running:
        descriptors = f"/proc/{running.child.pid}/fd"

        def change(number):
            server.run(f"ip address add 203.0.113.{number}/32 dev lo")
            assert wait_until(lambda: running.text().count("loaded anew") == number, 20)
        change(1)
        before = len(os.listdir(descriptors))
        for number in range(2, 8):
            change(number)
        assert wait_until(lambda: len(os.listdir(descriptors)) == before)


def seen_by_filter(server, preference):
    """How many packets the foreign_tc of a filter saw."""
    program, = (filter["options"]["prog"]["id"]
                for filter in json.loads(server.run("tc -json filter show dev eth0 ingress"))
                if filter["pref"] == preference and "prog" in filter.get("options", {}))
    number, = pins.bpftool("prog", "show", "id", str(program))["map_ids"]
    entry, = pins.bpftool("map", "dump", "id", str(number))
    return int.from_bytes(bytes(int(byte, 16) for byte in entry["value"]), "little")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_filters_of_others(own_network, server, number):
    """A clsact qdisc that was there, and the filters of others in it, stay as they are, and run."""
    def runs():
        before = seen_by_filter(server, 5)
        send(own_network)
        return wait_until(lambda: seen_by_filter(server, 5) > before)

    server.run("tc qdisc add dev eth0 clsact")
    for preference in (5, 200):
        server.run(f"tc filter add dev eth0 ingress pref {preference} handle 1 bpf da obj "
                   f"{foreign.compiled()} sec tc")
    shown = server.run("tc filter show dev eth0 ingress")
    assert shown.count("foreign_tc") == 2
    running = Mplex(server, objects.build())
    assert runs()
    running.child.send_signal(number)
    running.child.wait(20)
    running.stop()
    assert runs()
    pin(server, objects.build())
    pin(server, objects.build(OTHER))
    assert runs()
    assert run(server, "eth0", objects.build(objects.MANIFEST, "UNVERIFIABLE"),
               "--pin").returncode == 1
    assert runs()
    assert run(server, "detach", "eth0").returncode == 0
    assert runs()
    assert server.run("tc filter show dev eth0 ingress") == shown
    assert "clsact" in server.run("tc qdisc show dev eth0")


def test_tcx_program_of_another(own_network, server):
    """It runs after each step, whichever came first, and however ours ended."""
    def runs(other):
        before = other.seen()
        send(own_network)
        assert wait_until(lambda: other.seen() > before)

    try:
        other = foreign.Tcx(server, "eth0", foreign.TCX_INGRESS).__enter__()
    except OSError:
        pytest.skip("needs tcx (Linux 6.6)")
    with contextlib.ExitStack() as stack:
        stack.push(other)
        for step in (objects.build(), objects.build(OTHER)):
            pin(server, step)
            runs(other)
        assert run(server, "eth0", objects.build(objects.MANIFEST, "UNVERIFIABLE"),
                   "--pin").returncode == 1
        runs(other)
        assert run(server, "detach", "eth0").returncode == 0
        runs(other)
        running = Mplex(server, objects.build())
        running.child.kill()
        running.child.wait(20)
        running.stop()
        runs(other)
        pin(server, objects.build())
    assert len(pins.tc_programs(server, pins.place(server))) == 2
    with foreign.Tcx(server, "eth0", foreign.TCX_INGRESS) as later:
        runs(later)
        pin(server, objects.build(OTHER))
        runs(later)
        assert run(server, "detach", "eth0").returncode == 0
        runs(later)


def release():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


@pytest.mark.skipif(release() >= (5, 11),
                    reason="needs a kernel that counts BPF maps as locked memory")
def test_locked_memory(server):
    """The limit is raised where that is allowed; else it is named, with what raises it."""
    little = ("prlimit", "--memlock=65536")
    may_not = (*little, "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", "--")
    target = objects.build()
    assert run(server, "eth0", target, "--pin", prefix=little).returncode == 0
    assert run(server, "eth0", target, "--pin", prefix=little).returncode == 0
    assert run(server, "detach", "eth0").returncode == 0
    done = run(server, "eth0", target, "--pin", prefix=may_not)
    assert done.returncode == 1
    sentence, = done.stderr.splitlines()
    assert "counts BPF maps as locked memory" in sentence and "ulimit -l unlimited" in sentence
    assert not pins.place(server).exists()


def test_a_file_system_that_is_read_only(server):
    """For one process alone: the file system is everybody's."""
    target = objects.build()
    read_only = ("unshare", "--mount", "--", "sh", "-c",
                 "mount --bind /sys/fs/bpf /sys/fs/bpf && "
                 'mount -o remount,bind,ro /sys/fs/bpf && exec "$@"', "sh")
    done = run(server, "eth0", target, "--pin", prefix=read_only)
    assert done.returncode == 1
    sentence, = done.stderr.splitlines()
    assert sentence.endswith('run "mount -o remount,rw /sys/fs/bpf"')
    assert "xdp" not in server.run("ip link show dev eth0")
    pin(server, target)
    program = pins.link(pins.place(server) / "xdp")["prog_id"]
    assert run(server, "eth0", objects.build(OTHER), "--pin", prefix=read_only).returncode == 1
    assert run(server, "detach", "eth0", prefix=read_only).returncode == 1
    assert pins.link(pins.place(server) / "xdp")["prog_id"] == program
