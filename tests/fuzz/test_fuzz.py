# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The fuzzers as part of the suite: what was ever found, and then a while of the same new inputs.

They run beside each other. `make fuzz` goes on where this ends.
"""

import subprocess

import pytest

import fuzz

RUNS = {"rules": 25000, "manifest": 400000, "object": 2500}     # some 20 s each


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


FOUND = [(target, path) for target in fuzz.TARGETS for path in fuzz.found(target)]


@pytest.mark.parametrize("target, path", FOUND, ids=[f"{t}-{p.name}" for t, p in FOUND])
def test_found(target, path, folder):
    """Files in found/ stay repaired."""
    assert fuzz.start(target, path, cwd=folder).wait(60) == 0


@pytest.fixture(scope="module")
def running(folder):
    children = {}
    try:
        for target in fuzz.TARGETS:
            log = open(folder / f"{target}.log", "w")
            children[target] = fuzz.start(target, f"-runs={RUNS[target]}", "-seed=1",
                                          fuzz.corpus(target, folder / target),
                                          stdout=log, stderr=subprocess.STDOUT, cwd=folder)
            log.close()
        yield children
    finally:
        for child in children.values():
            child.kill()
            child.wait()


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_new(target, folder, running):
    status = running[target].wait(900)
    said = (folder / f"{target}.log").read_text(errors="replace")
    assert status == 0, said[-5000:]
    assert f"Done {RUNS[target]} runs" in said
