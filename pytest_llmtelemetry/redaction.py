"""What may leave the process: no credential does.

All patterns have a left boundary, so that "risk-assessment" survives, and a bounded
length, so that no text can make them slow.
"""

from __future__ import annotations

import re


_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,256}"  # OpenAI, Anthropic, OpenRouter, DeepSeek
    r"|AIza[A-Za-z0-9_-]{30,64}"  # Google
    r"|ya29\.[A-Za-z0-9_-]{16,512}"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"  # AWS
    r"|(?:gsk|hf|r8|fw|lsv2|gh[pousr]|github_pat)_[A-Za-z0-9_]{16,256}"
    r"|(?:pplx|xai|nvapi)-[A-Za-z0-9_-]{16,256}"
    r"|eyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,1024}"  # JWT
    r"|Bearer [A-Za-z0-9._~+/-]{16,4096}"
    r")"
)

REDACTED = "[redacted]"


def scrub(text: str) -> str:
    """Return ``text`` with everything that looks like a credential replaced.

    >>> scrub("Incorrect API key provided: sk-abcdefghijklmnop1234")
    'Incorrect API key provided: [redacted]'
    """
    return _KEY.sub(REDACTED, text)
