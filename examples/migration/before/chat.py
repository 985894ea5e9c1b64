"""Chat: fit the prompt, look in the cache, ask the provider, remember the conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from migration.shared import CACHE_TTL_S, Message, Model, Provider, Response, cache_key

from .cache import TTLCache
from .circuit import CircuitBreaker
from .context import ensure_fits
from .retry import with_retries
from .session import Session


class Assistant:
    """Answers, with a cache for all and a circuit breaker for each provider.

    Args:
        providers: who may be asked.
        strategy: what is kept of a prompt that does not fit; see ``context.STRATEGIES``.
        clock: seconds, for the cache and the circuit breakers.
        sleep: waits between two attempts.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        *,
        strategy: str = "sliding_window",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._circuits = {name: CircuitBreaker(name, clock=clock) for name in self._providers}
        self._cache = TTLCache[Response](clock=clock)
        self._strategy = strategy
        self._sleep = sleep

    def chat(self, model: Model, messages: Sequence[Message], *, session: Session | None = None) -> Response:
        """Answer ``messages``, after what was said in the session.

        Raises:
            ChatError: there is no answer.
        """
        said = [] if session is None else session.messages
        prompt = ensure_fits([*said, *messages], model, self._strategy)
        key = cache_key(model, prompt)
        response = self._cache.get(key)
        if response is None:
            response = self._ask(model, prompt)
            self._cache.put(key, response, CACHE_TTL_S)
        if session is not None:
            for message in messages:
                session.add(message)
            session.add({"role": "assistant", "content": response.text})
        return response

    def _ask(self, model: Model, messages: Sequence[Message]) -> Response:
        provider, circuit = self._providers[model.provider], self._circuits[model.provider]
        return with_retries(lambda: circuit.call(lambda: provider.call(model, messages)), sleep=self._sleep)
