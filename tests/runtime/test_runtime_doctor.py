# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex-run doctor: each verdict brought about for real, and each command that it proposes tried."""

import json
import shlex
import subprocess

import pytest

import foreign
import objects
from lib.clients import connect, exchange, message, receive
from lib.mplex import MPLEX_RUN, Mplex, attach, compile_rules, kernel_hands_over_tcp
from lib.netns import Namespace, Network, stop
from lib.servers import IPPROTO_MPTCP, Servers, TcpServer, UdpServer
from lib.waiting import wait_until
from watching import detach, pin

BOTH = {"protocols": ["tcp", "udp"]}


class Doctor(dict):
    """What a doctor found: a list of findings by the name of the check."""

    def __init__(self, namespace, *arguments, interface="eth0", prefix=()):
        with namespace.inside():
            done = subprocess.run(
                [*prefix, MPLEX_RUN, "doctor", interface, *map(str, arguments), "--json"],
                capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        self.status = done.returncode
        self.report = json.loads(done.stdout)
        for finding in self.report["findings"]:
            self.setdefault(finding["check"], []).append(finding)
        assert self.status == (1 if self.having("problem") else 0)

    def having(self, verdict):
        return [one for one in self.report["findings"] if one["verdict"] == verdict]

    def verdicts(self, check):
        return [one["verdict"] for one in self.get(check, ())]

    def one(self, check, verdict, *words):
        """The only finding of a check that has this verdict, and these words in its text."""
        finding, = (one for one in self.get(check, ()) if one["verdict"] == verdict)
        for word in words:
            assert word in finding["text"], finding
        return finding


def follow(namespace, finding):
    return namespace.run(shlex.split(finding["remedy"]))


def tcp():
    return objects.build(objects.manifest(objects.TCP))


# ---- the command ----------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [(), ("a", "b", "c"), ("eth0", "--mode", "x"),
                                       ("eth0", "--interval", "1")])
def test_usage(network, refused, arguments):
    status, sentence = refused(network.server, "doctor", *arguments)
    assert status == 2 and "--help" in sentence


def test_not_there(network, refused, tmp_path):
    status, sentence = refused(network.server, "doctor", "eth7")
    assert status == 1 and "no interface eth7" in sentence
    status, sentence = refused(network.server, "doctor", "eth0", tmp_path / "none.o")
    assert status == 1 and "No such file" in sentence
    status, sentence = refused(network.server, "doctor", "eth0", "/bin/true")
    assert status == 3 and "not a BPF object file" in sentence


def test_text_says_what_json_says(network):
    found = Doctor(network.server, tcp())
    with network.server.inside():
        done = subprocess.run([MPLEX_RUN, "doctor", "eth0", tcp()], capture_output=True, text=True,
                              timeout=60)
    assert done.returncode == found.status
    lines = done.stdout.splitlines()
    for finding in found.report["findings"]:
        head, _, text = lines.pop(0).partition(finding["text"])
        assert head.split() == [finding["verdict"], finding["check"]] and text == ""
        if "remedy" in finding:
            assert lines.pop(0).strip() == f"run: {finding['remedy']}"
    assert not lines


def test_without_an_object(network):
    found = Doctor(network.server)
    assert "object" not in found.report
    assert found.verdicts("object") == ["unknown"]
    assert found.verdicts("rights") == found.verdicts("interface") == ["ok"]
    assert "firewall" not in found and "server" not in found


def test_nothing_to_complain_of(network):
    """A host with its servers, seen by a doctor: all is well, and nothing has changed."""
    before = state(network.server)
    rules = """
        version: 1
        listeners:
          feed: {protocol: [tcp, udp], port: 5000, length: 9, tag: {offset: 0},
                 routes: {"600": 5001, "601": 5002}}
    """
    if not kernel_hands_over_tcp():
        rules = rules.replace("[tcp, udp]", "udp")
    child = network.client.spawn(["sleep", "600"])  # by which the veth's peer is found
    with Servers(network.server, [5001, 5002]):
        assert wait_until(lambda: Doctor(network.server, tcp()).verdicts("veth") == ["ok"])
        found = Doctor(network.server, compile_rules(rules))
    stop(child)
    assert not found.having("problem") and not found.having("warning"), found.report
    # Before Linux 6.3 a driver's features cannot be asked for.
    assert {one["check"] for one in found.having("unknown")} <= {"native"}, found.report
    assert state(network.server) == before
    # A run agrees.
    with attach(network.server, rules):
        pass


