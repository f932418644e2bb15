# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What stays when mplex-run ends: pins, replacements, the lock, the time to confirm."""

import contextlib
import json
import os
import pathlib
import signal
import stat
import subprocess
import time

import pytest

import foreign
import objects
from lib import pins
from lib.mplex import MPLEX_RUN, Mplex
from lib.netns import SERVER, Namespace
from lib.pins import bpftool, pin, run, soon
from lib.waiting import wait_until

OTHER = objects.manifest(rules={"file": "other.yaml", "sha256": "fedcba9876543210" * 4})


@pytest.fixture
def server(own_network):
    with pins.detached(own_network.server):
        yield own_network.server


def send(network, count=1):
    """Datagrams that the object counts, each seen by XDP when this returns."""
    with network.client.socket(2, 2) as sock:
        for _ in range(count):
            sock.sendto(b"message", (SERVER[4], 5000))


def routed(path):
    return pins.counters(path)["feed", "routed"]


def mapped(path):
    """All that a generation at a place has: programs, maps and links, as ids of the kernel."""
    kept = set()
    for entry in path.rglob("*"):
        if entry.is_dir():
            continue
        kind = ("prog" if entry.parent.name == "programs" else
                "link" if entry.name in ("xdp", "ingress", "egress") else "map")
        kept.add((kind, bpftool(kind, "show", "pinned", entry)["id"]))
    return kept


def rules_at(path):
    """The rule file of what runs there."""
    manifest = pins.document(pins.current(path) / "record")["manifest"]
    return json.loads(manifest)["rules"]["file"]


def assert_whole(namespace, path):
    """One generation, and attached what its record says."""
    assert pins.generations(path) == [int(pins.current(path).name)]
    programs = pins.document(pins.current(path) / "record")["programs"]
    assert pins.tc_programs(namespace, path) == {
        name: programs[name] for name in ("ingress", "egress")}
    shown = json.loads(namespace.run("ip -j -d link show dev eth0"))[0]
    assert shown["xdp"]["prog"]["id"] == programs["xdp"]


# ---- pinning and detaching -----------------------------------------------------------------------

