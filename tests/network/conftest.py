# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the network tests share: a network for each file, both modes, both IP versions."""

import contextlib
import threading

import pytest

from lib import mplex as tool
from lib.clients import connect, message
from lib.netns import Network
from lib.servers import Servers, TcpServer


def pytest_configure(config):
    config.addinivalue_line("markers", "last: runs after all others, begins before them")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session", autouse=True)
def programs(root):
    """The two programs, which `make` builds."""
    for program in (tool.MPLEXC, tool.MPLEX_RUN):
        assert program.exists(), f"{program} is missing: run make first"


@pytest.fixture(scope="session")
def tcp_kernel():
    """Skips what needs TCP on a kernel that cannot hand connections over."""
    if not tool.kernel_hands_over_tcp():
        pytest.skip(f"needs a kernel with {tool.TCP_KFUNC} (6.8 or later)")


@pytest.fixture(scope="module")
def network():
    with Network() as made:
        yield made


@pytest.fixture(scope="module", params=["native", "generic"])
def mode(request):
    return request.param


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request):
    return request.param


EARLY_RULES = """
    version: 1
    listeners:
      feed:
        protocol: tcp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"600": 5001, "601": 5002, "602": 5003}
"""


TWO_WINDOWS = 2 * 2 ** 36 / 1e9  # seconds: how long a cookie binds at the most


@pytest.fixture(scope="session")
def early(tcp_kernel):
    """A network with clients that connect now and speak when it is too late: test_tcp_late.py."""
    with Network() as network, tool.attach(network.server, EARLY_RULES) as network.mplex, \
            Servers(network.server, [5001], kinds=(TcpServer,)) as network.servers, \
            contextlib.ExitStack() as stack:
        network.silent = {version: stack.enter_context(connect(network.client, version, 5000))
                          for version in (4, 6)}

        def speak():
            for sock in network.silent.values():
                sock.sendall(message("600"))

        network.speaking = threading.Timer(TWO_WINDOWS + 2, speak)
        stack.callback(network.speaking.cancel)
        network.speaking.start()
        yield network


@pytest.fixture(scope="session", autouse=True)
def begun_early(request, programs):
    """Begins what is to be seen last, where it was asked for; what fails, fails there."""
    if any(item.get_closest_marker("last") for item in request.session.items):
        with contextlib.suppress(Exception, pytest.skip.Exception):
            request.getfixturevalue("early")
