# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex@.service as systemd reads it: installed under a prefix of its own, and not started.

tests/services/test_systemd.py starts it, in a machine of its own.
"""

import os
import subprocess

import pytest

from lib.mplex import ROOT

# Of 100. What is left is what the job takes: root's user, BPF, the network and its configuration.
EXPOSURE_MAX = 20


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    """The unit, beside programs that exist, and a command that uses it."""
    prefix = tmp_path_factory.mktemp("prefix")
    subprocess.run(["make", "-s", "install", f"PREFIX={prefix}", "DESTDIR="], cwd=ROOT, check=True,
                   timeout=300)
    return prefix / "lib/systemd/system/mplex@.service"


def analyze(unit, *words):
    """Its own folder first, then those of the system."""
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{unit.parent}:"}
    return subprocess.run(["systemd-analyze", *words], env=environment, capture_output=True,
                          text=True, timeout=60)


@pytest.mark.parametrize("instance", ["eth0", "eth0.100", r"wan\x2duplink"])
def test_systemd_understands_it(unit, instance):
    done = analyze(unit, "verify", f"mplex@{instance}.service")
    assert (done.returncode, done.stderr) == (0, "")


def test_little_is_exposed(unit):
    done = analyze(unit, "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit)
    assert done.returncode == 0, done.stdout


def test_nothing_is_left_to_fill_in(unit):
    assert "@" not in unit.read_text().replace("mplex@", "").replace("@system-service", "").replace(
        "@resources", "")
