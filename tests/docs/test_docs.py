"""What the documents say is what the program does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE
from pytest_llmtelemetry.wire.registry import DIALECTS
from support import Run, report_of


ROOT = Path(__file__).parents[2]


def shape(lines: list[str]) -> list[str]:
    """Lines without their numbers, and without which test came first: prices change, words do not."""
    plain = [re.sub(r"\$?\d[\d,.]*", "0", line) for line in lines]
    return [re.sub(r"examples/\S+", "examples/", re.sub(r" +", " ", line)).strip() for line in plain]


def test_readme_shows_the_report_of_the_examples(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture of the README is what its first command prints, but for the numbers."""
    monkeypatch.setenv("COLUMNS", "88")
    result = pytester.runpytest_subprocess(
        str(ROOT / "examples"), "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), "--llm-budget=5.00"
    )
    picture = re.search(r"```\n=+ LLM telemetry =+\n(.*?)\n=", (ROOT / "README.md").read_text(), re.DOTALL)

    assert result.ret == pytest.ExitCode.OK
    assert picture is not None
    assert shape(report_of(result)) == shape(picture[1].splitlines())
    assert "unpriced" not in picture[1]


def test_every_option_is_in_the_reference(run: Run) -> None:
    """``--help`` and the reference name the same options and ini values."""
    reference = (ROOT / "docs" / "reference" / "index.md").read_text()
    text = run("", "--help").stdout.str()
    options = set(re.findall(r"(--llm[\w-]+)", text))
    values = set(re.findall(r"^  (llm_\w+) \(", text, re.MULTILINE))

    assert options == set(re.findall(r"`(--llm[\w-]+)", reference))
    assert values == set(re.findall(r"`(llm_(?:budget|prices|hosts|strict))`", reference))


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name
)
def test_links_between_pages_resolve(page: Path) -> None:
    """A link to a file of this repository leads somewhere."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


GENERATE = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("page", GENERATE["PAGES"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    """After a change to what a page is made from: ``python docs/generate.py``."""
    assert (ROOT / page).read_text() == GENERATE["PAGES"][page]()


def test_every_wire_api_is_in_the_reference() -> None:
    """With what it does."""
    rows = (ROOT / "docs" / "reference" / "apis.md").read_text().split("\n## ")[0].splitlines()
    for dialect in DIALECTS:
        [row] = [row for row in rows if f"`{dialect.api}`" in row.split(" | ")[0]]
        assert dialect.operation in row.split(" | ")[1]


def test_every_event_is_in_the_reference() -> None:
    """And so is each of its keys."""
    sections = (ROOT / "docs" / "reference" / "events.md").read_text().split("\n## ")[1:]
    told = {section.splitlines()[0].strip("`").split("`")[0]: section for section in sections}
    for name, spec in CATALOGUE.items():
        base, _, end = name.rpartition(".")
        section = told.get(name) or told[f"{base}.start"]
        assert f"`.{end}`" in section or name in section
        for field in (*spec.measurements, *spec.metadata):
            assert f"| `{field.key}` |" in section


REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.name)
def test_examples_of_the_reference_run(page: Path, run: Run) -> None:
    """The code blocks of the reference are code that runs, and leaves no handler behind."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    tests = [block for block in blocks if "\ndef test_" in block]
    pieces = [block for block in blocks if "\ndef test_" not in block]
    source = "\n".join(tests).replace("def test_bot", "@pytest.mark.llm_mock(assert_all_called=False)\ndef test_bot")
    for number, piece in enumerate(pieces):
        body = "".join(f"    {line}\n" for line in piece.splitlines())
        source += f"\ndef test_piece_{number}(llm_telemetry):\n{body}\n"
    result = run("import pytest\n" + source, ini="llm_strict = true")

    result.assert_outcomes(passed=len(tests) + len(pieces))
