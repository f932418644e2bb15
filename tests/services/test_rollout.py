# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The recipes of docs/rollout as the programs that they are for read them."""

import json
import re
import subprocess
import types

import pytest
import yaml

from lib.mplex import MPLEX_RUN, ROOT

kubernetes = pytest.importorskip("kubernetes.client", reason="needs python3-kubernetes")

ROLLOUT = ROOT / "docs" / "rollout"


def test_ansible(tmp_path):
    done = subprocess.run(["ansible-playbook", "--syntax-check", "-i", "host,",
                           ROLLOUT / "ansible.yml"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr


def test_kubernetes():
    """Every field is one that the API knows, of its type, and none that it requires is missing."""
    manifest = yaml.safe_load((ROLLOUT / "kubernetes.yaml").read_text())
    api = kubernetes.ApiClient()
    known = api.deserialize(types.SimpleNamespace(data=json.dumps(manifest)), "V1DaemonSet")
    assert api.sanitize_for_serialization(known) == manifest


@pytest.mark.parametrize("recipe", sorted(ROLLOUT.iterdir()), ids=lambda path: path.name)
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