def state(host):
    """Whatever a doctor could have changed."""
    return (host.run("ip -details link show").replace("LOWERLAYERDOWN", ""),
            host.run("nft list ruleset"), host.run("tc qdisc show"), host.run("bpftool net show"))


# ---- this process and the kernel ------------------------------------------------------------------

@pytest.mark.parametrize("missing", ["all", "-net_admin", "-bpf,-sys_admin", "-perfmon,-sys_admin"])
def test_rights(network, missing):
    sets = "-all" if missing == "all" else missing
    found = Doctor(network.server, tcp(),
                   prefix=("setpriv", "--bounding-set", sets, "--inh-caps", sets))
    found.one("rights", "problem", "sudo")


def test_kernel(network):
    found = Doctor(network.server)
    assert found.verdicts("btf") == found.verdicts("jit") == found.verdicts("tcx") == ["ok"]


def test_kernel_function(network):
    manifest = objects.manifest(needs={"kfuncs": ["bpf_no_such_function"]})
    Doctor(network.server, objects.build(manifest)).one("kfunc", "problem", "use a newer kernel")
    if kernel_hands_over_tcp():
        manifest = objects.manifest(needs={"kfuncs": ["bpf_sk_assign_tcp_reqsk"]})
        Doctor(network.server, objects.build(manifest)).one("kfunc", "ok")


def test_bpffs(network):
    assert Doctor(network.server).verdicts("bpffs") == ["ok"]
    with network.server.inside():
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"umount -l /sys/fs/bpf; {MPLEX_RUN} doctor eth0"],
            capture_output=True, text=True, timeout=60)
    line, = (line for line in done.stdout.splitlines() if " bpffs " in line)
    assert line.startswith("warning") and "not mounted" in line
    assert "run: mount -t bpf bpf /sys/fs/bpf" in done.stdout


@pytest.mark.parametrize("name", ["tcp_window_scaling", "tcp_sack", "tcp_timestamps"])
def test_tcp_options(own_network, name):
    server = own_network.server
    assert Doctor(server, tcp()).verdicts("options") == ["ok"]
    server.sysctl(f"net.ipv4.{name}", 0)
    finding = Doctor(server, tcp()).one("options", "warning", name)
    follow(server, finding)
    assert Doctor(server, tcp()).verdicts("options") == ["ok"]
    assert "options" not in Doctor(server, objects.build())


def test_sysctl(own_network):
    server = own_network.server
    target = objects.build(objects.manifest(
        needs={"sysctls": {"net.ipv4.tcp_syncookies": {"min": 1}}}))
    assert Doctor(server, target).verdicts("sysctl") == ["ok"]
    server.sysctl("net.ipv4.tcp_syncookies", 0)
    follow(server, Doctor(server, target).one("sysctl", "problem", "tcp_syncookies is 0"))
    assert Doctor(server, target).verdicts("sysctl") == ["ok"]


# ---- the interface --------------------------------------------------------------------------------

def test_loopback(network):
    Doctor(network.server, interface="lo").one("interface", "problem", "loopback")


def test_driver(own_network):
    server = own_network.server
    server.run("ip link add br0 type bridge")
    features = Doctor(server).verdicts("native")
    if features == ["unknown"]:
        pytest.skip("needs a kernel that tells of XDP features (6.3)")
    assert features == ["ok"]
    Doctor(server, interface="br0").one("native", "problem", "bridge", "--mode generic")
    assert "native" not in Doctor(server, "--mode", "generic", interface="br0")


def test_mtu(own_network):
    server = own_network.server
    for host in own_network.hosts:
        host.run("ip link set dev eth0 mtu 9000")
    if Doctor(server).verdicts("native") == ["unknown"]:
        Doctor(server).one("mtu", "unknown", "9000")
        return
    Doctor(server).one("mtu", "ok", "9000")


