# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every message of the compiler, whole, as a person sees it.

messages/ holds wrong rule files, and beside each what mplexc says about it. After a change of a
message, `UPDATE=1 python3 -m pytest tests/cli/test_messages.py` writes what it says now; the review
is of the diff.
"""

import json
import os
import pathlib
import subprocess

import pytest

from lib.mplex import MPLEXC

FOLDER = pathlib.Path(__file__).parent / "messages"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def check(name, *arguments):
    return subprocess.run([MPLEXC, "--check", name, *arguments], cwd=FOLDER, capture_output=True,
                          timeout=60)


def test_there_are_files_and_none_is_forgotten():
    assert len(FILES) > 40
    expected = {path.stem for path in FOLDER.glob("*.txt")}
    assert expected == {pathlib.Path(name).stem for name in FILES} or os.environ.get("UPDATE")


@pytest.mark.parametrize("name", FILES)
def test_messages(name):
    done = check(name)
    expected = (FOLDER / name).with_suffix(".txt")
    if os.environ.get("UPDATE"):
        expected.write_bytes(done.stderr)
    assert done.stdout == b""
    assert done.stderr.decode() == expected.read_text()
    assert done.returncode == (3 if b"error: " in done.stderr else 0)
    assert done.stderr != b""


@pytest.mark.parametrize("name", FILES)
def test_messages_as_json_say_the_same(name):
    text = check(name).stderr.decode().splitlines()
    done = check(name, "--diagnostics=json")
    assert done.stderr.count(b"\n") == 1
    json_text = json.loads(done.stderr)
    assert json_text["file"] == name

    said = []
    for one in json_text["diagnostics"]:
        for part in [one, *one["notes"]]:
            said.append(f"{name}:{part['line']}:{part['column']}: {part['severity']}: ")
            assert (part["end_line"], part["end_column"]) >= (part["line"], part["column"])
    heads = [line for line in text if line.startswith(name + ":")]
    assert len(heads) == len(said)
    for head, expected in zip(heads, said):
        assert head.startswith(expected)
    severities = [one["severity"] for one in json_text["diagnostics"]]
    assert severities.count("error") <= json_text["errors"]
    assert json_text["errors"] + json_text["warnings"] == len(severities) + json_text["omitted"]
