"""What tests of the suite's options share."""

from __future__ import annotations

from collections.abc import Callable

from fixtures.options import SuiteSettings

Parse = Callable[..., SuiteSettings]
"""Makes settings from option values: ``parse(new_tokens=5)``."""
