# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Where tags with and without a route mix, no branch may depend on which one it is: clang must not
make one of the arithmetic."""

import re
import subprocess

import pytest

from lib.mplex import CLANG, MPLEXC

# Of all that follows the hash, these are branches: whether somebody captures, whether mplex only
# observes, whether the datagram has a checksum, and whether the new one is 0.
BRANCHES = 4

RULES = """
version: 1
listeners:
  feed:
    protocol: udp
    port: 5000
    length: 100
    tag: {{offset: 20, type: hex, length: {length}}}
    replies: {replies}
    otherwise: {otherwise}
    routes:
"""


def branches(length, otherwise, folder, replies="none"):
    """The conditional jumps behind the hash of the tag."""
    rules = RULES.format(length=length, otherwise=otherwise, replies=replies)
    for number in range(16):
        rules += f"      {number * 0x1234567:0{2 * length}x}: {6000 + number}\n"
    source = subprocess.run([MPLEXC, "-", "-o", "-"], input=rules, check=True, capture_output=True,
                            text=True, timeout=60).stdout
    (folder / "made.bpf.c").write_text(source)
    assembly = subprocess.run([*CLANG, "-g0", "-S", "made.bpf.c", "-o", "-"], cwd=folder,
                              check=True, capture_output=True, text=True, timeout=60).stdout
    program = re.search(r"^mplex_xdp:.*?^\.Lfunc_end", assembly, re.MULTILINE | re.DOTALL)[0]
    behind = program[program.rindex("*="):]
    return re.findall(r"\bif [rw]\d+ .*", behind)


@pytest.mark.parametrize("otherwise", ["refuse", "pass", "7000"])
@pytest.mark.parametrize("length", [4, 8, 16])
def test_no_branch_on_the_verdict(length, otherwise, tmp_path):
    found = branches(length, otherwise, tmp_path)
    assert len(found) <= BRANCHES, found


def test_a_branch_would_be_seen(tmp_path):
    """Replies that are noted need one."""
    assert len(branches(4, "refuse", tmp_path, replies="stateless")) > BRANCHES