def test_mtu_of_a_driver_that_takes_one_page(own_network):
    server = own_network.server
    try:
        server.run("ip tuntap add dev tap0 mode tap")
    except RuntimeError:
        pytest.skip("needs tap devices in the kernel")
    server.run("ip link set dev tap0 mtu 9000")
    found = Doctor(server, interface="tap0")
    if found.verdicts("native") != ["ok"]:
        pytest.skip("needs a kernel that tells of XDP features (6.3)")
    follow(server, found.one("mtu", "problem", "9000"))
    assert Doctor(server, interface="tap0").verdicts("mtu") == ["ok"]


def test_another_program_with_a_link(own_network):
    server = own_network.server
    assert Doctor(server).verdicts("xdp") == ["ok"]
    server.run(f"ip link set dev eth0 xdpdrv obj {foreign.compiled()} sec xdp")
    follow(server, Doctor(server).one("xdp", "problem", "foreign_xdp"))
    assert Doctor(server).verdicts("xdp") == ["ok"]


def test_own_programs(own_network):
    """What is pinned is replaced, what a process holds is not."""
    server = own_network.server
    pin(server, objects.build())
    Doctor(server).one("xdp", "ok", "replaces")
    pin(server, objects.build())
    detach(server)
    with Mplex(server, objects.build()) as running:
        finding = Doctor(server).one("xdp", "problem", "in the foreground")
        follow(server, finding)
        assert running.child.wait(10) == 0
    assert Doctor(server).verdicts("xdp") == ["ok"]


def test_down(own_network):
    server = own_network.server
    server.run("ip link set dev eth0 down")
    follow(server, Doctor(server).one("interface", "warning", "is down"))
    assert Doctor(server).verdicts("interface") == ["ok"]


def test_vlan(own_network):
    server = own_network.server
    try:
        server.run("ip link add link eth0 name eth0.100 type vlan id 100")
    except RuntimeError:
        pytest.skip("needs VLAN devices (8021q) in the kernel")
    server.run("ethtool -K eth0 rxvlan on")
    assert Doctor(server).verdicts("vlan") == ["warning"]
    assert Doctor(server, objects.build()).verdicts("vlan") == ["ok"]
    follow(server, Doctor(server, tcp()).one("vlan", "problem", "eth0.100"))
    assert Doctor(server, tcp()).verdicts("vlan") == ["ok"]


def test_veth_peer(own_network):
    """In another namespace, where some process has to live for it to be found."""
    server, client = own_network.server, own_network.client
    Doctor(server, tcp()).one("veth", "warning", "cannot be asked")
    child = client.spawn(["sleep", "600"])
    assert wait_until(lambda: Doctor(server, tcp()).verdicts("veth") == ["ok"])
    client.run("ethtool -K eth0 gro off")
    follow(server, Doctor(server, tcp()).one("veth", "problem", "peer eth0"))
    assert Doctor(server, tcp()).verdicts("veth") == ["ok"]
    client.run("ethtool -K eth0 gro off")
    client.run(f"ip link set dev eth0 xdpdrv obj {foreign.compiled()} sec xdp")
    assert Doctor(server, tcp()).verdicts("veth") == ["ok"]
    client.run("ip link set dev eth0 xdpdrv off")
    assert Doctor(server, tcp()).verdicts("veth") == ["problem"]
    assert "veth" not in Doctor(server, objects.build())  # it answers nothing
    assert "veth" not in Doctor(server, tcp(), "--mode", "generic")
    stop(child)


def test_veth_peer_beside(own_network):
    server = own_network.server
    server.run("ip link add here type veth peer name there")
    server.run("ethtool -K there gro off")
    finding = Doctor(server, tcp(), interface="here").one("veth", "problem", "peer there")
    assert finding["remedy"] == "ethtool -K there gro on"
    follow(server, finding)
    assert Doctor(server, tcp(), interface="here").verdicts("veth") == ["ok"]


def test_refused_by_the_verifier(network):
    target = objects.build(objects.MANIFEST, "UNVERIFIABLE")
    Doctor(network.server, target).one("load", "problem", "the kernel refuses the programs of")
    assert Doctor(network.server, objects.build()).verdicts("load") == ["ok"]


def test_addresses(own_network):
    server = own_network.server
    Doctor(server, objects.build()).one("addresses", "ok", "2 IPv4")
    server.run("ip -batch -", input="".join(
        f"address add 10.0.0.{i}/32 dev eth0\n" for i in range(1, 64)))
    Doctor(server, objects.build()).one("addresses", "problem", "65 IPv4 addresses")
    assert "addresses" not in Doctor(server, objects.build(objects.MANIFEST, "WITHOUT_ADDRESSES"))


