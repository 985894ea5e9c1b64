"""Provider APIs as bytes. Pure functions over :mod:`pytest_llmtelemetry.facts`; no I/O."""
