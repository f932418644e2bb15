# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Real servers, in threads of this process, on sockets of a namespace.

Every server says who it is, its port and a newline, before its first echo to a peer, and keeps what
it received, so that a test sees from both ends which server a message went to.
"""

import contextlib
import os
import select
import socket
import threading

from lib.netns import FAMILY
from lib.waiting import wait_until

ANY = {4: "0.0.0.0", 6: "::"}
IPPROTO_MPTCP = 262


class Server:
    """A thread that serves a socket until stop()."""

    def __init__(self, sock, port):
        self.socket = sock
        self.port = port
        self.wake = os.eventfd(0)
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def _loop(self):
        while True:
            ready, _, _ = select.select([self.socket, self.wake], [], [])
            if self.wake in ready:
                return
            self._serve()

    def start(self):
        self.thread.start()
        return self

    def stop(self):
        os.eventfd_write(self.wake, 1)
        self.thread.join()
        self.socket.close()
        os.close(self.wake)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.stop()


class Connection:
    """One accepted TCP connection, as the server saw it."""

    def __init__(self, sock, peer):
        self.socket = sock
        self.peer = peer[0].removeprefix("::ffff:"), peer[1]
        self.local_port = sock.getsockname()[1]
        self.data = bytearray()
        self.ended = threading.Event()
        self.error = None


class TcpServer(Server):
    """Echoes every connection. closes_after: closes first, after that many bytes."""

    def __init__(self, namespace, version, port, *, address=None, protocol=0, reuse_port=False,
                 dual=False, backlog=512, closes_after=None):
        sock = namespace.socket(FAMILY[version], socket.SOCK_STREAM, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.bind((address or ANY[version], port))
        sock.listen(backlog)
        # Between the readiness and the accept a connection can be reset and gone.
        sock.setblocking(False)
        super().__init__(sock, port)
        self.closes_after = closes_after
        self.connections = []

    def _serve(self):
        try:
            sock, peer = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return
        sock.setblocking(True)
        # The line and the echo leave at once, whether or not a crafted client acknowledges.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock, peer)
        self.connections.append(connection)
        threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection):
        sock = connection.socket
        try:
            while piece := sock.recv(1 << 16):
                if not connection.data:
                    sock.sendall(b"%d\n" % self.port)
                connection.data += piece
                sock.sendall(piece)
                if self.closes_after is not None and len(connection.data) >= self.closes_after:
                    break
        except OSError as error:
            connection.error = error
        finally:
            sock.close()
            connection.ended.set()

    def stop(self):
        super().stop()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def received(self):
        """What each connection brought, in the order of their arrival."""
        return [bytes(connection.data) for connection in self.connections]

    def connection(self, peer, timeout=5):
        """The latest connection from that (address, port)."""
        def find():
            return next((c for c in reversed(self.connections) if c.peer == tuple(peer[:2])), None)
        return wait_until(find, timeout)


IP_PKTINFO = 8  # linux/in.h; Python has no name for it


class UdpServer(Server):
    """Answers every datagram with who it is and what it got, from the address it was sent to."""

    def __init__(self, namespace, version, port, *, address=None, dual=False, answers=True,
                 options=()):
        sock = namespace.socket(FAMILY[version], socket.SOCK_DGRAM)
        if version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        for option in options:
            sock.setsockopt(*option)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if version == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((address or ANY[version], port))
        sock.setblocking(False)
        super().__init__(sock, port)
        self.answers = answers
        self.datagrams = []  # (peer, data)

    def _serve(self):
        try:
            data, control, _, peer = self.socket.recvmsg(1 << 16, 256)
        except (BlockingIOError, ConnectionError):
            return
        self.datagrams.append(((peer[0].removeprefix("::ffff:"), peer[1]), data))
        if self.answers:
            # A peer that cannot be reached is the peer's loss.
            with contextlib.suppress(OSError):
                self.socket.sendmsg([b"%d\n" % self.port, data], own_address(control), 0, peer)

    def received(self):
        return [data for _, data in self.datagrams]


def own_address(control):
    """What makes an answer leave from the address that a datagram came to, unless it is a group's.

    The interface is left to the routes.
    """
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            return [(level, kind, bytes(4) + value[4:8] + bytes(4))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO) and value[0] != 0xFF:
            return [(level, kind, value[:16] + bytes(4))]
    return []


class Servers:
    """Servers on several ports at once, for both IP versions."""

    def __init__(self, namespace, ports, kinds=(TcpServer, UdpServer), versions=(4, 6), **options):
        self.stack = contextlib.ExitStack()
        self.by_kind = {}
        with contextlib.ExitStack() as stack:
            for kind in kinds:
                for version in versions:
                    for port in ports:
                        server = stack.enter_context(kind(namespace, version, port, **options))
                        self.by_kind[kind, version, port] = server
            self.stack = stack.pop_all()

    def tcp(self, version, port):
        return self.by_kind[TcpServer, version, port]

    def udp(self, version, port):
        return self.by_kind[UdpServer, version, port]

    def received(self):
        """All that any of them got, as {(kind, version, port): [bytes, …]}, without the idle."""
        got = {(kind.__name__, version, port): server.received()
               for (kind, version, port), server in self.by_kind.items()}
        return {server: data for server, data in got.items() if data}

    def forget(self):
        for server in self.by_kind.values():
            if isinstance(server, UdpServer):
                server.datagrams.clear()
            else:
                server.connections.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stack.close()
