# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The command line of mplexc: what it reads and writes, what it leaves alone, how it ends."""

import json
import hashlib
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
import textwrap
import threading
import time

import pytest

from lib.mplex import MPLEXC, ROOT, RULES

DONE, FAILED, USAGE, BAD_RULES = range(4)

GOOD = """\
version: 1
listeners:
  feed:
    protocol: udp
    port: 5000
    length: 290..294
    tag: {offset: 20}
    routes: {"600": 5001}
    tests:
      - {payload: {length: 292, at: {20: "600"}}, expect: 5001}
"""
BAD = GOOD.replace("5000", "0")
WARNING = GOOD.replace("udp", "tcp").replace("offset: 20", "offset: 500") \
    .replace("290..294", "600").replace("292, at: {20", "600, at: {500")
WRONG_TEST = GOOD.replace("expect: 5001", "expect: refuse")


@pytest.fixture
def place(tmp_path):
    """A folder with a good, a bad and an odd rule file."""
    for name, text in [("good", GOOD), ("bad", BAD), ("odd", WARNING), ("test", WRONG_TEST)]:
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def run(place, *arguments, **options):
    options.setdefault("timeout", 60)
    if "stdout" not in options:
        options["capture_output"] = True
    return subprocess.run([MPLEXC, *arguments], cwd=place, text=True, **options)


def names(place):
    return sorted(entry.name for entry in place.iterdir())


def fake_clang(place, script):
    clang = place / "clang.sh"
    clang.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    clang.chmod(0o755)
    return {**os.environ, "CLANG": str(clang), "TMPDIR": str(place / "tmp")}


# ---- the ways to call it --------------------------------------------------------------------------

