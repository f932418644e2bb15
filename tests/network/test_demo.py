# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The demonstration: it shows what it should, notices what is wrong, and leaves nothing."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from lib.mplex import ROOT, kernel_hands_over_tcp
from lib.waiting import wait_until

DEMO = [sys.executable, str(ROOT / "tests" / "demo.py")]


def network_namespaces(process):
    """Those that the process is in or holds open, by number."""
    found = set()
    with contextlib.suppress(OSError):
        found.add(os.readlink(f"/proc/{process}/ns/net"))
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return {name for name in found if name.startswith("net:")}


def anybody_in(namespaces):
    """Processes that keep one of these namespaces alive."""
    return [process for process in filter(str.isdigit, os.listdir("/proc"))
            if network_namespaces(process) & namespaces]


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
    demo = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        for line in demo.stdout:
            if "attached" in line:
                break
        else:
            pytest.fail("it ended before it attached anything")
        made = network_namespaces(demo.pid) - network_namespaces("self")
        assert len(made) == 2
        demo.send_signal(number)
        rest = demo.stdout.read()
        status = demo.wait(20)
    finally:
        demo.kill()
        demo.stdout.close()
    assert wait_until(lambda: not anybody_in(made))
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 128 + number, rest
        assert "Traceback" not in rest


def changed(statements):
    """The demonstration with something in it replaced first."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import demo\n{statements}\n"
    return subprocess.run([sys.executable, "-c", code + "sys.exit(demo.main())"],
                          capture_output=True, text=True, timeout=60)


def test_an_old_kernel_sees_udp_and_what_tcp_lacks():
    done = changed("demo.tool.kernel_hands_over_tcp = lambda: False")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "TCP needs Linux 6.8 or later" in " ".join(done.stdout.split())
    assert re.search(r"'601'.* udp 5000 .*server on 5002 .*routed", done.stdout)
    assert " tcp " not in done.stdout


def test_what_the_rules_do_not_say_is_an_error():
    """One server listens on the wrong port."""
    done = changed("start = demo.Servers\n"
                   "demo.Servers = lambda host, ports, **options: start(\n"
                   "    host, [9999 if port == 5002 else port for port in ports], **options)")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"'601'.* udp 5000 .*no server .*WRONG", done.stdout)
    assert len(re.findall("WRONG", done.stdout)) == (2 if kernel_hands_over_tcp() else 1)
