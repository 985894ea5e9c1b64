"""What the application does. Each test runs on both variants: instrumentation changes nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from types import ModuleType
from typing import Any

import httpx
import pytest

from migration.shared import (
    CACHE_TTL_S,
    CLAUDE,
    GPT,
    ChatError,
    CircuitOpenError,
    Message,
    Model,
    PromptTooLongError,
    RateLimitedError,
    RejectedError,
    Response,
    UnavailableError,
    Usage,
    count_tokens,
)
from pytest_llmtelemetry import EventLog, FixedClock, LLMMock, RequestFacts, faults
from pytest_llmtelemetry.wire.dialect import Fault


Build = Callable[..., Any]

SYSTEM: Message = {"role": "system", "content": "Be brief."}
QUESTION: Message = {"role": "user", "content": "Capital of France?"}
ANSWER: Message = {"role": "assistant", "content": "Paris."}
SMALL = Model(provider="openai", name="gpt-6-luna", max_input_tokens=20)


def requests(llm_events: EventLog) -> int:
    """How many requests went over the wire."""
    return len(llm_events.filter("llm.provider.request.start", host="api.openai.com"))


def test_an_answer_of_openai(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """A chat completion in the application's own shape."""
    llm_mock.openai.chat("Paris.", input_tokens=300, output_tokens=20)

    assert build(app).chat(GPT, [SYSTEM, QUESTION]) == Response(
        id="chatcmpl-1",
        model="gpt-6-luna",
        text="Paris.",
        finish_reason="stop",
        usage=Usage(input_tokens=300, output_tokens=20),
        cost_usd=Decimal("0.00004"),
    )


def test_an_answer_of_anthropic(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """A message in the application's own shape."""
    llm_mock.anthropic.messages("Paris.", input_tokens=300, output_tokens=20)

    assert build(app).chat(CLAUDE, [SYSTEM, QUESTION]) == Response(
        id="msg_1",
        model="claude-haiku-5-5",
        text="Paris.",
        finish_reason="end_turn",
        usage=Usage(input_tokens=300, output_tokens=20),
        cost_usd=Decimal("0.00004"),
    )


def test_the_system_speaks_to_openai_in_a_message(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """Chat completions take the messages as they are."""
    body = {"model": "gpt-6-luna", "messages": [SYSTEM, QUESTION], "max_completion_tokens": 400}
    llm_mock.openai.chat("Paris.", when=lambda request: request.body == body)

    assert build(app).chat(GPT, [SYSTEM, QUESTION]).text == "Paris."


def test_the_system_speaks_to_anthropic_beside_the_messages(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """Anthropic has a field for it."""
    body = {"model": "claude-haiku-5-5", "messages": [QUESTION], "max_tokens": 400, "system": "Be brief."}
    llm_mock.anthropic.messages("Paris.", when=lambda request: request.body == body)

    assert build(app).chat(CLAUDE, [SYSTEM, QUESTION]).text == "Paris."


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(faults.auth(), (RejectedError, "openai says 401"), id="401"),
        pytest.param(faults.rate_limit(), (RateLimitedError, "openai is asked too often"), id="429"),
        pytest.param(faults.server_error(), (UnavailableError, "openai failed with 500"), id="500"),
        pytest.param(faults.overloaded(), (UnavailableError, "openai failed with 503"), id="503"),
    ],
)
def test_a_status_becomes_an_error(
    app: ModuleType, build: Build, llm_mock: LLMMock, fault: Fault, error: tuple[type[ChatError], str]
) -> None:
    """Errors by status, when the attempts are used up."""
    llm_mock.openai.chat(fault)

    with pytest.raises(ChatError) as raised:
        build(app).chat(GPT, [QUESTION])
    assert (type(raised.value), str(raised.value)) == error


def test_a_provider_that_cannot_be_reached_is_an_error(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """What the HTTP library raises becomes an error of the application, and is its cause."""
    llm_mock.router.post("https://api.openai.com/v1/chat/completions").mock(side_effect=httpx.ConnectError("refused"))

    with pytest.raises(UnavailableError, match="openai cannot be reached: refused") as raised:
        build(app).chat(GPT, [QUESTION])
    assert type(raised.value.__cause__) is httpx.ConnectError


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param("<html>", UnavailableError, id="not-json"),
        pytest.param("{}", RejectedError, id="nothing-in-it"),
        pytest.param('{"choices": [], "usage": {}}', RejectedError, id="no-choice"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(app: ModuleType, body: str, error: type[ChatError]) -> None:
    """Nothing of another format gets through. It comes from a host that is no provider's: nobody has to pay for it."""
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, text=body))) as http:
        provider = app.OpenAI(http, api_key="not-a-key")
        provider.url = "https://llm.test/answer"

        with pytest.raises(error):
            provider.call(GPT, [QUESTION])


