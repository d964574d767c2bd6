"""Mutate a TOML text as careless users, editors, scripts and disks do."""

import random
import re
from collections.abc import Callable

TOKEN = re.compile(rb'"[^"\n]*"|[\w.+-]+|[\[\]{}=,#]')
NUMBER = re.compile(rb"(?<![\w.])-?\d[\d_.]*(?:e-?\d+)?(?![\w.])")
VALUE = re.compile(rb"(?m)(?<== )[^\n#]+")
NUMBERS = [
    b"1e308",
    b"-1e308",
    b"1e-320",
    b"inf",
    b"-inf",
    b"nan",
    b"-0",
    b"1_000",
    b"0x1F",
    b"0b11",
    b"9" * 20,
    b"9" * 400,
    b"9" * 5000,
    b"1e999",
    b"10000000000",
    b"-1",
    b"0",
    b"0.0",
    b"2.5",
    b"1e18",
    b"007",
]
VALUES = [
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"8/0"',
    b'"1/3"',
    b'"nan"',
    b"[1, 'a']",
    b"[[1]]",
    b"{a = 1}",
    b"1979-05-27",
    b"07:32:00",
    b"'''a\nb'''",
    b'"\\u0000"',
    b'"\\u001b[31m"',
    b'"a\\nb"',
    b"[1, 2, 3]",
    b"[3, 2, 1]",
    b'"' + b"x" * 5000 + b'"',
    b'"~"',
    b'"/dev/zero"',
    b'"../x"',
    b'"mnist"',
    b'"digits"',
]
ODD = [
    "\u202e",
    "\u200b",
    "\ufeff",
    "\u00e9",
    "\u2028",
    "\U0001f600",
    "\u0661",
    "\u0130",
    "e\u0301",
    "\u00a0",
    "\x0c",
    "\x00",
    "\x1b[2J",
    "\uffff",
]
Mutation = Callable[[bytes, random.Random], bytes]


def mutate(text: bytes, draw: random.Random) -> tuple[bytes, str]:
    """The text after one to three mutations, and their names."""
    chosen = [draw.choice(MUTATIONS) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
    for one in chosen:
        text = one(text, draw)
    return text, " + ".join(one.__name__ for one in chosen)


def flip_bits(text: bytes, draw: random.Random) -> bytes:
    changed = bytearray(text or b"x")
    for _ in range(draw.choice((1, 1, 4))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def swap_tokens(text: bytes, draw: random.Random) -> bytes:
    tokens = list(TOKEN.finditer(text))
    if len(tokens) < 2:
        return text
    one, other = sorted(draw.sample(tokens, 2), key=lambda token: token.start())
    return b"".join((text[: one.start()], other[0], text[one.end() : other.start()], one[0], text[other.end() :]))


def delete(text: bytes, draw: random.Random) -> bytes:
    begin = draw.randrange(len(text) + 1)
    return text[:begin] + text[begin + draw.choice((1, 3, 20, 200)) :]


def cut(text: bytes, draw: random.Random) -> bytes:
    return text[: draw.randrange(len(text) + 1)]


def double_line(text: bytes, draw: random.Random) -> bytes:
    lines = text.splitlines(keepends=True) or [b""]
    lines.insert(draw.randrange(len(lines)), draw.choice(lines))
    return b"".join(lines)


def change_number(text: bytes, draw: random.Random) -> bytes:
    return _replace(NUMBER, draw.choice(NUMBERS), text, draw)


def change_value(text: bytes, draw: random.Random) -> bytes:
    return _replace(VALUE, draw.choice(VALUES), text, draw)


def change_type(text: bytes, draw: random.Random) -> bytes:
    """Quote what has no quotes, unquote what has, or make it a list."""
    found = list(VALUE.finditer(text))
    if not found:
        return text
    value = draw.choice(found)[0]
    return text.replace(value, draw.choice((b'"' + value + b'"', value.strip(b'" '), b"[" + value + b"]")), 1)


def nest(text: bytes, draw: random.Random) -> bytes:
    depth = draw.choice((3, 100, 2000, 20000))
    opening, closing = draw.choice(((b"[", b"]"), (b"{a=", b"}")))
    if draw.random() < 0.3:
        return text + b"\n[" + b".".join([b"a"] * depth) + b"]\n"
    return _replace(VALUE, opening * depth + b"1" + closing * depth, text, draw)


def insert_odd(text: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(text) + 1)
    odd = draw.choice(ODD).encode() if draw.random() < 0.8 else bytes([draw.randrange(128, 256)])
    return text[:place] + odd + text[place:]


def _replace(pattern: re.Pattern[bytes], new: bytes, text: bytes, draw: random.Random) -> bytes:
    found = list(pattern.finditer(text))
    if not found:
        return text
    place = draw.choice(found)
    return text[: place.start()] + new + text[place.end() :]


MUTATIONS: list[Mutation] = [
    flip_bits,
    swap_tokens,
    delete,
    cut,
    double_line,
    change_number,
    change_value,
    change_type,
    nest,
    insert_odd,
]
