# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Rule files that nobody means well with: an answer within seconds, in bounded memory, no crash."""

import resource
import subprocess
import time

import pytest

from lib.mplex import MPLEXC

SANITIZED = b"__asan_init" in MPLEXC.read_bytes() if MPLEXC.exists() else False
SECONDS = 20 if SANITIZED else 5    # one or two, on a machine with nothing else to do
MEGABYTES = 200
LIMIT = 16 << 20

HEAD = """version: 1
listeners:
  a:
    protocol: udp
    port: 5000
    length: 64..1400
    tag: {offset: 20}
    routes:
"""


def check(path, *arguments, megabytes=MEGABYTES):
    """Runs mplexc with so much memory and no more; returns its status and what it said."""
    def limit():
        if not SANITIZED:
            resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    before = time.monotonic()
    done = subprocess.run([MPLEXC, "--check", path, *arguments], capture_output=True, text=True,
                          preexec_fn=limit, timeout=60)
    assert time.monotonic() - before < SECONDS
    return done.returncode, done.stderr


def routes(lines):
    return HEAD + "".join(f"      {line}\n" for line in lines)


FILES = {
    "100 MB": (lambda: b"a" * (100 << 20), "larger than 16 MiB"),
    "one byte too many": (lambda: b"#" * (LIMIT + 1), "larger than 16 MiB"),
    "only a comment": (lambda: b"#" * LIMIT, "is empty"),
    "only newlines": (lambda: b"\n" * LIMIT, "is empty"),
    "only spaces": (lambda: b" " * LIMIT, "is empty"),
    "NULs": (lambda: bytes(LIMIT), ":1:1: error: U+0000"),
    "noise": (lambda: bytes(range(256)) * 1000, "error: U+0000"),
    "continuation bytes": (lambda: b"\x80" * LIMIT, "not valid UTF-8"),
    "a scalar": (lambda: b"a" * LIMIT, "is a mapping"),
    "a quoted scalar": (lambda: b'"' + b"a" * (LIMIT - 2) + b'"', "is a mapping"),
    "open quotes": (lambda: b'"' + b"a" * (LIMIT - 2), "never closed"),
    "escapes": (lambda: b'"' + b"\\x41" * (LIMIT // 4 - 1) + b'"', "is a mapping"),
    "characters of four bytes": (lambda: "# ".encode() + "\U0001f600".encode() * (LIMIT // 4 - 1), "is empty"),
    "brackets": (lambda: b"[" * LIMIT, "nested more than 16 deep"),
    "braces": (lambda: b"{" * LIMIT, "cannot be a key"),
    "keys in keys": (lambda: b"{a: " * (LIMIT // 4), "nested more than 16 deep"),
    "dashes": (lambda: b"- " * (LIMIT // 2), "nested more than 16 deep"),
    "questions": (lambda: b"? " * (LIMIT // 2), "cannot be a key"),
    "colons": (lambda: b": " * (LIMIT // 2), "error: "),
    "commas": (lambda: b"[" + b"," * (LIMIT - 1), "error: "),
    "stars": (lambda: b"*" * LIMIT, "error: "),
    "bangs": (lambda: b"!" * LIMIT, "error: "),
    "ampersands": (lambda: b"&" * LIMIT, "error: "),
    "a long anchor": (lambda: b"a: &" + b"a" * (LIMIT - 4), "anchors"),
    "aliases": (lambda: b"a: &a [x]\nb: [" + b"*a, " * 1000000 + b"]", "aliases are not part"),
    "laughs": (lambda: b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (i, i, b",".join([b"*%c" % (i - 1)] * 9)) for i in range(98, 123)),
        "aliases are not part"),
    "directives": (lambda: b"%YAML 1.1\n" * 1000000, "error: "),
    "items": (lambda: b"- a\n" * (LIMIT // 4), "more than 1048576 values"),
    "keys": (lambda: "version: 1\nlisteners:\n" + "".join(f"  a{i}: 1\n" for i in range(1000000)),
             "more than 1048576 values"),
    "unknown keys": (lambda: "".join(f"a{i}: 1\n" for i in range(500000)), "unknown key 'a0'"),
    "one key": (lambda: "a: 1\n" * 500000, "'a' is there twice"),
    "long keys": (lambda: "{" + ", ".join(f'"{"x" * 1000}{i}": 1' for i in range(16000)) + "}", "unknown key"),
    "one line": (lambda: "version: 1\nlisteners: {" + "".join(f"a{i}: 1, " for i in range(400000)) + "}",
                 "there are 400000 listeners"),
    "wrong ports": (lambda: routes(f'"{i:06d}": 0' for i in range(400000)), "and 399950 more"),
    "wrong tags": (lambda: routes(f'"{i}": 1' for i in range(400000)), "has 1 byte"),
    "patterns that all overlap": (lambda: routes(f'"?{i:05d}?": {i % 65535 + 1}' for i in range(99999)),
                                  "overlap too much"),
    "ranges in ranges": (lambda: routes(f"{i:06d}..{999999 - i:06d}: {i % 65535 + 1}" for i in range(300000)),
                         "overlap too much"),
    "ranges over ranges": (lambda: routes(f"{i:06d}..{i + 300000:06d}: {i % 65535 + 1}" for i in range(300000)),
                           "have tags in common"),
    "tests": (lambda: HEAD + '      "600": 1\n    tests:\n' +
              "      - {payload: {length: 65507}, expect: 5}\n" * 116000, "the test will fail"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile(tmp_path, name):
    make, message = FILES[name]
    path = tmp_path / "rules.yaml"
    content = make()
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, said = check(path)
    assert message in said
    assert status == (0 if "warning" in said and "error: " not in said else 3)
    assert len(said) < 100000
    assert all(len(line) < 400 for line in said.splitlines())


def test_deep_hostility_as_json(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(routes(f'"{i:06d}": 0' for i in range(400000)))
    status, said = check(path, "--diagnostics=json")
    assert status == 3
    assert len(said) < 100000 and said.count("\n") == 1


def test_terminal_escapes_do_not_get_through(tmp_path):
    """Neither from the text nor from the name of the file."""
    path = tmp_path / "a\x1b[2J\nb.yaml"
    for text in [b"version: \x1b]0;title\x07\n", b'version: "\\e[2J"\n', b'"\\e[2J\\x9b": 1\n',
                 b'version: 1\nlisteners: {"\\r\\n\\u202e": {}}\n', b"\xc2\x9b: 1\n"]:
        path.write_bytes(text)
        done = subprocess.run([MPLEXC, "--check", path], capture_output=True, timeout=60)
        assert done.returncode == 3
        shown = done.stderr.decode()
        assert not any(ord(c) < 32 and c != "\n" or 127 <= ord(c) < 160 or c == "\u202e" for c in shown)
        assert "a<U+001B>[2J<U+000A>b.yaml:" in shown


@pytest.mark.parametrize("length", [3, 8, 16])
def test_65535_tags_are_normal(tmp_path, length):
    """Read, checked and planned within a second, in less than 100 MB."""
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def tag(number):
        text = ""
        for _ in range(length):
            number, digit = divmod(number, len(letters))
            text = letters[digit] + text
        return text

    step = len(letters) ** length // 65536
    path = tmp_path / "rules.yaml"
    path.write_text(routes(f'"{tag(i * step)}": {i % 60000 + 1}' for i in range(65535)))
    before = time.monotonic()
    assert check(path, megabytes=100) == (0, "")
    if not SANITIZED:
        assert time.monotonic() - before < 2    # one, on a machine with nothing else to do


def test_out_of_memory_is_an_error(tmp_path):
    """With too little memory there is a message, whatever it is that could not be had."""
    if SANITIZED:
        pytest.skip("the sanitizer needs all the address space there is")
    path = tmp_path / "rules.yaml"
    path.write_text(routes(f'"{i:06d}": {i % 60000 + 1}' for i in range(65535)))
    seen = set()
    for megabytes in range(8, 80, 4):
        status, said = check(path, megabytes=megabytes)
        if "shared" in said:    # not even its libraries could be loaded
            continue
        assert status in (0, 1), said
        assert "out of memory" in said or "Cannot allocate memory" in said or not status
        seen.add(status)
    assert seen == {0, 1}
