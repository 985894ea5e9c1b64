"""A summariser of long documents, on the Anthropic SDK."""

from __future__ import annotations

from summariser.cache import SummaryCache
from summariser.summary import Summariser


__all__ = ["Summariser", "SummaryCache"]
