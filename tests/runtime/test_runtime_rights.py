# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The whole life of pinned rules with the capabilities of mplex@.service, and no others."""

import re
import subprocess

import pytest

from lib.mplex import MPLEX_RUN, ROOT, compile_rules

RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001}
"""


@pytest.fixture(scope="module")
def capabilities():
    """Those of the unit, as setpriv has them."""
    line, = re.findall(r"^CapabilityBoundingSet=(.*)$",
                       (ROOT / "runtime" / "mplex@.service.in").read_text(), re.MULTILINE)
    return ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in line.split())])


def test_life(network, capabilities):
    target = str(compile_rules(RULES))

    def run(*words):
        with network.server.inside():
            done = subprocess.run(
                ["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities, "--",
                 MPLEX_RUN, *words], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    try:
        assert "attached" in run("eth0", target, "--pin")
        # The same once more: nothing is dropped, so nothing is said of it.
        assert "replaced" in run("eth0", target, "--pin")
        assert "all programs are attached" in run("status", "eth0")
        run("counters", "eth0")
        assert "mplex_build_info" in run("metrics")
    finally:
        assert "detached" in run("detach", "eth0")
