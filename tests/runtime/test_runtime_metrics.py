# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run metrics: the text format of Prometheus, and a file that is whole at every instant."""

import os
import re
import shutil
import socket
import stat
import subprocess
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

import objects
from lib.mplex import MPLEX_RUN, Mplex
from lib.netns import SERVER
from lib.waiting import wait_until
from watching import mplex_run, pin

FAMILIES = {"mplex_build_info": "gauge", "mplex_rules_info": "gauge",
            "mplex_packets_total": "counter", "mplex_bytes_total": "counter",
            "mplex_connections_total": "counter"}

# https://prometheus.io/docs/instrumenting/exposition_formats/, as strictly as it can be read.
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(r"(\w+)(\{%s(?:,%s)*\}) (\d+)" % (LABEL, LABEL))


def check_strictly(text):
    """Every family once: its help, its type, its samples; no series twice; nothing else."""
    assert text.endswith("\n") and "\n\n" not in text
    lines = text.splitlines()
    seen = []
    series = set()
    while lines:
        name = lines[0].split()[2]
        assert lines.pop(0).startswith(f"# HELP {name} ")
        assert lines.pop(0) == f"# TYPE {name} {FAMILIES[name]}"
        seen.append(name)
        while lines and not lines[0].startswith("#"):
            line = lines.pop(0)
            sample = SAMPLE.fullmatch(line)
            assert sample and sample[1] == name, line
            assert (name, sample[2]) not in series, line
            series.add((name, sample[2]))
    assert seen == list(FAMILIES)


def parse(text):
    """{(name, labels as a sorted tuple): value}"""
    check_strictly(text)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def metrics(namespace):
    done = mplex_run(namespace, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    return parse(done.stdout)


def value(found, name, **labels):
    return found[name, tuple(sorted(({"interface": "eth0"} | labels).items()))]


def send(network, count):
    with network.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"message", (SERVER[4], 5000))


def test_nothing_attached(network):
    found = metrics(network.server)
    (name, labels), = found
    assert name == "mplex_build_info"
    version = subprocess.run([MPLEX_RUN, "--version"], capture_output=True, text=True).stdout
    assert f"mplex-run {dict(labels)['version']}\n" == version


def test_counters(own_network):
    server = own_network.server
    routes = {"routes": [{"tag": "600", "port": 5001, "counter": 0},
                         {"tag": "601", "port": 5002, "counter": 1}], "counters": 2}
    pin(server, objects.build(objects.manifest(routes)))
    send(own_network, 3)

    def packets(tag):
        return value(metrics(server), "mplex_packets_total", listener="feed", route=tag,
                     reason="routed")

    assert wait_until(lambda: packets("600") == 3)
    assert packets("601") == 0
    found = metrics(server)
    assert value(found, "mplex_bytes_total", listener="feed", route="600", reason="routed") == 147
    assert value(found, "mplex_packets_total", listener="feed", route="", reason="length") == 0
    rules = objects.MANIFEST["rules"]
    assert value(found, "mplex_rules_info", file=rules["file"], sha256=rules["sha256"],
                 version="0.1.0", mode="native") == 1
    # "routed" is there by its routes, or it would be counted twice.
    assert not [labels for name, labels in found
                if name == "mplex_packets_total" and {("reason", "routed"), ("route", "")} <=
                set(labels)]
    # Datagrams are no connections.
    assert not [name for name, _ in found if name == "mplex_connections_total"]


@pytest.mark.parametrize("protocols, reason, counted", [
    (["tcp"], "delivered", True), (["tcp", "udp"], "delivered", True),
    (["udp"], "delivered", False),  # a reason that its listener cannot have
    (["tcp"], "no-listener", False)])  # the object is an older one's, without `delivered`
def test_connections(own_network, protocols, reason, counted):
    """The object counts datagrams; the manifest says that they were handed over."""
    server = own_network.server
    reasons = [reason, "mptcp-listener"]
    with Mplex(server, objects.build(objects.manifest({"protocols": protocols},
                                                      ingress_reasons=reasons))) as running:
        send(own_network, 2)
        assert wait_until(lambda: running.counters()["feed", reason] == 2)
        found = metrics(server)
    if counted:
        assert value(found, "mplex_connections_total", listener="feed") == 2
    else:
        assert not [name for name, _ in found if name == "mplex_connections_total"]


