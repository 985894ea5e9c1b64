"""The page on migration shows the code of the example as it is, and names what exists."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_llmtelemetry import telemetry
from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE


ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "migration.md"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    """The names of ``docs/generate.py``."""
    return runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.fixture
def page_of_two(tmp_path: Path) -> Path:
    """A script with one page that is up to date, and one that is not."""
    docs = tmp_path / "docs"
    docs.mkdir()
    script = (ROOT / "docs" / "generate.py").read_text()
    pages = 'PAGES = {"docs/new.md": lambda: "new", "docs/old.md": lambda: "old"}\n\n\nif __name__'
    (docs / "generate.py").write_text(script.replace("if __name__", pages))
    (docs / "old.md").write_text("old")
    return docs


def run(script: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and what is said."""
    result = subprocess.run(
        [sys.executable, str(script), *arguments], check=False, capture_output=True, text=True, timeout=30
    )
    return result.returncode, result.stderr


def test_the_page_is_up_to_date(generate: dict[str, Any]) -> None:
    """After a change to the example: ``python docs/generate.py``."""
    assert PAGE.read_text() == generate["migration"]()


@pytest.mark.parametrize(
    "name", ["chat", "http_client", "providers", "cache", "context", "session", "retry", "circuit"]
)
def test_the_page_shows_the_difference(name: str) -> None:
    """Between the paths that a reader knows, and in no other module is there any."""
    text = PAGE.read_text()

    assert f"```diff\n--- before/{name}.py\n+++ after/{name}.py\n@@ " in text


def test_no_other_module_differs(generate: dict[str, Any]) -> None:
    """What is not shown is the same in both variants, or in one alone."""
    before = {path.stem for path in (generate["MIGRATION"] / "before").glob("*.py")}
    after = {path.stem for path in (generate["MIGRATION"] / "after").glob("*.py")}

    assert before == {*generate["MODULES"], "__init__"}
    assert after - before == {*generate["WHOLE"], "statsd"}


def test_check_names_what_is_out_of_date(page_of_two: Path) -> None:
    """And writes nothing."""
    outcome = run(page_of_two / "generate.py", "--check")

    assert outcome == (1, "docs/new.md is out of date; run python docs/generate.py\n")
    assert not (page_of_two / "new.md").exists()


def test_without_check_it_is_written(page_of_two: Path) -> None:
    """And then all is well."""
    assert run(page_of_two / "generate.py") == (0, "docs/new.md written\n")
    assert run(page_of_two / "generate.py", "--check") == (0, "")
    assert (page_of_two / "new.md").read_text() == "new"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<!-- generated: other -->\n<!-- end -->", id="another-marker"),
        pytest.param("<!-- generated: one -->\n<!-- end -->\n" * 2, id="two-markers"),
        pytest.param("<!-- generated: one -->\n", id="no-end"),
        pytest.param("", id="no-marker"),
    ],
)
def test_markers_and_parts_belong_together(generate: dict[str, Any], text: str) -> None:
    """A part that would be lost, or a marker that would stay empty, is an error."""
    with pytest.raises(ValueError, match="has markers for"):
        generate["fill"]("page.md", text, {"one": "new\n"})


def test_only_what_is_between_the_markers_changes(generate: dict[str, Any]) -> None:
    """The rest of the page is somebody's own words."""
    text = "a\n<!-- generated: one -->\nold\n<!-- end -->\nb\n<!-- generated: two -->\n<!-- end -->\nc\n"

    assert generate["fill"]("page.md", text, {"one": "new\n", "two": "2\n"}) == (
        "a\n<!-- generated: one -->\nnew\n<!-- end -->\nb\n<!-- generated: two -->\n2\n<!-- end -->\nc\n"
    )


def test_every_name_of_the_table_exists() -> None:
    """The functions of the second column are of the public face, and all events are in the catalogue."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    ours = [name for row in rows for name in re.findall(r"`(.*?)`", row.split(" | ")[1])]
    functions = {name.partition("(")[0] for name in ours if "(" in name}
    events = {name for row in rows for name in re.findall(r"`(llm\.[a-z_.]+)`", row)}

    assert len(functions) > 15
    assert functions <= set(telemetry.__all__)
    assert len(events) == 3
    assert events <= set(CATALOGUE)
