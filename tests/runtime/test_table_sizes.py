# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a table costs in instructions: the same for 3 tags and for 65,535, whatever their length.

Sizes, not times: those are for the benchmark.
"""

import itertools
import json
import subprocess

import pytest

from lib.mplex import BUILD, CLANG

RULES = """version: 1
listeners:
  table:
    protocol: udp
    port: 5000
    replies: none
    length: 290..294
    tag: {{offset: 20, type: hex}}
    routes:
{routes}
"""
BPFFS = "/sys/fs/bpf/mplex_test_table_sizes"
numbers = itertools.count()


def tag(number, length):
    """Spread over all bytes, as real identifiers are not always."""
    bits = 8 * length
    return f"{number * 0x9e3779b97f4a7c15f39cc0605cedc835 % 2**bits:0{2 * length}x}"


def sizes(tags, length, tmp_path):
    """Of the whole program: instructions, and bytes of machine code."""
    rules, source = tmp_path / "table.yaml", tmp_path / "table.bpf.c"
    rules.write_text(RULES.format(routes="\n".join(
        f'      "{tag(number, length)}": {6000 + number % 1000}' for number in range(tags))))
    subprocess.run([BUILD / "mplexc", "--counters=route", rules, "-o", source], check=True,
                   timeout=60)
    subprocess.run([*CLANG, source, "-o", tmp_path / "table.bpf.o"], check=True, timeout=120)
    pin = f"{BPFFS}_{next(numbers)}"
    subprocess.run(["bpftool", "prog", "load", tmp_path / "table.bpf.o", pin], check=True,
                   timeout=60)
    try:
        shown = subprocess.run(["bpftool", "-j", "prog", "show", "pinned", pin], check=True,
                               capture_output=True, timeout=60).stdout
    finally:
        subprocess.run(["rm", "-f", pin], check=True)
    program = json.loads(shown)
    return program["bytes_xlated"] // 8, program.get("bytes_jited", 0)


@pytest.mark.parametrize("length", (3, 8, 16))
def test_a_table_of_any_size_costs_few_instructions(root, tmp_path, length):
    none = sizes(1, length, tmp_path)
    full = sizes(65535, length, tmp_path)
    assert full[0] - none[0] < 200
    assert full[1] - none[1] < 2048


def test_64_listeners_pass_the_verifier(root, tmp_path):
    """Each with its own rules, and the host with as many addresses as it can have."""
    listeners = "".join(f"""
  l{number}:
    protocol: {"udp" if number % 4 == 3 else "tcp"}
    port: {5000 + number}
    length: 290..294
    require:
      - {{offset: 8, bytes: "cafe{number:02x}"}}
    tag: {{offset: 20}}
    routes: {{"600": {6000 + number}, "601": {6100 + number}, "602": {6200 + number}}}"""
                        for number in range(64))
    rules = tmp_path / "listeners.yaml"
    rules.write_text(f"version: 1\nlisteners:{listeners}\n")
    done = subprocess.run([BUILD / "tests/differential/differential", "--rules", rules, "--seed",
                           "1", "--files", "1", "--frames", "300"], capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == 0, done.stdout
