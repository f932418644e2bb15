# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The unit tests, which are programs of their own (cmocka): as built, and under the sanitizers."""

import os
import pathlib
import subprocess

import pytest

from lib.mplex import BUILD, ROOT

SOURCES = sorted(pathlib.Path(__file__).parent.glob("test_*.c"))
BUILDS = {"plain": BUILD, "sanitized": BUILD / "sanitize"}


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("name", [source.stem for source in SOURCES])
def test_unit(name, build):
    program = build / "tests" / name
    assert program.exists(), f"{program} is missing: run make check"
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="subunit",
                       ASAN_OPTIONS="allocator_may_return_null=1")
    done = subprocess.run([program], cwd=ROOT, env=environment, timeout=300,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
