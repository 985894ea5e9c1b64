"""Removes a content-encoding from a stream that is pushed to us piece by piece.

The HTTP libraries decode what they pull themselves, so their decoders cannot be fed by
a tee. The standard library knows gzip and deflate; brotli and zstd are used where the
HTTP library found them too, because only then does it ask for them.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any


Decode = Callable[[bytes], bytes]


class Undecodable(Exception):  # noqa: N818 - a way out, not an error
    """The bytes are not in the encoding that the headers name, or we cannot read it."""


def decoder(encoding: str) -> Decode:
    """Return a function that decodes the next piece.

    Raises:
        Undecodable: the encoding is unknown here. So does the function, on bad bytes.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    steps = [_decoder(name) for name in reversed(names) if name not in {"", "identity"}]

    def decode(chunk: bytes) -> bytes:
        try:
            for step in steps:
                chunk = step(chunk)
        except Exception as error:
            raise Undecodable(str(error)) from error
        return chunk

    return decode


def _decoder(name: str) -> Decode:
    match name:
        case "gzip" | "x-gzip":
            return _zlib(zlib.MAX_WBITS | 16)
        case "deflate":
            return _deflate()
        case "br":
            return _brotli()
        case "zstd":
            return _zstd()
    raise Undecodable(f"unknown content-encoding {name!r}")


# A small body must not inflate to all our memory; what is left is not needed to be right,
# only to be refused.
_MOST = 64 * 1024 * 1024


def _zlib(bits: int) -> Decode:
    inflate = zlib.decompressobj(bits)

    def decode(chunk: bytes) -> bytes:
        data = inflate.decompress(chunk, _MOST)
        if inflate.unconsumed_tail:
            raise Undecodable("a piece inflates to more than 64 MiB")
        return data

    return decode


def _deflate() -> Decode:
    """Deflate comes with or without a zlib header, of two bytes; they tell."""
    chosen: Decode | None = None
    head = b""

    def decode(chunk: bytes) -> bytes:
        nonlocal chosen, head
        if chosen is not None:
            return chosen(chunk)
        head += chunk
        if len(head) < _ZLIB_HEADER:
            return b""
        try:
            wrapped = _zlib(zlib.MAX_WBITS)
            data = wrapped(head)
        except zlib.error:
            chosen = _zlib(-zlib.MAX_WBITS)
            return chosen(head)
        chosen = wrapped
        return data

    return decode


_ZLIB_HEADER = 2


def _brotli() -> Decode:
    module = _first("brotli", "brotlicffi")
    inflate = module.Decompressor()
    step: Decode = getattr(inflate, "process", None) or inflate.decompress
    return step


def _zstd() -> Decode:
    module = _first("compression.zstd", "backports.zstd", "zstandard")

    def begin() -> Any:
        one = module.ZstdDecompressor()
        return one.decompressobj() if hasattr(one, "decompressobj") else one

    inflate = begin()

    def decode(chunk: bytes) -> bytes:
        nonlocal inflate
        data = b""
        while chunk:
            if inflate.eof:
                inflate = begin()  # a body may be several frames
            data += inflate.decompress(chunk)
            chunk = inflate.unused_data
        return data

    return decode


def _first(*names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Undecodable(f"none of {', '.join(names)} is installed")
