# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Frames as they are on the wire: crafted ones sent, passing ones seen."""

import logging
import socket
import struct
import time

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

from lib.netns import CLIENT_MAC, REMOTE, SERVER, SERVER_MAC  # noqa: E402
from lib.waiting import SETTLED  # noqa: E402

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_AUXDATA = 8
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6

LAYER = {4: IP, 6: IPv6}


class Wire:
    """An interface's end of the wire: sends frames as they are, and sees those that arrive.

    What arrives is seen behind XDP, before the kernel's own reading. Frames that the host itself
    sends are seen only with outgoing=True.
    """

    def __init__(self, namespace, interface="eth0", outgoing=False):
        self.outgoing = outgoing
        self.socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        with namespace.inside():
            self.socket.bind((interface, ETH_P_ALL))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.socket.close()

    def send(self, frame):
        self.socket.send(bytes(frame))

    def _next(self, timeout):
        """The next frame's bytes, or None when the time is over."""
        end = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data, control, _, source = self.socket.recvmsg(1 << 17, 64)
            except TimeoutError:
                if time.monotonic() >= end:
                    return None
                continue
            if (source[2] == socket.PACKET_OUTGOING) == self.outgoing:
                return with_vlan(data, control)

    def frame(self, match, timeout=2.0):
        """The first frame that matches, parsed, or None when none came in time."""
        end = time.monotonic() + timeout
        while (data := self._next(max(end - time.monotonic(), 0.001))) is not None:
            packet = Ether(data)
            if match(packet):
                return packet
        return None

    def arrives(self, data, timeout=2.0):
        """Whether exactly this frame comes within the time."""
        end = time.monotonic() + timeout
        while (seen := self._next(max(end - time.monotonic(), 0.001))) is not None:
            if seen == data:
                return True
        return False

    def frames(self, match, timeout=SETTLED):
        """All frames that match and come within the time."""
        end = time.monotonic() + timeout
        found = []
        while (packet := self.frame(match, max(end - time.monotonic(), 0.001))) is not None:
            found.append(packet)
        return found

    def silent(self, match, timeout=SETTLED):
        """Whether no frame that matches comes within the time."""
        return self.frame(match, timeout) is None


def with_vlan(data, control):
    """Puts the outer VLAN tag back, which the kernel moves out of the frame."""
    for level, kind, value in control:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tag, tpid = struct.unpack("=IIIHHHH", value[:20])
            if status & TP_STATUS_VLAN_VALID:
                tpid = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
                return data[:12] + struct.pack("!HH", tpid, tag) + data[12:]
    return data


def ethernet(source=CLIENT_MAC, destination=SERVER_MAC):
    return Ether(src=source, dst=destination)


def ip(version, source=None, destination=None, **fields):
    """An IP header from the remote host to the server."""
    return LAYER[version](src=source or REMOTE[version], dst=destination or SERVER[version],
                          **fields)


def datagram(version, payload, port=5000, source_port=40000, **fields):
    """A whole frame with a UDP datagram in it."""
    return (ethernet() / ip(version) / UDP(sport=source_port, dport=port, **fields)
            / Raw(payload))


def checksum_right(packet, layer):
    """Whether the packet's checksum is the one that its contents give."""
    fresh = packet.copy()
    seen = fresh[layer].chksum
    del fresh[layer].chksum
    return Ether(bytes(fresh))[layer].chksum == seen


def again(segment):
    """A segment that was seen leaving a host, fit to be sent once more.

    With checksum offload its checksum was not yet computed when it was seen.
    """
    copy = segment.copy()
    del copy[TCP].chksum
    return Ether(bytes(copy))


def options_of(segment):
    """The TCP options of a segment, as a dictionary."""
    return {name: value for name, value in segment[TCP].options if name not in ("NOP", "EOL")}


class CraftedTcp:
    """One TCP connection made by hand, from an address that no kernel answers for."""

    OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1000, 0)), ("NOP", None),
               ("WScale", 7)]

    def __init__(self, wire, version, port=5000, source_port=40000, source=None, sequence=1000,
                 options=None):
        self.wire = wire
        self.version = version
        self.port = port
        self.source = source or REMOTE[version]
        self.source_port = source_port
        self.sequence = sequence  # of the next byte to send
        self.acknowledged = 0  # the next byte expected
        self.options = self.OPTIONS if options is None else options
        self.timestamp = None

    def packet(self, flags, payload=b"", *, options=(), mac=SERVER_MAC, source_mac=CLIENT_MAC,
               destination=None, ip_fields=None, **fields):
        fields.setdefault("sport", self.source_port)
        fields.setdefault("seq", self.sequence)
        fields.setdefault("ack", self.acknowledged if "A" in flags else 0)
        options = list(options)
        if not options and self.timestamp is not None and "S" not in flags:
            options = [("NOP", None), ("NOP", None), ("Timestamp", self.timestamp)]
        packet = (ethernet(source_mac, mac)
                  / ip(self.version, self.source, destination, **(ip_fields or {}))
                  / TCP(dport=self.port, flags=flags, window=64000, options=options, **fields))
        return packet / Raw(payload) if payload else packet

    def send(self, flags, payload=b"", **fields):
        packet = self.packet(flags, payload, **fields)
        self.wire.send(packet)
        return packet

    def is_answer(self, packet):
        return (TCP in packet and packet[TCP].dport == self.source_port
                and packet[TCP].sport == self.port
                and packet[LAYER[self.version]].dst == self.source)

    def answer(self, timeout=2.0):
        return self.wire.frame(self.is_answer, timeout)

    def silent(self):
        return self.wire.silent(self.is_answer)

    def open(self, acknowledge=True):
        """The handshake. Returns the SYN-ACK, or None when none came."""
        self.send("S", options=self.options)
        answer = self.answer()
        if answer is None or "S" not in answer[TCP].flags:
            return None
        self.sequence += 1
        self.acknowledged = answer[TCP].seq + 1
        offered = options_of(answer)
        if "Timestamp" in offered:
            self.timestamp = (1001, offered["Timestamp"][0])
        if acknowledge:
            self.send("A")
        return answer

    def say(self, data, length):
        """Sends data, and acknowledges and returns an answer of that length, or less in time."""
        self.send("PA", data)
        self.sequence += len(data)
        stream = b""
        end = time.monotonic() + 2
        while len(stream) < length and time.monotonic() < end:
            answer = self.answer(0.5)
            if answer is None:
                break
            if Raw in answer and answer[TCP].seq == self.acknowledged:
                stream += answer[Raw].load
                self.acknowledged += len(answer[Raw].load)
                self.send("A")
        return stream
