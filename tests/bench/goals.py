# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What mplex means to reach, held against what was measured; and where it does not, why.

A goal is reached when the median is within its limit; one of TCP over veth, whose rounds differ by
more than its limit, also when the 95 % interval of the paired ratio includes the limit.

A reason is stated only where a goal was missed, and has figures of the same run in it.
"""

import collections

from bench.figures import Figure, column, difference, ratio

Goal = collections.namedtuple("Goal", "text result reached why")

# path: where it is in a round of a contender; title: a column's; more: whether more is better.
Quantity = collections.namedtuple("Quantity", "path title digits more")

TCP_SPEED = (
    Quantity(("one", "per_second"), "connections/s, 1 client", 0, True),
    Quantity(("many", "per_second"), "8 clients", 0, True),
    Quantity(("exchanges", "per_second"), "requests/s", 0, True),
    Quantity(("exchanges", "p50"), "p50 µs", 1, False),
    Quantity(("exchanges", "p99"), "p99 µs", 1, False),
    Quantity(("download", "gigabits"), "download Gb/s", 1, True),
    Quantity(("upload", "gigabits"), "upload Gb/s", 1, True),
)
TCP_COST = (
    Quantity(("one", "cpu"), "CPU µs per connection, 1 client", 0, False),
    Quantity(("many", "cpu"), "8 clients", 0, False),
    Quantity(("download", "cpu"), "CPU s per GB, download", 2, False),
    Quantity(("upload", "cpu"), "upload", 2, False),
)
PROXIES = ("haproxy", "sslh-select", "sslh")

MANY_TAGS = 65535
FLOOR_LIMIT = 1.2
FLOOR_LIMITS_MANY = {3: 1.4, 8: 1.75, 16: 2.15}
MAP_TIMES = 6
NFT_TIMES = 15
DROP_LIMIT = 1.05
FOREIGN_LIMIT = 3.0
TRACKED_LIMIT = 1.5
TCP_LIMIT = 0.05
# What a placement of the code can change: no dispatch is said to cost less.
RESOLUTION = 0.5


def hits(results):
    return [group for group in results["tables"] if group["mix"] == "hits"]


def over_floor(group):
    return ratio(group["net"]["mplex"], group["net"]["floor"])


def cost(group):
    own = difference(group["net"]["mplex"], group["net"]["floor"]).median
    return f"The dispatch adds {own:.1f} ns to {Figure(group['net']['floor']).median:.1f} ns"


def describe(group):
    return f"{group['count']:,} tags of {group['length']} bytes"


def floor_goals(results):
    """Tables up to 1,024 tags by their worst, and the largest one by itself, for each length."""
    for length in sorted({group["length"] for group in hits(results)}):
        ours = [group for group in hits(results) if group["length"] == length]
        small = [group for group in ours if 2 <= group["count"] <= 1024]
        if small:
            worst = max(small, key=lambda group: over_floor(group).median)
            value = over_floor(worst)
            yield Goal(f"2 to 1,024 tags of {length} bytes at most {FLOOR_LIMIT} times no table",
                       f"{value.median:.2f} at worst, with {worst['count']:,}",
                       value.median <= FLOOR_LIMIT,
                       f"{cost(worst)}: hashing the tag, one load, one compare, and the counter "
                       "of the route.")
        for group in ours:
            if group["count"] == MANY_TAGS:
                value, limit = over_floor(group), FLOOR_LIMITS_MANY[length]
                yield Goal(f"{MANY_TAGS:,} tags of {length} bytes at most {limit} times no table",
                           f"{value.median:.2f}", value.median <= limit,
                           f"{cost(group)}. Every packet's row is elsewhere in a table that is far "
                           "larger than the first-level cache, so that the packet waits for the "
                           "second or third.")


def map_goal(results):
    def times(group):
        own = difference(group["net"]["mplex"], group["net"]["floor"]).median
        other = difference(group["net"]["map"], group["net"]["floor"]).median
        return other / max(own, RESOLUTION)

    worst = min(hits(results), key=times)
    own = difference(worst["net"]["mplex"], worst["net"]["floor"]).median
    other = difference(worst["net"]["map"], worst["net"]["floor"]).median
    yield Goal(f"dispatch at least {MAP_TIMES} times cheaper than a BPF hash map's, at every size",
               f"{times(worst):.1f} times at worst, with {describe(worst)}",
               times(worst) >= MAP_TIMES,
               f"The dispatch adds {own:.1f} ns there, the hash map {other:.1f} ns.")


def nft_goal(results):
    rounds = results["stack"]["hits"]
    base = column(rounds, "pass")
    own = difference(column(rounds, "mplex"), base)
    other = difference(column(rounds, "nft"), base)
    value = Figure(theirs / max(ours, RESOLUTION)
                   for theirs, ours in zip(other.values, own.values))
    yield Goal(f"added steering cost {NFT_TIMES} times below the nft map's",
               f"{value.median:.1f} times", value.median >= NFT_TIMES,
               f"mplex adds {own.median:.0f} ns to a packet's way, of which "
               f"{difference(column(rounds, 'floor'), base).median:.0f} ns are not the "
               f"table's; the nft map adds {other.median:.0f} ns.")


def drop_goals(results):
    groups = [group for group in results["tables"]
              if group["mix"] == "misses" and group["count"] <= 1024]
    worst = max(groups, key=lambda group: ratio(group["net"]["mplex"],
                                                group["net"]["refusing"]).median)
    value = ratio(worst["net"]["mplex"], worst["net"]["refusing"])
    yield Goal("drops within 5 % of a program that does the same and drops everything",
               f"{value.median:.2f} times at worst, with {describe(worst)}",
               value.median <= DROP_LIMIT,
               f"{Figure(worst['net']['mplex']).median:.1f} ns against "
               f"{Figure(worst['net']['refusing']).median:.1f} ns: it has to look the tag up to "
               "know that it has no route.")
    rounds = results["stack"]["misses"]
    value = ratio(column(rounds, "mplex"), column(rounds, "drop"))
    own, other = (Figure(column(rounds, name)).median for name in ("mplex", "drop"))
    yield Goal("drops within 5 % of a program that drops everything unread, on the whole way",
               f"{value.median:.2f} times", value.median <= DROP_LIMIT,
               f"{own:.0f} ns against {other:.0f} ns: the other reads no header, checks no length "
               "and counts nothing, and that is what the difference buys. A test run's frames come "
               "and go without a driver, whose own work would be the larger part of both.")


def foreign_goal(results):
    figures = {name: Figure(group["net"]["mplex"]) for name, group in results["foreign"].items()}
    worst = max(figures, key=lambda name: figures[name].median)
    others = ", ".join(f"{name} {figure.median:.1f} ns" for name, figure in figures.items()
                       if name != worst)
    yield Goal(f"traffic that is not ours within {FOREIGN_LIMIT:.0f} ns of a bare pass",
               f"{figures[worst].median:.1f} ns at worst, {worst}",
               figures[worst].median <= FOREIGN_LIMIT,
               f"Its headers are read up to what tells that it is not ours. The others: {others}.")


def tracked_goal(results):
    net = results["replies"]["net"]
    value = ratio(net["tracked"], net["none"])
    yield Goal(f"tracked UDP on an established flow within {TRACKED_LIMIT} times of `none`",
               f"{value.median:.2f} times", value.median <= TRACKED_LIMIT,
               f"Knowing whether the flow is noted adds "
               f"{difference(net['tracked'], net['none']).median:.1f} ns.")


# ---- TCP -----------------------------------------------------------------------------------------


def modes(rounds):
    return [mode for mode in ("native", "generic") if mode in rounds[0]]


def right_share(rounds, name):
    """Of all connections, those that the right server answered."""
    shares = [each[name][measurement]["right"]
              for each in rounds for measurement in ("one", "many")]
    return sum(shares) / len(shares)


def as_fast(quantity, value):
    if quantity.more:
        return value.reaches(1 - TCP_LIMIT)
    return value.stays_below(1 + TCP_LIMIT)


def why_not_direct(results, mode, quantity):
    """By how much, what mplex does there, and how much of it is not mplex's doing."""
    rounds = results["tcp"]
    measurement = quantity.path[0]

    def median(name, *path):
        return Figure(column(rounds, name, *path)).median

    yield f"{median(mode, *quantity.path):.{quantity.digits}f} against " \
          f"{median('direct', *quantity.path):.{quantity.digits}f}."
    if measurement in ("one", "many"):
        yield (f"Answering, judging and handing over included, a connection costs the machine "
               f"{median(mode, measurement, 'cpu'):.0f} µs of CPU against "
               f"{median('direct', measurement, 'cpu'):.0f} µs.")
    else:
        segment = Figure(results["established"]["net"]["mplex"]).median
        yield f"The program itself takes {segment:.0f} ns a segment."
    if f"pass-{mode}" in rounds[0]:
        bare = ratio(column(rounds, f"pass-{mode}", *quantity.path),
                     column(rounds, "direct", *quantity.path))
        yield (f"With a program on the interface that only passes everything, and no mplex, it is "
               f"{bare.median:.2f} of direct.")
    if mode == "native" and measurement == "upload":
        yield "Native XDP on a veth takes segmentation offload from its peer; a NIC keeps it."


