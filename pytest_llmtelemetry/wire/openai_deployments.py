"""Where a request names its model, if its body does not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmtelemetry.wire.jsontext import text


_DEPLOYMENT = re.compile(r".*/(?:deployments|engines)/(?P<model>[^/]+)/.*")


def model_of(body: Mapping[str, Any], path: str) -> str | None:
    """The model of the body, or else the deployment in the path, as Azure has it.

    >>> model_of({}, "/openai/deployments/my-gpt/embeddings")
    'my-gpt'
    """
    deployment = _DEPLOYMENT.fullmatch(path)
    return text(body.get("model")) or (deployment["model"] if deployment else None)