def test_version(place):
    done = run(place, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (DONE, "mplexc 0.1.0\n", "")


def test_help_names_every_option(place):
    done = run(place, "--help")
    assert (done.returncode, done.stderr) == (DONE, "")
    for option in ["-o", "--check", "--test", "--explain", "--dispatch", "--counters", "-Werror",
                   "--diagnostics", "-MD", "-MF", "--version", "--help"]:
        assert option in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 90


@pytest.mark.parametrize("arguments", [
    [],
    ["good.yaml"],
    ["-o"],
    ["-o", "x.c"],
    ["good.yaml", "good.yaml", "--check"],
    ["good.yaml", "--chekc"],
    ["good.yaml", "-x"],
    ["good.yaml", "--check=yes"],
    ["good.yaml", "-Wall", "--check"],
    ["good.yaml", "-MX", "-o", "x.c"],
    ["good.yaml", "-o", "x.c", "-MF"],
    ["good.yaml", "--check", "-MD"],
    ["good.yaml", "-o", "-", "-MD"],
    ["good.yaml", "--check", "--dispatch=tree"],
    ["good.yaml", "--check", "--dispatch"],
    ["good.yaml", "--check", "--counters=all"],
    ["good.yaml", "--check", "--diagnostics=xml"],
])
def test_usage(place, arguments):
    before = names(place)
    done = run(place, *arguments)
    assert done.returncode == USAGE
    assert re.fullmatch(r"mplexc: .+: see mplexc --help\n", done.stderr)
    assert done.stdout == ""
    assert names(place) == before


def test_check_is_silent(place):
    done = run(place, "--check", "good.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (DONE, "", "")


@pytest.mark.parametrize("path, status, message", [
    ("missing.yaml", FAILED, "mplexc: error: cannot read missing.yaml: No such file or directory"),
    (".", FAILED, "mplexc: error: cannot read .: Is a directory"),
    ("/dev/zero", BAD_RULES, "mplexc: error: /dev/zero is larger than 16 MiB: a rule file is smaller"),
    ("/dev/null", BAD_RULES, "/dev/null:1:1: error: the file is empty: a rule file starts with 'version: 1'"),
    ("bad.yaml", BAD_RULES, "bad.yaml:5:11: error: 0 is out of range: a port is a number from 1 to 65535"),
])
def test_files_that_cannot_be(place, path, status, message):
    done = run(place, path, "-o", "out.bpf.c")
    assert done.returncode == status
    assert done.stderr.splitlines()[0] == message
    assert not (place / "out.bpf.c").exists()


def test_paths_are_shown_as_given(place):
    assert run(place, "--check", "./bad.yaml").stderr.startswith("./bad.yaml:5:11: ")
    absolute = str(place / "bad.yaml")
    assert run(place, "--check", absolute).stderr.startswith(absolute + ":5:11: ")


def test_standard_input(place):
    with open(place / "bad.yaml") as text:
        done = run(place, "--check", "-", stdin=text)
    assert done.returncode == BAD_RULES
    assert done.stderr.startswith("<stdin>:5:11: error: ")
    with open(place / "good.yaml") as text:
        done = run(place, "-", "-o", "-", stdin=text)
    assert done.returncode == DONE
    assert "mplex_xdp" in done.stdout


# ---- warnings -------------------------------------------------------------------------------------

def test_warnings_do_not_fail_unless_asked(place):
    done = run(place, "odd.yaml", "-o", "odd.bpf.c")
    assert done.returncode == DONE
    assert done.stderr.startswith("odd.yaml:7:19: warning: ")
    (place / "odd.bpf.c").unlink()

    done = run(place, "-Werror", "odd.yaml", "-o", "odd.bpf.c")
    assert done.returncode == BAD_RULES
    assert done.stderr.startswith("odd.yaml:7:19: error: ")
    assert not (place / "odd.bpf.c").exists()


# ---- diagnostics for editors and terminals --------------------------------------------------------

def test_json_is_one_line_whatever_happens(place):
    for arguments, status in [(["--check", "good.yaml"], DONE), (["--check", "bad.yaml"], BAD_RULES),
                              (["--check", "odd.yaml"], DONE), (["--check", "none.yaml"], FAILED),
                              (["--check", "/dev/zero"], BAD_RULES),
                              (["good.yaml", "-o", "missing/x.bpf.c"], FAILED)]:
        done = run(place, "--diagnostics=json", *arguments)
        assert done.returncode == status
        assert done.stderr.count("\n") == 1
        said = json.loads(done.stderr)
        assert said["errors"] == (status != DONE)
        assert len(said["diagnostics"]) == said["errors"] + said["warnings"]
    assert "line" not in said["diagnostics"][0]
    done = run(place, "--diagnostics=json", "--check", "bad.yaml")
    assert json.loads(done.stderr) == {
        "file": "bad.yaml", "errors": 1, "warnings": 0, "omitted": 0,
        "diagnostics": [{
            "severity": "error", "line": 5, "column": 11, "end_line": 5, "end_column": 12,
            "message": "0 is out of range: a port is a number from 1 to 65535", "notes": []}]}


def terminal_output(place, **environment):
    """What mplexc prints about bad.yaml where standard error is a terminal."""
    ours, theirs = pty.openpty()
    merged = {**os.environ, "TERM": "xterm", **environment}
    merged.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
    subprocess.run([MPLEXC, "--check", "bad.yaml"], cwd=place, stderr=theirs, env=merged, timeout=60)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 4096):
            text += part
    except OSError:     # nobody holds the other end any more
        pass
    os.close(ours)
    return text.decode()


def test_colour_only_where_it_is_wanted(place):
    assert "\033[1;31merror:" in terminal_output(place)
    assert "\033" in terminal_output(place, NO_COLOR="")
    assert "\033" not in terminal_output(place, NO_COLOR="1")
    assert "\033" not in terminal_output(place, TERM="dumb")
    assert "\033" not in run(place, "--check", "bad.yaml").stderr


# ---- the output -----------------------------------------------------------------------------------

def test_output_is_the_same_everywhere(place, tmp_path_factory):
    first = run(place, "good.yaml", "-o", "-").stdout
    assert first.startswith("//") or first.startswith("/*")
    run(place, "good.yaml", "-o", "out.bpf.c")
    assert (place / "out.bpf.c").read_text() == first
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(place / "good.yaml", elsewhere)
    os.utime(elsewhere / "good.yaml", (1, 1))
    again = run(elsewhere, elsewhere / "good.yaml", "-o", "-",
                env={"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo", "HOME": "/nonexistent"})
    assert again.stdout == first
    assert str(place) not in first and str(elsewhere) not in first


def test_the_program_says_what_it_was_made_of(place):
    """Header, metadata for bpftool, and manifest: the same digest of the rule file."""
    done = run(place, "good.yaml", "-o", "-")
    digest = hashlib.sha256((place / "good.yaml").read_bytes()).hexdigest()
    assert re.search(rf"^ \* SHA-256 of the rules: {digest}$", done.stdout, re.MULTILINE)
    assert f'bpf_metadata_rules_sha256[] =\n\t"{digest}";' in done.stdout
    assert f'\\"sha256\\":\\"{digest}\\"' in done.stdout
    version = run(place, "--version").stdout.split()[1]
    assert f'bpf_metadata_mplex_version[] = "{version}";' in done.stdout


def test_existing_output_stays_on_every_failure(place):
    out = place / "out.bpf.c"
    for text in ["", "what was there before\n"]:
        out.write_text(text)
        before = out.stat()
        for arguments, status in [(["bad.yaml"], BAD_RULES), (["none.yaml"], FAILED),
                                  (["odd.yaml", "-Werror"], BAD_RULES),
                                  (["test.yaml", "--test"], FAILED),
                                  (["good.yaml", "-MF", "missing/x.d"], FAILED)]:
            assert run(place, *arguments, "-o", "out.bpf.c").returncode == status
            assert out.read_text() == text
            assert out.stat().st_ino == before.st_ino
            assert out.stat().st_mtime_ns == before.st_mtime_ns
    assert names(place) == ["bad.yaml", "good.yaml", "odd.yaml", "out.bpf.c", "test.yaml"]


def test_output_replaces_the_file_at_once(place):
    """Whoever has the old file open goes on reading the old file."""
    out = place / "out.bpf.c"
    out.write_text("old")
    with open(out) as old:
        assert run(place, "good.yaml", "-o", "out.bpf.c").returncode == DONE
        assert old.read() == "old"
    assert "mplex_xdp" in out.read_text()


def test_output_keeps_mode_and_link(place):
    out, link = place / "real.bpf.c", place / "link.bpf.c"
    out.write_text("")
    out.chmod(0o640)
    link.symlink_to("real.bpf.c")
    assert run(place, "good.yaml", "-o", "link.bpf.c").returncode == DONE
    assert link.is_symlink()
    assert "mplex_xdp" in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


def test_new_output_follows_the_umask(place):
    run(place, "good.yaml", "-o", "out.bpf.c", umask=0o027)
    assert stat.S_IMODE((place / "out.bpf.c").stat().st_mode) == 0o640


def test_output_that_cannot_be_written(place):
    for path, message in [("missing/out.bpf.c", "No such file or directory"),
                          (".", "Is a directory"), ("good.yaml/x.bpf.c", "Not a directory"),
                          ("/dev/full", "No space left on device")]:
        done = run(place, "good.yaml", "-o", path)
        assert done.returncode == FAILED
        assert done.stderr == f"mplexc: error: cannot write {path}: {message}\n"
    with open("/dev/full", "w") as full:
        done = run(place, "good.yaml", "-o", "-", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == FAILED
    assert "cannot write standard output: No space left on device" in done.stderr
    assert names(place) == ["bad.yaml", "good.yaml", "odd.yaml", "test.yaml"]


def test_full_disk_leaves_nothing(place):
    """A limit on the size of files stands for a full disk: the write fails half way."""
    (place / "out.bpf.c").write_text("before")
    done = run(place, "good.yaml", "-o", "out.bpf.c", preexec_fn=lambda: limit_file_size(1000))
    assert done.returncode == FAILED
    assert done.stderr == "mplexc: error: cannot write out.bpf.c: File too large\n"
    assert (place / "out.bpf.c").read_text() == "before"
    assert names(place) == ["bad.yaml", "good.yaml", "odd.yaml", "out.bpf.c", "test.yaml"]


def limit_file_size(size):
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--explain", "good.yaml"],
                                       ["--test", "good.yaml"]])
