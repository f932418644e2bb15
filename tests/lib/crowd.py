# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Many ordinary clients at once, and whether each of them was served."""

import concurrent.futures
import random

from lib.clients import ask_udp, connect, exchange, message

TAGS = {"600": 5001, "601": 5002, "602": 5003}
TRIES = 5  # of a datagram, a second each


def tcp_client(network, number, size=0):
    """One whole connection to the listen port 5000: returns what went wrong, or None."""
    version = 4 if number % 2 else 6
    tag = random.choice(list(TAGS))
    sent = message(tag) + bytes(size)
    try:
        with connect(network.client, version, 5000, timeout=40) as sock:
            port = exchange(sock, sent)
    except OSError as error:
        return f"client {number}, IPv{version}: {error!r}"
    if port != TAGS[tag]:
        return f"client {number}, IPv{version}: tag {tag} went to port {port}"
    return None


def udp_client(network, number):
    """One datagram and its answer; lost ones are sent again, as clients of UDP do."""
    version = 4 if number % 2 else 6
    tag = random.choice(list(TAGS))
    for _ in range(TRIES):
        try:
            port, source = ask_udp(network.client, version, 5000, message(tag), timeout=1)
        except TimeoutError:
            continue
        except (OSError, AssertionError) as error:
            return f"client {number}, IPv{version}: {error!r}"
        if (port, source) != (TAGS[tag], 5000):
            return f"client {number}, IPv{version}: tag {tag}: port {port}, answer from {source}"
        return None
    return f"client {number}, IPv{version}: no answer to {TRIES} datagrams"


def serve(client, network, count, *arguments, at_once=50):
    """Runs that many clients; returns what went wrong, one text for each client."""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        results = pool.map(lambda number: client(network, number, *arguments), range(count))
        return [result for result in results if result]
