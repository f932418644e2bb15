#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Shows what mplex does, on real traffic: `make demo`.

Two network namespaces joined by a veth pair, a client in one, servers in the other.
rules/mplex.yaml is compiled and attached by the three commands that the README gives. The messages
sent are the rule file's own examples, by TCP and by UDP, and one to a port that the rules do not
name. Whatever comes out is held against what the rules say: the exit status is 1 if anything
differs.

The namespaces have no names and vanish with this process, however it ends.
"""

import contextlib
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

sys.dont_write_bytecode = True

from lib import mplex as tool  # noqa: E402
from lib.clients import connect, exchange, message, udp_socket  # noqa: E402
from lib.netns import CLIENT, SERVER, Network  # noqa: E402
from lib.servers import Servers  # noqa: E402
from lib.waiting import settle, wait_until  # noqa: E402

ORDINARY_PORT = 7000

REFUSALS = {
    "tag": "no route for its tag",
    "length": "not as long as a message",
    "require": "a required byte differs",
}

MEANINGS = {
    "routed": "messages with a route",
    "tag": "refused: no route for the tag",
    "length": "refused: not as long as a message",
    "require": "refused: a required byte differs",
    "syn": "tcp: connections begun, answered with a cookie",
    "handshake": "tcp: handshakes ended, no server knows of them yet",
    "established": "tcp: packets of connections that a server has",
    "pending": "tcp: packets right behind a first message",
}

TABLE = "{:<28} {:<9} {:<15} {:<27} {}"


class Sending:
    """One message: what it is, what the rules say of it, what became of it."""

    def __init__(self, protocol, to, payload, port, what):
        self.protocol = protocol
        self.to = to
        self.payload = payload
        self.port = port  # of the server that should get it; None: it should be refused
        self.what = what
        self.server = None  # port of the server that answered
        self.source = None  # port that its answer came from
        self.end = ""  # how the client learned of a refusal
        self.reason = ""

    def send(self, network, servers, mplex):
        servers.forget()
        with mplex.counted() as counters:
            try:
                (self.tcp if self.protocol == "tcp" else self.udp)(network)
            except ConnectionResetError:
                self.end = "connection reset"
            except TimeoutError:
                self.end = "silence"
            if self.port is None:
                settle()
            elif self.to != ORDINARY_PORT:
                wait_until(lambda: mplex.counters(), timeout=1)
        verdicts = [reason for _, reason in counters if reason == "routed" or reason in REFUSALS]
        self.reason = verdicts[0] if len(verdicts) == 1 else ""
        self.got = [port for (_, _, port), data in servers.received().items()
                    if data == [self.payload]]

    def tcp(self, network):
        with connect(network.client, 4, self.to, timeout=3) as sock:
            self.server = exchange(sock, self.payload)
            self.source = sock.getpeername()[1]

    def udp(self, network):
        with udp_socket(network.client, 4, timeout=0.3 if self.port is None else 3) as sock:
            sock.sendto(self.payload, (SERVER[4], self.to))
            answer, source = sock.recvfrom(1 << 16)
            self.server = int(answer.split(b"\n", 1)[0])
            self.source = source[1]

    def right(self):
        """Whether all of it is what the rules say."""
        if self.port is None:
            end = "connection reset" if self.protocol == "tcp" else "silence"
            return (not self.got and self.server is None and self.end == end
                    and self.reason in REFUSALS)
        reason = "" if self.to == ORDINARY_PORT else "routed"
        return (self.got == [self.port] and self.server == self.port and self.source == self.to
                and self.reason == reason)

    def row(self):
        got = f"server on {self.got[0]}" if self.got else "no server"
        answer = f"answer from {SERVER[4]}:{self.source}" if self.source else self.end
        if self.to == ORDINARY_PORT:
            why = "not in the rules: untouched"
        elif self.reason == "routed":
            why = "routed"
        else:
            why = f"refused: {REFUSALS.get(self.reason, 'no reason was counted')}"
        mark = "" if self.right() else "   <- WRONG"
        return TABLE.format(self.what, f"{self.protocol} {self.to}", got, answer, why + mark)


def examples(manifest):
    """The rule file's own tests as things to send."""
    for test in manifest["tests"]:
        payload = bytearray(test["length"])
        for piece in test["bytes"]:
            data = bytes.fromhex(piece["hex"])
            payload[piece["at"]:piece["at"] + len(data)] = data
        listener = manifest["listeners"][test["listener"]]
        tag = b"".join(bytes.fromhex(piece["hex"]) for piece in test["bytes"])
        yield Sending(test["protocol"], listener["port"], bytes(payload), test.get("port"),
                      f"{tag.decode(errors='replace')!r} in {test['length']} bytes")
    for protocol in manifest["listeners"][0]["protocols"]:
        yield Sending(protocol, ORDINARY_PORT, message("600", 100), ORDINARY_PORT,
                      "ordinary traffic, 100 bytes")


