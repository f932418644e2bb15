# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Waiting for what happens elsewhere: by looking again, never by sleeping long enough."""

import time

# How long a packet that was sent may still be on its way on a busy machine. Only tests that expect
# nothing wait this long.
SETTLED = 0.08


def wait_until(condition, timeout=5.0, step=0.005):
    """Returns the condition's first true value, or its last value when the time is over."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() >= end:
            return value
        time.sleep(step)


def settle():
    """Gives what was sent before the time to arrive, where nothing is expected to."""
    time.sleep(SETTLED)
