"""``llm_mock``, as tests see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

import respx

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import ToolCall
from pytest_llmtelemetry.mocking.replies import Reply, ReplyOptions, reply
from pytest_llmtelemetry.mocking.router import MockRouter, Refuse
from pytest_llmtelemetry.mocking.script import Answer, Line, Registration, Script, When, parse_lines
from pytest_llmtelemetry.wire.dialect import Fault


_OPTIONS = sorted(ReplyOptions.__annotations__)


class LLMMock:
    """Answers for the providers, plain and streamed, whatever HTTP stack the SDK uses.

    A test that registers nothing refuses every request to a provider.
    """

    def __init__(self, refuse: Refuse) -> None:
        self._script = Script()
        self.responder = MockRouter(self._script, refuse)
        self.openai = OpenAINamespace(self._script)
        self.anthropic = AnthropicNamespace(self._script)

    @property
    def router(self) -> respx.Router:
        """The respx router behind it, for everything that respx can do.

        Its routes are asked when no reply answers.
        """
        return self.responder.respx

    def unused(self) -> list[str]:
        """One line for each reply or route that nobody asked for."""
        return [*self._script.unused(), *self.responder.unused()]


class _Namespace:
    """The APIs of one provider."""

    provider: str

    def __init__(self, script: Script) -> None:
        self._script = script

    def _register(self, api: str, answer: Answer | Sequence[Answer], when: When | None, options: ReplyOptions) -> None:
        __tracebackhide__ = True
        try:
            self._script.add(self._registration(api, answer, when, options))
        except MockError as error:
            raise MockError(str(error)) from None  # shown at the line of the test, not in here

    def _registration(
        self, api: str, answer: Answer | Sequence[Answer], when: When | None, options: ReplyOptions
    ) -> Registration:
        name = f"llm_mock.{api}({_brief(answer)})"
        if unknown := sorted(options.keys() - set(_OPTIONS)):
            raise MockError(f"{name}: unknown option {unknown[0]!r}; valid are when, {', '.join(_OPTIONS)}")
        lines, repeats = parse_lines(name, answer, _maker(name, options))
        if options and not any(isinstance(one, str | ToolCall) for one in _each(answer)):
            raise MockError(f"{name}: {', '.join(sorted(options))} go into reply(...), where the rest of it is")
        return Registration(name=name, provider=self.provider, api=api, lines=lines, repeats=repeats, when=when)


class OpenAINamespace(_Namespace):
    """``llm_mock.openai``."""

    provider = "openai"

    def chat(
        self, answer: Answer | Sequence[Answer], *, when: When | None = None, **options: Unpack[ReplyOptions]
    ) -> None:
        """Answer chat completions.

        Args:
            answer: a text, a :func:`~pytest_llmtelemetry.tool_call`, a
                :func:`~pytest_llmtelemetry.reply`, a fault, or a list of these, one for
                each HTTP attempt.
            when: answer only requests for which this returns true; it is given the
                :class:`~pytest_llmtelemetry.RequestFacts`.
            options: more about the texts and tool calls in ``answer``, as in
                :class:`~pytest_llmtelemetry.Reply`.
        """
        __tracebackhide__ = True
        self._register("openai.chat", answer, when, options)


class AnthropicNamespace(_Namespace):
    """``llm_mock.anthropic``."""

    provider = "anthropic"

    def messages(
        self, answer: Answer | Sequence[Answer], *, when: When | None = None, **options: Unpack[ReplyOptions]
    ) -> None:
        """Answer messages. The arguments are those of :meth:`OpenAINamespace.chat`."""
        __tracebackhide__ = True
        self._register("anthropic.messages", answer, when, options)


def _maker(name: str, options: ReplyOptions) -> Callable[[Answer], Line]:
    def make(answer: object) -> Line:
        if isinstance(answer, str):
            return reply(answer, **options)
        if isinstance(answer, ToolCall):
            return reply("", answer, **options)
        if not isinstance(answer, Reply | Fault):
            hint = (
                "call it"
                if callable(answer)
                else "give a text, tool_call(...), reply(...), faults.* or a list of these"
            )
            raise MockError(f"{name}: {answer!r} is not a reply; {hint}")
        return answer

    return make


def _each(answer: Answer | Sequence[Answer]) -> Sequence[Answer]:
    return answer if isinstance(answer, Sequence) and not isinstance(answer, str) else [answer]


def _brief(answer: object) -> str:
    text = repr(answer)
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"


_WIDEST = 60
