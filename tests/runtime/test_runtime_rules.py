# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run test OBJECT: the examples of a rule file, run by the kernel."""

import json
import subprocess
import textwrap

import pytest

import objects
from lib.mplex import MPLEX_RUN, RULES, compile_rules


def rules(tests, more="", protocol="[tcp, udp]"):
    """A listener with two tags and these tests."""
    return textwrap.dedent(f"""\
        version: 1
        listeners:
          feed:
            protocol: {protocol}
            port: 5000
            length: 10..60000
            tag: {{offset: 0}}
            routes: {{"600": 5001, "601": 5002}}
            {more}
            tests:
        """) + "".join(f"      - {{payload: {payload}, expect: {expect}}}\n"
                       for payload, expect in tests)


def run(target, *arguments):
    done = subprocess.run([MPLEX_RUN, "test", target, *arguments], capture_output=True, text=True,
                          timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_rule_file_of_the_project():
    status, lines = run(compile_rules(RULES.read_text()))
    assert status == 0
    assert all(line.endswith(": ok") for line in lines[:-1])
    assert lines[-1] == f"rules.yaml: {len(lines) - 1} ok, 0 failed, 0 skipped"
    assert len(lines) > 6


GOOD = [
    ('{length: 20, at: {0: "600"}}', 5001),
    ('{length: 20, at: {0: "601"}}', 5002),
    ('{length: 20, at: {0: "602"}}', "refuse"),
    ('{length: 9, at: {0: "600"}}', "refuse"),
    ('{length: 1400, at: {0: "601"}}', 5002),
    ('{length: 60000, at: {0: "600"}}', 5001),
]


@pytest.mark.parametrize("more", [
    "", "addresses: [198.18.0.0/15]", "addresses: [192.8.0.0/13]", 'addresses: ["2001:db8:5::/48"]',
    'addresses: [192.0.2.9, "2001:db8::9"]', 'addresses: [0.0.0.0/0, "::/0"]', "refuse: drop",
], ids=["own", "ipv4", "near", "ipv6", "both", "all", "drop"])
def test_verdicts(more):
    status, lines = run(compile_rules(rules(GOOD, more)))
    assert status == 0, lines
    assert lines[-1] == "rules.yaml: 12 ok, 0 failed, 0 skipped"


@pytest.mark.parametrize("otherwise, expect", [("pass", "pass"), ("5009", 5009),
                                               ("refuse", "refuse")])
def test_otherwise(otherwise, expect):
    text = rules([('{length: 20, at: {0: "999"}}', expect)], f"otherwise: {otherwise}")
    status, lines = run(compile_rules(text))
    assert (status, lines[-1]) == (0, "rules.yaml: 2 ok, 0 failed, 0 skipped")


WRONG = [
    (GOOD[0][0], 5002, "port 5002", "port 5001"),
    (GOOD[0][0], "refuse", "refuse", "port 5001"),
    (GOOD[0][0], "pass", "pass", "port 5001"),
    (GOOD[2][0], 5001, "port 5001", "refused"),
    (GOOD[3][0], "pass", "pass", "refused"),
]


@pytest.mark.parametrize("payload, expect, shown, got", WRONG)
def test_wrong_expectations(payload, expect, shown, got):
    target = compile_rules(rules([(payload, expect)]))
    status, lines = run(target)
    assert status == 1
    assert [line.partition(" bytes: ")[2] for line in lines[:-1]] == [
        f"{shown}: FAILED: {got} (by IPv4)"] * 2
    assert lines[-1] == "rules.yaml: 0 ok, 2 failed, 0 skipped"
    status, (line,) = run(target, "--json")
    assert status == 1
    shown_json = json.loads(line)
    assert [(one["expect"], one["result"], one["got"]) for one in shown_json["tests"]] == [
        (shown, "failed", got)] * 2


def test_place_in_the_rule_file():
    """Each line begins as a compiler's message does, so that editors find the place."""
    text = rules(GOOD[:1])
    number = next(number for number, line in enumerate(text.splitlines(), 1) if "payload" in line)
    assert run(compile_rules(text))[1][0] == f"rules.yaml:{number}: feed tcp, 20 bytes: port 5001: ok"


def test_json():
    status, (line,) = run(compile_rules(rules(GOOD[:2])), "--json")
    shown = json.loads(line)
    assert status == 0
    assert (shown["ok"], shown["failed"], shown["skipped"]) == (4, 0, 0)
    assert shown["file"] == "rules.yaml"
    assert {key: shown["tests"][1][key] for key in ("listener", "protocol", "expect", "result")} == {
        "listener": "feed", "protocol": "udp", "expect": "port 5001", "result": "ok"}


def test_no_tests():
    text = rules(GOOD[:1]).partition("    tests:")[0]
    assert run(compile_rules(text)) == (0, ["rules.yaml: 0 ok, 0 failed, 0 skipped"])


def test_taken_for_a_packet_of_no_listener():
    """A program that passes everything on: not what `pass` means, for nothing was counted."""
    test = {"listener": 0, "protocol": "udp", "line": 3, "length": 4, "bytes": [], "expect": "pass"}
    target = objects.build(objects.manifest({"port": 5007}, tests=[test]))
    status, lines = run(target)
    assert status == 1
    assert lines[0].endswith("pass: FAILED: taken for a packet of no listener (by IPv4)")
    # The same, counted: delivered to the listen port.
    counted = objects.manifest({"addresses": ["192.0.2.0/24"]}, tests=[test])
    assert run(objects.build(counted))[0] == 0


def test_handshake_not_answered():
    test = {"listener": 0, "protocol": "tcp", "line": 3, "length": 4, "bytes": [], "expect": "pass"}
    status, lines = run(objects.build(objects.manifest(objects.TCP, tests=[test])))
    assert status == 1
    assert "FAILED: taken for a packet of no listener" in lines[0]


def test_host_is_left_alone(own_network):
    """The tests write sysctls, but in a namespace of their own."""
    server = own_network.server
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    for name in names:
        server.sysctl(name, 1)
    target = compile_rules(rules(GOOD))
    assert server.run([MPLEX_RUN, "test", target]).splitlines()[-1].endswith("0 failed, 0 skipped")
    assert [server.sysctl(name) for name in names] == ["1", "1"]


def test_rights():
    done = subprocess.run(["setpriv", "--bounding-set", "-all,+bpf,+perfmon,+net_admin", MPLEX_RUN,
                           "test", compile_rules(rules(GOOD))], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("mplex-run: cannot make a network namespace for the tests: ")
