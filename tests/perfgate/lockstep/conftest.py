"""What tests of overlays share: a package index of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.wheels import offline, wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its only index, and a cache of its own."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "toyone", "1.0")
    wheel(wheels, "toyone", "2.0")
    wheel(wheels, "toytwo", "1.0", needs="toyone==1.0")
    wheel(wheels, "toybroken", "1.0", code="raise ImportError('toybroken is broken')")
    for name in [one for one in os.environ if one.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in offline(wheels).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PERFGATE_CACHE", str(tmp_path / "cache"))
    return wheels
