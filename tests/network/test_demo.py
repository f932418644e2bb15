# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The demonstration: it shows what it should, notices what is wrong, and leaves nothing."""

import os
import re
import signal
import subprocess
import sys

import pytest

from lib.mplex import ROOT, kernel_hands_over_tcp
from lib.waiting import wait_until

DEMO = [sys.executable, str(ROOT / "tests" / "demo.py")]


def network_namespaces():
    """Those of all processes, by number."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.add(os.readlink(f"/proc/{process}/ns/net"))
        except OSError:
            pass
    return found


def test_it_shows_every_kind_of_outcome():
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    protocols = ["tcp", "udp"] if kernel_hands_over_tcp() else ["udp"]
    for protocol in protocols:
        for tag, port in (("600", 5001), ("601", 5002), ("602", 5003)):
            assert re.search(rf"'{tag}'.* {protocol} 5000 .*server on {port} .*:5000 .*routed",
                             done.stdout)
        assert re.search(rf"'999'.* {protocol} 5000 .*no server .*no route for its tag",
                         done.stdout)
        assert re.search(rf"{protocol} 5000 .*no server .*not as long as a message", done.stdout)
        assert re.search(rf"{protocol} 7000 .*server on 7000 .*:7000 .*untouched", done.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_remains_of_an_interrupted_one(number):
    before = network_namespaces()
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in demo.stdout:
            if "attached" in line:
                break
        else:
            pytest.fail("it ended before it attached anything")
        # Programs that it started are in namespaces of their own.
        assert network_namespaces() > before
        demo.send_signal(number)
        rest = demo.stdout.read()
        status = demo.wait(20)
    finally:
        demo.kill()
        demo.stdout.close()
    assert wait_until(lambda: network_namespaces() == before)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 128 + number, rest
        assert "Traceback" not in rest
