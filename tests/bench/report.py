# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""docs/performance.md and its plots, made of the results and of performance.md.in.

The template says how it was measured; every figure, and every sentence that depends on one, is
written here.
"""

import string

from bench import goals, plot
from bench.figures import Figure, column, difference, ratio
from bench.programs import HERE

TEMPLATE = HERE / "performance.md.in"
BUSY = 0.05  # a machine that does this much besides is not fit

MIX_TITLES = {
    "misses": "Every tag is unknown; all is refused.",
    "half": "Half of the tags are unknown, at random.",
    "skewed": "All tags are known; a hundredth of them has a third of the packets.",
}

PROGRAM_NAMES = {
    "floor": "no table",
    "mplex": "mplex",
    "chain": "compare chain",
    "map": "BPF hash map",
}


def spread(figure, digits=1):
    """Median, and from the lowest to the highest."""
    return f"{figure.median:.{digits}f} ({figure.low:.{digits}f}–{figure.high:.{digits}f})"


def with_interval(figure, digits=2):
    """Median, and the 95 % interval of the median where there is one."""
    low, high = figure.interval or (figure.low, figure.high)
    return f"{figure.median:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


# ---- packets -------------------------------------------------------------------------------------


def groups(results, mix, length):
    return sorted((group for group in results["tables"]
                   if group["mix"] == mix and group["length"] == length),
                  key=lambda group: group["count"])


def lengths(results):
    return sorted({group["length"] for group in results["tables"]})


def cell(group, name):
    values = group["net"].get(name)
    return spread(Figure(values)) if values else "–"


def hit_row(group):
    net = group["net"]
    own = difference(net["mplex"], net["floor"])
    other = difference(net["map"], net["floor"])
    return [f"{group['count']:,}", cell(group, "floor"), cell(group, "mplex"),
            with_interval(ratio(net["mplex"], net["floor"])), cell(group, "chain"),
            cell(group, "map"), f"{own.median:.1f}", f"{other.median:.1f}"]


def hit_tables(results):
    head = ["tags", "no table", "mplex", "of no table", "compare chain", "BPF hash map",
            "dispatch: mplex", "hash map"]
    return "\n\n".join(f"Tags of {length} bytes:\n\n"
                       + table(head, map(hit_row, groups(results, "hits", length)))
                       for length in lengths(results))


def mix_tables(results):
    pieces = []
    for mix, title in MIX_TITLES.items():
        for length in lengths(results):
            rows = [[f"{group['count']:,}", cell(group, "refusing" if mix == "misses" else "floor"),
                     cell(group, "mplex"), cell(group, "chain"), cell(group, "map")]
                    for group in groups(results, mix, length)]
            pieces.append(f"{title} Tags of {length} bytes:\n\n" + table(
                ["tags", "no table", "mplex", "compare chain", "BPF hash map"], rows))
    return "\n\n".join(pieces)


def size_table(results):
    """Instructions are those of driver and program together, less the driver's."""
    rows = []
    for group in groups(results, "hits", lengths(results)[0]):
        own, empty = group["instructions"]["mplex"], group["instructions"]["empty"]
        rows.append([f"{group['count']:,}", str(own - empty), str(group["jited"]["mplex"])])
    return table(["tags", "BPF instructions", "bytes of machine code"], rows)


def points(results, length, name):
    found = []
    for group in groups(results, "hits", length):
        if name in group["net"]:
            figure = Figure(group["net"][name])
            found.append((group["count"], figure.median, figure.low, figure.high))
    return found


def wrapper(results):
    """What measuring costs a packet, by the length of the tag that it writes."""
    return ", ".join(f"{Figure(groups(results, 'hits', length)[0]['wrapper']).median:.1f}"
                     for length in lengths(results))


def plots(results):
    """{file name: SVG}"""
    length = lengths(results)[0]
    ticks = sorted({group["count"] for group in results["tables"]})
    peers = [plot.Series(title, colour, points(results, length, name))
             for (name, title), colour in zip(PROGRAM_NAMES.items(),
                                              ("#6c757d", "#0b6e4f", "#e09f3e", "#c1121f"))]
    by_length = [plot.Series(f"mplex, {each} bytes", colour, points(results, each, "mplex"))
                 for each, colour in zip(lengths(results), ("#0b6e4f", "#1d4e89", "#7b2cbf"))]
    by_length.append(plot.Series("no table", "#6c757d", points(results, length, "floor")))
    return {
        "performance-peers.svg": plot.draw(
            f"What a packet costs, tags of {length} bytes", peers, ticks, "tags",
            "ns per packet", logarithmic=True),
        "performance-lengths.svg": plot.draw(
            "What a packet costs, by the length of the tags", by_length, ticks, "tags",
            "ns per packet"),
    }


def other_tables(results):
    foreign = [[f"not ours: {name}", spread(Figure(group["net"]["mplex"])), "0 (a bare pass)"]
               for name, group in results["foreign"].items()]
    replies = results["replies"]["net"]
    established = results["established"]["net"]
    rows = foreign + [
        [f"UDP, established flow, `replies: {name}`", spread(Figure(replies[name])),
         spread(Figure(replies["none"])) + " (`none`)"] for name in ("stateless", "tracked")
    ] + [["TCP, segment of a live connection", spread(Figure(established["mplex"])),
          spread(Figure(established["lookup"])) + " (the socket look-up alone)"]]
    return table(["packet", "ns", "against"], rows)


