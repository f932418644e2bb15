# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every small mistake that could be made in a file of C, one at a time.

The text is cut into tokens; each comparison, constant, byte swap and boolean gives one mutant or
two. The string literals of emission hold C, too, and are cut in the same way. Nothing is parsed: a
mutant that does not compile is recognised later, and does not count.
"""

import dataclasses
import hashlib
import re

OPERATORS = r"<<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^!<>=~?:;,.(){}\[\]]"
CODE = re.compile(rf"""
    (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<preprocessor>^[ \t]*\#[^\n]*)
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<character>'(?:\\.|[^'\\])+')
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<operator>{OPERATORS})
  | (?P<other>.)""", re.VERBOSE | re.DOTALL | re.MULTILINE)
# What stands in a literal: C behind escapes and between printf's conversions.
LITERAL = re.compile(rf"""
    (?P<comment>/\*.*?(?:\*/|$)|^[ ]\*.*)
  | (?P<escape>\\(?:x[0-9a-fA-F]+|[0-7]{{1,3}}|.))
  | (?P<conversion>%[-\#0 +]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j|t)?[a-zA-Z%])
  | (?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<operator>{OPERATORS})
  | (?P<other>.)""", re.VERBOSE | re.DOTALL)

COMPARISONS = {
    "==": ["!="], "!=": ["=="],
    "<": ["<=", ">="], "<=": ["<", ">"],
    ">": [">=", "<="], ">=": [">", "<"],
}
BOOLEANS = {"&&": ["||"], "||": ["&&"], "true": ["false"], "false": ["true"], "!": [""]}
BITS = {"&": ["|"], "|": ["&"]}  # where they stand between two operands
BYTE_SWAPS = {f"bpf_{kind}" for kind in (
    "htons", "ntohs", "htonl", "ntohl", "be64_to_cpu", "cpu_to_be64", "be32_to_cpu", "be16_to_cpu",
    "cpu_to_be32", "cpu_to_be16")}
NOT_OPERANDS = {"return", "case", "sizeof", "else"}


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str
    line: int     # from 1
    text: str     # of the line, without its indentation
    start: int    # in the file
    end: int
    before: str
    after: str
    key: str      # of the mutant and of the function around it

    def apply(self, source):
        return source[:self.start] + self.after + source[self.end:]

    def __str__(self):
        return f"{self.file}:{self.line}: `{self.before}` -> `{self.after}` in: {self.text}"


def neighbours(number):
    """A constant one higher and one lower, written the same way."""
    digits = number.rstrip("uUlL")
    suffix = number[len(digits):]
    value = int(digits, 16 if digits[:2] in ("0x", "0X") else 10)
    for other in (value + 1, value - 1):
        if other >= 0:
            yield (f"{other:#x}" if digits[:2] in ("0x", "0X") else str(other)) + suffix


def tokens(source):
    """(kind, text, start) of all that can matter, literals opened."""
    for match in CODE.finditer(source):
        kind, text, start = match.lastgroup, match.group(), match.start()
        if kind == "string":
            for inner in LITERAL.finditer(text[1:-1]):
                yield inner.lastgroup, inner.group(), start + 1 + inner.start()
            yield "string", "", match.end()
        elif not text.isspace():
            yield kind, text, start


def replacements(kind, text, operand_before, call):
    if kind == "number":
        return neighbours(text)
    if text in COMPARISONS:
        return COMPARISONS[text]
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text in BITS and operand_before:
        return BITS[text]
    if text in BYTE_SWAPS and call:
        return [""]
    return []


def functions(source):
    """Where each function, or other thing at the outermost level, begins."""
    return [0] + [match.end() for match in re.finditer(r"^\}.*\n|^/\* part: .*\n", source,
                                                       re.MULTILINE)]


def mutants(file, source):
    """All mutants of a file, in its order."""
    starts = functions(source)
    operand_before = False
    # A digit that follows a letter or an escape in a literal belongs to it: `u8`, `\n1`.
    for kind, text, start in tokens(source):
        if kind in ("comment", "preprocessor", "escape") or (kind == "other" and text.isspace()):
            continue
        end = start + len(text)
        call = source[end:end + 1] == "("
        for after in replacements(kind, text, operand_before, call):
            line_start = source.rfind("\n", 0, start) + 1
            line_end = source.find("\n", start)
            line = source[line_start:line_end]
            begin = max(one for one in starts if one <= start)
            around = source[begin:min([one for one in starts if one > start], default=None)]
            key = hashlib.sha256("\0".join(
                (file, around, str(start - begin), text, after)).encode()).hexdigest()[:24]
            yield Mutant(file, source.count("\n", 0, start) + 1, line.strip(), start, end, text,
                         after, key)
        operand_before = kind in ("number", "character", "conversion") or text in (")", "]") or (
            kind == "word" and text not in NOT_OPERANDS)
