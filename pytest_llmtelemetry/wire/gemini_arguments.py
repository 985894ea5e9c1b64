"""The arguments of a function call, which Vertex streams leaf by leaf if it is asked to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.wire.jsontext import arguments_of, mapping, objects, text


# One step of a JSON path such as $.people[0]['first name'].
_STEP = re.compile(r"""\.([^.\[\]]+)|\[([0-9]{1,6})\]|\['([^']*)'\]|\["([^"]*)"\]""")
_LEAVES = ("stringValue", "numberValue", "boolValue", "nullValue")
_DEPTH = 100


class Arguments:
    """What is known of the arguments of one call."""

    def __init__(self) -> None:
        self._whole: Mapping[str, Any] = {}
        self._leaves: dict[str | int, Any] = {}
        """Objects by name and lists by index, all as dicts; texts as lists, because they may come in many pieces."""

    def take(self, call: Mapping[str, Any]) -> None:
        """Read one part of the call: all arguments, or some leaves of them."""
        self._whole = mapping(call.get("args")) or self._whole
        for leaf in objects(call.get("partialArgs")):
            kind = next((kind for kind in _LEAVES if kind in leaf), None)
            steps = _steps(text(leaf.get("jsonPath")) or "")
            if kind is None or not 0 < len(steps) <= _DEPTH:
                continue
            value = None if kind == "nullValue" else leaf[kind]
            if not isinstance(value, dict | list):
                self._put(steps, value)

    def _put(self, steps: list[str | int], value: object) -> None:
        place = self._leaves
        for step in steps[:-1]:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                return
            place = inner
        begun = place.get(steps[-1])
        if isinstance(value, str) and isinstance(begun, list):
            begun.append(value)
        else:
            place[steps[-1]] = [value] if isinstance(value, str) else value

    def __str__(self) -> str:
        return arguments_of(_settled(self._leaves) if self._leaves else self._whole)


def _steps(path: str) -> list[str | int]:
    return [int(index) if index else name or single or double for name, index, single, double in _STEP.findall(path)]


def _settled(tree: object) -> object:
    """The same with lists where there are indices."""
    if isinstance(tree, list):
        return "".join(tree)
    if not isinstance(tree, dict):
        return tree
    if all(isinstance(key, int) for key in tree):
        return [_settled(tree[key]) for key in sorted(tree)]
    return {str(key): _settled(value) for key, value in tree.items()}
