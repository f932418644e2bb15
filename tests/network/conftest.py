# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the network tests share: a network for each file, both modes, both IP versions."""

import pytest

from lib import mplex as tool
from lib.netns import Network


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
