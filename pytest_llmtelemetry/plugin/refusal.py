"""A refusal that ends the test, whatever the code under test catches."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmtelemetry.errors import Refused


# pytest types this as an attribute of a function, which mypy cannot take for a class.
_Failed: type[Any] = pytest.fail.Exception


class RefusedCall(Refused, _Failed):  # type: ignore[misc]
    """A request that was not sent: raised in the code under test, and shown as a failed test without a traceback."""

    def __init__(self, message: str) -> None:
        _Failed.__init__(self, message, pytrace=False)

    def __reduce__(self) -> tuple[type[RefusedCall], tuple[str]]:
        return RefusedCall, (str(self.msg),)
