# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run capture: refused packets as they came, with their reason, in a file that others read."""

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import RawPcapNgReader

from lib.clients import message
from lib.frames import CraftedTcp, Wire, datagram
from lib.mplex import MPLEX_RUN, attach, checked, compile_rules
from lib.netns import Network, stop
from lib.servers import TcpServer
from lib.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tcp_kernel")

RULES = """
    version: 1
    listeners:
      feed:
        protocol: [tcp, udp]
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002}
      short:
        protocol: udp
        port: 5100
        length: 3..100
        tag: {offset: 0}
        routes: {"abc": 5101}
      lenient:
        protocol: udp
        port: 5200
        length: 3..100
        tag: {offset: 0}
        otherwise: pass
        routes: {"abc": 5201}
"""


served_ports = itertools.count(41000)  # the kernel keeps a crafted client's connection


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture
def wire(network):
    with Wire(network.client) as made:
        yield made


class Capture:
    """A running `mplex-run capture`, and what it wrote once it has ended."""

    def __init__(self, network, path, *arguments):
        self.path = path
        self.child = network.server.spawn(
            [str(MPLEX_RUN), "capture", "eth0", "-w", str(path), *arguments],
            stderr=subprocess.PIPE, text=True)
        self.said = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until(lambda: "capturing" in self.text() or self.child.poll() is not None, timeout=60)
        assert "capturing" in self.text(), self.text()

    def _read(self):
        for line in self.child.stderr:
            self.said.append(line)

    def text(self):
        return "".join(self.said)

    def end(self, patience=30):
        """Waits for its end."""
        self.child.wait(patience)
        self.reader.join()
        assert self.child.returncode == 0, self.text()
        return self

    def stop(self):
        """Ends it as Ctrl-C does."""
        self.child.send_signal(signal.SIGINT)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        stop(self.child)
        self.reader.join()
        self.child.stderr.close()

    def packets(self):
        """What scapy reads: (bytes, ns since 1970, length on the wire)."""
        with contextlib.closing(RawPcapNgReader(str(self.path))) as reader:
            return [(data, (meta.tshigh << 32) + meta.tslow, meta.wirelen)
                    for data, meta in reader]

    def comments(self):
        """As tshark shows them: scapy 2.5 takes only comments that have a newline."""
        return [comment for (comment,) in tshark(self.path, "frame.comment")]

    def seen(self):
        return [(data, comment)
                for (data, _, _), comment in zip(self.packets(), self.comments(), strict=True)]


@pytest.fixture
def start(network, mplex, tmp_path):
    """Starts captures; they end with the test at the latest."""
    with contextlib.ExitStack() as stack:
        def begin(*arguments):
            return stack.enter_context(Capture(network, tmp_path / "refused.pcapng", *arguments))
        yield begin


def tshark(path, *fields):
    words = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "separator=|"]
    for field in fields:
        words += ["-e", field]
    return [line.split("|") for line in checked(words).splitlines()]


def refused(version, tag="999", **fields):
    return datagram(version, message(tag), **fields)


def test_refused_datagrams_as_they_came(start, wire, version):
    frames = [(refused(version), "listener=feed reason=tag"),
              (datagram(version, b"too short"), "listener=feed reason=length"),
              (datagram(version, b"xyz", port=5100), "listener=short reason=tag"),
              (datagram(version, message("600"), len=7), "listener=feed reason=malformed")]
    capture = start("--count", str(len(frames)))
    before = time.time_ns()
    wire.send(datagram(version, message("600")))  # routed: not among them
    wire.send(datagram(version, b"xyz", port=5200))  # without a route, passed: neither
    for frame, _ in frames:
        wire.send(frame)
    capture.end()
    after = time.time_ns()
    assert capture.seen() == [(bytes(frame), comment) for frame, comment in frames]
    assert all(before <= when <= after for _, when, _ in capture.packets())
    assert "4 packets written\n" in capture.text()


def test_tshark_reads_it(start, wire):
    capture = start("--count", "2")
    before = time.time()
    wire.send(refused(4))
    wire.send(datagram(4, b"too short"))
    capture.end()
    rows = tshark(capture.path, "frame.comment", "udp.dstport", "frame.interface_name",
                  "frame.time_epoch", "frame.packet_flags_direction")
    assert [row[:3] for row in rows] == [["listener=feed reason=tag", "5000", "eth0"],
                                         ["listener=feed reason=length", "5000", "eth0"]]
    assert all(before <= float(row[3]) <= time.time() for row in rows)
    assert all(int(row[4], 0) == 1 for row in rows)  # inbound


