# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the tests and the demonstration share: networks, servers, clients, frames, and mplex."""
