"""The bodies of Bedrock's older text models: Titan, Llama, Command, Mistral, Claude 2, Jurassic, DeepSeek R1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pytest_llmtelemetry.errors import MockError
from pytest_llmtelemetry.facts import CallFacts, FinishReason, RequestFacts, Usage
from pytest_llmtelemetry.wire.draft import Draft
from pytest_llmtelemetry.wire.jsontext import Counts, arguments_of, mapping, objects, text


LISTS = ("results", "generations", "outputs", "completions")
"""Where the answers stand, of which only the first is read: Titan, Command, Mistral, Jurassic."""
TEXTS = ("outputText", "generation", "completion", "text")
"""What the model says: Titan, Llama, Claude 2, Command and Mistral."""
_WORDS = ("completionReason", "stop_reason", "finish_reason")

FINISH_REASONS = {
    "FINISH": FinishReason.STOP,  # Titan
    "FINISHED": FinishReason.STOP,
    "STOP_CRITERIA_MET": FinishReason.STOP,
    "LENGTH": FinishReason.LENGTH,
    "CONTENT_FILTERED": FinishReason.CONTENT_FILTER,
    "COMPLETE": FinishReason.STOP,  # Command
    "STOP_SEQUENCE": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "ERROR": FinishReason.ERROR,
    "ERROR_LIMIT": FinishReason.LENGTH,
    "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
    "stop": FinishReason.STOP,  # Llama, Mistral
    "length": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP,  # Claude 2
    "max_tokens": FinishReason.LENGTH,
    "endoftext": FinishReason.STOP,  # Jurassic
}


class TextDraft(Draft):
    """An answer of any of them, or the chunks of one: no two give one key two meanings."""

    finishes = FINISH_REASONS

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, Any] = {}

    def take(self, document: Mapping[str, Any], event: str) -> None:
        self._take_part(document)
        for place in LISTS:
            for part in objects(document.get(place))[:1]:
                self._take_part(part)
                # Jurassic wraps both.
                self._take_part(mapping(part.get("data")))
                self.finish_with(text(mapping(part.get("finishReason")).get("reason")))
        for index, call in enumerate(objects(document.get("tool_calls"))):  # Command R
            tool = self.tool(index)
            tool.name = text(call.get("name")) or ""
            tool.arguments = [arguments_of(mapping(call.get("parameters")))]

    def conclude(self) -> None:
        count = Counts(self._counts)
        # Llama counts as it goes: until it is over, its output is not known.
        produced = None if self.word is None else count("output")
        asked = count("input")
        if asked is not None or produced is not None or count.doubts:
            self.usage = Usage.checked(doubts=count.doubts, input_tokens=asked, output_tokens=produced)

    def _take_part(self, part: Mapping[str, Any]) -> None:
        for key in TEXTS:
            self.say(text(part.get(key)))
        for key in _WORDS:
            self.finish_with(text(part.get(key)))
        for key, count in _COUNTS.items():
            if (stated := part.get(key)) is not None:
                self._counts[count] = _whole(stated)


# Titan, and Llama.
_COUNTS = {
    "inputTextTokenCount": "input",
    "tokenCount": "output",
    "totalOutputTextTokenCount": "output",
    "prompt_token_count": "input",
    "generation_token_count": "output",
}
_LARGEST = 10**15


def _whole(count: object) -> object:
    """Behind a guardrail, Titan counts in fractions: 28.0 tokens."""
    if (
        isinstance(count, Decimal)
        and count.is_finite()
        and abs(count) < _LARGEST
        and count == count.to_integral_value()
    ):
        return int(count)
    return count


# -- writing ---------------------------------------------------------------------------------

Shape = Callable[[str, str | None, Usage], dict[str, object]]
"""Makes a body of a text, of the word for why the model stopped, and of what it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVendor:
    """How one of them writes an answer."""

    words: Mapping[FinishReason, str]
    plain: Shape
    chunk: Shape
    closing = 1

    def document(self, facts: CallFacts, asked: RequestFacts) -> dict[str, object]:
        """A plain answer."""
        return self.plain(facts.text, self._word(facts), facts.usage or Usage())

    def events(self, facts: CallFacts, pieces: Sequence[str], asked: RequestFacts) -> Iterator[dict[str, object]]:
        """The chunks of a streamed answer; the last one says only that it is over."""
        word = self._word(facts)
        for piece in pieces:
            yield self.chunk(piece, None, Usage())
        yield self.chunk("", word, facts.usage or Usage())

    def _word(self, facts: CallFacts) -> str | None:
        if facts.tool_calls:
            raise MockError("this model of Bedrock has no words for a tool call")
        if facts.raw_finish_reason is not None or facts.finish_reason is None:
            return facts.raw_finish_reason
        return self.words.get(facts.finish_reason, self.words[FinishReason.STOP])


def _titan(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    result = {"tokenCount": usage.output_tokens, "outputText": said, "completionReason": word}
    return {"inputTextTokenCount": usage.input_tokens, "results": [result]}


def _titan_chunk(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {
        "outputText": said,
        "index": 0,
        "totalOutputTextTokenCount": usage.output_tokens,
        "completionReason": word,
        "inputTextTokenCount": usage.input_tokens,
    }


def _llama(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {
        "generation": said,
        "prompt_token_count": usage.input_tokens,
        "generation_token_count": usage.output_tokens,
        "stop_reason": word,
    }


def _command(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"generations": [{"text": said, "finish_reason": word}], "prompt": ""}


def _command_chunk(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"text": said, "is_finished": word is not None, "finish_reason": word}


def _command_r(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"text": said, "chat_history": [], "finish_reason": word}


def _command_r_chunk(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    kind = "text-generation" if word is None else "stream-end"
    return {"event_type": kind, **_command_chunk(said, word, usage)}


def _mistral(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"outputs": [{"text": said, "stop_reason": word}]}


def _old_claude(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"type": "completion", "completion": said, "stop_reason": word, "stop": None}


def _jurassic(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"id": 1, "completions": [{"data": {"text": said}, "finishReason": {"reason": word}}]}


def _deepseek(said: str, word: str | None, usage: Usage) -> dict[str, object]:
    return {"choices": [{"index": 0, "text": said, "stop_reason": word}]}


_LOWER = {FinishReason.STOP: "stop", FinishReason.LENGTH: "length"}
_UPPER = {
    FinishReason.STOP: "COMPLETE",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.ERROR: "ERROR",
    FinishReason.CONTENT_FILTER: "ERROR_TOXIC",
}

TITAN = TextVendor(
    words={
        FinishReason.STOP: "FINISH",
        FinishReason.LENGTH: "LENGTH",
        FinishReason.CONTENT_FILTER: "CONTENT_FILTERED",
    },
    plain=_titan,
    chunk=_titan_chunk,
)
LLAMA = TextVendor(words=_LOWER, plain=_llama, chunk=_llama)
COMMAND = TextVendor(words=_UPPER, plain=_command, chunk=_command_chunk)
COMMAND_R = TextVendor(words=_UPPER, plain=_command_r, chunk=_command_r_chunk)
MISTRAL = TextVendor(words=_LOWER, plain=_mistral, chunk=_mistral)
OLD_CLAUDE = TextVendor(
    words={FinishReason.STOP: "stop_sequence", FinishReason.LENGTH: "max_tokens"}, plain=_old_claude, chunk=_old_claude
)
JURASSIC = TextVendor(
    words={FinishReason.STOP: "endoftext", FinishReason.LENGTH: "length"}, plain=_jurassic, chunk=_jurassic
)
DEEPSEEK = TextVendor(words=_LOWER, plain=_deepseek, chunk=_deepseek)
