# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The programs that are measured: mplexc's own, its peers, and floors.

A peer does the same work, and that is not left to care: it is the program that mplexc emits for the
same rules, with another body for the one function that finds a tag's route. So what is parsed,
checked and counted is the same to the byte, and what differs is what is to be compared.
"""

import hashlib
import pathlib
import re
import struct
import subprocess
import tempfile

from lib.mplex import BUILD, CLANG, MPLEXC

HERE = pathlib.Path(__file__).parent
OBJECTS = BUILD / "bench" / "objects"

LISTEN_PORT = 5000
LENGTHS = (290, 294)
MESSAGE = 292
TAG_OFFSET = 20

MASK = (1 << 64) - 1
ODD = 0x9E3779B97F4A7C15  # of drive.bpf.h


def tag_bytes(index, length):
    """Tag `index` of a set, as drive.bpf.h writes it."""
    word = index * ODD & MASK
    tag = b""
    while length - len(tag) >= 8:
        tag += struct.pack("<Q", word)
        word = word * ODD & MASK
    return tag + struct.pack("<Q", word)[:length - len(tag)]


def tag_set(count, length):
    return [tag_bytes(index, length) for index in range(count)]


def port_of(index):
    """Where tag `index` is routed to."""
    return 10000 + index % 50000


def rules(count, length, replies="none"):
    """A rule text with so many routes."""
    lines = [
        "version: 1",
        "listeners:",
        "  feed:",
        "    protocol: udp",
        f"    port: {LISTEN_PORT}",
        f"    length: {LENGTHS[0]}..{LENGTHS[1]}",
        f"    tag: {{offset: {TAG_OFFSET}, type: hex}}",
        f"    replies: {replies}",
        "    routes:",
    ]
    lines += [f'      "{tag.hex()}": {port_of(index)}'
              for index, tag in enumerate(tag_set(count, length))]
    return "\n".join(lines) + "\n"


def emit(text):
    """The C that mplexc makes of a rule text, its XDP program being a function like others.

    The driver calls it; for that only the name of its section goes.
    """
    source = subprocess.run([MPLEXC, "-", "-o", "-"], input=text, capture_output=True, text=True,
                            check=True, timeout=120).stdout
    return re.sub(r'^SEC\("xdp\.frags"\)\n(?=int mplex_xdp)', "", source, flags=re.MULTILINE)


# ---- other ways to find a route ------------------------------------------------------------------

ROUTE = re.compile(r"^static __always_inline (?:bool|__u64) route_feed\(const __u8 \*tag, "
                   r"struct verdict \*verdict\)\n\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
HEAD = "static __always_inline bool route_feed(const __u8 *tag, struct verdict *verdict)\n"


def replace_route(source, body):
    """The same program with another way to find a route."""
    if len(ROUTE.findall(source)) != 1:
        raise LookupError("the emitted program has no function route_feed of the known form")
    return ROUTE.sub(lambda _: body, source)


def counts_routes(source):
    return "FEED_ROUTES" in source


def counting(source, index):
    return f"\tverdict->counter = FEED_ROUTES + {index};\n" if counts_routes(source) else ""


def with_constant(source):
    """Every message to one port, whatever its tag: the work without a table."""
    return replace_route(source, HEAD + "{\n"
                         f"\tverdict->port = {port_of(0)};\n" + counting(source, 0)
                         + "\treturn true;\n}\n")


def with_none(source):
    """No message has a route: the work without a table, all refused."""
    return replace_route(source, HEAD + "{\n\treturn false;\n}\n")


def with_chain(source, tags):
    """Compared byte by byte, one tag after the other, as it is written by hand."""
    lines = []
    for index, tag in enumerate(tags):
        condition = " && ".join(f"tag[{at}] == 0x{byte:02x}" for at, byte in enumerate(tag))
        lines.append(f"\tif ({condition}) {{\n\t\tverdict->port = {port_of(index)};\n"
                     + counting(source, index) + "\t\treturn true;\n\t}\n")
    return replace_route(source, HEAD + "{\n" + "".join(lines) + "\treturn false;\n}\n")


MAP_ROW = "<HHI"  # port, padding, number of the route


def with_map(source, tags):
    """Looked up in a BPF hash map, which is filled from outside: a data-driven program."""
    counter = "\tverdict->counter = FEED_ROUTES + row->route;\n" if counts_routes(source) else ""
    return replace_route(source, f"""struct row {{
	__u16 port;
	__u32 route;
}};

struct {{
	__uint(type, 1); /* BPF_MAP_TYPE_HASH */
	__uint(max_entries, {len(tags)});
	__uint(key_size, {len(tags[0])});
	__type(value, struct row);
}} routes SEC(".maps");

""" + HEAD + f"""{{
	const struct row *row = bpf_map_lookup_elem(&routes, tag);

	if (!row)
		return false;
	verdict->port = row->port;
{counter}	return true;
}}
""")


def map_rows(tags):
    """The rows of that map, key and value after key and value."""
    return b"".join(tag + struct.pack(MAP_ROW, port_of(index), 0, index)
                    for index, tag in enumerate(tags))


# ---- programs that do nothing else ---------------------------------------------------------------

BARE = """struct xdp_md {{
	unsigned int data;
}};

{section}int mplex_xdp(struct xdp_md *xdp)
{{
	return {result};
}}
"""
DROP, PASS = 1, 2  # enum xdp_action


def bare(result):
    """Returns at once."""
    return BARE.format(section="", result=result)


def bare_attached():
    """Passes everything; as a program of its own, for an interface."""
    return BARE.format(section='__attribute__((section("xdp"), used))\n', result=PASS)


# ---- objects -------------------------------------------------------------------------------------


def build(source, timeout=60):
    """The object of a source, made once. None: clang cannot make one."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    OBJECTS.mkdir(parents=True, exist_ok=True)
    made = OBJECTS / f"{digest}.bpf.o"
    if made.exists():
        return made
    with tempfile.TemporaryDirectory(dir=OBJECTS) as place:
        text = pathlib.Path(place, "program.bpf.c")
        new = pathlib.Path(place, "program.bpf.o")
        text.write_text(source)
        try:
            done = subprocess.run([*CLANG, text, "-o", new], capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            return None
        new.rename(made)
    return made
