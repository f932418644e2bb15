# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Networks to test in: two hosts, or three, joined by veth pairs, each host a network namespace.

The namespaces have no names. This process holds them by a file descriptor and the kernel removes
them, with their interfaces, addresses, firewalls and BPF programs, when the last holder is gone:
at the end of the test, after an exception, after Ctrl-C, and after SIGKILL, too. A program that
was started inside is killed with this process for the same reason.

A namespace is entered by one thread for one block. A socket or a program made inside belongs to
the namespace for good, so almost nothing else needs to run there.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor):
    if libc.setns(descriptor, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def current_namespace():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A host of its own, with nothing but a loopback interface."""

    def __init__(self):
        self.descriptor = None
        self.children = []
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        if self.descriptor is None:
            raise PermissionError("no network namespace could be made: this needs root")
        self.run("ip link set lo up")

    def _make(self):
        if libc.unshare(CLONE_NEWNET) == 0:
            self.descriptor = current_namespace()

    @property
    def path(self):
        """A path to it that programs such as ip understand in place of a name."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @contextlib.contextmanager
    def inside(self):
        """The block runs in the namespace, as far as this thread is concerned."""
        before = current_namespace()
        try:
            setns(self.descriptor)
            yield
        finally:
            setns(before)
            os.close(before)

    def socket(self, family, kind, protocol=0):
        with self.inside():
            return socket.socket(family, kind, protocol)

    def run(self, command, **options):
        """Runs a command to its end and returns what it printed. A failure is an exception."""
        words = command.split() if isinstance(command, str) else command
        with self.inside():
            done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=60, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def spawn(self, words, **options):
        """Starts a program. It ends with the namespace at the latest, or with this thread."""
        with self.inside():
            child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *words], **options)
        self.children.append(child)
        return child

    def sysctl(self, name, value=None):
        """Reads a sysctl of the namespace, or sets it."""
        with self.inside():
            path = "/proc/sys/" + name.replace(".", "/")
            if value is None:
                with open(path) as file:
                    return file.read().strip()
            with open(path, "w") as file:
                file.write(str(value))

    def nft(self, text):
        """Loads nftables rules."""
        self.run(["nft", "-f", "-"], input=text)

    @contextlib.contextmanager
    def firewall(self, text):
        """nftables rules for the length of a block; nothing else may have rules meanwhile."""
        self.nft(text)
        try:
            yield
        finally:
            self.nft("flush ruleset")

    def close(self):
        for child in self.children:
            stop(child)
        self.children.clear()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def stop(child, number=signal.SIGKILL, patience=10):
    """Ends a program that was started here and returns its exit status."""
    if child.poll() is None:
        child.send_signal(number)
        try:
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return child.returncode


class Address:
    """The addresses of one host, by IP version: 4 or 6."""

    def __init__(self, v4, v6):
        self.by_version = {4: v4, 6: v6}

    def __getitem__(self, version):
        return self.by_version[version]


FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

SERVER_MAC = "02:00:00:00:00:01"
CLIENT_MAC = "02:00:00:00:00:02"

SERVER = Address("192.0.2.1", "2001:db8::1")
SECOND = Address("192.0.2.11", "2001:db8::11")  # another address of the server
CLIENT = Address("192.0.2.2", "2001:db8::2")
ABSENT = Address("192.0.2.77", "2001:db8::77")  # in the same subnet, nobody's
REMOTE = Address("203.0.113.66", "2001:db8:66::66")  # behind the client, as the server sees it
THIRD = Address("198.51.100.2", "2001:db8:3::2")  # the third host, behind another interface


class Network:
    """A client and a server, each with the interface eth0, and the links between them.

    The server's default route leads to the client, so that frames with invented source addresses
    can be answered. With third=True the server has a second interface, eth1, to a third host.
    """

    def __init__(self, third=False, mtu=1500):
        self.hosts = []
        try:
            self.server = self._host()
            self.client = self._host()
            self._join("eth0", self.client, SERVER_MAC, CLIENT_MAC, mtu)
            for address in (SERVER, SECOND):
                self._address(self.server, "eth0", address)
            self._address(self.client, "eth0", CLIENT)
            # Answers that XDP redirects to a veth are lost unless its peer has NAPI, thus GRO, on.
            self.client.run("ethtool -K eth0 gro on")
            self.server.run(f"ip route add default via {CLIENT[4]}")
            self.server.run(f"ip route add default via {CLIENT[6]}")
            if third:
                self.third = self._host()
                self._join("eth1", self.third, "02:00:00:00:01:01", "02:00:00:00:01:02", mtu)
                self._address(self.server, "eth1", Address("198.51.100.1", "2001:db8:3::1"))
                self._address(self.third, "eth0", THIRD)
        except BaseException:
            self.close()
            raise

    def _host(self):
        host = Namespace()
        self.hosts.append(host)
        # Duplicate address detection would make every address wait.
        for scope in ("all", "default"):
            host.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
            host.sysctl(f"net.ipv6.conf.{scope}.router_solicitations", 0)
        return host

    def _join(self, interface, peer, mac, peer_mac, mtu):
        self.server.run(f"ip link add {interface} address {mac} mtu {mtu} type veth"
                        f" peer name eth0 address {peer_mac} mtu {mtu} netns {peer.path}")
        self.server.run(f"ip link set {interface} up")
        peer.run("ip link set eth0 up")

    @staticmethod
    def _address(host, interface, address):
        host.run(f"ip address add {address[4]}/24 dev {interface}")
        host.run(f"ip address add {address[6]}/64 dev {interface} nodad")

    def close(self):
        for host in reversed(self.hosts):
            host.close()
        self.hosts.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