# ---- the whole way -------------------------------------------------------------------------------

STACK_NAMES = {
    "pass": "a program that passes all",
    "drop": "a program that drops all",
    "floor": "no table: all to one server",
    "refusing": "no table: all refused",
    "mplex": "mplex",
    "map": "BPF hash map",
    "nft": "nftables map, behind a program that passes all",
}


def stack_table(results):
    hits, misses = results["stack"]["hits"], results["stack"]["misses"]
    rows = []
    for name, title in STACK_NAMES.items():
        added = difference(column(hits, name), column(hits, "pass"))
        passes = name not in ("drop", "refusing")
        rows.append([title, spread(Figure(column(hits, name)), 0) if passes else "–",
                     f"{added.median:.0f}" if passes and name != "pass" else "–",
                     spread(Figure(column(misses, name)), 0)])
    return table(["", "a hit", "added to a pass", "a miss"], rows)


# ---- TCP -----------------------------------------------------------------------------------------


def tcp_names(results):
    versions = results["machine"]
    titles = {
        "direct": "direct to the server's port",
        "pass-native": "direct, a program that passes all, native",
        "pass-generic": "direct, a program that passes all, generic",
        "native": "mplex, native",
        "generic": "mplex, generic",
        "haproxy": f"HAProxy {versions['haproxy']}",
        "sslh-select": f"sslh-select {versions['sslh']}",
        "sslh": f"sslh {versions['sslh']} (a process each)",
    }
    return {name: title for name, title in titles.items() if name in results["tcp"][0]}


def tcp_tables(results):
    rounds = results["tcp"]
    names = tcp_names(results)
    pieces = []
    for quantities in (goals.TCP_SPEED, goals.TCP_COST):
        rows = [[title] + [spread(Figure(column(rounds, name, *one.path)),
                                  one.digits) for one in quantities]
                for name, title in names.items()]
        if quantities is goals.TCP_COST:
            rows = [row + [f"{100 * goals.right_share(rounds, name):.1f} %"]
                    for row, name in zip(rows, names)]
        head = ["", *(one.title for one in quantities)]
        pieces.append(table(head + ["right server"] * (quantities is goals.TCP_COST), rows))
    return "\n\n".join(pieces)


def tcp_ratio_table(results):
    names = tcp_names(results)

    def row(title, name, base):
        return [title] + [with_interval(ratio(column(results["tcp"], name, *one.path),
                                              column(results["tcp"], base, *one.path)))
                          for one in goals.TCP_SPEED]

    rows = [row(title, name, "direct") for name, title in names.items() if name != "direct"]
    rows += [row(f"mplex, {mode}, of a program that passes all", mode, f"pass-{mode}")
             for mode in goals.modes(results["tcp"]) if f"pass-{mode}" in names]
    return table(["of direct", *(one.title for one in goals.TCP_SPEED)], rows)


def given_up(results):
    """Rounds that are not among the results, and why."""
    lines = [f"- {reason}" for reason in results["given_up"]]
    return "\n".join(["Rounds in which a contender failed, and which do not count:", "", *lines]
                     if lines else ["No round was given up because a contender failed."])


# ---- goals ---------------------------------------------------------------------------------------


def goal_table(found):
    return table(["goal", "result", "reached"],
                 [[one.text, one.result, "yes" if one.reached else "**no**"] for one in found])


def missed(found):
    lines = [f"- {one.text}: {one.result}. {one.why}" for one in found if not one.reached]
    return "\n".join(lines) or "None."


def machine_text(results):
    machine, size = results["machine"], results["size"]
    rows = [
        ["processor", f"{machine['processor']}, {machine['cpus']} CPUs, {machine['caches']}"],
        ["kernel", f"Linux {machine['kernel']}"],
        ["compiler", f"clang {machine['clang']}"],
        ["peers", f"nftables {machine['nftables']}, HAProxy {machine['haproxy']}, "
                  f"sslh {machine['sslh']}"],
        ["busy before", f"{100 * machine['busy']:.0f} %" + (
            "" if machine["busy"] < BUSY else ": **it had other work, do not trust this**")],
        ["rounds", f"{size['rounds']}"],
    ]
    return table(["", ""], rows).replace("--:", "---")


def write(results, folder):
    """Writes all files; returns their paths."""
    found = goals.judge(results)
    size = results["size"]
    text = string.Template(TEMPLATE.read_text()).substitute(
        machine=machine_text(results), goals=goal_table(found), missed=missed(found),
        reached=sum(one.reached for one in found), total=len(found),
        hit_tables=hit_tables(results), mix_tables=mix_tables(results),
        size_table=size_table(results), other_tables=other_tables(results),
        stack_table=stack_table(results), tcp_tables=tcp_tables(results),
        tcp_ratio_table=tcp_ratio_table(results), rounds=size["rounds"], runs=size["repeat"],
        tcp_rounds=size["tcp_rounds"], seconds=f"{size['seconds']:g}",
        wrapper=wrapper(results), given_up=given_up(results))
    files = {"performance.md": text, **plots(results)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return [folder / name for name in files]
