"""Cuts a document into parts that fit into one request."""

from __future__ import annotations


def split(document: str, limit: int) -> list[str]:
    """Pack whole paragraphs into parts of up to ``limit`` characters.

    A longer paragraph is a part of its own: cutting a sentence in two would cost more
    than a request that is a little longer.

    >>> split("one\\n\\ntwo\\n\\nthree", limit=8)
    ['one\\n\\ntwo', 'three']
    """
    parts: list[str] = []
    for paragraph in filter(None, (one.strip() for one in document.split("\n\n"))):
        joined = f"{parts[-1]}\n\n{paragraph}" if parts else paragraph
        if parts and len(joined) <= limit:
            parts[-1] = joined
        else:
            parts.append(paragraph)
    return parts
