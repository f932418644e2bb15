# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A client that says nothing for longer than its cookie lasts.

A cookie binds in the time window in which it was made, of about 69 seconds, and in the next. So
these clients connect when the tests start, speak when both windows are over (see conftest.py), and
are looked at when all other tests are over, which costs a full run little; run alone, this waits.
"""

import pytest

from lib.clients import connect, exchange, message

pytestmark = [pytest.mark.usefixtures("tcp_kernel"), pytest.mark.last]


def test_late_clients_are_told(early):
    """A reset, at once, where others would leave them hanging."""
    early.speaking.join()
    for sock in early.silent.values():
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    counters = early.mplex.counters()
    assert counters.total("late") == len(early.silent) and not counters.total("routed")
    for version in early.silent:
        assert not early.servers.tcp(version, 5001).connections
        with connect(early.client, version, 5000) as sock:
            assert exchange(sock, message("600")) == 5001
