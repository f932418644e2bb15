# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Shows that the bench works: what it compares does the same work, and a small run writes it all.

No verdict on time.
"""

import contextlib
import copy
import shutil
import struct
from xml.etree import ElementTree

import pytest

from bench import __main__ as bench
from bench import figures, goals, packets, plot, programs, report, run, stack, tcp
from lib.mplex import kernel_hands_over_tcp
from lib.frames import UDP, Ether

pytestmark = pytest.mark.usefixtures("root")


def frames_of(count, length, tmp_path, **options):
    """The last packet of each of many runs, as each contender left it."""
    tags = programs.tag_set(count, length)
    rows = tmp_path / "routes"
    rows.write_bytes(programs.map_rows(tags))
    measured = run.measure(
        packets.contenders(count, length), run.frame(), rows=rows, repeat=1, rounds=32,
        reloads=1, frames=True, tags=(count, length, run.PAYLOAD_AT + programs.TAG_OFFSET),
        **options)
    return {name: one.frames for name, one in measured.programs.items()}


def tag_of(frame, length):
    at = run.PAYLOAD_AT + programs.TAG_OFFSET
    return frame[at:at + length]


@pytest.mark.parametrize("count, length", [(1, 3), (3, 3), (64, 8), (64, 16), (2000, 3)])
def test_contenders_route_alike(count, length, tmp_path):
    """Each tag to the port that its number says, whoever looks it up; the checksum follows."""
    ports = {tag: programs.port_of(index)
             for index, tag in enumerate(programs.tag_set(count, length))}
    seen = frames_of(count, length, tmp_path)
    for name in {"mplex", "map", "chain"} & set(seen):
        assert len(seen[name]) == 32
        for frame, untouched in zip(seen[name], seen["empty"]):
            packet = Ether(frame)
            assert packet[UDP].dport == ports[tag_of(frame, length)], name
            before = Ether(untouched)[UDP]
            change = before.chksum + before.dport - packet[UDP].chksum - packet[UDP].dport
            assert change % 0xFFFF == 0, name


def test_floor_rewrites_alike(tmp_path):
    seen = frames_of(3, 3, tmp_path)
    assert {Ether(frame)[UDP].dport for frame in seen["floor"]} == {programs.port_of(0)}


def test_misses_are_left_alone(tmp_path):
    """A tag without a route changes nothing, with any contender."""
    known = set(programs.tag_set(8, 3))
    seen = frames_of(8, 3, tmp_path, misses=run.ALWAYS)
    for name in ("mplex", "map", "chain", "refusing"):
        assert seen[name] == seen["empty"]
        assert not known & {tag_of(frame, 3) for frame in seen[name]}


def test_verdicts_that_differ_end_the_run(tmp_path):
    tags = programs.tag_set(3, 3)
    source = programs.emit(programs.rules(3, 3))
    measured = run.measure(
        {"empty": programs.build(programs.bare(programs.PASS)), "mplex": programs.build(source),
         "chain": programs.build(programs.with_chain(source, tags[:2])),
         "map": programs.build(source)},
        run.frame(), tags=(3, 3, run.PAYLOAD_AT + programs.TAG_OFFSET), repeat=10,
        rounds=1, reloads=1)
    with pytest.raises(RuntimeError, match="do not do the same"):
        packets.check_verdicts("hits", measured)


def test_nftables_steers_to_the_same_servers(tmp_path):
    with stack.ready(tmp_path, 2000) as ready:
        ready.check_servers()
        ready.tags = ready.tags[1:] + ready.tags[:1]
        with pytest.raises(RuntimeError, match="do not do the same"):
            ready.check_servers()


def test_tags_are_those_of_the_driver():
    assert programs.tag_bytes(1, 3) == struct.pack("<Q", programs.ODD)[:3]
    assert len(set(programs.tag_set(65535, 3))) == 65535


def test_median_interval():
    """Nine values: the second smallest to the second largest, at 96.1 %."""
    assert figures.median_interval(range(9)) == (1, 7)
    assert figures.median_interval(range(6)) == (0, 5)
    assert figures.median_interval(range(5)) is None


def test_names_in_a_plot_do_not_overlap():
    series = [plot.Series(str(number), "#000", [(1, 10, 9, 11), (1000, 10.1, 9, 11)])
              for number in range(4)]
    drawn = plot.draw("title", series, [1, 1000], "tags", "ns")
    heights = sorted(float(line.split('y="')[1].split('"')[0])
                     for line in drawn.splitlines() if 'fill="#000"' in line and "<text" in line)
    assert len(heights) == 4
    assert all(after - before >= plot.NAME_GAP - 0.2
               for before, after in zip(heights, heights[1:]))


@pytest.fixture(scope="module")
def results():
    """Of a small run of all of it; the proxies where they are installed."""
    if not kernel_hands_over_tcp():
        pytest.skip("TCP needs Linux 6.8 or later")
    contenders = tuple(name for name in ("direct", "pass-native", "native", *tcp.PROXY_PORTS)
                       if name not in tcp.PROXY_PORTS or shutil.which(name))
    return bench.measure(bench.Size(rounds=1, repeat=20, live=2000, tcp_rounds=1, seconds=0.05,
                                    counts=(1, 64), lengths=(3,), contenders=contenders))


def test_all_is_written(results, tmp_path):
    paths = report.write(results, tmp_path)
    text = paths[0].read_text()
    assert "$" not in text
    for path in paths[1:]:
        assert path.name in text
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_connections_reach_the_right_server(results):
    for name in ("direct", "native"):
        assert results["tcp"][0][name]["many"]["right"] == 1


def test_a_round_that_fails_is_told(results, monkeypatch):
    """The others count; with none left there is no result."""
    def fail_once(ready, number, seconds):
        if number == 0:
            raise tcp.Failed("direct, one: the server fell over")
        return results["tcp"][0]

    monkeypatch.setattr(tcp, "contenders", lambda names: contextlib.nullcontext({}))
    monkeypatch.setattr(tcp, "measure_round", fail_once)
    done = bench.measure_tcp(bench.Size(tcp_rounds=3))
    assert len(done["tcp"]) == 2
    assert "the server fell over" in report.given_up(done)
    with pytest.raises(RuntimeError, match="fell over"):
        bench.measure_tcp(bench.Size(tcp_rounds=1))


def test_a_contender_that_fails_is_named(monkeypatch):
    def fail(contender, seconds):
        raise RuntimeError("no answer")

    monkeypatch.setitem(tcp.MEASUREMENTS, "one", fail)
    with pytest.raises(tcp.Failed, match="haproxy, one: no answer"):
        tcp.measure_round({"haproxy": None}, 0, 0.1)


@pytest.mark.parametrize("times", [1, 3])
def test_a_missed_goal_is_told(results, times):
    """Results in which the table costs nothing, and in which it costs twice the rest."""
    changed = copy.deepcopy(results)
    for group in changed["tables"]:
        group["net"]["floor"] = [10.0, 11.0]
        group["net"]["mplex"] = [10.0 * times, 11.0 * times]
    goal = next(goals.floor_goals(changed))
    assert goal.reached == (times == 1)
    assert goal.text in report.missed([goal]) or times == 1
    assert "21.0 ns" in goal.why or times == 1