def test_several_interfaces(own_network):
    """Each family once, though it is of both."""
    server = own_network.server
    server.run("ip link add here type veth peer name there")
    pin(server, objects.build())
    pin(server, objects.build(), interface="here")
    interfaces = {dict(labels).get("interface") for _, labels in metrics(server)}
    assert interfaces == {None, "eth0", "here"}
    # Those of other namespaces are none of this one's.
    assert {dict(labels).get("interface") for _, labels in metrics(own_network.client)} == {None}


def test_many_routes(own_network):
    """Up to 1,024 each is a series of its own, above they are one."""
    server = own_network.server
    for count in (1024, 1025):
        routes = [{"tag": f"{i:04}", "port": 5001, "counter": 0} for i in range(count)]
        pin(server, objects.build(objects.manifest({"routes": routes, "counters": 2})))
        tags = {dict(labels)["route"] for name, labels in metrics(server)
                if name == "mplex_packets_total"}
        assert len(tags) == (1 + 1024 if count == 1024 else 1)


def test_sum_of_many_routes(own_network):
    routes = [{"tag": f"{i:04}", "port": 5001, "counter": int(i > 1)} for i in range(1030)]
    pin(own_network.server, objects.build(objects.manifest({"routes": routes, "counters": 2})))
    send(own_network, 3)
    assert wait_until(lambda: value(metrics(own_network.server), "mplex_packets_total",
                                    listener="feed", route="", reason="routed") == 6)


def test_labels_are_escaped(own_network):
    tag = '6"0\\n'
    routes = [{"tag": tag, "port": 5001, "counter": 0}]
    pin(own_network.server, objects.build(objects.manifest({"routes": routes, "counters": 2})))
    assert value(metrics(own_network.server), "mplex_packets_total", listener="feed", route=tag,
                 reason="routed") == 0


# ---- the file -------------------------------------------------------------------------------------

def test_file(own_network, tmp_path):
    server, path = own_network.server, tmp_path / "mplex.prom"
    pin(server, objects.build())
    before = os.umask(0o022)
    try:
        done = mplex_run(server, "metrics", "--textfile", path)
    finally:
        os.umask(before)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert parse(path.read_text()).keys() == metrics(server).keys()
    # The collector runs as another user.
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["mplex.prom"]


def test_no_directory(network, refused, tmp_path):
    status, sentence = refused(network.server, "metrics", "--textfile", tmp_path / "none" / "x.prom")
    assert status == 1 and "No such file or directory" in sentence


def test_whole_at_every_instant(own_network, tmp_path):
    """A reader sees the old one or the new one."""
    server, path = own_network.server, tmp_path / "mplex.prom"
    pin(server, objects.build())
    mplex_run(server, "metrics", "--textfile", path)
    ended = threading.Event()
    read = []

    def reader():
        while not ended.is_set():
            read.append(path.read_text())

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for _ in range(30):
            assert mplex_run(server, "metrics", "--textfile", path).returncode == 0
    finally:
        ended.set()
        thread.join()
    for text in set(read):
        parse(text)


FULL_DISK = """
mount -t tmpfs -o size=8k none "$1" || exit 77
echo old > "$1/mplex.prom"
head -c 4096 /dev/zero > "$1/filler"
"$2" metrics --textfile "$1/mplex.prom"
echo "status $?"
cat "$1/mplex.prom"
ls "$1"
"""


def test_full_disk(own_network, tmp_path):
    """What was there stays, and nothing is left beside it."""
    server = own_network.server
    pin(server, objects.build())
    with server.inside():
        done = subprocess.run(["unshare", "--mount", "sh", "-c", FULL_DISK, "sh", tmp_path,
                               MPLEX_RUN], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["status 1", "old", "filler", "mplex.prom"], done
    assert "stays as it was: No space left on device" in done.stderr


def test_full_standard_output(own_network):
    pin(own_network.server, objects.build())
    with own_network.server.inside(), open("/dev/full", "w") as full:
        done = subprocess.run([MPLEX_RUN, "metrics"], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=60)
    assert done.returncode == 1 and "standard output" in done.stderr


def test_promtool(own_network):
    """What Prometheus's own linter says."""
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: make deps-promtool")
    server = own_network.server
    pin(server, objects.build(objects.manifest({"protocols": ["tcp"], "routes": [
        {"tag": '6"0\\n', "port": 5001, "counter": 0}], "counters": 2})))
    text = mplex_run(server, "metrics").stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
