"""Who answers at a host, and how a setting says it."""

from __future__ import annotations

import pytest

from pytest_llmtelemetry.errors import SettingError
from pytest_llmtelemetry.wire.hosts import PROVIDERS, Hosts, Seat, is_loopback, parse_hosts


SEATS = {
    "anthropic": ["api.anthropic.com", "aws-external-anthropic.us-east-1.api.aws"],
    "azure": [
        "my-res.openai.azure.com",
        "my-res.services.ai.azure.com",
        "my-res.cognitiveservices.azure.com",
    ],
    "bedrock": [
        "bedrock-runtime.us-east-1.amazonaws.com",
        "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
        "bedrock-mantle.eu-central-1.api.aws",
    ],
    "cerebras": ["api.cerebras.ai"],
    "cohere": ["api.cohere.com", "api.cohere.ai"],
    "deepseek": ["api.deepseek.com"],
    "fireworks": ["api.fireworks.ai"],
    "gemini": ["generativelanguage.googleapis.com"],
    "groq": ["api.groq.com"],
    "huggingface": ["router.huggingface.co", "api-inference.huggingface.co"],
    "mistral": ["api.mistral.ai", "codestral.mistral.ai"],
    "ollama": ["ollama.com"],
    "openai": ["api.openai.com", "eu.api.openai.com", "us.api.openai.com"],
    "openrouter": ["openrouter.ai"],
    "perplexity": ["api.perplexity.ai"],
    "together": ["api.together.xyz", "api.together.ai", "api-inference.together.ai"],
    "vertex": ["aiplatform.googleapis.com", "us-central1-aiplatform.googleapis.com"],
    "voyage": ["api.voyageai.com"],
    "xai": ["api.x.ai", "us-east-1.api.x.ai"],
    "zai": ["api.z.ai"],
}
STRANGERS = [
    "",
    "openai.com",
    "platform.openai.com",
    "api.openai.com.evil.example",
    "evil-api.openai.com",
    "xapi.openai.com",
    "a.b.api.openai.com",
    "api-openai.com",
    "apiXopenai.com",
    "openai.azure.com",
    "a.b.openai.azure.com",
    "www.openrouter.ai",
    "notopenrouter.ai",
    "x.ai",
    "llm.internal",
    "localhost",
    "127.0.0.1",
    "::1",
    "10.0.0.1",
]


@pytest.mark.parametrize(
    ("host", "provider"), [(host, provider) for provider, hosts in SEATS.items() for host in hosts]
)
def test_a_providers_own_host_is_known(host: str, provider: str) -> None:
    """Whatever the port, and however the name is written."""
    expected = [Seat(provider)] * 4
    written = [(host, 443), (host, None), (host.upper(), 8443), (f"{host}.", 443)]
    assert [Hosts().seat(*each) for each in written] == expected


def test_the_table_names_every_provider() -> None:
    """The names that a setting may use."""
    assert set(SEATS) == PROVIDERS


@pytest.mark.parametrize("host", STRANGERS)
def test_any_other_host_is_unknown(host: str) -> None:
    """A name that merely contains a provider's is a stranger's."""
    seat = Hosts().seat(host, 443, "openai.chat")
    assert (seat, seat.known) == (Seat("unknown"), False)


# -- Ollama --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST", "ollama.localhost"]
)
def test_ollama_on_loopback_is_free(host: str) -> None:
    """By its port, whatever API is spoken there, or by its APIs, whatever the port."""
    free = Seat("ollama", free=True)
    assert Hosts().seat(host, 11434, "openai.chat") == free
    assert [Hosts().seat(host, 8080, api) for api in ("ollama.chat", "ollama.generate", "ollama.embed")] == [free] * 3


@pytest.mark.parametrize(
    ("host", "port", "api"),
    [
        ("localhost", 8080, "openai.chat"),
        ("localhost", None, "other"),
        ("ollama.internal", 11434, "ollama.chat"),
        ("10.0.0.1", 11434, "ollama.chat"),
        ("api.localhost.evil.example", 11434, "ollama.chat"),
    ],
)
def test_what_is_not_ollama_on_loopback_is_not_free(host: str, port: int | None, api: str) -> None:
    """A machine elsewhere may be anybody's, and may cost."""
    assert Hosts().seat(host, port, api) == Seat("unknown")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("a.b.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("::2", False),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("", False),
    ],
)
def test_loopback_is_this_machine(host: str, *, loopback: bool) -> None:
    """By name, by address of either family."""
    assert is_loopback(host) is loopback


# -- rules ---------------------------------------------------------------------------------

RULES = parse_hosts(
    [
        "gw.example = openai",
        "gw.example:8080 = anthropic",
        "Gw.Example:09090 = free",
        "api.openai.com = azure",
        "api.groq.com:8443 = mistral",
        "localhost = together",
        "localhost:11434 = groq",
        "[::1] = xai",
        "[0:0:0:0:0:0:0:1]:8080 = free",
        "ollama.internal:11434 = free",
        "dotted.example. = cohere",
    ]
)


