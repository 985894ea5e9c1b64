"""What the documents say is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
    reference = (ROOT / "docs" / "reference.md").read_text()
    text = run("", "--help").stdout.str()
    options = set(re.findall(r"(--llm[\w-]+)", text))
    values = set(re.findall(r"^  (llm_\w+) \(", text, re.MULTILINE))

    assert options == set(re.findall(r"`(--llm[\w-]+)", reference))
    assert values == set(re.findall(r"`(llm_(?:budget|prices|hosts))`", reference))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_between_pages_resolve(page: Path) -> None:
    """A link to a file of this repository leads somewhere."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_examples_of_the_reference_run(run: Run) -> None:
    """The code blocks of the reference are code that runs."""
    reference = (ROOT / "docs" / "reference.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", reference, re.DOTALL)
    [mock, bus] = [next(block for block in blocks if word in block) for word in ("def test_bot", "telemetry.attach")]
    result = run(
        mock.replace("def test_bot", "import pytest\n@pytest.mark.llm_mock(assert_all_called=False)\ndef test_bot")
        + "\ndef test_bus(capsys):\n"
        + "".join(f"    {line}\n" for line in bus.splitlines())
        + "    assert not telemetry.list_handlers()\n"
    )

    result.assert_outcomes(passed=2)
