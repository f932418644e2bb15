# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP between two namespaces joined by a veth: mplex, proxies, and no one between.

Every contender stands ready all the time, each kind of interface in a network of its own, and they
are measured in turns: a round is one measurement of each, in an order that rotates.
"""

import collections
import contextlib
import json
import pathlib
import subprocess
import tempfile

from bench import programs, proxies
from bench.machine import busy_seconds
from lib import mplex as tool
from lib.netns import SERVER, Network

TCP_LOAD = tool.BUILD / "bench" / "tcp_load"
ROUTES = {"600": 5001, "601": 5002, "602": 5003}
LISTEN_PORT = 5000
LENGTH = 290, 294
TAG_OFFSET = 20
CLIENTS = 8
PROXY_PORTS = {"haproxy": 5010, "sslh-select": 5011, "sslh": 5012}

RULES = tool.RULES.read_text()

# name: (network, port to connect to; 0: the server's own)
CONTENDERS = {
    "direct": ("plain", 0),
    "pass-native": ("pass-native", 0),
    "pass-generic": ("pass-generic", 0),
    "native": ("native", LISTEN_PORT),
    "generic": ("generic", LISTEN_PORT),
    **{name: ("plain", port) for name, port in PROXY_PORTS.items()},
}


class Failed(Exception):
    """A contender did not go through with a measurement."""


Contender = collections.namedtuple("Contender", "network port")


def make_network(stack):
    network = stack.enter_context(Network())
    for host in network.hosts:
        # Thousands of connections a second use up the ports that wait in TIME_WAIT.
        host.sysctl("net.ipv4.ip_local_port_range", "10000 65535")
        host.sysctl("net.ipv4.tcp_tw_reuse", 1)
        host.sysctl("net.core.somaxconn", 4096)
    return network


def start_servers(network):
    child = network.server.spawn([str(TCP_LOAD), "serve", *map(str, ROUTES.values())],
                                 stdout=subprocess.PIPE, text=True)
    if child.stdout.readline() != "ready\n":
        raise RuntimeError("the servers did not start")


IP_LINK_MODES = {"native": "xdpdrv", "generic": "xdpgeneric"}


def attach_pass(network, mode):
    """A program that passes everything, on the server's interface."""
    target = programs.build(programs.bare_attached())
    network.server.run(
        f"ip link set dev eth0 {IP_LINK_MODES[mode]} object {target} section xdp")


def start_proxy(namespace, name, folder):
    port = PROXY_PORTS[name]
    if name == "haproxy":
        command = proxies.haproxy(folder, port, ROUTES, TAG_OFFSET, LENGTH)
    else:
        command = proxies.sslh(folder, name, port, ROUTES, TAG_OFFSET)
    proxies.start(namespace, command, port, folder / f"{name}.log")


@contextlib.contextmanager
def contenders(names=tuple(CONTENDERS)):
    """All of them, ready: {name: Contender}."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(
            tempfile.TemporaryDirectory(prefix="mplex-bench-")))
        networks = {}
        for kind in dict.fromkeys(CONTENDERS[name][0] for name in names):
            networks[kind] = make_network(stack)
            start_servers(networks[kind])
            if kind.startswith("pass-"):
                attach_pass(networks[kind], kind.removeprefix("pass-"))
            elif kind in IP_LINK_MODES:
                stack.enter_context(tool.attach(networks[kind].server, RULES, kind))
        for name in names:
            if name in PROXY_PORTS:
                start_proxy(networks["plain"].server, name, folder)
        yield {name: Contender(networks[CONTENDERS[name][0]], CONTENDERS[name][1])
               for name in names}


def load(contender, kind, seconds, *arguments, tags=tuple(ROUTES)):
    """Runs the load generator; returns what it printed, and the machine's CPU time for it."""
    routes = [f"{tag}:{ROUTES[tag]}" for tag in tags]
    before = busy_seconds()
    printed = contender.network.client.run(
        [str(TCP_LOAD), kind, SERVER[4], str(contender.port), str(seconds),
         *map(str, arguments), *routes])
    return json.loads(printed), busy_seconds() - before


def measure_connections(contender, seconds, clients):
    done, cpu = load(contender, "connections", seconds, clients)
    count = done["right"] + done["wrong"] + done["failed"]
    return {"per_second": done["right"] / done["seconds"], "cpu": cpu / max(done["right"], 1) * 1e6,
            "right": done["right"] / count}


def measure_exchanges(contender, seconds):
    done, _ = load(contender, "exchanges", seconds, tags=["600"])
    return {"per_second": done["count"] / done["seconds"], "p50": done["p50"], "p99": done["p99"]}


def measure_bulk(contender, kind, seconds):
    done, cpu = load(contender, kind, seconds, tags=["600"])
    return {"gigabits": done["bytes"] * 8e-9 / done["seconds"], "cpu": cpu / done["bytes"] * 1e9}


MEASUREMENTS = {
    "one": lambda contender, seconds: measure_connections(contender, seconds, 1),
    "many": lambda contender, seconds: measure_connections(contender, seconds, CLIENTS),
    "exchanges": measure_exchanges,
    "download": lambda contender, seconds: measure_bulk(contender, "download", seconds),
    "upload": lambda contender, seconds: measure_bulk(contender, "upload", seconds),
}


def measure_round(ready, number, seconds, measurements=tuple(MEASUREMENTS)):
    """{contender: {measurement: {quantity: value}}}"""
    names = list(ready)
    names = names[number % len(names):] + names[:number % len(names)]
    done = {name: {} for name in ready}
    for measurement in measurements:
        for name in names:
            try:
                done[name][measurement] = MEASUREMENTS[measurement](ready[name], seconds)
            except RuntimeError as error:
                raise Failed(f"{name}, {measurement}: {error}") from error
    return done
