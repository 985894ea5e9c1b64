"""Content-encodings, undone piece by piece."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard

from pytest_llmtelemetry.capture.decoding import Undecodable, decoder


brotli = pytest.importorskip("brotli")  # has no types

TEXT = b"data: {}\n\n" * 500

ENCODED = {
    "gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
    "identity": TEXT,
    "": TEXT,
    "gzip, br": brotli.compress(gzip.compress(TEXT)),
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("encoding", ENCODED)
def test_pieces_of_any_size_are_decoded(encoding: str, size: int) -> None:
    """What was encoded comes out again, however it was cut."""
    body, decode = ENCODED[encoding], decoder(encoding)

    assert b"".join(decode(body[i : i + size]) for i in range(0, len(body), size)) == TEXT


@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_deflate_without_a_header_is_decoded(size: int) -> None:
    """Some servers leave it out; the first byte alone does not say so."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body, decode = deflate.compress(TEXT) + deflate.flush(), decoder("deflate")

    assert b"".join(decode(body[i : i + size]) for i in range(0, len(body), size)) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bytes_in_another_encoding_are_not_guessed_at(encoding: str) -> None:
    """They raise one exception, whatever library found out."""
    with pytest.raises(Undecodable):
        decoder(encoding)(b"this is plain text, and long enough to be recognised as such")


def test_an_unknown_encoding_is_said_at_once() -> None:
    """Before the first byte."""
    with pytest.raises(Undecodable, match="unknown content-encoding 'rot13'"):
        decoder("rot13")


def test_a_piece_does_not_inflate_without_bound() -> None:
    """100 MB of zeros in 100 kB are refused, not held."""
    with pytest.raises(Undecodable, match="more than 64 MiB"):
        decoder("gzip")(gzip.compress(bytes(100 * 1024 * 1024), compresslevel=1))
