# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Under attack: floods from a great many invented hosts (flood.c), each beside ordinary clients.

Every ordinary client has to be served while the flood goes on, and nothing may grow: no sockets
(half-open ones least of all), no maps beyond their sizes, no memory of mplex-run.

A run with MPLEX_ATTACK=full (`make attack`) floods as fast as the machine can, in both modes, with
more of everything; otherwise the floods leave the machine room for others.
"""

import contextlib
import ctypes
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time

import pytest

from lib.clients import connect, exchange, message
from lib.crowd import serve, tcp_client, udp_client
from lib.mplex import BUILD, attach, checked, kernel_hands_over_tcp
from lib.netns import FAMILY, SERVER, SERVER_MAC, Network, stop
from lib.servers import ANY, Servers
from lib.waiting import wait_until

FULL = os.environ.get("MPLEX_ATTACK") == "full"
CLIENTS = 5000 if FULL else 1000    # of each protocol
RATE = 0 if FULL else 25000         # frames a second of each flood, 0: as fast as can be
# New flows push out the oldest: none may be pushed out before its server has answered.
FLOW_RATE = 50000 if FULL else 25000
COUNT = 1 << 30                     # frames at most; a flood ends with the clients
SILENT = 8000 if FULL else 2000     # clients that never speak
REPLAYED = 2000 if FULL else 300    # connections whose first segments are replayed

RULES = """
    version: 1
    listeners:
      feed:
        protocol: [tcp, udp]
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes:
          "600": 5001
          "601": 5002
          "602": 5003
          "700": 5100
          "701": 5101
"""
SLEEPER, HASTY = 5100, 5101
BACKLOG = 16


@pytest.fixture(scope="module", params=["native", "generic"] if FULL else ["native"])
def network(request, root):
    if not kernel_hands_over_tcp():
        pytest.skip("needs a kernel that hands connections over (6.8 or later)")
    with Network() as network, attach(network.server, RULES, request.param) as network.mplex, \
            Servers(network.server, [5001, 5002, 5003]) as network.servers, \
            sleepers(network.server):
        yield network


@contextlib.contextmanager
def sleepers(namespace):
    """Servers that take nothing: their queues are full once and for all."""
    with contextlib.ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for version in (4, 6):
                sock = stack.enter_context(namespace.socket(FAMILY[version], kind))
                if version == 6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((ANY[version], SLEEPER))
                if kind == socket.SOCK_STREAM:
                    sock.listen(BACKLOG)
        yield


class Hasty:
    """A server that reads one message of each connection and ends it by a reset at once.

    The reset is the server's own, so the client's segments say nothing of the end.
    """

    def __init__(self, namespace):
        self.messages = {4: 0, 6: 0}
        self.listeners = {}
        for version in (4, 6):
            sock = namespace.socket(FAMILY[version], socket.SOCK_STREAM)
            if version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((ANY[version], HASTY))
            sock.listen(4096)
            sock.settimeout(0.2)
            self.listeners[version] = sock
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._serve, args=(version,))
                        for version in (4, 6)]

    def _serve(self, version):
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError, ConnectionError):
                sock, _ = self.listeners[version].accept()
                with sock:
                    sock.settimeout(5)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.messages[version] += len(sock.recv(4096)) == len(message("701"))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        for sock in self.listeners.values():
            sock.close()


class Flood:
    """flood.c for both IP versions, for the length of a block."""

    def __init__(self, network, kind, tag="600", count=COUNT, rate=RATE):
        self.children = [network.client.spawn(
            [BUILD / "tests" / "flood", "eth0", kind, str(version), str(count), str(rate), "5000",
             SERVER[version], SERVER_MAC.replace(":", ""), message(tag).hex()],
            stdout=subprocess.PIPE, text=True) for version in (4, 6)]
        self.frames = self.bound = 0

    def goes_on(self):
        return all(child.poll() is None for child in self.children)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for child in self.children:
            child.terminate()
        for child in self.children:
            said = re.match(r"frames (\d+) bound (\d+)", child.communicate(timeout=60)[0])
            stop(child)
            self.frames += int(said[1])
            self.bound += int(said[2])


libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def entries(mplex, name):
    """How many entries a map has, and how many it may have."""
    number = mplex.maps[name]
    shape = json.loads(checked(["bpftool", "-j", "map", "show", "id", number]))
    room = shape["max_entries"]
    keys = ctypes.create_string_buffer(shape["bytes_key"] * room)
    values = ctypes.create_string_buffer(shape["bytes_value"] * room)
    batch = ctypes.create_string_buffer(64)
    count = ctypes.c_uint32(room)
    descriptor = libbpf.bpf_map_get_fd_by_id(number)
    try:
        libbpf.bpf_map_lookup_batch(descriptor, None, batch, keys, values, ctypes.byref(count),
                                    None)
    finally:
        os.close(descriptor)
    return count.value, room


class Watch:
    """What could grow, looked at again and again for the length of a block."""

    def __init__(self, network):
        self.network = network
        self.half_open = 0
        self.sockets = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.memory = self._memory()

    def _memory(self):
        """kB of mplex-run, and bytes of all its maps."""
        with open(f"/proc/{self.network.mplex.child.pid}/status") as status:
            process = int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])
        maps = sum(json.loads(checked(["bpftool", "-j", "map", "show", "id", number]))
                   .get("bytes_memlock", 0) for number in self.network.mplex.maps.values())
        return process, maps

    def _look(self):
        while not self.ended.wait(0.25):
            states = self.network.server.run("ss -Htan").split("\n")
            self.half_open = max(self.half_open, sum(s.startswith("SYN-RECV") for s in states))
            self.sockets = max(self.sockets, sum(
                not s.startswith(("LISTEN", "TIME-WAIT")) for s in states if s))

    def __enter__(self):
        self.started = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.seconds = time.monotonic() - self.started
        self.ended.set()
        self.thread.join()
        process, maps = self.memory
        self.memory = self._memory()
        if exception[0] is None:
            assert self.half_open == 0
            assert self.memory[0] <= process + 1024
            assert self.memory[1] == maps


def bystanders(network, clients=(tcp_client, udp_client)):
    """The ordinary clients: all are served."""
    network.servers.forget()
    for client in clients:
        started = time.monotonic()
        failed = serve(client, network, CLIENTS)
        print(f"\n  {CLIENTS} of {client.__name__}: {len(failed)} failed,"
              f" {time.monotonic() - started:.1f} s", end="", flush=True)
        assert not failed, failed[:10]


def sockets(network):
    """The server's connections, less those that the sleepers keep."""
    lines = network.server.run("ss -Htan exclude listening exclude time-wait").splitlines()
    return len(lines)


