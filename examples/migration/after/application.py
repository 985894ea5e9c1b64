"""What happens when the application starts: handlers are attached."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmtelemetry import telemetry

from .handlers import Monitoring, handle_llm_event


HANDLER_ID = "myapp-llm-handler"


def start(monitoring: Monitoring) -> Callable[[], None]:
    """Attach the default handlers and our own; returns a function that undoes it.

    Raises:
        HandlerExistsError: it is started already.
    """
    undo_ours = telemetry.attach_many(
        HANDLER_ID,
        [
            "llm.chat.call.stop",
            # In Python a request that failed raises, and its span ends with another event.
            "llm.provider.request.stop",
            "llm.provider.request.exception",
            "llm.cost.threshold.exceeded",
        ],
        handle_llm_event,
        monitoring,
    )
    undo_defaults = telemetry.attach_default_handlers()

    def stop() -> None:
        undo_defaults()
        undo_ours()

    return stop
