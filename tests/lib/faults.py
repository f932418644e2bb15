# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What goes wrong on a wire, done with nftables to segments with data that a client sends.

A plain `drop` on the way out is told to the sending TCP, which then behaves otherwise than after a
loss. So what is to be lost is sent to the loopback interface instead, where nobody wants it.
"""

from lib.netns import SERVER

# Longer than any segment without data.
WITH_DATA = "meta length > 100"


def egress(rule):
    return (f'table netdev wire {{ chain out {{ type filter hook egress device "eth0" priority 0\n'
            f"{rule}\n}}\n}}\n")


def lose_first(port):
    """Loses the first segment with data to the port, once."""
    return egress(f'tcp dport {port} {WITH_DATA} numgen inc mod 1000000 0 fwd to "lo"')


def double_first(version, port):
    """Sends the first segment with data to the port twice, back to back."""
    family = {4: "ip", 6: "ip6"}[version]
    return (f"table {family} wire {{ chain out {{ type filter hook output priority 0\n"
            f"tcp dport {port} {WITH_DATA} numgen inc mod 1000000 0"
            f' dup to {SERVER[version]} device "eth0"\n}}\n}}\n')


def lossy(percent):
    """Loses that part of all frames, both ways."""
    chance = f"numgen random mod 100 < {percent}"
    return (egress(f'meta l4proto {{ tcp, udp }} {chance} fwd to "lo"')
            + "table inet wire { chain in { type filter hook prerouting priority -300\n"
            + f"meta l4proto {{ tcp, udp }} {chance} drop\n}}\n}}\n")