def attacked(network, kind, tag="600", *, counted, enough=1000, **options):
    """A flood of one kind, ordinary clients once enough of it was counted, and what has to hold.

    Returns the flood, and what was counted during it.
    """
    before = network.mplex.counters()
    with Watch(network) as watch:
        with Flood(network, kind, tag, **options) as flood:
            assert wait_until(lambda: network.mplex.counters().since(before)["feed", counted]
                              >= enough, timeout=60, step=0.1)
            bystanders(network)
            assert flood.goes_on()
    during = network.mplex.counters().since(before)
    print(f"\n  {flood.frames} frames, {flood.frames / watch.seconds:.0f} a second,"
          f" {flood.bound} bound; at most {watch.sockets} sockets; counted:", dict(during))
    # Those that the flood may have, and one for each of the clients at once, whose server's end may
    # outlive theirs for a moment.
    may_have = {"bind": 2 * (BACKLOG + 1), "replay": flood.bound}.get(kind, forged(flood.frames))
    assert watch.sockets <= may_have + 3 * 50
    return flood, during


def forged(frames):
    """How many of so many guesses may be right: one in 2^21 of the window and options it names."""
    return 3 + 4 * frames // (1 << 21)


def test_syns(network):
    """No state is made of them."""
    _, during = attacked(network, "syn", counted="syn")
    assert during["feed", "routed"] >= 2 * CLIENTS
    assert wait_until(lambda: not sockets(network), timeout=20)


def test_guessed_cookies(network):
    """First segments that are right but for the cookie."""
    flood, during = attacked(network, "ack", counted="stray")
    # A datagram or two may have been sent again.
    assert 0 <= during["feed", "routed"] - 2 * CLIENTS <= forged(flood.frames) + CLIENTS // 100


def test_replayed_first_segments(network):
    """Copies of first segments, from while their connections live until long after.

    Each connection's one message is delivered once, and none is opened again.
    """
    with Hasty(network.server) as server:
        flood, during = attacked(network, "replay", "701", count=REPLAYED, counted="pending")
        assert wait_until(lambda: not sockets(network), timeout=20)
    assert 2 * REPLAYED * 0.9 < flood.bound <= 2 * REPLAYED
    assert sum(server.messages.values()) == flood.bound
    assert during["feed", "replay"] > 1000


@pytest.fixture
def many_files():
    """Room for every client's socket; the limit that can be raised no more stays as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SILENT + 4096), max(hard, SILENT + 4096)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_silent_clients(network, many_files):
    """Thousands that connect and say nothing: the server's kernel knows of none."""
    before = network.mplex.counters()
    with contextlib.ExitStack() as stack, Watch(network) as watch:
        silent = [stack.enter_context(connect(network.client, version, 5000, timeout=30))
                  for version in (4, 6) for _ in range(SILENT // 2)]
        assert wait_until(lambda: sockets(network) == 0)
        bystanders(network)
        assert wait_until(lambda: sockets(network) == 0)
        # And they are served once they speak.
        for sock in silent[::SILENT // 20]:
            assert exchange(sock, message("600")) == 5001
    during = network.mplex.counters().since(before)
    assert during["feed", "syn"] >= SILENT
    assert during["feed", "routed"] >= 2 * CLIENTS + len(silent[::SILENT // 20])
    assert watch.sockets < 3 * 50


def test_pending_is_filled(network):
    """Whole handshakes from more hosts than the map has room for, to a server with a full queue."""
    attacked(network, "bind", "700", rate=0, counted="700", enough=150000)
    count, room = entries(network.mplex, "pending")
    print(f"  pending: {count} of {room}")
    assert room * 0.9 < count <= room


def test_flows_are_filled(network):
    """Messages from more hosts than the map has room for."""
    attacked(network, "udp", "700", rate=FLOW_RATE, counted="700", enough=40000)
    count, room = entries(network.mplex, "flows")
    print(f"  flows: {count} of {room}")
    assert room * 0.9 < count <= room
