# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the running kernel makes of mplex: that it loads every program, or is told why not.

Part of the suite on any machine; check.py runs it, and a choice of the other tests, in kernels of
many ages. On a kernel that cannot hand connections over, every rule file with tcp has to be
refused; the same rule files with udp in place of it are loaded there.
"""

import re
import subprocess

import pytest

from lib import mplex as tool
from lib.netns import Network
from lib.mplex import BUILD, MPLEX_RUN, ROOT, Mplex, compile_rules

SHIPPED = sorted(ROOT.glob("rules/*.yaml"))
FILES = SHIPPED + sorted(ROOT.glob("tests/golden/*.yaml")) + sorted(
    ROOT.glob("tests/differential/rules/*.yaml"))
PROTOCOL = re.compile(r"^( *protocol:).*", re.MULTILINE)
TCP_HERE = tool.kernel_hands_over_tcp()


def has_tcp(text):
    return any("tcp" in line[0] for line in re.finditer(PROTOCOL, text))


def as_udp(text):
    return PROTOCOL.sub(r"\1 udp", text)


def texts():
    """All that is compiled here, on whichever kernel."""
    yield from (path.read_text() for path in FILES)
    yield from (as_udp(path.read_text()) for path in SHIPPED)


def choose(files, wanted):
    return pytest.mark.parametrize("rules", [path for path in files if wanted(path.read_text())],
                                   ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def network(root):
    with Network() as made:
        yield made


@pytest.fixture(params=["native", "generic"])
def mode(request):
    return request.param


@choose(FILES, lambda text: TCP_HERE or not has_tcp(text))
def test_loads(network, rules, mode):
    with Mplex(network.server, compile_rules(rules.read_text()), mode) as running:
        assert mode in running.text()


# On other kernels these lists are empty, and pytest would count a skip for each.
if not TCP_HERE:
    @choose(SHIPPED, has_tcp)
    def test_loads_with_udp_alone(network, rules, mode):
        with Mplex(network.server, compile_rules(as_udp(rules.read_text())), mode) as running:
            assert mode in running.text()

    @choose(FILES, has_tcp)
    def test_refuses_tcp(network, rules, mode):
        target = compile_rules(rules.read_text())
        with network.server.inside():
            done = subprocess.run([MPLEX_RUN, "eth0", target, "--mode", mode], timeout=60,
                                  capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        sentence, = done.stderr.splitlines()
        assert "serves tcp, which needs Linux 6.8 or later" in sentence
        # Nothing is left behind.
        assert "xdp" not in network.server.run("ip link show dev eth0")


@choose(SHIPPED, lambda text: TCP_HERE or not has_tcp(text))
def test_examples(root, rules):
    """The rule files' own examples, in this kernel."""
    done = subprocess.run([MPLEX_RUN, "test", compile_rules(rules.read_text())], timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_has(network, record_property):
    """mplex-run says which TC hook it got: tcx where the kernel has it, clsact otherwise."""
    rules = as_udp((ROOT / "rules" / "mplex.yaml").read_text())
    with Mplex(network.server, compile_rules(rules)) as running:
        pass
    hook = "tcx" if "tcx_prog_attach" in tool.kernel_functions() else "clsact"
    assert hook in running.text()
    record_property("hook", hook)
    record_property("frags", "yes" if tool.kernel_has_frags() else "no")
    record_property("tcp", "yes" if TCP_HERE else "refused")


def test_random_rule_files_differ_in_nothing(root):
    """The differential test on a sample; tests/differential runs it at length."""
    done = subprocess.run([BUILD / "tests" / "differential" / "differential", "--seed", "20261125",
                           "--files", "4", "--frames", "400"], timeout=500,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout.splitlines()[-1]
