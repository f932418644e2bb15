# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Do the tests have teeth? Makes one small mistake after another in templates and emission, and
lists those that no test notices.

    make mutants [MUTANTS=200] [SECONDS=600] [SEED=1] [JOBS=2] [ONLY=templates/tcp.bpf.c]
                 [EXPLAINED=1]

A mutant is built in a copy of the tree. What it emits for a number of rule files is held against
what the sound compiler emits; where that differs, the differential test runs, shortest program
first. What is still alive then meets the tests of its file (TESTS; FIRST_TESTS come before all
else), emission under AddressSanitizer and UBSan, too, and at last is a survivor: it needs a test,
or an entry in `equivalent` that says why nobody could tell the difference. An entry that fits no
mutant any more is an error. EXPLAINED=1 tries those that have one, which must survive. What changes
only comments of the emitted C does not count: tests/golden shows it.

Kills are remembered in build/mutants/results.json for as long as the function around the mutant
stays as it is, survivors only for as long as the tests do, too. MUTANTS=N is a random choice by
SEED, and SECONDS=N ends the run when that time is over; the score is of those that were tried.
Needs root.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import queue
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import mutate

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
PLACE = ROOT / "build" / "mutants"
RESULTS = PLACE / "results.json"
FILES = [*sorted(ROOT.glob("templates/*.bpf.c")), *sorted(ROOT.glob("compiler/emit*.c")),
         ROOT / "compiler" / "dispatch_emit.c"]
RANDOM_SEED = 1000   # of the random rule files
RANDOM_FILES = 40
TRIED = 6            # programs of a mutant, beside those of KEPT
KEPT = ROOT / "tests" / "differential" / "rules"
HOSTS = 3            # that each of them runs on; emission knows nothing of hosts: 1
FRAMES = 3000        # on all of these together
VARIANTS = [[], ["--dispatch=chain"], ["--dispatch=hash"], ["--counters=route"],
            ["--counters=listener"]]
MEMORY = 4 << 30
PATIENCE = 600       # seconds; what takes longer says nothing on a busy machine
EMISSION = 20        # seconds, of which it needs less than one
SANITIZE = "-fsanitize=address,undefined,bounds-strict -fno-sanitize-recover=all"
COMMENT = re.compile(rb'("(?:\\.|[^"\\])*")|/\*.*?\*/|//[^\n]*', re.DOTALL)
CLANG = os.environ.get("CLANG") or "clang"

# Tests beside the differential one: programs of tests/unit, and files for pytest.
UNIT_TESTS = {"compiler/dispatch_emit.c": ["test_dispatch"]}
FIRST_TESTS = {  # of files whose mistakes the differential test does not see
    "compiler/emit_manifest.c": ["tests/cli/test_manifest.py"],
    "templates/capture.bpf.c": ["tests/network/test_capture.py"],
}
TESTS = {
    "compiler/emit_manifest.c": ["tests/memory/test_memory.py",
                                 "tests/runtime/test_runtime_rules.py"],
    "compiler/emit.c": ["tests/memory/test_memory.py",
                        "tests/cli/test_command.py::test_the_program_says_what_it_was_made_of",
                        "tests/network/test_udp_icmp.py",
                        "tests/network/test_udp.py"],
    "templates/egress.bpf.c": ["tests/network/test_udp.py", "tests/network/test_udp_icmp.py"],
    "templates/icmp.bpf.c": ["tests/network/test_udp_icmp.py"],
    "templates/udp.bpf.c": ["tests/network/test_udp.py"],
    "templates/ingress.bpf.c": ["tests/network/test_tcp_frames.py", "tests/network/test_tcp.py",
                                "tests/network/test_tcp_settings.py",
                                "tests/network/test_tcp_connections.py"],
}


@dataclasses.dataclass
class Result:
    state: str  # killed, stillborn, survived or comment
    by: str = ""
    seconds: float = 0
    tests: str = ""  # that a survivor met: digest_of_tests()


class Killed(Exception):
    """By what."""


class Stillborn(Exception):
    pass


def detach():
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which the background of a shell ignores


