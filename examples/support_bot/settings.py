"""The model, what it is told, and the clients that reach it: built once, at import."""

from __future__ import annotations

import os

from openai import AsyncOpenAI, OpenAI


MODEL = "gpt-6-luna"
INSTRUCTIONS = "You answer customers of a small shop. Be brief, and look orders up instead of guessing."
MAX_OUTPUT_TOKENS = 300
CUT = " […]"
"""Marks an answer that the model did not finish."""

# Importing the bot must not need a key; the first real request without one is answered 401.
_KEY = os.environ.get("OPENAI_API_KEY", "not-set")

client = OpenAI(api_key=_KEY)
async_client = AsyncOpenAI(api_key=_KEY)
