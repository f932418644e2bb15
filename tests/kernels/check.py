#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Boots kernels of many ages, runs a choice of the tests in each, and says what came of it.

    tests/kernels/check.py [--document FILE] [SERIES …]

Without SERIES: all that are known. A kernel that cannot be fetched counts as skipped, a required
one as failed. --document writes the table of docs/kernels.md. Needs root, and `make tests` before.
"""

import argparse
import collections
import importlib
import os
import pathlib
import sys
import time
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import archive  # noqa: E402
import machine  # noqa: E402
from lib.mplex import ROOT, compile_rules  # noqa: E402

# Oldest first: the kernels of Debian's releases, a late 6.x, and the newest of all.
ALL = ("5.10", "6.1", "6.12", "6.18", "7")
REQUIRED = ("6.1", "6.12")
TIMEOUT = 1500

FILES = ("tests/kernels/test_kernel.py", "tests/network/test_udp.py",
         "tests/network/test_udp_icmp.py", "tests/network/test_udp_frames.py",
         "tests/network/test_tcp.py", "tests/network/test_tcp_frames.py",
         "tests/runtime/test_runtime_failures.py", "tests/runtime/test_runtime_faults.py")
# What a kernel has a say in; all of it would take an hour.
CHOICE = (
    "test_kernel", "test_udp_icmp", "vlan", "locked_memory", "filters_of_others",
    # Real sockets, by both protocols.
    "each_tag", "every_datagram", "otherwise_pass", "stateless_replies", "answer_comes_from",
    "checksums_stay", "jumbo",
    # The hand-over, and what the kernel's own TCP does next to it.
    "real_client", "test_tcp and an_unknown_tag", "no_server_on_the_backend", "an_mptcp_server",
    "time_wait",
    "both_ends_agree", "lost_first_segment", "keepalive", "reuseport", "large_transfers",
)
GROUPS = ("load", "refusal", "differential", "udp", "icmp", "vlan", "tcp")

Result = collections.namedtuple("Result", "release features groups failures")


def group_of(module, name):
    """The column of a test."""
    if "vlan" in name:
        return "vlan"
    if module.endswith("test_udp_icmp"):
        return "icmp"
    if "differ" in name:
        return "differential"
    if "refuses_tcp" in name:
        return "refusal"
    if module.endswith(("test_kernel", "test_runtime_faults")):
        return "load"
    return "tcp" if "test_tcp" in module else "udp"


def read_results(release, file):
    features, failures = {}, []
    groups = {group: collections.Counter() for group in GROUPS}
    for case in xml.etree.ElementTree.parse(file).iter("testcase"):
        module, name = case.get("classname"), case.get("name")
        kinds = {child.tag for child in case}
        kind = ("failed" if kinds & {"failure", "error"} else
                "skipped" if "skipped" in kinds else "passed")
        groups[group_of(module, name)][kind] += 1
        if kind == "failed":
            failures.append(f"{module}::{name}")
        features.update((one.get("name"), one.get("value")) for one in case.iter("property"))
    return Result(release, features, groups, failures)


def compile_ahead():
    """Compiles the rule files that the tests name, here: a guest takes ten times as long."""
    for path in (ROOT / file for file in FILES):
        sys.path.insert(0, str(path.parent))
        module = importlib.import_module(path.stem)
        texts = [value for value in vars(module).values() if isinstance(value, str)]
        for text in [*texts, *getattr(module, "texts", list)()]:
            if text.lstrip().startswith(("version:", "#")):
                compile_rules(text)


def check(kernel):
    """Runs the tests in a kernel; returns its Result. Raises machine.Failure."""
    out = archive.CACHE / "results" / kernel.release
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.xml"
    results.unlink(missing_ok=True)
    with open(out / "output", "wb") as output:
        machine.run(kernel, ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                             "--durations=15", "-o", "junit_family=xunit1",
                             f"--junitxml={results}", "-k", " or ".join(CHOICE), *FILES],
                    output=output, kept=[out], timeout=TIMEOUT)
    if not results.exists():
        raise machine.Failure(f"{kernel.release}: pytest did not end well, see {out}/output")
    return read_results(kernel.release, results)


def cell(counts):
    """One group in the table."""
    if not counts:
        return "none"
    if set(counts) == {"skipped"}:
        return "skipped"
    return ", ".join(f"{counts[kind]} {kind}" for kind in ("passed", "failed", "skipped")
                     if counts[kind])


HEAD = """\
# Kernels

Made by `make check-kernels`, which boots these kernels of Debian's and runs a choice of the tests
in each: every rule file and golden file loaded in native and generic mode, the differential test on
a sample, and real traffic over veth. A kernel that cannot hand connections over has to refuse each
file with tcp and be left as it was; the same rules with udp alone are loaded there instead. Skipped
are the tcp tests there, and jumbo frames in native mode where the kernel's XDP has only frames of
one buffer and mplex-run was seen to say so.

"""


def table(results):
    yield "| kernel | TCP | TC hook | frames of several buffers | " + " | ".join(GROUPS) + " |"
    yield "|" + "---|" * (4 + len(GROUPS))
    for series, result in results.items():
        if isinstance(result, str):
            yield f"| {series} | " + " | ".join(["not tried"] * (3 + len(GROUPS))) + " |"
            continue
        features = [result.features.get(name, "?") for name in ("tcp", "hook", "frags")]
        yield f"| {result.release} | " + " | ".join(
            [*features, *(cell(result.groups[group]) for group in GROUPS)]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--document", type=pathlib.Path, metavar="FILE")
    parser.add_argument("series", nargs="*", default=ALL)
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root, to serve the host's files to the guest")
    os.chdir(ROOT)
    compile_ahead()
    total = collections.Counter()
    results, start = {}, time.monotonic()
    for series in options.series:
        begun = time.monotonic()
        try:
            result = check(archive.fetch(series))
        except (archive.Unavailable, machine.Failure) as error:
            gone = isinstance(error, archive.Unavailable) and series not in REQUIRED
            total["skipped" if gone else "failed"] += 1
            print(f"kernel {series}: {'SKIPPED' if gone else 'FAILED'}: {error}", flush=True)
            results[series] = str(error)
            continue
        results[series] = result
        for counts in result.groups.values():
            total += counts
        print(f"kernel {result.release}: " + "; ".join(
            f"{group} {cell(counts)}" for group, counts in result.groups.items())
            + f"; {time.monotonic() - begun:.0f} s", flush=True)
        for failure in result.failures:
            print(f"kernel {result.release}: FAILED {failure}", flush=True)
    lines = list(table(results))
    print("\n".join(["", *lines, ""]))
    if options.document:
        options.document.write_text(HEAD + "\n".join(lines) + "\n")
    closing = ", ".join(f"{total[kind]} {kind}" for kind in ("failed", "passed", "skipped")
                        if total[kind])
    print(f"=== {closing or 'no tests ran'} in {time.monotonic() - start:.2f}s ===")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
