# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""mplex as a user has it: the two programs, the three commands, and what they leave to be seen.

Counters are read from the kernel's maps with bpftool, by the indexes that the object's manifest
gives (docs/object.md), so that they do not depend on what mplex-run prints.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import textwrap
import threading

from lib.netns import stop
from lib.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As in the Makefile: another build of the programs is tested by naming its folder.
BUILD = ROOT / os.environ.get("BUILD", "build")
MPLEXC = BUILD / "mplexc"
MPLEX_RUN = BUILD / "mplex-run"
RULES = ROOT / "rules" / "mplex.yaml"
CLANG = [os.environ.get("CLANG") or "clang", "-O2", "-g", "-target", "bpf", "-c"]

TCP_KFUNC = "bpf_sk_assign_tcp_reqsk"


@functools.cache
def kernel_functions():
    with open("/proc/kallsyms") as symbols:
        return {line.split()[2] for line in symbols}


def kernel_hands_over_tcp():
    """Whether the running kernel has what TCP needs (6.8 or later)."""
    return TCP_KFUNC in kernel_functions()


def kernel_has_frags():
    """Whether XDP sees frames of several buffers (5.18 or later)."""
    return "bpf_xdp_get_buff_len" in kernel_functions()


def checked(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: status {done.returncode}\n"
                           f"{done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def compiler_digest():
    return hashlib.sha256(MPLEXC.read_bytes()).digest()


def compile_rules(text, changes=()):
    """The object of a rule text. Made once for each text, mplexc and clang.

    changes are pairs (old, new) of texts in the emitted C, each there once: what a test changes to
    have in seconds what takes minutes.
    """
    text = textwrap.dedent(text)
    made_of = compiler_digest() + CLANG[0].encode() + text.encode() + repr(changes or "").encode()
    digest = hashlib.sha256(made_of).hexdigest()[:16]
    folder = BUILD / "tests" / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{digest}.bpf.o"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            rules = pathlib.Path(place, "rules.yaml")
            rules.write_text(text)
            source = pathlib.Path(place, "rules.bpf.c")
            checked([MPLEXC, rules, "-o", source])
            code = source.read_text()
            for old, new in changes:
                assert code.count(old) == 1, f"{old} is there {code.count(old)} times"
                code = code.replace(old, new)
            source.write_text(code)
            new = pathlib.Path(place, "rules.bpf.o")
            checked([*CLANG, source, "-o", new])
            new.rename(made)
    return made


def manifest_of(path):
    """The manifest of an object: the string in its section .mplex."""
    data = pathlib.Path(path).read_bytes()
    table, = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    sections = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    name_table = sections[names][4]
    for name, _, _, _, offset, length in sections:
        if data[name_table + name:].startswith(b".mplex\0"):
            return json.loads(data[offset:offset + length].rstrip(b"\0"))
    raise LookupError(f"{path} has no section .mplex")


class Counters(dict):
    """Packets by (listener, reason), and by (listener, tag) for each route. Zeros are left out."""

    def __missing__(self, key):
        return 0

    def since(self, before):
        return Counters({key: self[key] - before[key] for key in self if self[key] - before[key]})

    def total(self, reason):
        return sum(count for (_, name), count in self.items() if name == reason)


class Mplex:
    """A running mplex-run."""

    def __init__(self, namespace, target, mode="native", interface="eth0", arguments=()):
        if mode is not None:
            arguments = ["--mode", mode, *arguments]
        self.namespace = namespace
        self.interface = interface
        self.manifest = manifest_of(target)
        self.output = []
        self.child = namespace.spawn(
            [str(MPLEX_RUN), interface, str(target), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until(lambda: self._attached() or self.child.poll() is not None, timeout=60)
        if not self._attached():
            self.stop()
            raise RuntimeError(f"mplex-run did not attach:\n{self.text()}")
        self.maps = self._maps()

    def _read(self):
        for line in self.child.stdout:
            self.output.append(line)

    def text(self):
        return "".join(self.output)

    def _attached(self):
        return any("attached" in line for line in self.output)

    def stop(self):
        """Ends it as Ctrl-C does; returns its exit status."""
        status = stop(self.child, signal.SIGINT)
        self.reader.join()
        self.child.stdout.close()
        return status

    def _maps(self):
        """The maps it holds, by name: the kernel names them in the table of its open files."""
        numbers = set()
        for entry in os.scandir(f"/proc/{self.child.pid}/fdinfo"):
            with contextlib.suppress(FileNotFoundError), open(entry.path) as lines:
                numbers.update(int(line.split()[1]) for line in lines
                               if line.startswith("map_id:"))
        shown = {number: json.loads(checked(["bpftool", "-j", "map", "show", "id", number]))
                 for number in numbers}
        return {one.get("name", ""): number for number, one in shown.items()}

    def dump(self, name):
        """The entries of a map, as bpftool shows them. The kernel cuts names at 15 bytes."""
        return json.loads(checked(["bpftool", "-j", "map", "dump", "id", self.maps[name[:15]]]))

    def _packets(self, name):
        if name[:15] not in self.maps:
            return {}
        return {entry["formatted"]["key"]: sum(cpu["value"]["packets"]
                                               for cpu in entry["formatted"]["values"])
                for entry in self.dump(name)}

    def counters(self):
        manifest = self.manifest
        counters = Counters()
        packets = self._packets("counters")
        handed = self._packets("ingress_counters")
        for number, listener in enumerate(manifest["listeners"]):
            name = listener["name"]
            for reason, text in enumerate(manifest["reasons"]):
                counters[name, text] = packets[listener["counters"] + reason]
            for route in listener.get("routes", ()):
                count = packets[route["counter"]]
                counters[name, route["tag"]] = count
                counters[name, "routed"] += count
            for reason, text in enumerate(manifest.get("ingress_reasons", ())):
                index = number * len(manifest["ingress_reasons"]) + reason
                counters[name, text] += handed.get(index, 0)
        return Counters({key: count for key, count in counters.items() if count})

    @contextlib.contextmanager
    def counted(self):
        """Yields counters that hold, after the block, what was counted during it."""
        before = self.counters()
        during = Counters()
        yield during
        during.update(self.counters().since(before))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()


def attach(namespace, rules, mode="native", **options):
    """Compiles a rule text and runs it on an interface of the namespace."""
    return Mplex(namespace, compile_rules(rules), mode, **options)