def test_standard_output_that_cannot_be_written(place, arguments):
    with open("/dev/full", "w") as full:
        done = run(place, *arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == FAILED
    assert "cannot write to standard output" in done.stderr


def test_output_into_a_pipe_or_device(place):
    expected = run(place, "good.yaml", "-o", "-").stdout
    assert run(place, "good.yaml", "-o", "/dev/stdout").stdout == expected
    assert run(place, "good.yaml", "-o", "/dev/null").returncode == DONE
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)

    fifo = place / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    reader.start()
    assert run(place, "good.yaml", "-o", "fifo").returncode == DONE
    reader.join(timeout=10)
    assert read == [expected]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_output_to_standard_output_is_only_the_program(place):
    expected = run(place, "good.yaml", "-o", "-").stdout
    done = run(place, "good.yaml", "--explain", "--test", "-o", "-")
    assert done.returncode == DONE
    assert done.stdout == expected
    assert "1 test" in done.stderr


def test_concurrent_runs_leave_one_whole_file(place):
    runs = [subprocess.Popen([MPLEXC, "good.yaml", "-o", "out.bpf.c"], cwd=place) for _ in range(8)]
    assert [one.wait(timeout=60) for one in runs] == [DONE] * 8
    assert (place / "out.bpf.c").read_text() == run(place, "good.yaml", "-o", "-").stdout
    assert names(place) == ["bad.yaml", "good.yaml", "odd.yaml", "out.bpf.c", "test.yaml"]


