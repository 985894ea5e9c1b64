"""What all tests of this repository share: pytester, and no way to a real provider."""

from __future__ import annotations

import os


pytest_plugins = ["pytester"]

# A key that a developer has set must not be spent, whatever a test does.
for _name in [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL"))]:
    del os.environ[_name]
