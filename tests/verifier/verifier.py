# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How many instructions does the verifier go through, by shape of rule file? Loads each shape
several times, with other constants of the host each time, and writes the table of docs/verifier.md.

    make verifier

The shape that is refused on the running kernel is in the table, too: as refused. Needs root.
"""

import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build")
DIFFERENTIAL = BUILD / "tests" / "differential" / "differential"
DOCUMENT = ROOT / "docs" / "verifier.md"
BEGIN, END = "<!-- made by make verifier -->", "<!-- end -->"
LOADS = 3
CLANG = os.environ.get("CLANG") or "clang"


def exact(count):
    return {f'"{i:05}"': 6000 + i % 500 for i in range(count)}


def ranges(count):
    return {f'"{i * 100:05}..{i * 100 + 49:05}"': 6000 + i for i in range(count)}


def masks(count):
    """Some '?' at two other places each time, in turn."""
    routes = {}
    for i in range(count):
        digits = list(f"{i:05}")
        for at in ((0, 1), (0, 2), (1, 2))[i % 3]:
            digits[at] = "?"
        routes[f'"{"".join(digits)}"'] = 6000 + i
    return routes


def own_mask(count):
    """A mask of its own for each tag, as apart as their first letters are."""
    return {f'"{chr(65 + i)}' + "".join("?" if i + 1 >> bit & 1 else "x" for bit in range(7)) + '"':
            6000 + i for i in range(count)}


def requires(count):
    """Long ones, of which a bit is left out."""
    return ["require:", *(f"  - {{offset: {40 + 9 * i}, bytes: {i:02x}cafecafecafecafe, "
                          "mask: fffffffffffffffffe}" for i in range(count))]


def addresses(count):
    return ["addresses:", *(f"  - 10.{i}.0.0/16" for i in range(count // 2)),
            *(f"  - 2001:db8:{i}::/48" for i in range(count // 2))]


def listener(number, protocol, routes, extra=()):
    return [f"  feed{number}:", f"    protocol: {protocol}", f"    port: {5000 + number}",
            "    length: 290..294", "    tag: {offset: 20}", *(f"    {line}" for line in extra),
            "    routes:", *(f"      {tag}: {port}" for tag, port in routes.items())]


def rules(protocol, routes, listeners=1, extra=()):
    lines = ["version: 1", "listeners:"]
    for number in range(listeners):
        lines += listener(number, protocol, routes, extra)
    return "\n".join(lines) + "\n"


# The largest that a rule file can be, in one way each: it must load all the same.
LARGEST = [
    ("tcp and udp, 64 listeners of 16 `require` and 19 ranges",
     rules("[tcp, udp]", ranges(19), 64, requires(16))),
    ("udp, 64 listeners of 16 `require` and 8 masks",
     rules("udp", own_mask(8), 64, requires(16))),
    ("tcp, 64 listeners of 16 `require` and 26 masks",
     rules("tcp", own_mask(26), 64, requires(16))),
    ("tcp and udp, 64 listeners of 64 `addresses`",
     rules("[tcp, udp]", exact(3), 64, addresses(64))),
]

REQUIRES = ["require:", *(f"  - {{offset: {40 + 8 * i}, bytes: cafe, mask: fffe}}"
                          for i in range(8))]
PREFIXES = ["addresses:", *(f"  - 192.0.{i}.0/24" for i in range(6)),
            *(f"  - 2001:db8:{i}::/48" for i in range(6))]
IPV4 = ["addresses: [192.0.2.0/24]"]
BOTH = "[tcp, udp]"

SHAPES = [
    ("udp, 3 tags, `replies: none`", rules("udp", exact(3), extra=["replies: none"])),
    ("udp, 3 tags", rules("udp", exact(3))),
    ("tcp, 3 tags", rules("tcp", exact(3))),
    ("tcp and udp, 3 tags", rules(BOTH, exact(3))),
    ("the same, IPv4 only", rules(BOTH, exact(3), extra=IPV4)),
    ("the same, 12 prefixes as `addresses`", rules(BOTH, exact(3), extra=PREFIXES)),
    ("the same, 8 masked `require`", rules(BOTH, exact(3), extra=REQUIRES)),
    ("tcp and udp, 1,024 tags", rules(BOTH, exact(1024))),
    ("tcp and udp, 65,535 tags", rules(BOTH, exact(65535))),
    ("tcp and udp, 100 ranges", rules(BOTH, ranges(100))),
    ("tcp and udp, 30 tags with `?`, 3 masks", rules(BOTH, masks(30))),
    *((f"{name}, {count} listeners of 3 tags", rules(protocol, exact(3), count))
      for name, protocol in (("udp", "udp"), ("tcp", "tcp"), ("tcp and udp", BOTH))
      for count in (8, 64)),
    ("tcp and udp, 8 listeners of 8 masked `require`", rules(BOTH, exact(3), 8, REQUIRES)),
    *LARGEST,
]


def measure(text, folder):
    """Instructions in XDP and in TC; or None: refused."""
    path = pathlib.Path(folder, "shape.yaml")
    path.write_text(text)
    done = subprocess.run([DIFFERENTIAL, "--rules", path, "--files", str(LOADS), "--frames", "0",
                           "--seed", "1", "--jobs", "1", "--dispatch", "auto"],
                          capture_output=True, text=True)
    found = re.search(r"at most (\d+) instructions .*, and (\d+) in TC", done.stdout)
    if "cannot load the object" in done.stdout:
        return None
    if done.returncode or not found:
        sys.exit(f"{text[:400]}\n{done.stdout}{done.stderr}")
    return int(found[1]), int(found[2])


def table():
    version = subprocess.run([CLANG, "--version"], capture_output=True, text=True,
                             check=True).stdout.split("version ")[1].split()[0]
    lines = [BEGIN, f"Linux {platform.release().partition('-')[0]}, clang {version}:", "",
             "| rule file | `mplex_xdp` | the larger TC program |", "|---|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in SHAPES:
            counts = measure(text, folder)
            shown = "refused | " if counts is None else f"{counts[0]:,} | {counts[1]:,}"
            lines.append(f"| {name} | {shown} |")
            print(lines[-1], flush=True)
    return "\n".join([*lines, END])


def main():
    document = DOCUMENT.read_text()
    before, rest = document.split(BEGIN)
    _, after = rest.split(END)
    DOCUMENT.write_text(before + table() + after)


if __name__ == "__main__":
    main()
