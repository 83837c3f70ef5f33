"""A CPU that has the flags that a test gives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures import devices

CPUINFO = "processor\t: 0\nmodel name\t: a CPU\nflags\t\t: fpu sse2 {}\n\nprocessor\t: 1\nflags\t\t: fpu\n"


def with_cpuinfo(monkeypatch: pytest.MonkeyPatch, path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(devices, "Path", lambda _: path)
    devices.cpu_flags.cache_clear()