# ---- clang ----------------------------------------------------------------------------------------

def test_object(place, tmp_path_factory):
    assert run(place, "good.yaml", "-o", "out.bpf.o").returncode == DONE
    made = (place / "out.bpf.o").read_bytes()
    assert made[:4] == b"\x7fELF" and made[18:20] == b"\xf7\x00"
    assert b".mplex\0" in made
    assert str(place).encode() not in made

    # From another folder, with another folder for temporary files and another name: the same.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run(elsewhere, place / "good.yaml", "-o", "other.bpf.o",
               env={**os.environ, "TMPDIR": str(elsewhere)})
    assert done.returncode == DONE
    assert (elsewhere / "other.bpf.o").read_bytes() == made
    assert names(elsewhere) == ["other.bpf.o"]


def test_clang_is_called_without_a_shell(place):
    environment = fake_clang(place, """\
        printf '%s\\n' "$@" > "$PWD/../../arguments"
        cp mplex.bpf.c ../../seen.c
        echo object > mplex.bpf.o
    """)
    (place / "tmp").mkdir()
    done = run(place, "good.yaml", "-o", "a b;$(touch x).o", env=environment)
    assert done.returncode == DONE
    assert (place / "a b;$(touch x).o").read_text() == "object\n"
    assert (place / "arguments").read_text().split() == [
        "-O2", "-g", "-target", "bpf", "-fdebug-compilation-dir=.", "-c", "-o", "mplex.bpf.o",
        "mplex.bpf.c"]
    assert (place / "seen.c").read_text() == run(place, "good.yaml", "-o", "-").stdout
    assert names(place / "tmp") == []
    assert not (place / "x").exists()


def test_clang_by_a_relative_path(place):
    environment = fake_clang(place, "echo object > mplex.bpf.o\n")
    (place / "tmp").mkdir()
    done = run(place, "good.yaml", "-o", "out.o", env={**environment, "CLANG": "./clang.sh"})
    assert done.returncode == DONE


@pytest.mark.parametrize("script, message", [
    ("exit 7", "failed with status 7"),
    ("kill -9 $$", "was ended by signal 9"),
    ("echo half > mplex.bpf.o; exit 1", "failed with status 1"),
    ("exit 0", "cannot read what"),
])
def test_clang_fails(place, script, message):
    environment = fake_clang(place, script)
    (place / "tmp").mkdir()
    (place / "out.bpf.o").write_text("before")
    done = run(place, "good.yaml", "-o", "out.bpf.o", "-MD", env=environment)
    assert done.returncode == FAILED
    assert message in done.stderr
    assert done.stderr.startswith("mplexc: error: ") and done.stderr.count("\n") == 1
    assert (place / "out.bpf.o").read_text() == "before"
    assert not (place / "out.bpf.d").exists()
    assert names(place / "tmp") == []


