# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real clients: ordinary sockets of the client's namespace."""

import collections
import itertools
import socket
import struct

from lib.netns import FAMILY, SERVER

FEED_LENGTH = 292  # of a message in rules/mplex.yaml
FEED_OFFSET = 20  # of its tag

numbers = itertools.count()


def message(tag, length=FEED_LENGTH, offset=FEED_OFFSET):
    """A message with that tag. No two are alike, and none is zeros."""
    tag = tag.encode() if isinstance(tag, str) else tag
    start = b"message %d " % next(numbers)
    filler = (start * (length // len(start) + 1))[:length]
    return (filler[:offset] + tag + filler[offset + len(tag):])[:length]


def connect(namespace, version, port, *, address=None, source_port=0, timeout=5, options=()):
    """A connected TCP socket."""
    sock = namespace.socket(FAMILY[version], socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        for option in options:
            sock.setsockopt(*option)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", source_port))
        sock.connect((address or SERVER[version], port))
    except BaseException:
        sock.close()
        raise
    return sock


def receive(sock, count):
    """Exactly count bytes of a stream, fewer only at its end."""
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), 1 << 18))
        if not piece:
            break
        data += piece
    return bytes(data)


def who(sock):
    """Reads the line with which a server of ours says its port."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = sock.recv(1)
        if not piece:
            raise ConnectionAbortedError(f"the stream ended after {bytes(line)!r}")
        line += piece
    return int(line)


def exchange(sock, data):
    """Sends the first data of a connection; returns the port of the server that echoed it."""
    sock.sendall(data)
    port = who(sock)
    echo = receive(sock, len(data))
    assert echo == data, f"the echo differs: {echo[:64]!r}… of {len(echo)} bytes"
    return port


def ask(namespace, version, port, data, **options):
    """Connects, sends, returns the port of the server that answered, closes."""
    with connect(namespace, version, port, **options) as sock:
        return exchange(sock, data)


def udp_socket(namespace, version, timeout=5):
    sock = namespace.socket(FAMILY[version], socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock


def ask_udp(namespace, version, port, data, *, address=None, timeout=5, sock=None):
    """Sends a datagram; returns (port of the server that answered, source port of its answer)."""
    own = sock or udp_socket(namespace, version)
    try:
        own.settimeout(timeout)
        own.sendto(data, (address or SERVER[version], port))
        answer, source = own.recvfrom(1 << 16)
    finally:
        if sock is None:
            own.close()
    server, echo = answer.split(b"\n", 1)
    assert echo == data, "the echo differs"
    return int(server), source[1]


TcpInfo = collections.namedtuple(
    "TcpInfo", "timestamps sack window_scale ecn send_scale receive_scale send_mss announced_mss")


def tcp_info(sock):
    """What the two ends of a connection agreed on, from TCP_INFO (linux/tcp.h)."""
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    options, scales = data[5], data[6]
    words = struct.unpack_from("=20I", data, 8)
    return TcpInfo(timestamps=bool(options & 1), sack=bool(options & 2),
                   window_scale=bool(options & 4), ecn=bool(options & 8),
                   send_scale=scales & 15, receive_scale=scales >> 4,
                   send_mss=words[2], announced_mss=words[19])
