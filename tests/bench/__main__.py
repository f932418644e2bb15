# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Measures what mplex costs and writes docs/performance.md: `make bench`."""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import time

from bench import machine, packets, proxies, report, stack, tcp
from lib.mplex import BUILD, ROOT, TCP_KFUNC, kernel_hands_over_tcp


@dataclasses.dataclass
class Size:
    """How much is measured. rounds is also how often programs are loaded anew."""

    rounds: int = 9
    repeat: int = 10000  # runs of 64 packets at a time
    live: int = 200000  # packets on their whole way at a time
    tcp_rounds: int = 18
    seconds: float = 0.5  # of each TCP measurement
    counts: tuple = packets.COUNTS
    lengths: tuple = packets.TAG_LENGTHS
    contenders: tuple = tuple(tcp.CONTENDERS)


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measure_tables(size, scratch):
    options = {"reloads": size.rounds, "repeat": size.repeat}
    tables = []
    for mix in packets.MIXES:
        for length in size.lengths:
            say(f"{mix}, tags of {length} bytes")
            tables += [packets.measure_table(count, length, mix, scratch, **options)
                       for count in size.counts]
    return tables


def measure_others(size):
    options = {"reloads": size.rounds, "repeat": size.repeat}
    say("traffic that is not ours, replies, established connections")
    return {
        "foreign": {name: packets.measure_foreign(make(), **options)
                    for name, make in packets.FOREIGN.items()},
        "replies": packets.measure_replies(**options),
        "established": packets.measure_established(**options),
    }


def measure_stack(size, scratch):
    say("the whole way, beside nftables")
    with stack.ready(scratch, size.live) as ready:
        ready.check_servers()
        rounds = [{mix: ready.round(mix) for mix in ("hits", "misses")}
                  for _ in range(size.rounds)]
    return {mix: [each[mix] for each in rounds] for mix in ("hits", "misses")}


def measure_tcp(size):
    """A round in which a contender fails is given up, and told; one at least must be left."""
    rounds, given_up = [], []
    with tcp.contenders(size.contenders) as ready:
        for number in range(size.tcp_rounds):
            say(f"TCP, round {number + 1} of {size.tcp_rounds}")
            try:
                rounds.append(tcp.measure_round(ready, number, size.seconds))
            except tcp.Failed as failure:
                say(failure)
                given_up.append(str(failure))
    if not rounds:
        raise RuntimeError(given_up[0])
    return {"tcp": rounds, "given_up": given_up}


def measure(size):
    """All results, fit for JSON."""
    with tempfile.TemporaryDirectory(prefix="mplex-bench-") as folder:
        scratch = pathlib.Path(folder)
        return {
            "machine": machine.describe(),
            "size": dataclasses.asdict(size),
            "tables": measure_tables(size, scratch),
            **measure_others(size),
            "stack": measure_stack(size, scratch),
            **measure_tcp(size),
        }


def arguments():
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=Size.rounds)
    parser.add_argument("--results", type=pathlib.Path, default=BUILD / "bench" / "results.json")
    parser.add_argument("--docs", type=pathlib.Path, default=ROOT / "docs")
    parser.add_argument("--report", action="store_true",
                        help="write the documents again, from the results that are there")
    return parser.parse_args()


def missing():
    """One sentence on what keeps it from measuring; or nothing."""
    if os.geteuid() != 0:
        return "network namespaces and BPF need root; run: sudo make bench"
    if not kernel_hands_over_tcp():
        return f"this kernel has no {TCP_KFUNC}: TCP needs Linux 6.8 or later"
    absent = proxies.absent()
    if absent:
        return f"{', '.join(absent)} not found; run: make deps-bench"
    return ""


def terminated(number, _):
    raise SystemExit(128 + number)


def main():
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, terminated)
    if not options.report:
        if missing():
            sys.exit(f"bench: {missing()}")
        begin = time.monotonic()
        results = measure(Size(rounds=options.rounds, tcp_rounds=2 * options.rounds))
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(results))
        say(f"measured in {time.monotonic() - begin:.0f} s")
    for path in report.write(json.loads(options.results.read_text()), options.docs):
        say(f"wrote {path}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
