# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Programs that know nothing of mplex: netcat, curl and Python's web server, iperf3."""

import json
import shutil
import subprocess
import sys

import pytest

from lib.clients import message
from lib.mplex import attach
from lib.netns import SERVER, stop
from lib.servers import Servers, TcpServer
from lib.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tcp_kernel")

RULES = """
    version: 1
    listeners:
      feed:
        protocol: tcp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002}

      # GET /one/… to one server, GET /two/… to another.
      web:
        protocol: tcp
        port: 8080
        length: 20..1400
        tag: {offset: 5}
        require:
          - {offset: 0, bytes: "474554202f"}
        routes: {"one": 8081, "two": 8082}

      # iperf3 begins each of its connections with 36 letters and a zero.
      speed:
        protocol: tcp
        port: 5200
        length: 37
        tag: {offset: 36, type: hex}
        routes: {"00": 5201}
"""


@pytest.fixture(scope="module")
def mplex(network, mode):
    with attach(network.server, RULES, mode) as running:
        yield running


@pytest.fixture
def program(network):
    """Starts a server program and waits until it listens; ends it after the test."""
    started = []

    def start(words, port):
        need(words[0])
        child = network.server.spawn(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL)
        started.append(child)
        assert wait_until(lambda: network.server.run(f"ss -Htln sport = {port}"))
        return child

    yield start
    for child in started:
        stop(child)
        child.stdin.close()
        child.stdout.close()


def need(name):
    if shutil.which(name) is None:
        pytest.skip(f"needs the program {name}")


def client(network, words, status=0, **options):
    need(words[0])
    child = network.client.spawn(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 stdin=subprocess.PIPE)
    try:
        output, errors = child.communicate(timeout=30, **options)
    finally:
        stop(child)
    assert child.returncode == status, (output, errors)
    return output


@pytest.mark.parametrize("name", ["nc", "ncat"])
def test_netcat_as_client(network, mplex, version, name):
    sent = message("601")
    with Servers(network.server, [5001, 5002], kinds=(TcpServer,)):
        words = {"nc": ["nc", "-N", "-w", "5"], "ncat": ["ncat", "-w", "5"]}[name]
        assert client(network, [*words, SERVER[version], "5000"], input=sent) == b"5002\n" + sent


def test_netcat_as_server(network, mplex, version, program):
    sent = message("600")
    server = program(["nc", "-l", "-N", f"-{version}", "5001"], 5001)
    server.stdin.close()
    server.stdin = open("/dev/null", "wb")
    client(network, ["nc", "-N", "-w", "5", SERVER[version], "5000"], input=sent)
    assert server.stdout.read() == sent


def test_netcat_scan_sees_an_open_port(network, mplex, version):
    """The handshake is answered whether or not a server is there."""
    client(network, ["nc", "-z", "-w", "2", SERVER[version], "5000"])


@pytest.fixture
def web(tmp_path, program, version):
    """Two web servers with the same two pages; each page says which server it is from."""
    for port in (8081, 8082):
        for folder in ("one", "two"):
            place = tmp_path / str(port) / folder
            place.mkdir(parents=True)
            (place / "page").write_text(f"{folder} of {port}")
            (place / "large").write_bytes(bytes(range(256)) * 40000)
        program([sys.executable, "-m", "http.server", str(port), "--protocol", "HTTP/1.1",
                 "--bind", {4: "0.0.0.0", 6: "::"}[version],
                 "--directory", str(tmp_path / str(port))], port)


def url(version, path):
    host = SERVER[version] if version == 4 else f"[{SERVER[version]}]"
    return f"http://{host}:8080/{path}"


CURL = ["curl", "-sS", "--noproxy", "*", "--max-time", "20"]


def test_curl(network, mplex, version, web):
    for folder, port in (("one", 8081), ("two", 8082)):
        page = client(network, [*CURL, url(version, f"{folder}/page")])
        assert page.decode() == f"{folder} of {port}"


def test_curl_reads_a_large_page(network, mplex, version, web):
    assert client(network, [*CURL, url(version, "two/large")]) == bytes(range(256)) * 40000


def test_curl_keeps_its_connection(network, mplex, version, web):
    """The first request decides: a later one on the same connection goes to the same server."""
    pages = client(network, [*CURL, url(version, "one/page"), url(version, "two/page")])
    assert pages.decode() == "one of 8081two of 8081"


def test_curl_is_told_of_a_refusal(network, mplex, version, web):
    """Exit status 56: failure in receiving network data."""
    client(network, [*CURL, url(version, "six/page")], status=56)
    client(network, [*CURL, "-X", "POST", url(version, "one/page")], status=56)


@pytest.mark.parametrize("arguments", [[], ["-R"], ["-P", "4"]])
def test_iperf3(network, mplex, version, program, arguments):
    program(["iperf3", "-s", "-1", "-p", "5201"], 5201)
    output = client(network, ["iperf3", "-c", SERVER[version], "-p", "5200", "-J", "-n", "20M",
                              *arguments])
    end = json.loads(output)["end"]
    assert end["sum_sent"]["bytes"] >= 20 << 20
    # The server stops to count when the client says so, with data still under way.
    assert end["sum_received"]["bytes"] > 1 << 20
