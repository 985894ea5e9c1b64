"""How a document is cut into parts. No model is needed for that."""

from __future__ import annotations

import pytest

from summariser.chunks import split


@pytest.mark.parametrize(
    ("document", "parts"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("  one  \n\n\n\n two ", ["one\n\ntwo"], id="blank-lines-go"),
        pytest.param("one\n\ntwo\n\nthree", ["one\n\ntwo", "three"], id="full-parts"),
        pytest.param("one\n\na much longer one", ["one", "a much longer one"], id="long-paragraphs-stay-whole"),
    ],
)
def test_paragraphs_are_packed_into_parts(document: str, parts: list[str]) -> None:
    """Whole paragraphs share a part of eight characters for as long as they fit."""
    assert split(document, limit=8) == parts