def limit():
    detach()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def run(words, seconds, prepare=limit, **options):
    """Its exit status (None: it took too long) and its output."""
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, preexec_fn=prepare, **options) as child:
        try:
            output, _ = child.communicate(timeout=seconds)
            return child.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None, b""


# ---- Explained survivors ------------------------------------------------------------------------

@dataclasses.dataclass
class Equivalence:
    file: str
    lines: list  # of the file, without their indentation; the last one is changed
    changes: list
    why: str
    used: set = dataclasses.field(default_factory=set)


def read_equivalences(path):
    """
    Blocks between empty lines: the file, one line of it or several, changes, and then why. A change
    that could be made twice in a line and is meant only once says which one: `<` -> `<=` (1).
    """
    found = []
    for block in path.read_text().split("\n\n"):
        lines = [line.strip() for line in block.splitlines() if not line.startswith("#")]
        if not lines:
            continue
        changes = [line for line in lines if line.startswith("`") and "` -> `" in line]
        first = lines.index(changes[0]) if changes else 0
        why = " ".join(lines[first + len(changes):])
        if first < 2 or not why:
            sys.exit(f"{path}: a block needs a file, a line, a change and a reason:\n{block}")
        found.append(Equivalence(lines[0], lines[1:first], changes, why))
    return found


@functools.cache
def source_of(name):
    """As it was when the run began."""
    return (ROOT / name).read_text()


@functools.cache
def lines_of(name):
    return [line.strip() for line in source_of(name).splitlines()]


def explain(equivalences, mutant, number):
    """Whether an entry fits the mutant, this one of those that make the same change in its line."""
    change = f"`{mutant.before}` -> `{mutant.after}`"
    for one in equivalences:
        count = len(one.lines)
        if one.file != mutant.file or \
                lines_of(mutant.file)[mutant.line - count:mutant.line] != one.lines:
            continue
        for fitting in (change, f"{change} ({number})"):
            if fitting in one.changes:
                one.used.add(fitting)
                return True
    return False


def find_explained(equivalences, mutants):
    """The keys of those that have an entry."""
    same = collections.Counter()
    found = set()
    for mutant in mutants:
        place = (mutant.file, mutant.line, mutant.before, mutant.after)
        same[place] += 1
        if explain(equivalences, mutant, same[place]):
            found.add(mutant.key)
    return found


def check_stale(equivalences):
    stale = [f"{one.file}: {change} in: {one.lines[-1]}" for one in equivalences
             for change in one.changes if change not in one.used]
    if stale:
        sys.exit("entries of tests/mutants/equivalent that fit nothing any more:\n" +
                 "\n".join(stale))


# ---- What judges --------------------------------------------------------------------------------

@functools.cache
def digest_of_tests(file):
    """Of all that could tell a mutant of this file from the sound program."""
    names = [*sorted(ROOT.glob("tests/differential/*.[ch]")),
             *sorted(ROOT.glob("compiler/interpret*.[ch]")), *sorted(ROOT.glob("rules/*.yaml")),
             *sorted(ROOT.glob("tests/golden/*.yaml")), *sorted(KEPT.glob("*.yaml")),
             *sorted(ROOT.glob("tests/lib/*.py")),
             *sorted(ROOT.glob("tests/*/conftest.py")), HERE / "mutants.py",
             *(ROOT / "tests" / "unit" / f"{name}.c" for name in UNIT_TESTS.get(file, [])),
             *(ROOT / name.split("::")[0]
               for name in FIRST_TESTS.get(file, []) + TESTS.get(file, []))]
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256(name.read_bytes()).digest())
    return digest.hexdigest()[:24]


def is_known(result, file):
    """Whether a mutant need not be tried again."""
    return result and (result.state != "survived" or result.tests == digest_of_tests(file))


# ---- One worker ---------------------------------------------------------------------------------

