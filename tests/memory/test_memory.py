# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Memory that runs out, at any allocation (out_of_memory.c): a sentence and status 1, no crash,
nothing lost, no half of an output."""

import subprocess

import pytest

from lib.mplex import BUILD, ROOT, RULES, compile_rules

PROGRAM = BUILD / "tests" / "out_of_memory"
MESSAGES = ROOT / "tests" / "cli" / "messages"


def run(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    assert "allocations in a fresh process" in done.stderr


@pytest.mark.parametrize("arguments", [
    ("--explain", "--test", RULES),
    ("--dispatch=hash", "-MD", ROOT / "rules" / "binary.yaml"),
    (ROOT / "tests" / "golden" / "ipv4_only.yaml",),
    ("--check", MESSAGES / "keys.yaml"),
    ("--check", "--diagnostics=json", MESSAGES / "keys.yaml"),
], ids=["compile", "hash", "addresses", "errors", "json"])
def test_mplexc(arguments, tmp_path):
    written = [] if "--check" in arguments else ["-o", tmp_path / "out.bpf.c"]
    run("mplexc", *arguments, *written)


def test_opening_an_object():
    run("object", compile_rules(RULES.read_text()))
