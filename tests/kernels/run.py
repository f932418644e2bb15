#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Runs one command in one kernel, from the working directory: needs root, and `make tests` before.

    tests/kernels/run.py 6.1 -- /usr/bin/python3 -m pytest -q tests/network/test_udp.py
    tests/kernels/run.py 7 -- build/mplex-run eth0 some.bpf.o

The kernel is the newest of Debian's in that series. The host's files are there, and changes to them
are forgotten afterwards.
"""

import argparse
import os
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import archive  # noqa: E402
import machine  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", help="5.10, 6.1, 6.12, 6.18, … or 7 for the newest 7.x")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", default="3G", help="of the machine (default: 3G)")
    parser.add_argument("--timeout", type=int, default=machine.TIMEOUT, help="in seconds")
    parser.add_argument("--keep", action="append", default=[], metavar="FOLDER",
                        help="a folder whose changes stay")
    parser.add_argument("command", nargs="+", help="and its arguments, after --")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root, to serve the host's files to the guest")
    try:
        kernel = archive.fetch(options.series)
        return machine.run(kernel, options.command, cpus=options.cpus, memory=options.memory,
                           timeout=options.timeout, kept=options.keep)
    except (archive.Unavailable, machine.Failure) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