# ---- servers and clients --------------------------------------------------------------------------

# Ports that nobody on this machine is likely to serve in another namespace.
ONE, OTHER = 47311, 47312


def servers_found(namespace, listener=BOTH):
    listener = {"ports": [ONE, OTHER]} | listener
    return Doctor(namespace, objects.build(objects.manifest(listener)))


def test_servers(network):
    server = network.server
    found = servers_found(server)
    assert found.verdicts("server") == ["warning", "warning"]
    with Servers(server, [ONE], (TcpServer,)), Servers(server, [OTHER], (UdpServer,)):
        tcp_found, udp_found = (
            [one for one in servers_found(server)["server"] if kind in one["text"]]
            for kind in ("tcp", "udp"))
    assert [(one["verdict"], port in one["text"]) for one, port in
            zip(tcp_found, (f"port {ONE}", f"port {OTHER}"))] == [("ok", True), ("warning", True)]
    assert [(one["verdict"], port in one["text"]) for one, port in
            zip(udp_found, (f"port {OTHER}", f"port {ONE}"))] == [("ok", True), ("warning", True)]
    with Servers(server, [ONE, OTHER]):
        assert servers_found(server).verdicts("server") == ["ok", "ok"]


@pytest.mark.parametrize("version, address", [(4, "127.0.0.1"), (6, "::1")])
def test_server_on_loopback(network, version, address):
    with TcpServer(network.server, version, ONE, address=address), \
            TcpServer(network.server, 6, OTHER, dual=True):
        found = servers_found(network.server, objects.TCP)
    found.one("server", "problem", f"port {ONE} listen on loopback")
    found.one("server", "ok", f"port {OTHER}")


def test_server_elsewhere(network):
    other = Namespace()
    try:
        child = other.spawn(["nc", "-l", "-k", "-p", str(OTHER)], stdin=subprocess.DEVNULL)
        assert wait_until(lambda: f":{OTHER}" in other.run("ss -Htln"))
        with TcpServer(network.server, 4, ONE):
            found = servers_found(network.server, objects.TCP)
        found.one("server", "warning", f"port {OTHER}", "another network namespace",
                  f"process {child.pid}")
        found.one("server", "ok", f"port {ONE}")
    finally:
        other.close()


def test_mptcp(network):
    try:
        server = TcpServer(network.server, 4, ONE, protocol=IPPROTO_MPTCP)
    except OSError:
        pytest.skip("needs MPTCP in the kernel")
    with server, TcpServer(network.server, 4, OTHER):
        finding = servers_found(network.server, objects.TCP).one("mptcp", "problem", f"port {ONE}")
    assert str(OTHER) not in finding["text"]
    follow(network.server, finding)
    with pytest.raises(OSError):
        TcpServer(network.server, 4, ONE, protocol=IPPROTO_MPTCP)
    network.server.sysctl("net.mptcp.enabled", 1)


def test_server_on_the_listen_port(network):
    passing = objects.TCP | {"ports": [5000, ONE, OTHER]}
    with TcpServer(network.server, 4, 5000):
        servers_found(network.server, objects.TCP).one("taken", "warning", "port 5000")
        assert "taken" not in servers_found(network.server, passing)
    assert "taken" not in servers_found(network.server, objects.TCP)


def test_clients_on_this_host(network):
    assert servers_found(network.server).verdicts("lo") == ["ok"]
    with TcpServer(network.server, 4, 5000), connect(network.server, 4, 5000):
        servers_found(network.server).one("lo", "warning", "port 5000")
    # A client of another host's port 5000 is none.
    with TcpServer(network.client, 4, 5000), \
            connect(network.server, 4, 5000, address="192.0.2.2"):
        assert servers_found(network.server).verdicts("lo") == ["ok"]


# ---- the firewall ---------------------------------------------------------------------------------

RULES = """
    version: 1
    listeners:
      feed: {protocol: tcp, port: 5000, length: 290..294, tag: {offset: 20},
             routes: {"600": 5001, "601": 5002}}
"""


def chain(policy, rules):
    rules = "\n".join(rules.split(";"))
    return (f"table inet filter {{ chain input {{ type filter hook input priority 0; policy {policy}\n"
            f"icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n{rules}\n}}\n}}\n")


