"""What the package shows: its names, what importing it costs, and examples that work."""

from __future__ import annotations

import doctest
import importlib
import json
import pickle
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import pytest_llmtelemetry
from pytest_llmtelemetry import errors, telemetry


MODULES = sorted(
    {
        "pytest_llmtelemetry",
        *(found.name for found in pkgutil.walk_packages(pytest_llmtelemetry.__path__, "pytest_llmtelemetry.")),
    }
)
FACES = (pytest_llmtelemetry, telemetry)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_names_are_sorted(face: ModuleType) -> None:
    """`__all__` is in order and has no name twice."""
    assert face.__all__ == sorted(set(face.__all__))


@pytest.mark.parametrize(
    ("face", "name"), [(face, name) for face in FACES for name in face.__all__], ids=lambda part: str(part)[-40:]
)
def test_every_name_resolves(face: ModuleType, name: str) -> None:
    """Each public name is there, is the thing of that name, and is listed by dir()."""
    thing = getattr(face, name)
    assert thing.__name__.rpartition(".")[2] == name
    assert name in dir(face)


def test_public_names_are_complete() -> None:
    """Every name that the package can load is in `__all__`, and nothing else is."""
    assert set(pytest_llmtelemetry.__all__) == set(pytest_llmtelemetry._HOME_OF)


def test_every_error_is_public() -> None:
    """All errors of the package can be imported from its top."""
    raised = {
        name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, BaseException)
    }
    assert raised <= set(pytest_llmtelemetry.__all__)


def test_public_name_of_telemetry_is_complete() -> None:
    """What telemetry imports to show is all in its `__all__`."""
    shown = {name for name in vars(telemetry) if name.isidentifier() and not name.startswith("_")}
    assert shown - {"annotations", "accounting", "bus"} == set(telemetry.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there is reported as Python does."""
    with pytest.raises(AttributeError) as caught:
        _ = pytest_llmtelemetry.no_such_name
    assert str(caught.value) == "module 'pytest_llmtelemetry' has no attribute 'no_such_name'"


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.HandlerExistsError, errors.LLMTelemetryError),
        (errors.HandlerNotFoundError, errors.LLMTelemetryError),
        (errors.SettingError, errors.LLMTelemetryError),
        (errors.SettingError, ValueError),
        (errors.MockError, errors.LLMTelemetryError),
        (errors.LLMTelemetryError, Exception),
        (errors.Refused, BaseException),
    ],
)
def test_errors_are_a_tree(error: type[BaseException], base: type[BaseException]) -> None:
    """Each error has its base, and survives the way to another process."""
    assert issubclass(error, base)
    copy = pickle.loads(pickle.dumps(error("why")))
    assert (type(copy), str(copy)) == (error, "why")


def test_refusal_is_no_exception() -> None:
    """SDKs catch Exception and retry: a refusal must not be one."""
    assert not issubclass(errors.Refused, Exception)


_HEAVY = (
    "pytest",
    "_pytest",
    "httpx",
    "httpx2",
    "respx",
    "genai_prices",
    "tabulate",
    "hypothesis",
    "syrupy",
    "pydantic",
)


@pytest.mark.parametrize(
    "statement",
    [
        "import pytest_llmtelemetry",
        "import pytest_llmtelemetry.telemetry",
        "from pytest_llmtelemetry import telemetry, Event, EventLog, Call, Usage, Owner, Refused",
    ],
)
def test_importing_is_light(statement: str) -> None:
    """In a fresh process the package and its telemetry bring neither pytest nor an HTTP library nor prices."""
    program = f"import sys, json; {statement}; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "pytest_llmtelemetry" in loaded
    assert loaded.isdisjoint(_HEAVY), sorted(loaded & set(_HEAVY))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    """Every example in a docstring does what it says."""
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples_in_docstrings() -> None:
    """The search for examples finds some, so that the test above can fail."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples}
    assert {"pytest_llmtelemetry.telemetry", "pytest_llmtelemetry.money"} <= found
