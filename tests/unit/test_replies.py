"""Replies, as they are written."""

from __future__ import annotations

from dataclasses import fields

from pytest_llmtelemetry.mocking.replies import Reply, ReplyOptions


def test_options_are_the_fields_of_a_reply() -> None:
    """What an editor offers for ``chat(...)`` and ``reply(...)`` is what a reply has, beside text and tool calls."""
    assert {f.name for f in fields(Reply)} == {"text", "tool_calls", *ReplyOptions.__annotations__}