def test_clang_is_not_there(place):
    done = run(place, "good.yaml", "-o", "out.bpf.o", env={**os.environ, "CLANG": "no-such-clang"})
    assert done.returncode == FAILED
    assert done.stderr == ("mplexc: error: cannot run no-such-clang: No such file or directory: "
                           "install clang, or name it with the environment variable CLANG\n")
    done = run(place, "good.yaml", "-o", "out.bpf.o",
               env={**os.environ, "TMPDIR": str(place / "missing")})
    assert done.returncode == FAILED
    assert "TMPDIR" in done.stderr
    assert not (place / "out.bpf.o").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(place, number):
    """The signal that ends mplexc ends clang, too, and no file of either is left."""
    environment = fake_clang(place, """\
        echo $$ > ../../pid
        echo half > mplex.bpf.o
        exec sleep 60
    """)
    (place / "tmp").mkdir()
    (place / "out.bpf.o").write_text("before")
    child = subprocess.Popen([MPLEXC, "good.yaml", "-o", "out.bpf.o"], cwd=place, env=environment,
                             stderr=subprocess.DEVNULL)
    pid = place / "pid"
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    assert child.wait(timeout=30) == -number
    assert (place / "out.bpf.o").read_text() == "before"
    assert names(place / "tmp") == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


# ---- dependencies ---------------------------------------------------------------------------------

def test_dependencies(place):
    run(place, "good.yaml", "-MD", "-o", "out.bpf.c")
    assert (place / "out.bpf.d").read_text() == "out.bpf.c: good.yaml\n"
    run(place, "good.yaml", "-MD", "-MF", "deps", "-o", "out.bpf.c")
    assert (place / "deps").read_text() == "out.bpf.c: good.yaml\n"
    run(place, "good.yaml", "-MFdeps2", "-o", "-")
    assert (place / "deps2").read_text() == "-: good.yaml\n"
    with open(place / "good.yaml") as text:
        run(place, "-", "-MD", "-o", "x.bpf.c", stdin=text)
    assert (place / "x.bpf.d").read_text() == "x.bpf.c:\n"


def test_make_reads_the_dependencies(place):
    shutil.copy(place / "good.yaml", place / "a $ # rules.yaml")
    (place / "Makefile").write_text(
        f"out.bpf.c:\n\t{MPLEXC} 'a $$ # rules.yaml' -MD -o $@\n-include out.bpf.d\n")

    def make():
        return subprocess.run(["make", "-s", "--question"], cwd=place, timeout=60).returncode

    subprocess.run(["make", "-s"], cwd=place, check=True, timeout=60)
    assert make() == 0
    later = time.time() + 10
    os.utime(place / "a $ # rules.yaml", (later, later))
    assert make() == 1


# ---- tests of a rule file, plans ------------------------------------------------------------------

def test_rule_tests(place):
    done = run(place, "--test", "good.yaml", "-o", "out.bpf.c")
    assert done.returncode == DONE
    assert "1 test" in done.stdout
    assert (place / "out.bpf.c").exists()

    done = run(place, "--test", "test.yaml", "-o", "wrong.bpf.c")
    assert done.returncode == FAILED
    assert "test.yaml:10:9: " in done.stdout
    assert not (place / "wrong.bpf.c").exists()
    # Without --test nobody asked.
    assert run(place, "test.yaml", "-o", "wrong.bpf.c").returncode == DONE


def test_explain(place):
    done = run(place, "--explain", "good.yaml")
    assert (done.returncode, done.stderr) == (DONE, "")
    assert "feed" in done.stdout


def rules_with(routes, kind):
    return textwrap.dedent(f"""\
        version: 1
        listeners:
          feed:
            protocol: udp
            port: 5000
            length: 100
            tag: {{offset: 20, type: {kind}}}
            routes:
        """) + routes


def many_routes(count, length=2):
    """A rule file with so many tags of that length."""
    return rules_with("".join(f'      "{tag:0{2 * length}x}": {6000 + tag % 1000}\n'
                              for tag in range(count)), "hex")


