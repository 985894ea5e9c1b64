"""Bodies that something went wrong with, always the same for one seed."""

from __future__ import annotations

import functools
import json
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import bodies
from bodies import Body


JUNK: Mapping[str, str] = {
    "null": "null",
    "true": "true",
    "false": "false",
    "zero": "0",
    "negative": "-1",
    "fraction": "1.5",
    "whole-fraction": "1.0",
    "negative-zero": "-0.0",
    "exponent": "1e400",
    "huge": "1e999999",
    "tiny": "1e-999999",
    "nan": "NaN",
    "infinity": "Infinity",
    "minus-infinity": "-Infinity",
    "int": "9" * 400,
    "64-bit": str(2**63),
    "absurd": str(10**15),
    "empty-text": '""',
    "text": '"text"',
    "number-as-text": '"12"',
    "surrogate": '"\\ud83d"',
    "null-character": '"\\u0000"',
    "empty-list": "[]",
    "list": "[[], {}, 1, null]",
    "objects": '[{}, {"type": "text", "text": "x", "index": -1}]',
    "empty-object": "{}",
    "object": '{"type": [], "text": {}, "usage": 5}',
    "deep": "[" * 300 + "]" * 300,
    "deep-object": '{"a":' * 300 + "1" + "}" * 300,
}
"""JSON that should not stand where it is put."""


def spoiled(document: object, junk: str) -> Iterator[tuple[str, str]]:
    """Every path of ``document``, and the JSON of ``document`` with ``junk`` in that place."""
    yield "", junk
    if isinstance(document, dict):
        for key, value in document.items():
            for path, text in spoiled(value, junk):
                rest = {name: json.dumps(other) for name, other in document.items()} | {key: text}
                yield f".{key}{path}", "{" + ",".join(f'"{name}":{value}' for name, value in rest.items()) + "}"
    elif isinstance(document, list):
        for index, value in enumerate(document):
            for path, text in spoiled(value, junk):
                items = [json.dumps(other) for other in document]
                items[index] = text
                yield f"[{index}]{path}", "[" + ",".join(items) + "]"


def with_one_wrong(body: Body, junk: str) -> Iterator[tuple[str, Body]]:
    """Every path of every document of ``body``, and ``body`` with ``junk`` in that place; of like documents, the first."""
    said = bodies.parts(body.framing, body.data)
    seen: set[object] = set()
    for index, (event, text) in enumerate(said):
        document = json.loads(text) if text.startswith("{") else None
        shape = tuple(path for path, _ in spoiled(document, junk))
        if document is None or shape in seen:
            continue
        seen.add(shape)
        for path, other in spoiled(document, junk):
            changed = [*said[:index], (event, other), *said[index + 1 :]]
            yield f"[{index}]{path}", replace(body, data=bodies.joined(body.framing, changed))


_JUNK = [text.encode() for text in JUNK.values()]
_DEEPEST = 1000
_VALUE = re.compile(rb'"(?:[^"\\\r\n]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?|true|false|null')
_BITES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\r",
    b"\n",
    b"\n\n",
    b"data: ",
    b"[",
    b"{",
    b'"',
    b"}",
    b"\\",
    b"\xe2\x80\xa8",
)

Mutation = Callable[[random.Random, bytes], bytes]


def _slice(chance: random.Random, data: bytes) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice([1, 2, 5, 20, 100]))


def flip(chance: random.Random, data: bytes) -> bytes:
    """Some bits are wrong."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def lose(chance: random.Random, data: bytes) -> bytes:
    """Some bytes are missing."""
    start, end = _slice(chance, data)
    return data[:start] + data[end:]


def repeat(chance: random.Random, data: bytes) -> bytes:
    """Some bytes come again, somewhere."""
    start, end = _slice(chance, data)
    place = chance.randrange(len(data) + 1)
    return data[:place] + data[start:end] + data[place:]


def shorten(chance: random.Random, data: bytes) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def bite(chance: random.Random, data: bytes) -> bytes:
    """There is something between that does not belong there."""
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(_BITES) + data[place:]


def spoil(chance: random.Random, data: bytes) -> bytes:
    """A value, or a name, is another."""
    found = [match.span() for match in _VALUE.finditer(data)]
    for start, end in sorted(chance.sample(found, min(len(found), chance.randint(1, 3))), reverse=True):
        depth = chance.randrange(_DEEPEST)
        junk = chance.choice([*_JUNK, b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth])
        data = data[:start] + junk + data[end:]
    return data


def swap(chance: random.Random, data: bytes) -> bytes:
    """Two values, or names, stand in each other's place."""
    found = [match.span() for match in _VALUE.finditer(data)]
    if len(found) < 2:
        return data
    (first, end_of_first), (second, end_of_second) = sorted(chance.sample(found, 2))
    return (
        data[:first]
        + data[second:end_of_second]
        + data[end_of_first:second]
        + data[first:end_of_first]
        + data[end_of_second:]
    )


MUTATIONS: Sequence[Mutation] = (flip, lose, repeat, shorten, bite, spoil, spoil, spoil, swap, swap)


def mutant(chance: random.Random, body: Body) -> Body:
    """``body`` after one or two accidents."""
    if body.data.startswith(b"\0") and chance.random() < _BEFORE_IT_IS_SEALED:
        return body.sent(lambda data: chance.choice([_resealed, _reworded])(chance, data))
    for _ in range(chance.randint(1, 2)):
        if body.data:
            body = body.sent(functools.partial(chance.choice(MUTATIONS), chance))
    return body


# An event stream with a wrong checksum is not read on, so that most accidents must happen before it is made.
_BEFORE_IT_IS_SEALED = 0.8


def _resealed(chance: random.Random, data: bytes) -> bytes:
    """An event stream with an accident in the headers or the payload of one message, and checksums that fit."""
    messages = []
    while data:
        length = int.from_bytes(data[:4], "big")
        messages.append(data[:length])
        data = data[length:]
    if chance.random() < _OUT_OF_ORDER:
        chance.shuffle(messages)
    unlucky = chance.randrange(len(messages))
    inside = chance.choice(MUTATIONS)(chance, messages[unlucky][12:-4])
    head = struct.pack(">I", len(inside) + 16) + messages[unlucky][4:8]
    message = head + struct.pack(">I", zlib.crc32(head)) + inside
    messages[unlucky] = message + struct.pack(">I", zlib.crc32(message))
    return b"".join(messages)


_OUT_OF_ORDER = 0.2


def _reworded(chance: random.Random, data: bytes) -> bytes:
    """An event stream with an accident in what one message says, also where that is wrapped."""
    said = bodies.parts("messages", data)
    unlucky = chance.randrange(len(said))
    event, text = said[unlucky]
    said[unlucky] = event, chance.choice(MUTATIONS)(chance, text.encode()).decode("utf-8", "replace")
    return bodies.joined("messages", said)
