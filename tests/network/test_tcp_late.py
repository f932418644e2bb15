# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A client that says nothing for longer than its cookie lasts.

A cookie binds in the time window in which it was made, of about 69 seconds, and in the next. So
these clients connect when the tests start and speak when all others are over (see conftest.py),
which costs a full run little; run alone, this waits.
"""

import time

import pytest

from lib.clients import connect, exchange, message

pytestmark = [pytest.mark.usefixtures("tcp_kernel"), pytest.mark.last]

TWO_WINDOWS = 2 * 2 ** 36 / 1e9  # seconds


def test_a_late_client_is_told(early, version):
    """A reset, at once, where others would leave it hanging."""
    time.sleep(max(0, early.since + TWO_WINDOWS + 2 - time.monotonic()))
    sock = early.silent[version]
    with early.mplex.counted() as counters:
        sock.sendall(message("600"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    # The other family's client may still be taking its leave: that is not counted here.
    assert counters.total("late") == 1 and not counters.total("routed")
    assert not early.servers.tcp(version, 5001).connections
    with connect(early.client, version, 5000) as sock:
        assert exchange(sock, message("600")) == 5001
