# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Statistics: medians, spreads, and ratios of what was measured in turns.

Nothing is assumed about how times are distributed. The interval of a median is read off the ordered
values: between the k-th smallest and the k-th largest lies the true median with a probability that
the binomial distribution gives. Six values are the fewest that reach 95 %.
"""

import math
import statistics

CONFIDENCE = 0.95


def median_interval(values):
    """The narrowest such interval of at least 95 %; None: there are too few values."""
    ordered = sorted(values)
    count = len(ordered)
    outside = 0.0
    found = None
    for k in range(count // 2):
        outside += 2 * math.comb(count, k) / 2 ** count
        if 1 - outside < CONFIDENCE:
            break
        found = ordered[k], ordered[count - 1 - k]
    return found


class Figure:
    """One quantity, measured several times."""

    def __init__(self, values):
        self.values = list(values)
        self.median = statistics.median(self.values)
        self.low = min(self.values)
        self.high = max(self.values)
        self.interval = median_interval(self.values)

    def reaches(self, limit):
        """Whether the median may be at or above the limit: its interval, if any, reaches it."""
        return (self.interval[1] if self.interval else self.median) >= limit

    def stays_below(self, limit):
        return (self.interval[0] if self.interval else self.median) <= limit


def column(rounds, *keys):
    """One quantity of each round, by the keys that lead to it."""
    for key in keys:
        rounds = [each[key] for each in rounds]
    return rounds


def ratio(values, base):
    """How many times the base, round by round: what disturbed a round disturbed both."""
    return Figure(value / other for value, other in zip(values, base))


def difference(values, base):
    return Figure(value - other for value, other in zip(values, base))