STATES = "ct state established,related accept; ct state invalid drop"
ONLY_SYN = "tcp flags & (fin|syn|rst|ack) == syn"

# Each shape, and whether a client's message gets through it.
SHAPES = {
    "none": ("", True),
    "policy": (chain("drop", ""), False),
    "by port": (chain("drop", "tcp dport 5000 accept"), True),
    "by port behind states": (chain("drop", f"{STATES}; tcp dport 5000 accept"), True),
    "states in a map": (chain("drop", "ct state vmap { established : accept, invalid : drop }; "
                                      "tcp dport { 22, 5000 } ct state new accept"), True),
    "port in a set": (chain("drop", "tcp dport { 22, 5000 } accept"), True),
    "not in a set": (chain("drop", "tcp dport { 22, 5001 } accept"), False),
    "by interface": (chain("drop", 'iifname "eth*" accept'), True),
    "by another interface": (chain("drop", 'iifname "lo" accept'), False),
    "new must be syn": (chain("accept", f"ct state new tcp flags & (fin|syn|rst|ack) != syn drop"),
                        False),
    "accept only syn": (chain("drop", f"{STATES}; tcp dport 5000 {ONLY_SYN} accept"), False),
    "only backend ports": (chain("drop", f"{STATES}; tcp dport {{ 5001, 5002 }} accept"), False),
    "reject": (chain("accept", "tcp dport 5000 reject with tcp reset"), False),
    "reject of others": (chain("accept", "tcp dport != 5000 reject; udp dport 5000 drop"), True),
    "another chain": ("table ip filter { chain ours { tcp dport 5000 accept\n drop\n }\n"
                      "chain input { type filter hook input priority 0\n jump ours\n }\n }\n", True),
    "another chain drops": ("table ip filter { chain ours { tcp dport 22 accept\n drop\n }\n"
                            "chain input { type filter hook input priority 0\n goto ours\n }\n }\n",
                            False),
    "a second table": (chain("accept", "tcp dport 5000 accept")
                       + "table ip late { chain in { type filter hook input priority 10\n"
                         "tcp dport 5000 drop\n }\n }\n", False),
    "before": ("table ip early { chain in { type filter hook prerouting priority -300\n"
               "meta l4proto tcp th dport 5000 drop\n }\n }\n", False),
    "nothing for what follows": (chain("drop", "ct state new tcp dport 5000 accept"), False),
    "what follows is dropped": (chain("accept", "ct state established tcp dport 5000 drop"), False),
    "untracked": ("table inet raw { chain in { type filter hook prerouting priority -300\n"
                  "tcp dport 5000 notrack\n }\n }\n" + chain("drop", "ct state untracked accept"),
                  True),
}


@pytest.fixture(scope="module")
def attached():
    """mplex with its servers on a network of their own: what the doctor says is tried on it."""
    if not kernel_hands_over_tcp():
        pytest.skip("needs a kernel that hands over connections (6.8)")
    with Network() as made, Servers(made.server, [5001, 5002]), \
            attach(made.server, RULES) as running:
        made.running = running
        yield made


def gets_through(network):
    """A message, and what is said after it."""
    try:
        with connect(network.client, 4, 5000, timeout=1.5) as sock:
            assert exchange(sock, message("601")) == 5002
            sock.sendall(b"more")
            return receive(sock, 4) == b"more"
    except OSError:
        return False


def firewall_found(network):
    return Doctor(network.server, compile_rules(RULES))


@pytest.mark.parametrize("rules, through", SHAPES.values(), ids=SHAPES)
def test_firewall(attached, rules, through):
    """The doctor's word is what happens, and its remedy is one."""
    with attached.server.firewall(rules):
        found = firewall_found(attached)
        assert gets_through(attached) == through
        if through:
            assert found.verdicts("firewall") == ["ok"]
            return
        finding = found.one("firewall", "problem", "port 5000")
        for finding in found["firewall"]:
            follow(attached.server, finding)
        assert firewall_found(attached).verdicts("firewall") == ["ok"]
        assert gets_through(attached)


