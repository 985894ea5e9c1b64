"""Writes the generated parts of the documents: ``python docs/generate.py``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. With ``--check``
nothing is written; pages that are out of date are named, and the exit status is 1.
"""
# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_llmtelemetry.facts import FinishReason
from pytest_llmtelemetry.telemetry.catalogue import CATALOGUE
from pytest_llmtelemetry.telemetry.schema import EventSpec, Field
from pytest_llmtelemetry.wire import (
    anthropic_messages,
    bedrock_converse,
    bedrock_text,
    cohere_words,
    gemini_generate,
    ollama_words,
    openai_chat,
    openai_responses,
)


ROOT = Path(__file__).resolve().parents[1]
MIGRATION = ROOT / "examples" / "migration"


def fill(page: str, text: str, parts: Mapping[str, str]) -> str:
    """Put each part between its markers.

    Raises:
        ValueError: a marker has no part, or a part has no marker, or more than one.
    """
    marked = re.findall(r"<!-- generated: (.*?) -->\n.*?<!-- end -->", text, re.DOTALL)
    if sorted(marked) != sorted(parts):
        raise ValueError(f"{page} has markers for {sorted(marked)}, and there are parts for {sorted(parts)}")
    for name, part in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}{part}{end}{rest.partition(end)[2]}"
    return text


# -- how-to/migration.md -------------------------------------------------------------------

MODULES = ("chat", "http_client", "providers", "cache", "context", "session", "retry", "circuit")
WHOLE = ("application", "handlers", "dashboard")


def migration() -> str:
    """The page, with the differences between both variants of the example."""
    page = "docs/how-to/migration.md"
    parts = {
        **{f"diff {name}.py": fenced("diff", difference(f"{name}.py")) for name in MODULES},
        **{f"file {name}.py": fenced("python", (MIGRATION / "after" / f"{name}.py").read_text()) for name in WHOLE},
    }
    return fill(page, (ROOT / page).read_text(), parts)


def difference(name: str) -> str:
    """The unified diff of a module."""
    before, after = (
        (MIGRATION / variant / name).read_text().splitlines(keepends=True) for variant in ("before", "after")
    )
    return "".join(difflib.unified_diff(before, after, f"before/{name}", f"after/{name}", n=3))


def fenced(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text}```\n"


# -- reference/events.md -------------------------------------------------------------------

HEAD = """# Events

Generated from `pytest_llmtelemetry/telemetry/catalogue.py`. A span is three events: `.start`, and then `.stop` or `.exception`.
A key is always there unless *may be missing* is said; a value may be `None` all the same, which means that it is not known. What
*varies* differs from run to run. Anybody may add keys of their own.

Who emits: **capture** sees requests on the wire; the **application** speaks for itself; **accounting** counts each call once;
**limits** compare with budgets; the **bus** reports on itself. `llm.stream.chunk` is emitted only if a handler is attached to
exactly that name.
"""

ENDS = ("start", "stop", "exception")


def events() -> str:
    """The page of all events."""
    families: dict[str, list[EventSpec]] = {}
    for spec in CATALOGUE.values():
        base, _, last = spec.name.rpartition(".")
        is_span = last in ENDS and all(f"{base}.{end}" in CATALOGUE for end in ENDS)
        families.setdefault(base if is_span else spec.name, []).append(spec)
    return HEAD + "".join(section(name, specs) for name, specs in families.items())


def section(name: str, specs: list[EventSpec]) -> str:
    """One event, or the three of a span."""
    first = specs[0]
    is_span = len(specs) > 1
    title = f"{name}.start`, `.stop`, `.exception" if is_span else name
    when = first.when.removesuffix(" begins").rstrip(",") if is_span else first.when
    lines = [f"\n## `{title}`\n", f"{when[0].upper()}{when[1:]}. From: {', '.join(first.emitters)}.\n"]
    rows = [row for kind in ("measurements", "metadata") for row in rows_of(kind, specs)]
    if rows:
        lines += ["| key | | unit | |", "|---|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def rows_of(kind: str, specs: list[EventSpec]) -> list[str]:
    """One row for each key, with where it is if not in all."""
    fields: dict[str, dict[str, Field]] = {}
    for spec in specs:
        for field in getattr(spec, kind):
            fields.setdefault(field.key, {})[spec.name.rpartition(".")[2]] = field
    rows = []
    for key, places in fields.items():
        field = next(iter(places.values()))
        notes = [field.about]
        if len(places) < len(specs):
            notes.append("in " + ", ".join(f"`.{place}`" for place in places))
        if not field.required:
            notes.append("may be missing")
        if field.varies:
            notes.append("varies")
        rows.append(f"| `{key}` | {kind.removesuffix('s')} | {field.unit or ''} | {'; '.join(filter(None, notes))} |")
    return rows


# -- reference/apis.md ---------------------------------------------------------------------

WORDS = {
    "`openai.chat`, `openai.completions`": openai_chat.FINISH_REASONS,
    "`openai.responses`": openai_responses.FINISH_REASONS,
    "`anthropic.messages`": anthropic_messages.FINISH_REASONS,
    "`gemini.generate`": gemini_generate.FINISH_REASONS,
    "`cohere.v2.chat`, `cohere.v1.chat`": cohere_words.FINISH_REASONS,
    "`ollama.chat`, `ollama.generate`": ollama_words.FINISH_REASONS,
    "`bedrock.converse`, and Nova": bedrock_converse.FINISH_REASONS,
    "`bedrock.invoke`, other vendors than Anthropic and those who speak as OpenAI": bedrock_text.FINISH_REASONS,
}


def apis() -> str:
    """The page of all wire APIs, with their words for why a model stopped."""
    page = "docs/reference/apis.md"
    return fill(page, (ROOT / page).read_text(), {"finish reasons": "".join(map(words_of, WORDS))})


def words_of(api: str) -> str:
    """One list for an API, in the order of the enumeration."""
    known = WORDS[api]
    rows = [
        f"| {reason} | {', '.join(f'`{word}`' for word in words)} |\n"
        for reason in FinishReason
        if (words := [word for word, meaning in known.items() if meaning is reason])
    ]
    return f"{api}:\n\n| | |\n|---|---|\n{''.join(rows)}\n"


# -- all pages -----------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/how-to/migration.md": migration,
    "docs/reference/events.md": events,
    "docs/reference/apis.md": apis,
}
"""Each page, and what makes its text."""


def main(arguments: list[str]) -> int:
    """Write the pages that are out of date, or only name them."""
    stale = 0
    for page, make in PAGES.items():
        path, text = ROOT / page, make()
        if path.exists() and path.read_text() == text:
            continue
        stale = 1
        if "--check" in arguments:
            sys.stderr.write(f"{page} is out of date; run python docs/generate.py\n")
        else:
            path.write_text(text)
            sys.stderr.write(f"{page} written\n")
    return stale if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
