# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The recipes of docs/rollout as the programs that they are for read them."""

import json
import os
import re
import subprocess
import textwrap
import types

import pytest
import yaml

from lib.mplex import BUILD, MPLEX_RUN, ROOT
from lib.netns import Network

kubernetes = pytest.importorskip("kubernetes.client", reason="needs python3-kubernetes")

ROLLOUT = ROOT / "docs" / "rollout"


def test_ansible(tmp_path):
    done = subprocess.run(["ansible-playbook", "--syntax-check", "-i", "host,",
                           ROLLOUT / "ansible.yml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr


RULES = """
    version: 1
    listeners:
      feed:
        protocol: udp
        port: 5000
        length: 290..294
        tag: {offset: 20}
        routes: {"TAG": 5001}
        tests: [{payload: {length: 292, at: {20: "TAG"}}, expect: PORT}]
"""


@pytest.fixture
def host():
    with Network() as network:
        yield network.server
        with network.server.inside():
            subprocess.run([MPLEX_RUN, "detach", "eth0"], capture_output=True, timeout=60)


def play(host, folder, tag, port=5001):
    """A play on a host that is reached without ssh and has no systemd."""
    (folder / "rules").mkdir(exist_ok=True)
    (folder / "rules" / "host.yaml").write_text(
        textwrap.dedent(RULES).replace("TAG", tag).replace("PORT", str(port)))
    (folder / "inventory").write_text("[mplex]\nhost ansible_connection=local\n")
    settings = {"mplex_interface": "eth0", "mplex_folder": str(folder / "etc"),
                "ansible_become": False, "ansible_python_interpreter": "/usr/bin/python3"}
    with host.inside():
        return subprocess.run(
            ["ansible-playbook", "-i", "inventory", "--skip-tags", "service", "-e",
             json.dumps(settings), ROLLOUT / "ansible.yml"],
            cwd=folder, capture_output=True, text=True, timeout=300,
            env=os.environ | {"PATH": f"{BUILD.resolve()}:{os.environ['PATH']}",
                              "HOME": str(folder), "LC_ALL": "C.UTF-8"})


def status(host):
    with host.inside():
        done = subprocess.run([MPLEX_RUN, "status", "eth0"], capture_output=True, text=True,
                              timeout=60)
    return done.stdout


def test_a_play(root, host, tmp_path):
    done = play(host, tmp_path, "600")
    assert done.returncode == 0, done.stdout
    first = status(host)
    assert "all programs are attached" in first and "confirm" not in first
    assert (tmp_path / "etc" / "eth0.bpf.o").exists()

    # Nothing new: nothing is replaced.
    assert "changed=0" in play(host, tmp_path, "600").stdout
    assert status(host) == first

    # Rules that do not do what their examples say: the host is not touched.
    done = play(host, tmp_path, "601", port=5002)
    assert done.returncode != 0
    assert status(host) == first

    done = play(host, tmp_path, "601")
    assert done.returncode == 0, done.stdout
    assert status(host) != first

    # What the host cannot load: it keeps what it had, and the next play tries again.
    before = status(host)
    host.run([str(MPLEX_RUN), "eth0", str(tmp_path / "etc" / "eth0.bpf.o"), "--pin", "--confirm",
              "3600"])  # somebody else's trial is not over
    done = play(host, tmp_path, "602")
    assert done.returncode != 0 and "keeps the rules that it had" in done.stdout
    assert not (tmp_path / "etc" / "eth0.bpf.o.new").exists()
    host.run([str(MPLEX_RUN), "confirm", "eth0"])
    assert play(host, tmp_path, "602").returncode == 0
    assert status(host) != before


def test_kubernetes():
    """Every field is one that the API knows, of its type, and none that it requires is missing."""
    manifest = yaml.safe_load((ROLLOUT / "kubernetes.yaml").read_text())
    api = kubernetes.ApiClient()
    known = api.deserialize(types.SimpleNamespace(data=json.dumps(manifest)), "V1DaemonSet")
    assert api.sanitize_for_serialization(known) == manifest


@pytest.mark.parametrize("recipe", sorted(ROLLOUT.glob("*.y*ml")), ids=lambda path: path.name)
def test_options_are_known(recipe):
    """Every long option that a recipe gives to mplex-run is in its help."""
    code = re.sub(r"#.*", "", recipe.read_text())
    used = {}
    # A command ends with its YAML list, or with the next key.
    for words in re.findall(r"mplex-run\b([^\]:]*)", code):
        words = re.sub(r'[",]', " ", words).split() or [""]
        command = words[0] if words[0] in ("test", "detach", "confirm", "status",
                                           "follow") else "run"
        used.setdefault(command, set()).update(word for word in words if word.startswith("--"))
    assert used
    for command, options in used.items():
        text = subprocess.run([MPLEX_RUN, command, "--help"], capture_output=True, text=True,
                              timeout=10, check=True).stdout
        assert options <= set(re.findall(r"--[a-z]+", text)), command
