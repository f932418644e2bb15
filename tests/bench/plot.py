# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Draws series over a logarithmic axis as SVG, without a library: lines, marks, spreads, names."""

import collections
import html
import math

# low and high: the spread at each point.
Series = collections.namedtuple("Series", "name colour points")  # [(x, y, low, high), …]

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 190, 40, 52
COLOURS = ("#0b6e4f", "#c1121f", "#1d4e89", "#e09f3e", "#6c757d", "#7b2cbf")
NAME_GAP = 16  # between two names at the right edge


def ticks_linear(high):
    """Up to eight round steps from 0 to a value that is not below high."""
    step = 10 ** math.floor(math.log10(high))
    for part in (0.1, 0.2, 0.25, 0.5, 1, 2):
        if high / (step * part) <= 8:
            step *= part
            break
    return [step * number for number in range(math.ceil(high / step) + 1)]


def ticks_logarithmic(low, high):
    """1, 2 and 5 times the powers of ten, round the values."""
    steps = [part * 10.0 ** power for power in range(-1, 7) for part in (1, 2, 5)]
    first = max(step for step in steps if step <= low)
    last = min(step for step in steps if step >= high)
    return [step for step in steps if first <= step <= last]


class Axis:
    """Values to a coordinate between start and end."""

    def __init__(self, ticks, start, end, logarithmic):
        self.ticks = ticks
        self.scale = math.log10 if logarithmic else float
        self.start = start
        low, high = self.scale(ticks[0]), self.scale(ticks[-1])
        self.low = low
        self.factor = (end - start) / (high - low)

    def __call__(self, value):
        return self.start + (self.scale(value) - self.low) * self.factor


def text(x, y, content, anchor="middle", **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>'
            f"{html.escape(content)}</text>")


def line(x1, y1, x2, y2, colour, width=1.0):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def draw_axes(title, x_axis, y_axis, x_title, y_title):
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    yield text(LEFT, 22, title, "start", font_size=15, font_weight="bold")
    for tick in y_axis.ticks:
        yield line(LEFT, y_axis(tick), right, y_axis(tick), "#dddddd")
        yield text(LEFT - 8, y_axis(tick) + 4, f"{tick:g}", "end")
    for tick in x_axis.ticks:
        yield line(x_axis(tick), bottom, x_axis(tick), bottom + 5, "#555555")
        yield text(x_axis(tick), bottom + 20, f"{tick:,}")
    yield line(LEFT, bottom, right, bottom, "#555555")
    yield text((LEFT + right) / 2, HEIGHT - 10, x_title)
    middle = (TOP + bottom) / 2
    yield text(16, middle, y_title, transform=f"rotate(-90 16 {middle:.1f})")


def draw_series(series, x_axis, y_axis):
    for x, _, low, high in series.points:
        yield line(x_axis(x), y_axis(low), x_axis(x), y_axis(high), series.colour, 1.5)
    path = " ".join(f"{x_axis(x):.1f},{y_axis(y):.1f}" for x, y, _, _ in series.points)
    yield (f'<polyline points="{path}" fill="none" stroke="{series.colour}" stroke-width="2" '
           'stroke-linejoin="round"/>')
    for x, y, _, _ in series.points:
        yield f'<circle cx="{x_axis(x):.1f}" cy="{y_axis(y):.1f}" r="3" fill="{series.colour}"/>'


def draw_names(all_series, y_axis):
    """Each at its last point's height, moved up where two would be in each other's way."""
    below = math.inf
    for series in sorted(all_series, key=lambda one: one.points[-1][1]):
        y = min(y_axis(series.points[-1][1]), below - NAME_GAP)
        below = y
        yield text(WIDTH - RIGHT + 12, y + 4, series.name, "start", fill=series.colour)


def draw(title, all_series, x_ticks, x_title, y_title, logarithmic=False):
    """The SVG text. x is logarithmic always, y where it is said."""
    lows = [low for series in all_series for _, _, low, _ in series.points]
    highs = [high for series in all_series for _, _, _, high in series.points]
    y_ticks = ticks_logarithmic(min(lows), max(highs)) if logarithmic else ticks_linear(max(highs))
    x_axis = Axis(x_ticks, LEFT + 10, WIDTH - RIGHT - 10, True)
    y_axis = Axis(y_ticks, HEIGHT - BOTTOM, TOP, logarithmic)
    pieces = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
        "<!-- SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause; made by make bench -->",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *draw_axes(title, x_axis, y_axis, x_title, y_title),
    ]
    for series in all_series:
        pieces += draw_series(series, x_axis, y_axis)
    pieces += draw_names(all_series, y_axis)
    return "\n".join([*pieces, "</svg>"]) + "\n"