def test_strict_tracking(attached):
    """Harmless by itself; with a rule against invalid packets it loses all."""
    server = attached.server
    rules = chain("accept", "ct state invalid drop")
    with server.firewall(rules):  # a kernel may load connection tracking only for a rule
        pass
    server.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    try:
        found = firewall_found(attached)
        assert found.verdicts("firewall") == ["ok"]
        assert found.verdicts("conntrack") == ["warning"]
        with server.firewall(rules):
            assert not gets_through(attached)
            found = firewall_found(attached)
            follow(server, found.one("firewall", "problem", "nf_conntrack_tcp_loose is 0"))
            found = firewall_found(attached)
            assert found.verdicts("firewall") == ["ok"]
            assert "conntrack" not in found
            assert gets_through(attached)
    finally:
        server.sysctl("net.netfilter.nf_conntrack_tcp_loose", 1)


@pytest.mark.parametrize("rules, word", [
    ("ip saddr 192.0.2.2 tcp dport 5000 accept", "ip saddr"),
    ("tcp dport 5000 limit rate 100/second accept", "limit"),
    ("tcp sport 1024-65535 accept; ip6 saddr ::1 accept", "tcp sport"),
])
def test_firewall_that_depends(attached, rules, word):
    with attached.server.firewall(chain("drop", rules)):
        finding = firewall_found(attached)["firewall"][0]
    assert finding["verdict"] == "unknown" and f'"{word}"' in finding["text"]


def test_firewall_for_udp(own_network):
    """Messages arrive with the ports that they are routed to."""
    server = own_network.server
    with server.firewall(chain("drop", "udp dport { 5000, 5001 } accept")):
        found = Doctor(server, objects.build())
        follow(server, found.one("firewall", "problem", "udp port 5002"))
        assert Doctor(server, objects.build()).verdicts("firewall") == ["ok"]
    # Many ports at once, as ranges.
    target = objects.build(objects.manifest({"ports": [*range(5001, 5101), 5200, 5300]}))
    with server.firewall(chain("drop", "")):
        finding = Doctor(server, target).one("firewall", "problem", "and 94 more")
        assert "{5001-5100,5200,5300}" in finding["remedy"]
        follow(server, finding)
        assert Doctor(server, target).verdicts("firewall") == ["ok"]


def test_firewall_of_one_family(own_network):
    server = own_network.server
    target = objects.build(objects.manifest(objects.TCP))
    rules = "table ip6 f { chain input { type filter hook input priority 0\ntcp dport 5000 drop\n}\n}\n"
    with server.firewall(rules):
        follow(server, Doctor(server, target).one("firewall", "problem", "IPv6 clients"))
        assert Doctor(server, target).verdicts("firewall") == ["ok"]
    # Where only IPv4 is served, that is nobody's concern.
    target = objects.build(objects.manifest({**objects.TCP, "addresses": ["192.0.2.0/24"]}))
    with server.firewall(rules):
        assert Doctor(server, target).verdicts("firewall") == ["ok"]


def iptables(namespace, kind, command):
    try:
        namespace.run(f"{kind} {command}")
    except (RuntimeError, FileNotFoundError) as error:
        pytest.skip(f"needs {kind}: {error}")


def test_iptables_in_nftables(attached):
    """Rules of iptables-nft are nftables rules; its extensions are not to be read."""
    server = attached.server
    iptables(server, "iptables-nft", "-P INPUT DROP")
    try:
        follow_as = firewall_found(attached).one("firewall", "problem", "chain INPUT", "IPv4")
        assert not gets_through(attached)
        iptables(server, "iptables-nft", "-A INPUT -m conntrack --ctstate NEW -j ACCEPT")
        assert firewall_found(attached).verdicts("firewall") == ["unknown"]
        iptables(server, "iptables-nft", "-F INPUT")
        assert follow_as["remedy"].startswith("iptables -t filter -I INPUT ")
        server.run(shlex.split(follow_as["remedy"].replace("iptables", "iptables-nft", 1)))
        assert gets_through(attached)
    finally:
        server.run("nft flush ruleset")


def test_iptables_legacy(own_network):
    server = own_network.server
    iptables(server, "iptables-legacy", "-A INPUT -p tcp --dport 22 -j ACCEPT")
    found = Doctor(server, tcp())
    finding = found.one("firewall", "unknown", "iptables-legacy-save")
    assert "remedy" not in finding
    found.one("firewall", "ok")