class Tree:
    """A copy of the sources, with a build of its own."""

    def __init__(self, number):
        self.root = PLACE / f"tree{number}"
        self.build = self.root / "build"
        self.differential = self.build / "tests" / "differential" / "differential"
        self.mplexc = self.build / "mplexc"
        self.comments_differ = False

    def make(self, *targets):
        return run(["make", "-s", "CFLAGS=-O1", "WARNINGS=-w", *targets], 300, cwd=self.root)

    def prepare(self):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True,
                                capture_output=True).stdout.decode().split("\0")
        for name in filter(None, listed):
            source, copy = ROOT / name, self.root / name
            if source.is_file() and not (copy.exists() and
                                         copy.read_bytes() == source.read_bytes()):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
                shutil.copymode(source, copy)
        status, output = self.make("all", "build/tests/differential/differential",
                                   "build/tests/test_dispatch")
        if status:
            sys.exit(f"cannot build {self.root}:\n{output.decode()}")

    def emit(self, rules, variant):
        """The emitted C with its comments and without; None: mplexc fails."""
        status, output = run([self.mplexc, rules, "-o", "-", *variant], EMISSION,
                             cwd=self.root)
        if status == 0:
            return output, COMMENT.sub(lambda match: match.group(1) or b" ", output)
        return None

    def rebuild(self):
        status, _ = self.make("build/mplexc", "build/tests/differential/differential")
        if status:
            raise Stillborn

    def put(self, name, text):
        path = self.root / name
        path.write_text(text)
        # Two changes within a clock tick must not look like one.
        now = time.time_ns()
        os.utime(path, ns=(now, now))


class Corpus:
    """Rule files, and what the sound compiler makes of them, shortest first."""

    def __init__(self, tree):
        folder = PLACE / "rules"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([tree.differential, "--write", folder, "--seed", str(RANDOM_SEED),
                        "--files", str(RANDOM_FILES)], check=True)
        files = [*sorted(ROOT.glob("rules/*.yaml")), *sorted(ROOT.glob("tests/golden/*.yaml")),
                 *sorted(KEPT.glob("*.yaml")),
                 *sorted(folder.glob("*.yaml"))]
        self.emitted = []
        for rules in files:
            for variant in VARIANTS:
                made = tree.emit(rules, variant)
                if made and made not in [one[2] for one in self.emitted]:
                    self.emitted.append((rules, variant, made))
        self.emitted.sort(key=lambda one: len(one[2][1]))


def find_changed(tree, corpus):
    """The programs that come out otherwise, shortest first."""
    for rules, variant, sound in corpus.emitted:
        made = tree.emit(rules, variant)
        if made is None:
            raise Killed("mplexc fails")
        if made[1] != sound[1]:
            yield rules, variant, made[1]
        elif made[0] != sound[0]:
            tree.comments_differ = True


def choose(changed):
    """Those that are kept; of the others not only the shortest, which are alike."""
    kept = [one for one in changed if one[0].parent == KEPT and not one[1]]
    others = [one for one in changed if one not in kept]
    step = max(len(others) / TRIED, 1)
    return kept + [others[int(i * step)] for i in range(min(TRIED, len(others)))]


def try_warnings(changed):
    """As tests/golden does."""
    for rules, variant, made in changed:
        if rules.parent in (ROOT / "rules", ROOT / "tests" / "golden", KEPT) and not variant:
            status, _ = run([CLANG, "-target", "bpf", "-Wall", "-Wextra", "-Werror",
                             "-fsyntax-only", "-x", "c", "-"], 20, stdin=save(made))
            if status:
                raise Killed("warning")


def save(text):
    file = open(PLACE / f"emitted-{os.getpid()}-{hashlib.sha256(text).hexdigest()[:12]}", "w+b")
    os.unlink(file.name)
    file.write(text)
    file.seek(0)
    return file


def try_sanitizers(tree, corpus):
    """What reads or writes beyond the end of something, and gives the same C nevertheless."""
    tree.make("BUILD=build/sanitize", f"SANITIZE={SANITIZE}", "build/sanitize/mplexc")
    for rules, variant, _ in corpus.emitted:
        # Not limited: AddressSanitizer reserves more than there is.
        status, _ = run([tree.build / "sanitize" / "mplexc", rules, "-o", "/dev/null", *variant],
                        EMISSION, detach, cwd=tree.root)
        if status:
            raise Killed("sanitizers")