def tcp_direct_goals(results):
    rounds = results["tcp"]
    for mode in modes(rounds):
        for quantity in TCP_SPEED:
            value = ratio(column(rounds, mode, *quantity.path),
                          column(rounds, "direct", *quantity.path))
            yield Goal(f"TCP, {mode}, within 5 % of direct: {title(quantity)}",
                       f"{value.median:.2f} of direct", as_fast(quantity, value),
                       " ".join(why_not_direct(results, mode, quantity)))


def title(quantity):
    return {"8 clients": "connections/s, 8 clients", "upload": "CPU s per GB, upload"}.get(
        quantity.title, quantity.title)


def proxy_goal(results):
    """Every row of both tables against the best of the proxies."""
    rounds = results["tcp"]
    proxies = [name for name in PROXIES if name in rounds[0]]
    behind, least, count = [], None, 0
    for mode in modes(rounds):
        for quantity in (*TCP_SPEED, *TCP_COST):
            for proxy in proxies:
                own, other = (column(rounds, name, *quantity.path) for name in (mode, proxy))
                value = (ratio(own, other) if quantity.more else ratio(other, own)).median
                count += 1
                if value <= 1:
                    behind.append(f"{mode}, {title(quantity)}: {value:.2f} times {proxy}")
                least = value if least is None else min(least, value)
    if proxies:
        yield Goal("TCP ahead of every proxy in every row, native and generic",
                   f"{count - len(behind)} of {count}, {least:.2f} times at least", not behind,
                   "; ".join(behind) + ".")


def judge(results):
    found = []
    for goals in (floor_goals, map_goal, nft_goal, drop_goals, foreign_goal, tracked_goal,
                  tcp_direct_goals, proxy_goal):
        found += goals(results)
    return found
