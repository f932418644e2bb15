# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Emitted C under review: every change of it shows as a diff of the files beside this one.

UPDATE=1 writes them anew; read the diff before you commit it. The rule files of rules/ and of this
folder each have one. Each compiles without a warning, and so do those that the differential test
keeps.
"""

import os
import pathlib
import subprocess

import pytest

from lib.mplex import CLANG, MPLEXC, ROOT

HERE = pathlib.Path(__file__).parent
RULES = sorted((ROOT / "rules").glob("*.yaml")) + sorted(HERE.glob("*.yaml"))
KEPT = sorted((ROOT / "tests" / "differential" / "rules").glob("*.yaml"))


def emitted(rules):
    return subprocess.run([MPLEXC, rules, "-o", "-"], check=True, capture_output=True,
                          timeout=60).stdout


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_emitted_c(rules, tmp_path):
    golden = HERE / f"{rules.stem}.bpf.c"
    made = emitted(rules)
    if os.environ.get("UPDATE"):
        golden.write_bytes(made)
    assert made == golden.read_bytes(), f"differs from {golden.name}: UPDATE=1 if it should"


@pytest.mark.parametrize("rules", RULES + KEPT, ids=lambda path: path.stem)
def test_it_compiles_without_a_warning(rules, tmp_path):
    (tmp_path / "made.bpf.c").write_bytes(emitted(rules))
    done = subprocess.run([*CLANG, "-Wall", "-Wextra", "-Werror", "made.bpf.c", "-o", "made.bpf.o"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.stem)
def test_the_same_bytes_from_everywhere(rules, tmp_path):
    """Whatever the folder, the time zone, the locale or the time of day."""
    environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": str(tmp_path)}
    (tmp_path / rules.name).write_bytes(rules.read_bytes())
    subprocess.run([MPLEXC.resolve(), rules.name, "-o", "made.bpf.c"], cwd=tmp_path, check=True,
                   env=environment, timeout=60)
    assert (tmp_path / "made.bpf.c").read_bytes() == emitted(rules)


def test_nothing_left_over():
    """No golden file without its rule file."""
    assert {path.name.removesuffix(".bpf.c") for path in HERE.glob("*.bpf.c")} == {
        rules.stem for rules in RULES}