# -- retries and the circuit breaker ---------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.rate_limit(retry_after=2), id="rate-limit"),
        pytest.param(faults.overloaded(retry_after=2), id="overloaded"),
    ],
)
def test_a_request_is_retried_when_the_provider_says(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_clock: FixedClock, fault: Fault
) -> None:
    """The wait is the one that the provider asks for."""
    llm_mock.openai.chat([fault, "Paris."])

    assert build(app).chat(GPT, [QUESTION]).text == "Paris."
    assert llm_clock.now_ns() == 2_000_000_000


def test_an_attempt_without_advice_waits_twice_as_long_each_time(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_clock: FixedClock
) -> None:
    """Half a second, a second, and then it is over."""
    route = llm_mock.router.post("https://api.openai.com/v1/chat/completions")
    route.mock(side_effect=httpx.ReadTimeout("too slow"))

    with pytest.raises(UnavailableError):
        build(app).chat(GPT, [QUESTION])
    assert (route.call_count, llm_clock.now_ns()) == (3, 1_500_000_000)


def test_what_is_rejected_is_not_retried(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """A key that is wrong stays wrong."""
    llm_mock.openai.chat(faults.auth())

    with pytest.raises(RejectedError):
        build(app).chat(GPT, [QUESTION])
    assert requests(llm_events) == 1


def test_a_provider_that_fails_is_left_alone(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """After three failures the circuit is open, and no request is made."""
    llm_mock.openai.chat(faults.server_error())
    assistant = build(app)
    with pytest.raises(UnavailableError):
        assistant.chat(GPT, [QUESTION])

    with pytest.raises(CircuitOpenError, match="openai failed 3 times in a row"):
        assistant.chat(GPT, [QUESTION])
    assert requests(llm_events) == 3


def test_one_provider_that_fails_leaves_the_other_alone(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """Each provider has a circuit of its own."""
    llm_mock.openai.chat(faults.server_error())
    llm_mock.anthropic.messages("Paris.")
    assistant = build(app)
    with pytest.raises(UnavailableError):
        assistant.chat(GPT, [QUESTION])

    assert assistant.chat(CLAUDE, [QUESTION]).text == "Paris."


def test_a_provider_gets_another_chance(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_clock: FixedClock
) -> None:
    """After half a minute one success closes the circuit."""
    down = faults.server_error()
    llm_mock.openai.chat([down, down, down, "Paris.", down, "Rome."])
    assistant = build(app)
    with pytest.raises(UnavailableError):
        assistant.chat(GPT, [QUESTION])
    llm_clock.advance(30)

    assert assistant.chat(GPT, [QUESTION]).text == "Paris."
    assert assistant.chat(GPT, [SYSTEM]).text == "Rome."


def test_a_provider_that_fails_again_is_left_alone_at_once(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_events: EventLog, llm_clock: FixedClock
) -> None:
    """Half open, one failure is enough: the retry of that chat is not sent."""
    llm_mock.openai.chat(faults.server_error())
    assistant = build(app)
    with pytest.raises(UnavailableError):
        assistant.chat(GPT, [QUESTION])
    llm_clock.advance(30)

    with pytest.raises(CircuitOpenError):
        assistant.chat(GPT, [QUESTION])
    assert requests(llm_events) == 4


def test_what_is_rejected_is_no_failure_of_the_provider(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """Wrong requests, however many, do not open the circuit."""
    bad = faults.auth()
    llm_mock.openai.chat([bad, bad, bad, bad, "Paris."])
    assistant = build(app)
    for _ in range(4):
        with pytest.raises(RejectedError):
            assistant.chat(GPT, [QUESTION])

    assert assistant.chat(GPT, [QUESTION]).text == "Paris."


# -- the cache -------------------------------------------------------------------------------


def test_the_same_question_is_asked_once(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """The second answer comes from the cache, and is the first."""
    llm_mock.openai.chat("Paris.")
    assistant = build(app)

    assert assistant.chat(GPT, [QUESTION]) is assistant.chat(GPT, [QUESTION])
    assert requests(llm_events) == 1


def test_an_answer_is_forgotten_after_a_while(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_clock: FixedClock
) -> None:
    """Once its time is over, the question is asked again."""
    llm_mock.openai.chat(["Paris.", "Still Paris."])
    assistant = build(app)
    assistant.chat(GPT, [QUESTION])
    llm_clock.advance(CACHE_TTL_S)

    assert assistant.chat(GPT, [QUESTION]).text == "Still Paris."


def test_another_model_is_another_question(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """The answer of one model is not taken for that of another."""
    llm_mock.openai.chat("Paris.")
    llm_mock.anthropic.messages("Paris, of course.")
    assistant = build(app)
    assistant.chat(GPT, [QUESTION])

    assert assistant.chat(CLAUDE, [QUESTION]).text == "Paris, of course."


def test_a_failure_is_not_kept(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """The next time may be better."""
    llm_mock.openai.chat([faults.auth(), "Paris."])
    assistant = build(app)
    with pytest.raises(RejectedError):
        assistant.chat(GPT, [QUESTION])

    assert assistant.chat(GPT, [QUESTION]).text == "Paris."


def test_the_cache_keeps_any_value(app: ModuleType) -> None:
    """It returns what was put, and nothing for a key that it does not know."""
    cache = app.TTLCache(clock=lambda: 0.0)
    cache.put("none", None, ttl=1)
    cache.put("empty", "", ttl=1)

    assert (cache.get("none"), cache.get("empty"), cache.get("unknown")) == (None, "", None)


# -- sessions and the context window ---------------------------------------------------------


def test_a_session_remembers_what_was_said(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """The second request carries the first exchange, and the session both."""

    def knows_the_past(request: RequestFacts) -> bool:
        return bool(request.body["messages"][:-1] == [QUESTION, ANSWER])

    llm_mock.openai.chat("Rome.", when=knows_the_past)
    llm_mock.openai.chat("Paris.")
    assistant, session = build(app), app.Session("s1")
    assistant.chat(GPT, [QUESTION], session=session)
    follow_up: Message = {"role": "user", "content": "And of Italy?"}

    assert assistant.chat(GPT, [follow_up], session=session).text == "Rome."
    assert session.messages == [QUESTION, ANSWER, follow_up, {"role": "assistant", "content": "Rome."}]


def test_a_session_forgets_a_question_without_an_answer(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """A chat that fails leaves the session as it was."""
    llm_mock.openai.chat(faults.auth())
    session = app.Session("s1")
    with pytest.raises(RejectedError):
        build(app).chat(GPT, [QUESTION], session=session)

    assert (session.messages, session.tokens) == ([], 0)


def test_a_session_is_cleared(app: ModuleType) -> None:
    """Nothing is left of it."""
    session = app.Session("s1")
    session.add(QUESTION)
    session.clear()

    assert (session.messages, session.tokens) == ([], 0)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        pytest.param(5, [SYSTEM, QUESTION, ANSWER], id="more-than-there-are"),
        pytest.param(3, [SYSTEM, QUESTION, ANSWER], id="all"),
        pytest.param(2, [QUESTION, ANSWER], id="some"),
        pytest.param(0, [], id="none"),
    ],
)
def test_a_session_is_truncated(app: ModuleType, keep: int, left: list[Message]) -> None:
    """The newest messages are left, and their tokens."""
    session = app.Session("s1")
    for message in (SYSTEM, QUESTION, ANSWER):
        session.add(message)
    session.truncate(keep)

    assert (session.messages, session.tokens) == (left, count_tokens(left))


def test_a_prompt_that_does_not_fit_is_cut(app: ModuleType, build: Build, llm_mock: LLMMock) -> None:
    """The provider sees what the system says, and the newest messages that fit."""
    long: Message = {"role": "user", "content": "long " * 20}
    llm_mock.openai.chat("Paris.", when=lambda request: request.body["messages"] == [SYSTEM, QUESTION])

    assert build(app).chat(SMALL, [SYSTEM, long, QUESTION]).text == "Paris."


def test_a_question_that_cannot_be_cut_is_an_error(
    app: ModuleType, build: Build, llm_mock: LLMMock, llm_events: EventLog
) -> None:
    """The newest message is never left out, so nothing is sent."""
    with pytest.raises(PromptTooLongError, match="not even what has to be kept fits into 20 tokens"):
        build(app).chat(SMALL, [{"role": "user", "content": "long " * 20}])
    assert requests(llm_events) == 0