@pytest.mark.parametrize(
    ("host", "port", "seat"),
    [
        ("gw.example", 443, Seat("openai")),
        ("gw.example", None, Seat("openai")),
        ("gw.example", 8080, Seat("anthropic")),
        ("GW.example.", 8080, Seat("anthropic")),
        ("gw.example", 9090, Seat("local", free=True)),
        ("sub.gw.example", 443, Seat("unknown")),
        ("api.openai.com", 443, Seat("azure")),
        ("api.groq.com", 8443, Seat("mistral")),
        ("api.groq.com", 443, Seat("groq")),
        ("localhost", 8000, Seat("together")),
        ("localhost", 11434, Seat("groq")),
        ("127.0.0.1", 11434, Seat("ollama", free=True)),
        ("::1", 443, Seat("xai")),
        ("[::1]", 443, Seat("xai")),
        ("::1", 8080, Seat("local", free=True)),
        ("ollama.internal", 11434, Seat("ollama", free=True)),
        ("dotted.example", 443, Seat("cohere")),
    ],
)
def test_the_most_exact_rule_wins(host: str, port: int | None, seat: Seat) -> None:
    """Host and port before host, a rule before the table, and every name is written in many ways."""
    assert RULES.seat(host, port) == seat


@pytest.mark.parametrize(("api", "provider"), [("openai.chat", "local"), ("ollama.chat", "ollama"), ("other", "local")])
def test_a_free_host_is_named_by_what_it_speaks(api: str, provider: str) -> None:
    """Ollama's own APIs say that it is Ollama."""
    assert parse_hosts(["llm.internal = free"]).seat("llm.internal", 80, api) == Seat(provider, free=True)


def test_rules_are_read_in_many_spellings() -> None:
    """Spaces, case, leading zeros and long addresses do not matter."""
    lines = ["  A.example=openai ", "b.example:080\t=\tfree", "[::1]:1 = groq", "[FE80:0::1] = xai", "127.0.0.1 = zai"]
    assert dict(parse_hosts(lines).rules) == {
        "a.example": "openai",
        "b.example:80": "free",
        "[::1]:1": "groq",
        "[fe80::1]": "xai",
        "127.0.0.1": "zai",
    }


def test_providers_of_other_plugins_can_be_named() -> None:
    """The caller says which names are known."""
    assert parse_hosts(["a.example = mine"], known=["mine"]).seat("a.example", 443) == Seat("mine")


def test_rules_cannot_be_changed() -> None:
    """Hosts are a value."""
    with pytest.raises(TypeError):
        RULES.rules["x.example"] = "openai"  # type: ignore[index]


VALID = (
    "anthropic, azure, bedrock, cerebras, cohere, deepseek, fireworks, free, gemini, groq, huggingface, mistral, ollama, "
    "openai, openrouter, perplexity, together, vertex, voyage, xai, zai"
)


@pytest.mark.parametrize(
    "line",
    [
        "gw.example",
        "gw.example =",
        "= openai",
        "",
        "gw.example: = openai",
        "gw.example:port = openai",
        "gw.example:123456 = openai",
        "https://gw.example = openai",
        "gw.example/v1 = openai",
        "gw.example = open ai",
        "gw.example == openai",
        "gw.example = openai # ours",
        "::1 = openai",
        "[gw.example] = openai",
        "two words = openai",
    ],
)
def test_a_line_of_another_form_is_refused(line: str) -> None:
    """The message names the line, its form, and an example."""
    with pytest.raises(SettingError) as caught:
        parse_hosts(["ok.example = openai", line])
    assert (
        str(caught.value) == f"llm_hosts: {line!r} is not 'HOST[:PORT] = PROVIDER', such as 'localhost:8080 = openai'"
    )


@pytest.mark.parametrize("name", ["opneai", "OpenAI", "Free", "unknown", "local"])
def test_an_unknown_provider_is_refused(name: str) -> None:
    """The message names the host and every provider that is valid."""
    with pytest.raises(SettingError) as caught:
        parse_hosts([f"GW.example:08080 = {name}"])
    assert str(caught.value) == f"llm_hosts: {name!r} (for gw.example:8080) is not a provider; valid are {VALID}"


@pytest.mark.parametrize(
    ("lines", "host"),
    [
        (["gw.example = openai", "GW.EXAMPLE = groq"], "gw.example"),
        (["gw.example:80 = openai", "gw.example:080 = openai"], "gw.example:80"),
        (["[::1] = openai", "[0::1] = free"], "[::1]"),
        (["gw.example = openai", "gw.example. = openai"], "gw.example"),
    ],
    ids=["case", "port", "ipv6", "dot"],
)
def test_a_host_that_is_given_twice_is_refused(lines: list[str], host: str) -> None:
    """However it is written; nobody can say which line was meant."""
    with pytest.raises(SettingError) as caught:
        parse_hosts(lines, source="--hosts")
    assert str(caught.value) == f"--hosts: {host!r} is given twice; keep one line for it"
