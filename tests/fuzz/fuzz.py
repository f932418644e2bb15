# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Fuzzing (libFuzzer): what a rule file, a manifest or an object can be, beyond what we think of.

Each target starts from files that the project has anyway. `make fuzz` runs this file: all targets
beside each other, without end, adding to a corpus in the build folder, until one finds something.
test_fuzz.py replays what was ever found (found/TARGET/) and then runs each target for a while.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from lib.mplex import BUILD, ROOT, compile_rules, manifest_of  # noqa: E402

TARGETS = ["rules", "manifest", "object"]
PROGRAMS = BUILD / "fuzz" / "tests"
LONGEST = {"rules": 4096, "manifest": 4096, "object": 1 << 17}  # bytes


def rule_files():
    yield from sorted(ROOT.glob("rules/*.yaml"))
    yield from sorted(ROOT.glob("tests/*/*.yaml"))
    yield from sorted(ROOT.glob("tests/*/*/*.yaml"))


def objects():
    """Of rule files with everything in them, less what only a debugger reads."""
    folder = BUILD / "tests" / "objects"
    for rules in sorted(ROOT.glob("rules/*.yaml")):
        made = compile_rules(rules.read_text())
        small = folder / f"{made.stem}.small.o"
        subprocess.run(["bpftool", "gen", "object", small, made], check=True)
        yield small


def seeds(target):
    """The contents of the files to start from."""
    if target == "rules":
        yield from (path.read_bytes() for path in rule_files())
    elif target == "manifest":
        yield from (json.dumps(manifest_of(path)).encode() + b"\0" for path in objects())
    else:
        yield from (path.read_bytes() for path in objects())


def found(target):
    """What was ever found, for every run to try again."""
    return sorted((HERE / "found" / target).glob("*"))


def corpus(target, folder):
    """Writes the seeds and what was found to a folder, which libFuzzer then adds to."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate([*seeds(target), *(p.read_bytes() for p in found(target))]):
        (folder / f"seed-{number}").write_bytes(content)
    return folder


def start(target, *arguments, **options):
    """Runs a target. What it finds is written to build/fuzz/TARGET-…, and it ends."""
    dictionary = HERE / f"{target}.dict"
    words = [PROGRAMS / f"fuzz_{target}", f"-artifact_prefix={BUILD}/fuzz/{target}-",
             f"-max_len={LONGEST[target]}", "-timeout=20", "-rss_limit_mb=1500",
             *([f"-dict={dictionary}"] if dictionary.exists() else []), *arguments]
    environment = dict(os.environ, ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1")
    return subprocess.Popen([str(word) for word in words], env=environment, **options)


def main():
    running = [start(target, corpus(target, BUILD / "fuzz" / "corpus" / target))
               for target in TARGETS]
    with contextlib.suppress(KeyboardInterrupt):
        os.wait()
    for child in running:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    main()