def say(text=""):
    print(text, flush=True)


def run(words, folder):
    """Shows a command and runs it."""
    say("    $ " + " ".join(words))
    subprocess.run(words, cwd=folder, check=True,
                   env=os.environ | {"PATH": f"{tool.BUILD.resolve()}:{os.environ['PATH']}"})


def compile_rules(folder, with_tcp):
    """By the commands of the README; returns the object."""
    rules = pathlib.Path(folder, "rules", "mplex.yaml")
    rules.parent.mkdir()
    if with_tcp:
        shutil.copy(tool.RULES, rules)
    else:
        rules.write_text(tool.RULES.read_text().replace("protocol: [tcp, udp]", "protocol: udp"))
    run(["mplexc", "rules/mplex.yaml", "-o", "mplex.bpf.c"], folder)
    run([*tool.CLANG, "mplex.bpf.c", "-o", "mplex.bpf.o"], folder)
    return pathlib.Path(folder, "mplex.bpf.o")


def show_counters(counters, manifest):
    say("The kernel's counters, in packets:")
    meanings = dict(MEANINGS)
    for listener in manifest["listeners"]:
        for route in listener.get("routes", ()):
            meanings[route["tag"]] = f"with this tag, to port {route['port']}"
    for (listener, reason), count in sorted(counters.items()):
        say(f"    {listener:<12} {reason:<14} {count:>4}   {meanings.get(reason, '')}".rstrip())


def demonstrate(stack):
    with_tcp = tool.kernel_hands_over_tcp()
    say(f"mplex on Linux {platform.release()}")
    say()
    if not with_tcp:
        say(textwrap.fill(
            f"This kernel has no {tool.TCP_KFUNC}, which is how a TCP connection is handed to the "
            "server of its first message: TCP needs Linux 6.8 or later. So this shows the same "
            "rules for UDP alone.", 100))
        say()
    say("The rules, from rules/mplex.yaml:")
    for line in tool.RULES.read_text().partition("    tests:")[0].splitlines():
        if line and not line.startswith("#"):
            say("    " + line)
    say()
    say("The rules become C, the C an object, and the object runs on the server's eth0:")
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mplex-demo-"))
    target = compile_rules(folder, with_tcp)
    network = stack.enter_context(Network())
    manifest = tool.manifest_of(target)
    ports = sorted({port for one in manifest["listeners"] for port in one["ports"]})
    servers = stack.enter_context(Servers(network.server, [*ports, ORDINARY_PORT], versions=(4,)))
    say("    $ mplex-run eth0 mplex.bpf.o")
    mplex = stack.enter_context(tool.Mplex(network.server, target, mode=None))
    for line in mplex.text().splitlines():
        say("    " + line)
    say()
    say(f"Client {CLIENT[4]}, server {SERVER[4]}, a server program on each of the ports "
        + ", ".join(map(str, [*ports, ORDINARY_PORT])) + ":")
    say()
    say(TABLE.format("sent", "to port", "who got it", "what the client saw", "why"))
    sendings = []
    for sending in examples(manifest):
        sending.send(network, servers, mplex)
        say(sending.row())
        sendings.append(sending)
    say()
    show_counters(mplex.counters(), manifest)
    say()
    status = mplex.stop()
    wrong = sum(not sending.right() for sending in sendings)
    if wrong or status:
        say(f"{wrong} of {len(sendings)} results are not what the rules say; mplex-run ended "
            f"with status {status}.")
        return 1
    say(f"All {len(sendings)} results are what the rules say.")
    return 0


def terminated(number, _):
    raise SystemExit(128 + number)


def main():
    if os.geteuid() != 0:
        sys.exit("demo: network namespaces and BPF need root; run: sudo make demo")
    for program in (tool.MPLEXC, tool.MPLEX_RUN):
        if not program.exists():
            sys.exit(f"demo: {program} is missing; run: make")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminated)
    try:
        with contextlib.ExitStack() as stack:
            return demonstrate(stack)
    except KeyboardInterrupt:
        say("\nInterrupted: everything is cleaned up.")
        return 130
    except subprocess.CalledProcessError as error:
        return f"demo: {error.cmd[0]} ended with status {error.returncode}"
    except RuntimeError as error:
        return f"demo: {error}"


if __name__ == "__main__":
    sys.exit(main())
