# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What every test written in Python may ask for."""

import os
import signal
import sys

import pytest

# The tests import the library beside this file as `lib`, wherever pytest is started.
sys.path.insert(0, os.path.dirname(__file__))
# Bytecode of the tests belongs to nobody's tree.
sys.dont_write_bytecode = True
# A shell lets what it runs in the background ignore SIGINT, and so would all that is started here.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root():
    """Skips what needs root, and says so."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces and BPF")