def try_program(tree, rules, variant, seed, hosts):
    words = [tree.differential, "--rules", rules, "--files", hosts, "--frames", FRAMES // hosts,
             "--seed", seed,
             "--first", "--jobs", 1, "--dispatch", "auto", "--counters", "auto"]
    for option in variant:
        words += option.split("=")
    status, output = run(words, PATIENCE, cwd=tree.root)
    if status:
        text = output.decode(errors="replace")
        raise Killed("load" if "cannot load the object" in text else
                     "clang" if f"{CLANG} failed" in text else
                     "differential" if "==== FAILED" in text else
                     f"the end of the test with status {status}")


def try_differential(tree, corpus, mutant):
    """Most mistakes show in the first program that has them. Returns whether any has this one."""
    changed = find_changed(tree, corpus)
    first = next(changed, None)
    if not first:
        return False
    try:
        try_program(tree, *first[:2], 0, 1)
    except Killed as killed:
        # A template that is no C is no mutant; a compiler that emits such is a bad one.
        if str(killed) == "clang" and mutant.file.startswith("templates/"):
            raise Stillborn from killed
        raise
    changed = [first, *changed]
    try_warnings(changed)
    hosts = HOSTS if mutant.file.startswith("templates/") else 1
    for seed, (rules, variant, _) in enumerate(choose(changed)):
        try_program(tree, rules, variant, HOSTS * (seed + 1), hosts)
    return True


def try_unit_tests(tree, names):
    for name in names:
        tree.make(f"build/tests/{name}")
        status, _ = run([tree.build / "tests" / name], PATIENCE, cwd=tree.root)
        if status:
            raise Killed(name)


def pytest_fails(tree, name):
    """Which test of a file does; None: none."""
    status, output = run(["/usr/bin/python3", "-m", "pytest", "-q", "-x", "-rfE", "--tb=no", "-p",
                          "no:cacheprovider", name], PATIENCE, cwd=tree.root,
                         env=os.environ | {"BUILD": "build"})
    if not status:
        return None
    failed = re.search(rf"^(?:FAILED|ERROR) ({re.escape(name)}.*?)(?: - |$)", output.decode(),
                       re.MULTILINE)
    return failed.group(1) if failed else name


def try_pytest(tree, files, restore):
    """
    What fails has to fail again, and to pass without the mutant: neither a busy machine nor a test
    that this place does not suit must look like a good test.
    """
    programs = ["build/mplex-run", "build/tests/out_of_memory"]
    if files:
        tree.make(*programs)
    for name in files:
        failed = pytest_fails(tree, name)
        if not failed or not pytest_fails(tree, failed):
            continue
        restore()
        tree.rebuild()
        tree.make(*programs)
        if pytest_fails(tree, failed):
            sys.exit(f"{failed} fails in {tree.root} without any mutant")
        raise Killed(failed)


def try_mutant(tree, corpus, mutant):
    source = source_of(mutant.file)
    begin = time.monotonic()
    result = Result("survived")
    tree.comments_differ = False
    tree.put(mutant.file, mutant.apply(source))

    def restore():
        tree.put(mutant.file, source)

    try:
        tree.rebuild()
        try_pytest(tree, FIRST_TESTS.get(mutant.file, []), restore)
        changed = try_differential(tree, corpus, mutant)
        try_unit_tests(tree, UNIT_TESTS.get(mutant.file, []))
        if mutant.file.startswith("compiler/"):
            try_sanitizers(tree, corpus)
        if changed or mutant.file.startswith("compiler/"):
            try_pytest(tree, TESTS.get(mutant.file, []), restore)
        if not changed:
            result = Result("comment") if tree.comments_differ else Result(
                "survived", "no program differs")
    except Killed as killed:
        result = Result("killed", str(killed))
    except Stillborn:
        result = Result("stillborn")
    finally:
        restore()
    result.seconds = time.monotonic() - begin
    if result.state == "survived":
        result.tests = digest_of_tests(mutant.file)
    return result


# ---- All of them --------------------------------------------------------------------------------

def load_results(fresh):
    if fresh or not RESULTS.exists():
        return {}
    return {key: Result(**value) for key, value in json.loads(RESULTS.read_text()).items()}


