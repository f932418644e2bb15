# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The largest rule files that the language allows load, and do what they say."""

import subprocess

import pytest

from verifier import DIFFERENTIAL, LARGEST


@pytest.mark.parametrize("name,text", LARGEST, ids=[name for name, _ in LARGEST])
def test_largest(root, tmp_path, name, text):
    rules = tmp_path / "largest.yaml"
    rules.write_text(text)
    done = subprocess.run([DIFFERENTIAL, "--rules", rules, "--seed", "1", "--files", "1",
                           "--frames", "3000", "--jobs", "1", "--dispatch", "auto"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
