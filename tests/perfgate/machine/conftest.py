"""What tests of more than one module of perfgate.machine use."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from perfgate.machine import nvml

from tests.support.fake_nvml import FakeNvml


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A machine with one NVIDIA card, ``cuda:0``, on which this process holds no memory yet."""
    fake = FakeNvml()
    properties = SimpleNamespace(uuid="6c5f0a2e-0000-0000-0000-000000000000")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: 0)
    yield fake
    nvml._library.cache_clear()
    nvml._handle.cache_clear()
