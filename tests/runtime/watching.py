# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The commands of mplex-run that look at what is attached, as the tests of them run it."""

import json
import subprocess

from lib.mplex import MPLEX_RUN


def mplex_run(namespace, *arguments, prefix=()):
    """Runs it to its end in the namespace."""
    with namespace.inside():
        return subprocess.run([*prefix, MPLEX_RUN, *map(str, arguments)], capture_output=True,
                              text=True, timeout=60)


def pin(namespace, target, *arguments, interface="eth0"):
    """Attaches an object so that it stays. The namespace takes it along when it ends."""
    done = mplex_run(namespace, interface, target, "--pin", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def detach(namespace, interface="eth0"):
    done = mplex_run(namespace, "detach", interface)
    assert done.returncode == 0, done.stderr


class Status:
    """What is told of one interface."""

    def __init__(self, namespace, interface="eth0"):
        done = mplex_run(namespace, "status", interface, "--json")
        assert done.stderr == "", done
        self.status = done.returncode
        self.entry, = json.loads(done.stdout)
        problems = [one for one in self.entry["findings"] if one["verdict"] == "problem"]
        assert self.status == (1 if problems else 0)

    def verdicts(self, check):
        return [one["verdict"] for one in self.entry["findings"] if one["check"] == check]

    def one(self, check, verdict, *words):
        """The only finding of a check that has this verdict and these words in its text."""
        finding, = (one for one in self.entry["findings"]
                    if (one["check"], one["verdict"]) == (check, verdict)
                    and all(word in one["text"] for word in words))
        return finding

    def is_well(self):
        return all(one["verdict"] == "ok" for one in self.entry["findings"])
