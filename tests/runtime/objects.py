# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Objects as mplexc would never make them: object.bpf.c with a manifest of the test's own."""

import copy
import functools
import json
import pathlib
import subprocess
import tempfile

from lib.mplex import CLANG

SOURCE = pathlib.Path(__file__).with_name("object.bpf.c")

# What fits object.bpf.c. The one listener has udp only: what tcp needs is added by the tests of it.
MANIFEST = {
    "format": 1,
    "version": "0.1.0",
    "rules": {"file": "feed.yaml", "sha256": "0123456789abcdef" * 4},
    "needs": {},
    "reasons": ["routed", "tag", "length"],
    "ingress_reasons": ["no-listener", "mptcp-listener"],
    "listeners": [{
        "name": "feed", "protocols": ["udp"], "port": 5000, "addresses": [],
        "replies": "tracked", "counters": 0, "ports": [5001, 5002],
    }],
    "tests": [],
}
TCP = {"protocols": ["tcp"]}


def manifest(listener=(), **changes):
    """The manifest above with some keys changed, and some of its listener."""
    made = copy.deepcopy(MANIFEST) | changes
    made["listeners"][0] |= dict(listener)
    return made


@functools.cache
def folder():
    made = tempfile.TemporaryDirectory(prefix="mplex-objects-")
    return made, pathlib.Path(made.name)


@functools.cache
def _compile(text, defines, target):
    path = folder()[1] / f"{_compile.cache_info().misses}.o"
    header = path.with_suffix(".h")
    # JSON's escapes are C's, as far as they come up here.
    header.write_text(f"#define MANIFEST {json.dumps(text)}\n")
    subprocess.run([*CLANG[:3], "-target", target, "-include", header,
                    *(f"-D{name}" for name in defines), "-c", SOURCE, "-o", path], check=True)
    return path


def build(what=MANIFEST, *defines, target="bpf"):
    """The object with this manifest, a dict or a text; defines are those of object.bpf.c."""
    text = what if isinstance(what, str) else json.dumps(what)
    return _compile(text, defines, target)