def test_into_a_pipe(network, mplex, wire):
    """As for `| wireshark -k -i -`: each packet shows at once, while the capture goes on."""
    capture = network.server.spawn([str(MPLEX_RUN), "capture", "eth0", "-w", "-"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shark = subprocess.Popen(["tshark", "-n", "-l", "-i", "-", "-c", "1", "-T", "fields", "-e",
                              "frame.comment"],
                             stdin=capture.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        capture.stdout.close()
        capture.stderr.readline()
        wire.send(refused(4))
        assert shark.stdout.readline() == b"listener=feed reason=tag\n"
        shark.wait()
        # Without a reader the capture ends, without a complaint.
        wire.send(refused(4))
        assert capture.wait(30) == 0
        assert capture.stderr.read().splitlines()[-1].endswith(b"written")
    finally:
        stop(capture)
        stop(shark)
        capture.stderr.close()
        shark.stdout.close()
        shark.stderr.close()


def test_all_as_they_came(start, wire, version):
    """Routed datagrams have the port that they were sent to, and the route in the comment."""
    sent = datagram(version, message("601"))
    capture = start("--all", "--count", "1")
    wire.send(sent)
    capture.end()
    assert capture.seen() == [(bytes(sent), "listener=feed reason=routed route=601 port=5002")]


def test_all_has_each_packet_once(network, start, wire):
    """The first segment of a connection is counted in XDP and again when it is delivered."""
    capture = start("--all", "--count", "4")
    with TcpServer(network.server, 4, 5001):
        client = CraftedTcp(wire, 4, source_port=next(served_ports))
        client.open()
        client.send("PA", message("600"))
        client.send("A")
        capture.end()
    assert sorted(capture.comments()) == [
        f"listener=feed reason={reason}"
        for reason in ("established", "handshake", "routed route=600 port=5001", "syn")]


def test_what_is_delivered(network, start, wire, version):
    capture = start("--reason", "delivered", "--count", "1")
    with TcpServer(network.server, version, 5001):
        client = CraftedTcp(wire, version, source_port=next(served_ports))
        client.open()
        sent = client.send("PA", message("600"))
        capture.end()
    assert capture.seen() == [(bytes(sent), "listener=feed reason=delivered")]


def test_a_segment_that_is_answered_by_a_reset(start, wire):
    """The answer is written over the frame; the capture has what came."""
    capture = start("--count", "1")
    client = CraftedTcp(wire, 4)
    client.open()
    sent = client.send("PA", message("999"))
    assert "R" in client.answer()[TCP].flags
    capture.end()
    assert capture.seen() == [(bytes(sent), "listener=feed reason=tag")]


def test_the_answered_handshake(start, wire):
    capture = start("--listener", "feed", "--reason", "syn", "--reason", "handshake",
                    "--reason", "close", "--count", "3")
    client = CraftedTcp(wire, 4, source_port=40001)
    client.open()
    client.send("FA")
    capture.end()
    assert [(Ether(data)[TCP].flags, comment) for data, comment in capture.seen()] == [
        ("S", "listener=feed reason=syn"), ("A", "listener=feed reason=handshake"),
        ("FA", "listener=feed reason=close")]


def test_what_is_refused_at_the_hand_over(start, wire, version):
    """Nobody listens on 5001."""
    capture = start("--count", "1")
    client = CraftedTcp(wire, version, source_port=40002)
    client.open()
    sent = client.send("PA", message("600"))
    capture.end()
    assert capture.seen() == [(bytes(sent), "listener=feed reason=no-listener")]


class TaggedWire:
    """Puts every frame into a VLAN."""

    def __init__(self, wire):
        self.wire = wire

    def send(self, frame):
        self.wire.send(self.tagged(frame))

    def frame(self, match, timeout):
        return self.wire.frame(match, timeout)

    @staticmethod
    def tagged(frame):
        made = Ether(bytes(frame))
        return (Ether(src=made.src, dst=made.dst, type=0x8100) / Dot1Q(vlan=42, prio=3)
                / made.payload)


def test_a_vlan_tag_is_there_again(start, wire):
    """The kernel takes it out of the frame before TC."""
    capture = start("--count", "1")
    client = CraftedTcp(TaggedWire(wire), 4, source_port=40003)
    client.open()
    sent = client.send("PA", message("600"))
    capture.end()
    assert capture.seen() == [(bytes(TaggedWire.tagged(sent)), "listener=feed reason=no-listener")]


def test_a_reason_alone(start, wire):
    capture = start("--reason", "length", "--count", "2")
    for frame in (refused(4), datagram(4, b"1"), refused(4), datagram(4, b"2")):
        wire.send(frame)
    capture.end()
    assert [Ether(data)[Raw].load[:1] for data, _, _ in capture.packets()] == [b"1", b"2"]


def test_a_listener_alone(start, wire):
    capture = start("--listener", "short", "--count", "1")
    wire.send(refused(4))
    wire.send(datagram(4, b"xyz", port=5100))
    capture.end()
    assert capture.comments() == ["listener=short reason=tag"]


def test_cut_to_snaplen(start, wire):
    capture = start("--snaplen", "60", "--count", "1")
    sent = refused(4)
    wire.send(sent)
    capture.end()
    (data, _, length), = capture.packets()
    assert (data, length) == (bytes(sent)[:60], len(bytes(sent)))
    assert tshark(capture.path, "frame.len", "frame.cap_len") == [[str(length), "60"]]


def test_the_rate_holds(start, wire):
    """What is above it is counted, and told: on the terminal and in the file."""
    sent = 400
    capture = start("--rate", "5")
    frame = bytes(refused(4))
    begin = time.monotonic()
    for _ in range(sent):
        wire.send(frame)
    wait_until(lambda: capture.path.stat().st_size > 2000)
    capture.stop()
    seconds = time.monotonic() - begin
    written = len(capture.packets())
    assert 5 <= written <= (5 * (seconds + 1) + 1) * os.cpu_count()
    assert f"{written} packets written, {sent - written} more than --rate 5 a second" \
        in capture.text()
    info = checked(["tshark", "-n", "-r", capture.path, "-q", "-z", "io,phs"])
    assert f"frames:{written}" in info


def test_after_so_many_seconds(start):
    begin = time.monotonic()
    capture = start("--seconds", "1").end()
    assert time.monotonic() - begin >= 0.9
    assert capture.packets() == []
    assert "0 packets written" in capture.text()


def until(mplex):
    """What the program knows of captures: until when one is there, 0: none."""
    (entry,) = mplex.dump("mplex.bss")
    return int.from_bytes(bytes(int(byte, 0) for byte in entry["value"][:8]), "little")


def test_nothing_remains_of_one_that_was_killed(start, wire, mplex):
    capture = start()
    assert until(mplex) > 0
    capture.child.kill()
    capture.child.wait()
    # The program notices by itself, once it has a packet and the time has passed.

    def forgotten():
        wire.send(refused(4))
        return until(mplex) == 0
    assert wait_until(forgotten, timeout=30)


def test_nothing_remains_of_one_that_ended(start, mplex):
    capture = start()
    assert until(mplex) > 0
    capture.stop()
    assert until(mplex) == 0


def test_one_at_a_time(network, start, wire, tmp_path):
    capture = start("--count", "1")
    done = run(network, "eth0", "-w", tmp_path / "second")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "another mplex-run captures" in done.stderr
    wire.send(refused(4))  # which the first one still gets
    assert len(capture.end().packets()) == 1


def test_after_one_that_was_killed(start, wire):
    """The next one waits a moment for the first one to be forgotten."""
    first = start()
    first.child.kill()
    first.child.wait()
    second = start("--count", "1")
    wire.send(refused(4))
    assert len(second.end().packets()) == 1


def run(network, *arguments):
    with network.server.inside():
        return subprocess.run([str(MPLEX_RUN), "capture", *map(str, arguments)],
                              capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments, status, words", [
    (["eth0"], 2, "-w FILE is needed"),
    (["-w", "x"], 2, "an interface is needed"),
    (["eth0", "-w", "x", "--rate", "0"], 2, "--rate"),
    (["eth0", "-w", "x", "--snaplen", "65001"], 2, "--snaplen"),
    (["eth0", "-w", "x", "--all", "--reason", "tag"], 2, "exclude"),
    (["eth0", "-w", "x", "--sideways"], 2, "unknown"),
    (["eth0", "-w", "x", "--reason", "nonsense"], 1, "no reason nonsense"),
    (["eth0", "-w", "x", "--listener", "nobody"], 1, "no listener nobody"),
    (["eth0", "-w", "/nowhere/x"], 1, "cannot write /nowhere/x"),
    (["lo", "-w", "x"], 1, "nothing of mplex is attached to lo"),
    (["eth7", "-w", "x"], 1, "eth7"),
])
def test_one_clear_sentence(network, mplex, tmp_path, arguments, status, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(network, *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_rules_are_replaced_and_taken_off(tmp_path):
    """The capture goes on with the new rules, and ends with the last."""
    with Network() as network, Wire(network.client) as wire:
        def pin(rules):
            network.server.run([str(MPLEX_RUN), "eth0", str(compile_rules(rules)), "--pin"])

        def captured(text):
            wire.send(refused(4))
            return text in capture.path.read_bytes()

        pin(RULES)
        with Capture(network, tmp_path / "refused.pcapng") as capture:
            assert wait_until(lambda: captured(b"listener=feed reason=tag"), timeout=30)
            pin(RULES.replace("feed:", "news:"))
            assert wait_until(lambda: captured(b"listener=news reason=tag"), timeout=30)
            network.server.run([str(MPLEX_RUN), "detach", "eth0"])
            assert capture.child.wait(30) == 1
        assert "mplex was taken off eth0" in capture.text()
        assert set(capture.comments()) == {"listener=feed reason=tag", "listener=news reason=tag"}
