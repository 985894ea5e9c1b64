"""What leaves the process carries no credential."""

from __future__ import annotations

import time

import pytest

from pytest_llmtelemetry.redaction import scrub


_TAIL = "Ab1-_" * 8


@pytest.mark.parametrize(
    "secret",
    [
        f"sk-{_TAIL}",
        f"sk-proj-{_TAIL}",
        f"sk-ant-api03-{_TAIL}",
        f"sk-or-v1-{'0af' * 21}",
        f"AIza{'Sy1' * 11}xx",
        f"ya29.{_TAIL}",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        f"gsk_{'aB1' * 10}",
        f"hf_{'aB1' * 10}",
        f"ghp_{'aB1' * 12}",
        f"github_pat_{'aB1_' * 12}",
        f"pplx-{'aB1' * 10}",
        f"xai-{'aB1' * 10}",
        f"nvapi-{'aB1' * 10}",
        f"eyJ{'hbGc' * 5}.eyJ{'zdWI' * 5}.{'c2ln' * 5}",
        f"Bearer {'abc.123' * 4}",
    ],
    ids=lambda secret: secret[:12],
)
def test_credential_is_replaced(secret: str) -> None:
    """A key of any provider goes, wherever it stands; what is around it stays."""
    for before, after in (("", ""), ("key ", " rejected"), ('{"key":"', '"}'), ("key=", "&x=1"), ("(", ")")):
        assert scrub(f"{before}{secret}{after}") == f"{before}[redacted]{after}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "risk-assessment-for-the-whole-portfolio",
        "task-0123456789abcdef0123456789",
        "sk-short",
        "gpt-4o-mini-2024-07-18",
        "claude-haiku-4-5-20251001",
        "the bearer of this letter",
        "tests/test_half_life.py::test_chf_to_usd_conversion_of_prices",
        "chatcmpl-9Xk2Lq7mN4pR8sT1vW3yZ5",
    ],
)
def test_ordinary_text_survives(text: str) -> None:
    """Names of models, tests and ids are no credentials."""
    assert scrub(text) == text


def test_two_credentials_are_both_replaced() -> None:
    """Every credential of a text goes."""
    assert scrub(f"sk-{_TAIL} and AKIAIOSFODNN7EXAMPLE") == "[redacted] and [redacted]"


@pytest.mark.parametrize("text", ["sk-" * 20_000, "eyJ" * 20_000, "eyJa.eyJa." * 6_000, "Bearer " * 9_000])
def test_no_text_makes_it_slow(text: str) -> None:
    """The time for sixty thousand hostile characters is bounded."""
    began = time.perf_counter()
    scrub(text)
    assert time.perf_counter() - began < 1
