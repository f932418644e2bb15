# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The differential test (differential.c) as part of the suite: a short run on random rule files, a
different one each time, and one on each rule file that the project ships or that once failed.

MPLEX_SEED=N repeats a run, `differential --seed N --files 1` a single rule file of it. `make
check-long` runs it for hours, and keeps what fails in rules/: each NAME.yaml there is run again
with random frames, and each NAME.trial is the very frame that failed.
"""

import os
import pathlib
import subprocess
import time

import pytest

from lib.mplex import BUILD, ROOT

DIFFERENTIAL = BUILD / "tests" / "differential" / "differential"
SEED = int(os.environ.get("MPLEX_SEED", time.time_ns() // 1000))
KEPT = pathlib.Path(__file__).parent / "rules"
RULE_FILES = [*sorted(ROOT.glob("rules/*.yaml")), *sorted(ROOT.glob("tests/golden/*.yaml")),
              *sorted(KEPT.glob("*.yaml"))]


def run(*arguments):
    done = subprocess.run([DIFFERENTIAL, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
    return done.stdout


def test_random_rule_files(root):
    output = run("--seed", SEED, "--files", 260, "--frames", 1500, "--seconds", 100)
    seen = {line.split(maxsplit=1)[1] for line in output.splitlines()
            if line[:10].strip().isdigit()}
    assert seen >= {"not ours", "routed", "tag", "length", "require", "malformed", "fragment",
                    "established", "syn", "handshake", "keepalive", "close", "pending", "late",
                    "time-wait", "stray", "no-way-back", "no-key"}


@pytest.mark.parametrize("rules", RULE_FILES, ids=lambda path: path.stem)
def test_rule_file(root, rules):
    run("--rules", rules, "--seed", SEED, "--files", 3, "--frames", 1500)


@pytest.mark.parametrize("name", sorted(path.stem for path in KEPT.glob("*.trial")))
def test_kept_trial(root, name):
    run("--trial", KEPT / f"{name}.trial")


def test_cookies(root):
    """A window that binds and one that is late; make check-long tries all eight."""
    run("--cookies", 2)
