"""Every error that this package raises.

LLMTelemetryError(Exception)
├── HandlerExistsError
├── HandlerNotFoundError
├── SettingError            a bad option, ini value or argument
└── MockError               a mock that cannot do what it promises
Refused(BaseException)      a request that must not be sent
LLMTelemetryWarning(UserWarning)
"""

from __future__ import annotations


class LLMTelemetryError(Exception):
    """The base of all errors of this package, except :class:`Refused`."""


class HandlerExistsError(LLMTelemetryError):
    """A handler of that id is attached already."""


class HandlerNotFoundError(LLMTelemetryError):
    """No handler of that id is attached."""


class SettingError(LLMTelemetryError, ValueError):
    """A setting that cannot be used. The message names the value, its source and what is valid."""


class MockError(LLMTelemetryError):
    """A mock that cannot intercept, or was never used."""


class Refused(BaseException):
    """A request that was stopped before it was sent.

    Not an ``Exception``: SDKs catch those, retry, and report "Connection error.".
    """


class LLMTelemetryWarning(UserWarning):
    """Something in the telemetry of a test is not as it should be; an error under ``llm_strict``."""
