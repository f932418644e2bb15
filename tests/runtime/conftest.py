# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the tests of mplex-run share: a client and a server joined by a veth pair, and the program
run in the server's namespace."""

import subprocess

import pytest

from lib.mplex import MPLEX_RUN
from lib.netns import Network


@pytest.fixture(scope="session", autouse=True)
def program(root):
    assert MPLEX_RUN.exists(), f"{MPLEX_RUN} is missing: run make first"


@pytest.fixture(scope="module")
def network():
    with Network() as made:
        yield made


@pytest.fixture
def own_network():
    """For tests that change the hosts."""
    with Network() as made:
        yield made


@pytest.fixture
def refused():
    """Runs mplex-run where it has to fail; returns its exit status and its one sentence."""
    def run(namespace, *arguments, prefix=()):
        with namespace.inside():
            done = subprocess.run([*prefix, MPLEX_RUN, *map(str, arguments)], timeout=60,
                                  capture_output=True, text=True)
        assert done.returncode in (1, 2, 3), done
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("mplex-run: ")
        return done.returncode, lines[0]
    return run
