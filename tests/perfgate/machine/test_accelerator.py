"""The door to an accelerator: what it asks torch for, held to the signatures of the torch that is installed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from perfgate.machine import accelerator
from perfgate.machine.accelerator import FLUSH_BYTES, Memory, TorchAccelerator

GIB = 2**30


class Torch:
    """torch with three accelerators of a kind: each function answers for a device's name, in its own signature."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.allocated = {"cuda:0": 10, "cuda:1": 20, "cuda:2": 0}
        self.free = 3 * GIB
        self.properties = SimpleNamespace(L2_cache_size=50 << 20)
        answers = {
            "device_count": lambda: 3,
            "memory_allocated": self.allocated.__getitem__,
            "max_memory_allocated": lambda device: 40,
            "max_memory_reserved": lambda device: 60,
            "get_memory_info": lambda device: (self.free, 8 * GIB),
            "reset_peak_memory_stats": lambda device: None,
            "synchronize": lambda device: None,
            "set_device_index": lambda index: None,
            "empty_cache": lambda: None,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.accelerator, name, self._held(name, answer, getattr(torch.accelerator, name)))
        module = SimpleNamespace(get_device_properties=lambda device: self.properties)
        monkeypatch.setattr(torch, "get_device_module", lambda device: module)

    def _held(self, name: str, answer: Any, real: Any) -> Any:
        def function(*arguments: Any) -> Any:
            inspect.signature(real).bind(*arguments)
            self.asked.append((name, *arguments))
            return answer(*arguments)

        return function


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Torch]:
    return Torch(monkeypatch)


@pytest.mark.contract("device-clock", "device-allocator")
class TestTorch:
    def test_becomes_the_current_device(self, fake: Torch) -> None:
        TorchAccelerator("cuda:1")
        assert fake.asked == [("set_device_index", 1)]

    def test_waits_for_the_devices_with_memory_and_for_its_own(self, fake: Torch) -> None:
        device = TorchAccelerator("cuda:2")
        assert device.devices == ("cuda:2",)
        device.find_devices()
        assert device.devices == ("cuda:0", "cuda:1", "cuda:2")
        fake.allocated["cuda:0"] = 0
        device.find_devices()
        fake.asked.clear()
        device.synchronize()
        assert fake.asked == [("synchronize", "cuda:1"), ("synchronize", "cuda:2")]

    def test_memory(self, fake: Torch) -> None:
        assert TorchAccelerator("cuda:0").memory("cuda:1") == Memory(20, 40, 60, 5 * GIB)

    def test_clear_starts_new_peaks_on_every_device_in_use(self, fake: Torch) -> None:
        device = TorchAccelerator("cuda:0")
        device.find_devices()
        fake.asked.clear()
        device.clear()
        names = ("cuda:0", "cuda:1")
        assert fake.asked == [("empty_cache",), *(("reset_peak_memory_stats", name) for name in names)]

    def test_flush_overwrites_all_that_it_should(self, fake: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[torch.Tensor] = []
        empty = torch.empty

        def on_the_cpu(size: int, *, dtype: torch.dtype, device: str) -> torch.Tensor:
            assert (device, size) == ("cuda:0", FLUSH_BYTES)
            size >>= 10  # the test needs no such memory
            made.append(empty(size, dtype=dtype).fill_(1))
            return made[-1]

        monkeypatch.setattr(torch, "empty", on_the_cpu)
        device = TorchAccelerator("cuda:0")
        for _ in range(2):
            device.flush()
        (buffer,) = made
        assert not buffer.any()

    @pytest.mark.parametrize(
        ("cache", "free", "flushed"),
        [
            (50 << 20, 60 * GIB, 256 << 20),  # an H100's: as triton's do_bench
            (200 << 20, 60 * GIB, 400 << 20),  # twice a larger one's
            (None, 60 * GIB, 256 << 20),  # a device that does not tell
            (50 << 20, GIB, 128 << 20),  # an eighth of the little that is free
            (50 << 20, GIB >> 3, 50 << 20),  # never less than the cache holds
        ],
    )
    def test_how_much_is_flushed(self, fake: Torch, cache: int | None, free: int, flushed: int) -> None:
        fake.free = free
        fake.properties = SimpleNamespace() if cache is None else SimpleNamespace(L2_cache_size=cache)
        assert TorchAccelerator("cuda:0").flush_bytes() == flushed

    def test_events(self, fake: Torch) -> None:
        """The arguments are understood. A torch built for CUDA makes the event without a device, others refuse it."""
        event = TorchAccelerator("cuda:0").event
        if torch.backends.cuda.is_built():
            assert isinstance(event(), torch.Event)
        else:
            with pytest.raises(RuntimeError, match="cuda") as refused:
                event()
            assert "argument" not in str(refused.value)
        assert {"record", "query", "elapsed_time"} <= set(dir(torch.Event))


@pytest.mark.contract("device-clock")
def test_the_real_properties_have_the_names_that_are_read() -> None:
    stub = Path(torch.__file__).with_name("_C") / "__init__.pyi"
    properties = stub.read_text(encoding="utf-8").partition("class _CudaDeviceProperties")[2].partition("\nclass ")[0]
    assert all(f"{name}:" in properties for name in ("L2_cache_size", "uuid", "name", "total_memory"))


def test_a_cpu_has_no_such_door() -> None:
    assert accelerator.of("cpu") is None


def test_any_other_device_has_one(fake: Torch) -> None:
    device = accelerator.of("cuda:1")
    assert isinstance(device, TorchAccelerator)
    assert device.device == "cuda:1"


@pytest.mark.gpu("device-clock", "device-allocator")
def test_on_a_device() -> None:
    """What only a device can show: events in order, a cache that is overwritten, bytes that are counted."""
    found = torch.accelerator.current_accelerator()
    assert found is not None
    device = TorchAccelerator(f"{found.type}:0")
    begin, end = device.event(), device.event()
    begin.record()
    for _ in range(10):
        device.flush()
    end.record()
    device.synchronize()
    assert 0 < begin.elapsed_time(end) < 1e4
    device.clear()
    before = device.memory(device.device)
    held = device.allocate(1 << 20)
    after = device.memory(device.device)
    assert (after.allocated - before.allocated, after.peak_allocated - before.allocated) == (held.nbytes, held.nbytes)
    assert after.driver_used >= after.peak_reserved > 0
