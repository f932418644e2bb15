# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The manifest that mplexc writes, against docs/object.md: a rule file with one of everything."""

import ast
import hashlib
import json
import re
import subprocess

import pytest

from lib.mplex import MPLEXC

RULES = """\
version: 1
listeners:
  both:
    protocol: [tcp, udp]
    port: 5000
    addresses: [192.0.2.0/24, "2001:db8::/32"]
    length: 29..40
    require:
      - {offset: 0, bytes: cafe}
      - {offset: 28, bytes: "20", mask: f0}
    tag: {offset: 3, type: hex}
    routes: {"0002": 6002, "0001": 6001, "0003": 6001}
    otherwise: 6009
    replies: stateless
    tests:
      - {payload: {length: 28, at: {3: "0001"}}, expect: refuse}
      - {payload: {length: 29, at: {3: "0002", 10: 0a}}, expect: 6002}
  passing:
    protocol: tcp
    port: 5001
    length: 8..8
    tag: {offset: 0}
    routes: {'A"\\': 6003, 'B"\\': 5002}
    otherwise: pass
    tests:
      - {payload: {length: 8, at: {0: "XYZ"}}, expect: pass}
  silent:
    protocol: udp
    port: 5002
    length: 8..8
    tag: {offset: 0}
    routes: {ABC: 6004}
    replies: none
    tests:
      - {payload: {length: 8, at: {0: "XYZ"}}, expect: refuse}
  tracked:
    protocol: udp
    port: 5003
    length: 8..8
    tag: {offset: 0}
    routes: {ABC: 6005}
"""
UDP = RULES[:RULES.index("  both:")] + RULES[RULES.index("  silent:"):]

UDP_REASONS = ["routed", "tag", "length", "require", "malformed", "fragment"]
REASONS = UDP_REASONS + ["established", "syn", "handshake", "keepalive", "close", "pending", "late",
                         "time-wait", "stray", "no-way-back", "no-key"]
INGRESS_REASONS = ["delivered", "no-listener", "mptcp-listener", "backlog", "replay", "not-taken"]
REFUSALS = {"tag", "length", "require", "malformed", "fragment", "late", "stray", "no-way-back",
            "no-key", "no-listener", "mptcp-listener", "backlog", "replay", "not-taken"}


def listener(name, protocols, port, ports, **members):
    return {"name": name, "protocols": protocols, "port": port, "addresses": [],
            "otherwise": "refuse", "ports": ports, **members}


SILENT = listener("silent", ["udp"], 5002, [6004], replies="none")
TRACKED = listener("tracked", ["udp"], 5003, [6005], replies="tracked")
LISTENERS = [
    listener("both", ["tcp", "udp"], 5000, [6001, 6002, 6009], replies="stateless",
             addresses=["192.0.2.0/24", "2001:db8::/32"], otherwise="route"),
    listener("passing", ["tcp"], 5001, [5001, 5002, 6003], otherwise="pass"),
    SILENT, TRACKED,
]
ROUTES = [[("0001", 6001), ("0002", 6002), ("0003", 6001)], [('A"\\', 6003), ('B"\\', 5002)],
          [("ABC", 6004)], [("ABC", 6005)]]

# 28 bytes have no room for the second requirement.
REFUSED = {"line": 16, "length": 28, "expect": "refuse",
           "bytes": [{"at": 0, "hex": "cafe"}, {"at": 3, "hex": "0001"}]}
ROUTED = {"line": 17, "length": 29, "expect": "route", "port": 6002,
          "bytes": [{"at": 0, "hex": "cafe"}, {"at": 28, "hex": "20"}, {"at": 3, "hex": "0002"},
                    {"at": 10, "hex": "0a"}]}
XYZ = {"length": 8, "bytes": [{"at": 0, "hex": "58595a"}]}
TESTS = [{"listener": 0, "protocol": protocol} | test
         for test in [REFUSED, ROUTED] for protocol in ["tcp", "udp"]] + [
    {"listener": 1, "protocol": "tcp", "line": 26, "expect": "pass"} | XYZ,
    {"listener": 2, "protocol": "udp", "line": 35, "expect": "refuse"} | XYZ,
]


@pytest.fixture
def manifest_of(tmp_path):
    """The manifest of these rules, read as clang reads the string."""
    def make(rules, *options):
        (tmp_path / "rules.yaml").write_text(rules)
        text = subprocess.run([MPLEXC, "rules.yaml", "-o", "-", *options], cwd=tmp_path, check=True,
                              capture_output=True, text=True, timeout=60).stdout
        literals = re.search(r'^const char mplex_manifest\[\] SEC\("\.mplex"\) =\n((?:\t".*"\n)*)'
                             r'\t"";\n', text, re.MULTILINE).group(1)
        return json.loads("".join(ast.literal_eval(line.strip())
                                  for line in literals.splitlines()))
    return make


def counted(listeners, reasons, routes):
    """The listeners with the places of their counters: reasons first, then all routes in order."""
    place = len(reasons) * len(listeners)
    found = []
    for number, one in enumerate(listeners):
        one = one | {"counters": number * len(reasons)}
        if routes:
            one["routes"] = [{"tag": tag, "port": port, "counter": place + at}
                             for at, (tag, port) in enumerate(routes[number])]
            place += len(routes[number])
        found.append(one)
    return found


def check(manifest, rules, expected):
    version = subprocess.run([MPLEXC, "--version"], check=True, capture_output=True, text=True,
                             timeout=60).stdout.split()[1]
    digest = hashlib.sha256(rules.encode()).hexdigest()
    assert set(manifest.pop("refusals")) == expected.pop("refusals")
    assert manifest == {"format": 1, "version": version,
                        "rules": {"file": "rules.yaml", "sha256": digest}} | expected


@pytest.mark.parametrize("option, routes", [("auto", ROUTES), ("listener", None)])
def test_everything(manifest_of, option, routes):
    check(manifest_of(RULES, f"--counters={option}"), RULES, {
        "needs": {"kfuncs": ["bpf_sk_assign_tcp_reqsk"],
                  "sysctls": {"net.ipv4.tcp_syncookies": {"min": 1}}},
        "reasons": REASONS, "ingress_reasons": INGRESS_REASONS, "refusals": REFUSALS,
        "listeners": counted(LISTENERS, REASONS, routes), "tests": TESTS})


def test_udp_alone(manifest_of):
    check(manifest_of(UDP), UDP, {
        "needs": {}, "reasons": UDP_REASONS,
        "refusals": REFUSALS.intersection(UDP_REASONS),
        "listeners": counted([SILENT, TRACKED], UDP_REASONS, ROUTES[2:]),
        "tests": [{"listener": 0, "protocol": "udp", "line": 11, "expect": "refuse"} | XYZ]})