def test_stays_and_goes(own_network, server):
    done = pin(server, objects.build())
    assert 'stays until "mplex-run detach eth0"' in done.stdout
    path = pins.place(server)
    assert_whole(server, path)
    kept = mapped(path)
    assert {kind for kind, _ in kept} == {"link", "prog", "map"}
    assert kept <= pins.kernel_objects()
    send(own_network, 3)
    assert wait_until(lambda: routed(path) == 3)

    done = run(server, "detach", "eth0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "eth0: detached\n", "")
    assert not path.exists()
    assert wait_until(lambda: not kept & pins.kernel_objects())
    assert "xdp" not in server.run("ip link show dev eth0")
    assert "clsact" not in server.run("tc qdisc show dev eth0")


def test_for_the_owner_alone(server):
    pin(server, objects.build())
    path = pins.place(server)
    for entry in (path.parent, path, *path.rglob("*")):
        status = entry.stat()
        assert status.st_uid == 0
        assert stat.S_IMODE(status.st_mode) == (0o700 if entry.is_dir() else 0o600), entry


def test_json(server):
    said = json.loads(pin(server, objects.build(), "--json").stdout)
    assert (said["event"], said["pinned"], said["confirm"]) == ("attached", True, 0)
    said = json.loads(pin(server, objects.build(OTHER), "--json").stdout)
    assert (said["event"], said["rules"]["file"]) == ("replaced", "other.yaml")
    by = "tcx" if (pins.place(server) / "ingress").exists() else "clsact"
    assert [one["by"] for one in said["programs"]] == ["xdp", by, by]
    done = run(server, "detach", "--json")
    assert json.loads(done.stdout) == {"event": "detached", "interface": "eth0"}


def test_detach_where_nothing_is(server, refused):
    status, sentence = refused(server, "detach", "eth0")
    assert status == 1
    assert "nothing of mplex is attached to eth0" in sentence
    done = run(server, "detach")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_detach_everywhere(own_network, server):
    server.run("ip link add here type veth peer name there")
    pin(server, objects.build())
    pin(server, objects.build(), interface="here")
    places = [pins.place(server, name) for name in ("eth0", "here")]
    assert all(path.exists() for path in places)
    done = run(server, "detach")
    assert sorted(done.stdout.splitlines()) == ["eth0: detached", "here: detached"]
    assert not any(path.exists() for path in places)


def leave_pins(server):
    """Pins of an interface, here, that is gone. Any mplex-run on the machine may find and remove
    them, so it may take more than one try."""
    for _ in range(10):
        server.run("ip link add here type veth peer name there")
        pin(server, objects.build(), interface="here")
        path = pins.place(server, "here")
        kept = mapped(path)
        server.run("ip link del here")
        if path.exists():
            return path, kept
    raise AssertionError("an interface that went took its pins along")


@pytest.mark.parametrize("by_name", [True, False])
def test_the_interface_is_gone(server, by_name):
    path, kept = leave_pins(server)
    done = run(server, "detach", *(["here"] if by_name else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert not path.exists()
    assert wait_until(lambda: not kept & pins.kernel_objects())


def test_the_interface_is_made_anew(server):
    """What the old one left is gone with the next attach, to whatever interface."""
    path, _ = leave_pins(server)
    server.run("ip link add here type veth peer name there")
    pin(server, objects.build(), interface="here")
    assert not path.exists()
    assert pins.place(server, "here").exists()


def test_the_namespace_is_gone(own_network, server):
    gone = Namespace()
    gone.run("ip link add eth0 type veth peer name eth1")
    pin(gone, objects.build())
    path = pins.place(gone)
    gone.close()
    # The kernel takes its time to end a namespace.
    assert wait_until(lambda: run(server, "detach").returncode == 0 and not path.exists(), 20)


def test_the_process_and_its_namespace_are_gone(server):
    gone = Namespace()
    gone.run("ip link add eth0 type veth peer name eth1")
    running = Mplex(gone, objects.build())
    path = pins.place(gone)
    running.child.kill()
    running.stop()
    gone.close()
    assert run(server, "detach").returncode == 0
    assert not path.exists()


def test_no_bpf_file_system(server, refused):
    """As under "ip netns exec": pins would be nowhere, but the foreground can do without."""
    hide = ("unshare", "--mount", "sh", "-c", 'umount -l /sys/fs/bpf && exec "$@"', "sh")
    status, sentence = refused(server, "eth0", objects.build(), "--pin", prefix=hide)
    assert status == 1
    assert "no BPF file system is mounted at /sys/fs/bpf" in sentence
    child = server.spawn([*hide, str(MPLEX_RUN), "eth0", str(objects.build())],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "rules of" in child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "will not see this one" in err


# ---- replacing -----------------------------------------------------------------------------------

def test_replace(own_network, server):
    pin(server, objects.build())
    path = pins.place(server)
    links = {name: pins.link(path / name) for name in ("xdp", "ingress", "egress")
             if (path / name).exists()}
    tc = pins.tc_programs(server, path)
    before = mapped(path)
    send(own_network, 2)
    assert wait_until(lambda: routed(path) == 2)
    since = pins.document(pins.current(path) / "record")["since"]

    done = run(server, "eth0", objects.build(OTHER))  # stays pinned without a word about it
    assert done.returncode == 0
    assert "replaced mplex_xdp in native mode" in done.stdout
    assert_whole(server, path)
    assert rules_at(path) == "other.yaml"
    record = pins.document(pins.current(path) / "record")
    assert (record["since"], record["interface"]) == (since, "eth0")
    assert record["object"] == str(objects.build(OTHER))
    after = {name: pins.link(path / name) for name in links}
    assert {name: one["id"] for name, one in links.items()} == \
        {name: one["id"] for name, one in after.items()}
    send(own_network, 3)
    assert wait_until(lambda: routed(path) == 5)
    # Of the old generation nothing is left that the new one does not share, but for the constants
    # that TC programs which stayed were loaded with.
    assert pins.tc_programs(server, path) == tc
    kept = {("map", number) for program in tc.values()
            for number in bpftool("prog", "show", "id", program)["map_ids"]}
    assert wait_until(lambda: not (before - mapped(path) - kept) & pins.kernel_objects())


def test_the_key_goes_on(server):
    """Else clients in their handshake would be refused."""
    def key():
        section = bpftool("map", "dump", "pinned", pins.current(path) / "maps" / "rodata")
        constants = section[0]["formatted"]["value"][".rodata"]
        return next(one["mplex_key"] for one in constants if "mplex_key" in one)

    pin(server, objects.build())
    path = pins.place(server)
    first = key()
    assert any(first)
    pin(server, objects.build(OTHER))
    assert key() == first
    run(server, "detach")
    pin(server, objects.build())
    assert key() != first


def test_what_goes_and_what_comes_is_counted_by_name(own_network, server):
    """A listener that is no longer there takes its counts with it."""
    first = objects.manifest()
    pin(server, objects.build(first))
    path = pins.place(server)
    send(own_network, 2)
    assert wait_until(lambda: routed(path) == 2)
    renamed = objects.manifest({"name": "another"})
    pin(server, objects.build(renamed))
    assert pins.counters(path) == {}
    route = objects.manifest({"routes": [{"tag": "600", "port": 5001, "counter": 0}]})
    pin(server, objects.build(first))
    send(own_network, 1)
    assert wait_until(lambda: routed(path) == 1)
    pin(server, objects.build(route))
    send(own_network, 1)
    assert wait_until(lambda: pins.counters(path)["feed", "600"] == 1)
    pin(server, objects.build(first))  # its routes taken together
    assert routed(path) == 1


def test_a_replacement_that_fails_changes_nothing(own_network, server, refused, tmp_path):
    pin(server, objects.build())
    path = pins.place(server)
    before = mapped(path)
    broken = tmp_path / "broken.o"
    broken.write_bytes(b"no object")
    for target, status in ((objects.build(objects.MANIFEST, "UNVERIFIABLE"), 1), (broken, 3),
                           (tmp_path / "missing.o", 1)):
        done = run(server, "eth0", target, "--pin")
        assert (done.returncode, done.stdout) == (status, "")
        assert mapped(path) == before
        assert_whole(server, path)
    status, sentence = refused(server, "eth0", objects.build(), "--mode", "generic")
    assert status == 1
    assert "native mode" in sentence and "mplex-run detach eth0" in sentence
    assert mapped(path) == before


def test_another_layout_is_said(server):
    """A map that means something else by its bytes starts anew."""
    pin(server, objects.build(objects.MANIFEST, "WIDE_COUNTERS"))
    done = pin(server, objects.build())
    assert "ingress_counters in another layout" in done.stderr
    done = pin(server, objects.build(OTHER))
    assert "layout" not in done.stderr


def write_document(path, value):
    """Puts another document in the place of a pinned one, as an mplex-run to come may do."""
    text = json.dumps(value).encode() + b"\0"
    path.unlink()
    chunks = [text[at:at + 4096].ljust(4096, b"\0") for at in range(0, len(text), 4096)]
    subprocess.run(["bpftool", "map", "create", path, "type", "array", "key", "4", "value", "4096",
                    "entries", str(len(chunks)), "name", "document"], check=True)
    for number, chunk in enumerate(chunks):
        subprocess.run(["bpftool", "map", "update", "pinned", path, "key",
                        *map(str, number.to_bytes(4, "little")), "value", *map(str, chunk)],
                       check=True)


@pytest.mark.parametrize("change, word", [({"format": 2}, "newer mplex-run"),
                                          ({"mode": 5}, "malformed"),
                                          ({"addresses": 5, "v4": ["here"]}, "malformed"),
                                          ({"manifest": "{}"}, "malformed")])
def test_a_record_that_is_not_understood(server, refused, change, word):
    """What it belongs to stays untouched, unless it is to be detached."""
    pin(server, objects.build())
    path = pins.place(server)
    record = pins.current(path) / "record"
    write_document(record, pins.document(record) | change)
    before = pins.link(path / "xdp")
    status, sentence = refused(server, "eth0", objects.build(OTHER), "--pin")
    assert status == 1
    assert word in sentence and "mplex-run detach eth0" in sentence
    assert pins.link(path / "xdp") == before
    assert run(server, "detach", "eth0").returncode == 0
    assert not path.exists()


def test_somebody_elses_filter_in_our_place(server):
    """It stays, and matters only where there is no tcx."""
    server.run("tc qdisc add dev eth0 clsact")
    server.run("tc filter add dev eth0 ingress pref 97 handle 1 bpf da obj "
               f"{foreign.compiled()} sec tc")
    done = run(server, "eth0", objects.build(), "--pin")
    if done.returncode:
        assert "tc filter show dev eth0 ingress" in done.stderr
        assert "xdp" not in server.run("ip link show dev eth0")
    else:
        pin(server, objects.build(OTHER))
        assert run(server, "detach").returncode == 0
    assert "foreign_tc" in server.run("tc filter show dev eth0 ingress")


# ---- one at a time -------------------------------------------------------------------------------

def test_one_at_a_time(own_network, refused):
    server = own_network.server
    with Mplex(server, objects.build()) as running:
        holder = running.child.pid
        for arguments in (("eth0", objects.build(OTHER)), ("eth0", objects.build(OTHER), "--pin"),
                          ("detach", "eth0"), ("detach",)):
            status, sentence = refused(server, *arguments)
            assert status == 1
            assert f"process {holder}" in sentence and "eth0" in sentence
        path = pins.place(server)
        assert pins.document(path / "process")["process"] == holder
    assert not path.exists()
    pin(server, objects.build())
    run(server, "detach")


def test_side_by_side(server):
    """However many start at once: each replaces the one before or says it was not its turn."""
    pin(server, objects.build())
    path = pins.place(server)
    with server.inside():
        many = [subprocess.Popen([MPLEX_RUN, "eth0", objects.build(OTHER), "--pin"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for _ in range(6)]
    ended = [(child, child.communicate(timeout=60)) for child in many]
    for child, (_, err) in ended:
        assert child.returncode == 0 or "another mplex-run" in err
    assert any(child.returncode == 0 for child, _ in ended)
    assert_whole(server, path)


# ---- to be confirmed -----------------------------------------------------------------------------

def waiting_for(target):
    """The processes that wait for the confirmation of an object."""
    words = os.fsencode(f"eth0\0{target}\0--pin\0--confirm\0")
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and words in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_confirmed(own_network, server):
    pin(server, objects.build())
    path = pins.place(server)
    target = objects.build(OTHER)
    done = pin(server, target, "--confirm", "3600")
    assert '"mplex-run confirm eth0" within 3600 seconds' in done.stdout
    assert len(pins.generations(path)) == 2
    done = run(server, "eth0", objects.build(), "--pin")
    assert done.returncode == 1
    assert "mplex-run confirm eth0" in done.stderr
    done = run(server, "confirm", "eth0", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"event": "confirmed", "interface": "eth0",
                                       "rules": OTHER["rules"]}
    assert_whole(server, path)
    assert rules_at(path) == "other.yaml"
    assert wait_until(lambda: not waiting_for(target))
    done = run(server, "confirm", "eth0")
    assert done.returncode == 1
    assert "nothing waits to be confirmed on eth0" in done.stderr


def test_not_confirmed(own_network, server):
    """The one before runs again, and has what was counted meanwhile."""
    pin(server, objects.build())
    path = pins.place(server)
    send(own_network, 2)
    assert wait_until(lambda: routed(path) == 2)
    pin(server, objects.build(OTHER), "--confirm", "2")
    send(own_network, 3)
    assert rules_at(path) == "other.yaml"
    assert soon(lambda: rules_at(path) == "feed.yaml")
    assert wait_until(lambda: len(pins.generations(path)) == 1)
    assert_whole(server, path)
    assert wait_until(lambda: routed(path) == 5)
    send(own_network)
    assert wait_until(lambda: routed(path) == 6)
    assert run(server, "confirm", "eth0").returncode == 1


def test_the_first_is_not_confirmed(server):
    pin(server, objects.build(), "--confirm", "1")
    path = pins.place(server)
    assert wait_until(lambda: not path.exists(), timeout=20)
    assert "xdp" not in server.run("ip link show dev eth0")


def test_outlives_the_one_who_asked(own_network, server):
    """The connection breaks: its session gets SIGHUP, and then all of it is killed."""
    pin(server, objects.build())
    path = pins.place(server)
    target = objects.build(OTHER)
    with server.inside():
        shell = subprocess.Popen(
            ["sh", "-c", f"{MPLEX_RUN} eth0 {target} --pin --confirm 3; echo done; read nothing"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    while shell.stdout.readline() != b"done\n":
        pass
    waiting, = waiting_for(target)
    with open(f"/proc/{waiting}/stat") as status:
        parent, group, session = map(int, status.read().rsplit(")", 1)[1].split()[1:4])
    assert parent != shell.pid and group != shell.pid and session != shell.pid
    for descriptor in (0, 1, 2):
        assert os.readlink(f"/proc/{waiting}/fd/{descriptor}") == "/dev/null"
    os.kill(waiting, signal.SIGHUP)
    os.killpg(shell.pid, signal.SIGHUP)
    os.killpg(shell.pid, signal.SIGKILL)
    shell.communicate()
    assert rules_at(path) == "other.yaml"
    assert soon(lambda: rules_at(path) == "feed.yaml")


def test_the_one_who_waits_is_killed(own_network, server):
    """The next mplex-run sees that the time is over, and takes back first."""
    pin(server, objects.build())
    path = pins.place(server)
    target = objects.build(OTHER)
    pin(server, target, "--confirm", "2")
    waiting, = waiting_for(target)
    os.kill(waiting, signal.SIGKILL)
    assert wait_until(lambda: not waiting_for(target))
    deadline = pins.document(pins.current(path) / "confirm")["deadline"]
    assert wait_until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) >= deadline, timeout=20)
    assert rules_at(path) == "other.yaml"
    done = run(server, "confirm", "eth0")
    assert done.returncode == 1
    assert "were not confirmed in time" in done.stderr and "feed.yaml" in done.stderr
    assert rules_at(path) == "feed.yaml"
    assert_whole(server, path)


def test_confirm_needs_pins(own_network, refused):
    status, sentence = refused(own_network.server, "eth0", objects.build(), "--confirm", "5")
    assert status == 1
    assert "add --pin" in sentence
    for arguments in (("eth0", "a", "--confirm", "0"), ("confirm",), ("confirm", "a", "b"),
                      ("detach", "a", "b"), ("detach", "--pin")):
        status, sentence = refused(own_network.server, *arguments)
        assert status == 2


# ---- killed at any instant -----------------------------------------------------------------------

# What a change is made of, and how far apart the instants are that are tried: all of them take long
# (KILLS=1, make check-operate).
STEPS = {"bpf": 13, "rename": 1, "mkdir": 1, "unlink": 5, "rmdir": 1}
EVERY = int(os.environ.get("KILLS", "0"))


def kill_at(namespace, call, number, *arguments):
    """Runs mplex-run, killed when it makes the call for that time; whether it came to that."""
    trace = ("strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
             "-e", f"inject={call}:signal=KILL:when={number}")
    done = run(namespace, *arguments, prefix=trace)
    assert done.returncode in (0, 1, -signal.SIGKILL, 128 + signal.SIGKILL), done
    return done.returncode not in (0, 1)


def instants(call, far=1):
    """1, 2, 3, and on in steps, `far` times as long as usual, until the caller ends it."""
    number = 1
    while True:
        yield number
        number += EVERY or (STEPS[call] * far if number > 2 else 1)


@pytest.mark.parametrize("call", STEPS)
def test_killed_while_replacing(own_network, server, call):
    """Something runs at every instant, nothing is uncounted, the next one brings it in order."""
    targets = [objects.build(), objects.build(OTHER)]
    pin(server, targets[0])
    path = pins.place(server)
    sent = 0
    for turn, number in enumerate(instants(call)):
        killed = kill_at(server, call, number, "eth0", targets[turn % 2], "--pin")
        send(own_network)
        sent += 1
        assert "prog/xdp" in server.run("ip link show dev eth0")
        done = pin(server, targets[(turn + 1) % 2])
        assert "replaced" in done.stdout
        assert_whole(server, path)
        assert wait_until(lambda: routed(path) == sent)
        if not killed:
            break
    assert turn, "nothing was tried"


@pytest.mark.parametrize("call", STEPS)
def test_killed_while_attaching(own_network, server, call):
    """All or nothing, though half of the nothing may be there until the next one."""
    path = pins.place(server)
    for number in instants(call):
        killed = kill_at(server, call, number, "eth0", objects.build(), "--pin")
        if (path / "xdp").exists():
            assert len(pins.tc_programs(server, path)) == 2
        else:
            assert "xdp" not in server.run("ip link show dev eth0")
        pin(server, objects.build(OTHER))
        assert_whole(server, path)
        kept = mapped(path)
        assert run(server, "detach", "eth0").returncode == 0
        assert not path.exists()
        assert wait_until(lambda: not kept & pins.kernel_objects())
        if not killed:
            break


@pytest.mark.parametrize("call", ["bpf", "unlink", "rmdir"])
def test_killed_while_detaching(server, call):
    path = pins.place(server)
    for number in instants(call):
        pin(server, objects.build())
        kept = mapped(path)
        killed = kill_at(server, call, number, "detach")
        run(server, "detach")
        assert not path.exists()
        assert wait_until(lambda: not kept & pins.kernel_objects())
        if not killed:
            break


def late(path):
    deadline = pins.document(pins.current(path) / "confirm")["deadline"]
    return time.clock_gettime(time.CLOCK_BOOTTIME) >= deadline


@pytest.mark.parametrize("call", ["bpf", "rename", "unlink"])
def test_killed_while_taking_back(own_network, server, call):
    """By then the one before runs or the one that was not confirmed, and then the one before."""
    first, second = objects.build(), objects.build(OTHER)
    pin(server, first)
    path = pins.place(server)
    sent = 0
    for number in instants(call, 4):
        pin(server, second, "--confirm", "1")
        for process in waiting_for(second):
            os.kill(process, signal.SIGKILL)
        send(own_network)
        sent += 1
        # It may have been too late to kill it.
        soon(lambda: not (pins.current(path) / "confirm").exists() or late(path))
        killed = kill_at(server, call, number, "confirm", "eth0") \
            if (pins.current(path) / "confirm").exists() else False
        run(server, "confirm", "eth0")
        assert rules_at(path) == "feed.yaml"
        assert_whole(server, path)
        assert wait_until(lambda: routed(path) == sent)
        if not killed:
            break


def test_killed_in_the_foreground(own_network, server):
    """Nothing is attached any more, and little is left, which the next one removes."""
    running = Mplex(server, objects.build())
    running.child.kill()
    running.child.wait()
    path = pins.place(server)
    assert wait_until(lambda: "xdp" not in server.run("ip link show dev eth0"))
    assert [entry.name for entry in path.iterdir()] == ["process"]
    pin(server, objects.build())
    assert_whole(server, path)
    running.stop()
