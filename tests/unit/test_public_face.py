"""What the package shows: its names, what importing it costs, and examples that work."""

from __future__ import annotations

import doctest
import importlib
import json
import pickle
import pkgutil
import subprocess
import sys
from itertools import chain
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
    assert sorted(chain(*pytest_llmtelemetry._HOMES.values())) == pytest_llmtelemetry.__all__


def test_every_error_is_public() -> None:
    """All errors of the package can be imported from its top."""
    raised = {
        name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, BaseException)
    }
    assert raised <= set(pytest_llmtelemetry.__all__)


def test_public_name_of_telemetry_is_complete() -> None:
    """What telemetry imports to show, now or when it is used, is all in its `__all__`."""
    shown = {name for name, thing in vars(telemetry).items() if not isinstance(thing, ModuleType)}
    at_once = {name for name in shown if not name.startswith("_")} - {"TYPE_CHECKING", "annotations", "attributes"}
    assert at_once | set(chain(*telemetry._HOMES.values())) == set(telemetry.__all__)


def test_instrument_is_the_function() -> None:
    """A module has the same name; whoever imports that first does not take the function's place."""
    script = (
        "import pytest_llmtelemetry.telemetry.instrument, pytest_llmtelemetry.telemetry.cache\n"
        "from pytest_llmtelemetry.telemetry import instrument\n"
        "assert callable(instrument), instrument\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


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


_ALONE = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event in {"socket.__new__", "subprocess.Popen"} else None)
STATEMENT
loaded = {name.partition(".")[0] for name in sys.modules} - before - sys.stdlib_module_names
print(json.dumps([sorted(loaded), len(sys._current_frames()), opened]))
"""

_USE = """
from pytest_llmtelemetry import telemetry
telemetry.attach_default_handlers()
with telemetry.instrument("llm.chat.call", {"provider": "acme", "model": "acme-1"}) as span:
    span.result = {"usage": {"input_tokens": 1, "output_tokens": 2}, "cost": 0.1}
with telemetry.instrument_http("get", "https://api.example.com/v1") as span:
    span.result = {"status": 200}
"".join(telemetry.instrument_stream(iter("ab")))
assert telemetry.dashboard_data(1000)["components"]["chat"]["total_calls"] == 1
"""


@pytest.mark.parametrize("statement", ["import pytest_llmtelemetry.telemetry", _USE], ids=["import", "use"])
def test_telemetry_is_fit_for_production(statement: str) -> None:
    """A fresh process loads nothing but the standard library, says nothing, and starts no thread, process or socket."""
    program = _ALONE.replace("STATEMENT", statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (json.loads(done.stdout), done.stderr) == ([["pytest_llmtelemetry"], 1, []], "")


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
