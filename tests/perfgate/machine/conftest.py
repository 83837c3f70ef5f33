"""What tests of more than one module of perfgate.machine use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from perfgate.machine import nvml

if TYPE_CHECKING:
    from tests.support.fake_nvml import FakeNvml


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A machine with one NVIDIA card, ``cuda:0``, on which this process holds no memory yet."""
    from tests.support.fake_nvml import FakeNvml  # here: a machine without pynvml collects this folder too

    fake = FakeNvml()
    properties = SimpleNamespace(uuid="6c5f0a2e-0000-0000-0000-000000000000")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: 0)
    yield fake
    nvml._library.cache_clear()
    nvml._handle.cache_clear()