def many_masks(count):
    """A rule file whose tags have '?' at so many sets of places."""
    return rules_with("".join(
        f'      "{tag:03}' + "".join("?" if tag >> bit & 1 else "x" for bit in range(7)) +
        '": 6000\n' for tag in range(count)), "text")


def explained(place, *arguments):
    """The costs of the look-up as --explain says them, and all it says."""
    done = run(place, "--explain", *arguments)
    assert (done.returncode, done.stderr) == (DONE, "")
    return float(re.search(r"About ([\d.]+) ns", done.stdout)[1]), done.stdout


def test_explain_large_tables(place):
    """Where tags cannot be compared one after the other, nobody is told what that would cost."""
    costs = []
    for count, length in [(128, 2), (129, 2), (65535, 2), (65535, 16)]:
        (place / "many.yaml").write_text(many_routes(count, length))
        cost, text = explained(place, "many.yaml")
        costs.append(cost)
        assert ("too many to be compared one after the other" in text) == (count > 128)
        assert bool(re.search(r"not [\d.]+ as compared", text)) == (count <= 128)
    assert costs == sorted(costs)
    assert costs[2] < 2 * costs[1], "a table that the caches hold costs little more than a small one"


def test_chain_of_too_many_tags(place):
    (place / "many.yaml").write_text(many_routes(129))
    done = run(place, "--dispatch=chain", "many.yaml", "-o", "out.bpf.c")
    assert done.returncode == BAD_RULES
    assert done.stderr.startswith("many.yaml:3:3: error: --dispatch=chain compares at most 128 "
                                  "tags, one after the other, and feed has 129: leave the choice "
                                  "to mplexc (--dispatch=auto)\n")
    assert not (place / "out.bpf.c").exists()
    (place / "many.yaml").write_text(many_routes(128))
    assert run(place, "--dispatch=chain", "many.yaml", "-o", "out.bpf.c").returncode == DONE


def test_too_many_masks(place):
    (place / "masks.yaml").write_text(many_masks(66))
    done = run(place, "masks.yaml", "-o", "out.bpf.c")
    assert done.returncode == BAD_RULES
    assert done.stderr.startswith(
        "masks.yaml:3:3: error: the tags of feed have '?' at more than 65 sets of places: each set "
        "is a look-up of its own, so write tags that share theirs\n")
    assert not (place / "out.bpf.c").exists()
    (place / "masks.yaml").write_text(many_masks(65))
    assert run(place, "masks.yaml", "-o", "out.bpf.c").returncode == DONE


def test_dispatch_and_counters(place):
    programs = {run(place, "good.yaml", "-o", "-", *options).stdout
                for options in [["--dispatch=chain"], ["--dispatch=hash"]]}
    assert len(programs) == 2
    for option in ["--dispatch=auto", "--counters=auto"]:
        assert run(place, "good.yaml", "-o", "-", option).stdout == \
            run(place, "good.yaml", "-o", "-").stdout


@pytest.mark.parametrize("routes, default", [(1024, True), (1025, False)])
def test_what_is_counted(place, routes, default):
    (place / "many.yaml").write_text(many_routes(routes))
    for option, one_by_one in [("auto", default), ("route", True), ("listener", False)]:
        done = run(place, "many.yaml", "-o", "-", f"--counters={option}")
        assert done.returncode == DONE
        assert ("FEED_ROUTES" in done.stdout) == one_by_one
        assert ('\\"routes\\":[' in done.stdout) == one_by_one


# ---- the rule files that come with it -------------------------------------------------------------

@pytest.mark.parametrize("path", sorted(RULES.parent.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_rules(tmp_path, path):
    done = run(tmp_path, "-Werror", "--test", path, "-o", "out.bpf.o")
    assert done.stderr == ""
    assert done.returncode == DONE
    assert re.search(r"[1-9]\d* tests passed", done.stdout)


def test_the_three_lines_of_the_readme(tmp_path):
    """But for the last, which attaches."""
    assert run(ROOT, "rules/mplex.yaml", "-o", tmp_path / "mplex.bpf.c").returncode == DONE
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-c", "mplex.bpf.c", "-o", "mplex.bpf.o"],
                   cwd=tmp_path, check=True, timeout=60)
