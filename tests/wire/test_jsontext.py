"""JSON from outside, and JSON that must keep its digits."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmtelemetry.wire.jsontext import dump, load_object, money


def test_half_a_surrogate_pair_can_be_sent() -> None:
    """A client may send one, and a mock repeats it; what else is not ASCII stays as it is."""
    assert (
        dump({"caf\xe9": "\ud83d", "\udca9": "\U0001f40d"}).encode()
        == '{"café":"\\ud83d","\\udca9":"\U0001f40d"}'.encode()
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": 0.10}', {"a": Decimal("0.10")}),
        ('{"a": 1e3}', {"a": Decimal("1E+3")}),
        ('{"a": -Infinity}', {"a": Decimal("-Infinity")}),
        ('\ufeff{"a": 1}', None),
        ("[1]", None),
        ("1", None),
        ("", None),
        ("{", None),
        ('{"a": 1e99999999999999999999}', None),
        ('{"a": ' + "9" * 5000 + "}", None),
        ("[" * 100_000, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_only_an_object_is_loaded(text: str, value: object) -> None:
    """Fractions are exact; all else is none, and nothing raises."""
    loaded = load_object(text)
    assert loaded == value
    assert str(loaded) == str(value)


def test_bytes_are_loaded_with_their_mark() -> None:
    """Some gateways prepend a byte order mark; what is no text is none."""
    assert (load_object(b'\xef\xbb\xbf{"a": 1}'), load_object(b'{"a": "\xff"}')) == ({"a": 1}, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_is_written_compact_and_in_utf8(value: object) -> None:
    """As the standard library writes it."""
    assert dump(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("number", ["0.10", "1E-7", "0.12345678901234567890123456789", "1E+400", "-0.0", "0E-9"])
def test_a_decimal_keeps_its_digits(number: str) -> None:
    """Written and loaded it is the same, to the last zero."""
    text = dump({"a": [Decimal(number), (1, 2.5)]})
    assert text == f'{{"a":[{number},[1,2.5]]}}'
    assert str((load_object(text) or {})["a"][0]) == number


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (0, Decimal(0)),
        (5, Decimal(5)),
        (Decimal("0.10"), Decimal("0.10")),
        (Decimal("1E-10"), Decimal("1E-10")),
        (Decimal("0E-99999"), Decimal(0)),
        (Decimal("999999999999999.99"), Decimal("999999999999999.99")),
        (Decimal("1E+15"), None),
        (10**15, None),
        (Decimal("1E-18"), None),
        (Decimal("-0.01"), None),
        (Decimal("NaN"), None),
        (Decimal("Infinity"), None),
        (True, None),
        ("1", None),
        (None, None),
        (0.5, Decimal("0.5")),
        (float("nan"), None),
    ],
    ids=repr,
)
def test_an_amount_is_a_number_that_makes_sense(value: object, amount: Decimal | None) -> None:
    """Not negative, not absurd; a float was never on the wire."""
    assert money(value) == amount
