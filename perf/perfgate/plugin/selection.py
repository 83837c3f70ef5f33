"""What this run was asked for: paths and keywords, so that what nobody selected is not missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def asked_for(config: pytest.Config) -> list[str]:
    """What pytest was asked to collect, relative to its root."""
    here, root = config.invocation_params.dir, config.rootpath.resolve()
    found = []
    for argument in config.args:
        path, colons, names = argument.partition("::")
        absolute = (here / path).resolve()
        if absolute.is_relative_to(root):
            found.append(f"{absolute.relative_to(root).as_posix()}{colons}{names}")
    return found


def keyword_filter(config: pytest.Config) -> Callable[[str], bool]:
    """Whether ``-k`` selects a test of a name."""
    text = config.getoption("keyword")
    if not text:
        return lambda name: True
    from _pytest.mark.expression import Expression

    expression = Expression.compile(text)

    def matches(name: str) -> bool:
        lowered = "/".join((name.lower(), Path(name.partition("::")[0]).name.lower()))
        return bool(expression.evaluate(lambda word, /, **_: word.lower() in lowered))

    return matches