def save_results(results):
    new = RESULTS.with_suffix(".new")
    new.write_text(json.dumps({key: vars(one) for key, one in results.items()}, indent=0))
    new.rename(RESULTS)


def list_mutants(only):
    found = []
    for path in FILES:
        name = str(path.relative_to(ROOT))
        if not only or name in only:
            found += mutate.mutants(name, source_of(name))
    return found


def work(trees, corpus, mutant):
    tree = trees.get()
    try:
        return try_mutant(tree, corpus, mutant)
    finally:
        trees.put(tree)


def report(chosen, results, explained):
    states = {}
    for mutant in chosen:
        state = "equivalent" if mutant.key in explained else results[mutant.key].state
        states.setdefault(state, []).append(mutant)
    for mutant in states.get("survived", []):
        by = results[mutant.key].by
        print(f"SURVIVED {mutant}" + (f" ({by})" if by else ""))
    count = {state: len(found) for state, found in states.items()}
    print(f"{len(chosen)} mutants: {count.get('killed', 0)} killed, "
          f"{count.get('survived', 0)} survived, {count.get('equivalent', 0)} explained as "
          f"equivalent, {count.get('comment', 0)} change comments only, "
          f"{count.get('stillborn', 0)} do not compile")
    return count.get("survived", 0)


def report_explained(chosen, results):
    killed = [mutant for mutant in chosen if results[mutant.key].state == "killed"]
    for mutant in killed:
        print(f"EXPLAINED, and killed by {results[mutant.key].by}: {mutant}")
    print(f"{len(chosen)} explained mutants: {len(killed)} killed")
    return len(killed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--mutants", type=int, default=0, help="how many; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", default=[], help="mutants of this file")
    parser.add_argument("--seconds", type=int, default=0, help="begin no more after these")
    parser.add_argument("--explained", action="store_true",
                        help="try those that `equivalent` explains, and no others")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--list", action="store_true", help="only say which mutants there are")
    options = parser.parse_args()
    begin = time.monotonic()

    equivalences = read_equivalences(HERE / "equivalent")
    everything = list_mutants([])
    explained = find_explained(equivalences, everything)
    check_stale(equivalences)
    chosen = list_mutants(options.only)
    if options.explained:
        chosen = [mutant for mutant in chosen if mutant.key in explained]
    # All of them in this order, in which a file is changed and changed back as seldom as can be.
    chosen.sort(key=lambda mutant: (mutant.file, mutant.start))
    if options.mutants or options.seconds:
        random.Random(options.seed).shuffle(chosen)
    if options.mutants:
        chosen = chosen[:options.mutants]
    if options.list:
        print("\n".join(map(str, chosen)))
        return 0

    results = load_results(options.fresh)
    waiting = [mutant for mutant in chosen
               if (options.explained or mutant.key not in explained) and
               not is_known(results.get(mutant.key), mutant.file)]
    print(f"{len(everything)} mutants, {len(chosen)} chosen (seed {options.seed}), "
          f"{len(waiting)} to try", flush=True)
    if waiting:
        trees = queue.Queue()
        for number in range(min(options.jobs, len(waiting))):
            tree = Tree(number)
            tree.prepare()
            trees.put(tree)
            corpus = Corpus(tree) if number == 0 else corpus
        with concurrent.futures.ThreadPoolExecutor(trees.qsize()) as pool:
            def one(mutant):
                if options.seconds and time.monotonic() - begin > options.seconds:
                    return None
                return work(trees, corpus, mutant)

            for done, (mutant, result) in enumerate(zip(waiting, pool.map(one, waiting)), 1):
                if not result:
                    chosen.remove(mutant)
                    continue
                results[mutant.key] = result
                save_results(results)
                print(f"{done}/{len(waiting)} {result.state} {result.by} {result.seconds:.1f} s "
                      f"{mutant}", flush=True)
    if options.explained:
        return 1 if report_explained(chosen, results) else 0
    return 1 if report(chosen, results, explained) else 0


if __name__ == "__main__":
    sys.exit(main())
