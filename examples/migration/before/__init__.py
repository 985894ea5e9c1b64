"""The application as it was."""

from __future__ import annotations

from .cache import TTLCache
from .chat import Assistant
from .circuit import CircuitBreaker
from .context import STRATEGIES, ensure_fits
from .providers import Anthropic, OpenAI
from .session import Session


__all__ = ["STRATEGIES", "Anthropic", "Assistant", "CircuitBreaker", "OpenAI", "Session", "TTLCache", "ensure_fits"]
