"""Embeddings, as they stand in JSON."""

from __future__ import annotations

from decimal import Decimal
from math import isfinite


_NUMBERS = frozenset({int, float, Decimal})


def read_vector(value: object) -> tuple[float, ...]:
    """One embedding; empty if anything in it is no finite number."""
    # By type, because a bool is an int and float() reads texts.
    if not isinstance(value, list) or not _NUMBERS.issuperset(map(type, value)):
        return ()
    try:
        vector = tuple(map(float, value))
    except OverflowError:
        return ()
    return vector if all(map(isfinite, vector)) else ()


def read_vectors(value: object) -> list[tuple[float, ...]]:
    """The embeddings in a list, each in its place."""
    return list(map(read_vector, value)) if isinstance(value, list) else []
