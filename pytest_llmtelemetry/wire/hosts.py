"""Who answers at a host, and whose prices apply there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_llmtelemetry.errors import SettingError


UNKNOWN = "unknown"
FREE = "free"
OLLAMA_PORT = 11434

# Host patterns of the providers' own services, matched against the whole host name.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("anthropic", r"api\.anthropic\.com|aws-external-anthropic\.[a-z0-9-]+\.api\.aws"),
    ("azure", r"[a-z0-9-]+\.(?:openai\.azure\.com|services\.ai\.azure\.com|cognitiveservices\.azure\.com)"),
    ("bedrock", r"bedrock-runtime(?:-fips)?\.[a-z0-9-]+\.amazonaws\.com|bedrock-mantle\.[a-z0-9-]+\.api\.aws"),
    ("cerebras", r"api\.cerebras\.ai"),
    ("cohere", r"api\.cohere\.(?:com|ai)"),
    ("deepseek", r"api\.deepseek\.com"),
    ("fireworks", r"api\.fireworks\.ai"),
    ("gemini", r"generativelanguage\.googleapis\.com"),
    ("groq", r"api\.groq\.com"),
    ("huggingface", r"router\.huggingface\.co|api-inference\.huggingface\.co"),
    ("mistral", r"(?:api|codestral)\.mistral\.ai"),
    ("ollama", r"ollama\.com"),
    ("openai", r"(?:[a-z]{2}\.)?api\.openai\.com"),
    ("openrouter", r"openrouter\.ai"),
    ("perplexity", r"api\.perplexity\.ai"),
    ("together", r"api\.together\.(?:xyz|ai)|api-inference\.together\.ai"),
    ("vertex", r"(?:[a-z0-9-]+-)?aiplatform\.googleapis\.com"),
    ("voyage", r"api\.voyageai\.com"),
    ("xai", r"(?:[a-z0-9-]+\.)?api\.x\.ai"),
    ("zai", r"api\.z\.ai"),
)
_HOST = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _PATTERNS))

PROVIDERS: frozenset[str] = frozenset(name for name, _ in _PATTERNS)
"""Every provider that is known by name."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Who answers at a host, and how its calls are priced."""

    provider: str
    free: bool = False

    @property
    def known(self) -> bool:
        """True if the host belongs to a provider, or a setting says whose it is."""
        return self.provider != UNKNOWN


@dataclass(frozen=True, slots=True)
class Hosts:
    """The built-in table, and what the ini option ``llm_hosts`` adds to it."""

    rules: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """``host`` or ``host:port`` to a provider's name, or to ``free``."""

    def seat(self, host: str, port: int | None, api: str = "") -> Seat:
        """Say who answers at ``host:port``, where the wire API ``api`` is spoken; the most exact rule wins.

        >>> Hosts().seat("api.openai.com", 443)
        Seat(provider='openai', free=False)
        >>> Hosts({"gw.example": "openai"}).seat("gw.example", 8080)
        Seat(provider='openai', free=False)
        """
        host = _plain(host)
        rule = self.rules.get(f"{host}:{port}") or self.rules.get(host)
        if rule == FREE:
            return Seat("ollama" if _is_ollama(port, api) else "local", free=True)
        if rule:
            return Seat(rule)
        if match := _HOST.fullmatch(host):
            return Seat(str(match.lastgroup))
        if is_loopback(host) and _is_ollama(port, api):
            return Seat("ollama", free=True)
        return Seat(UNKNOWN)


def _plain(host: str) -> str:
    """One way to write what has many: lower case, no last dot, IPv6 short and in brackets."""
    host = host.lower().strip("[]").rstrip(".")
    try:
        return f"[{ipaddress.IPv6Address(host)}]"
    except ValueError:
        return host


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the loopback addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_ollama(port: int | None, api: str) -> bool:
    return port == OLLAMA_PORT or api.startswith("ollama.")


_RULE = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:=/\[\]]+)(?::(?P<port>\d{1,5}))?\s*=\s*(?P<provider>[\w.-]+)")


def parse_hosts(lines: Iterable[str], *, known: Iterable[str] = PROVIDERS, source: str = "llm_hosts") -> Hosts:
    """Read the lines ``HOST[:PORT] = PROVIDER`` or ``HOST[:PORT] = free``.

    Raises:
        SettingError: a line has another form, names an unknown provider, or repeats a host.

    >>> parse_hosts(["localhost:8080 = openai", "llm.internal = free"]).rules["llm.internal"]
    'free'
    """
    valid = sorted({*known, FREE})
    rules: dict[str, str] = {}
    for line in lines:
        match = _RULE.fullmatch(line.strip())
        if match is None:
            raise SettingError(
                f"{source}: {line.strip()!r} is not 'HOST[:PORT] = PROVIDER', such as 'localhost:8080 = openai'"
            )
        host = _plain(match["host"]) + (f":{int(match['port'])}" if match["port"] else "")
        if match["provider"] not in valid:
            raise SettingError(
                f"{source}: {match['provider']!r} (for {host}) is not a provider; valid are {', '.join(valid)}"
            )
        if host in rules:
            raise SettingError(f"{source}: {host!r} is given twice; keep one line for it")
        rules[host] = match["provider"]
    return Hosts(MappingProxyType(rules))
