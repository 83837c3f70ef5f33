"""Health readings, and what they mean."""

import inspect
import os
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from perfgate import health


class TestReading:
    def test_units(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=2450.0))
        monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 0.0, 0.0), raising=False)
        found = health.health("cpu")
        assert found["cpu_frequency_hz"] == 2_450_000_000
        assert found["load_1min"] == 1.23
        assert 0 < found["available_memory_bytes"] < psutil.virtual_memory().total

    @pytest.mark.parametrize("error", [OSError, NotImplementedError])
    def test_a_container_that_hides_the_frequency(self, monkeypatch: pytest.MonkeyPatch, error: type) -> None:
        def hidden() -> None:
            raise error

        monkeypatch.setattr(psutil, "cpu_freq", hidden)
        assert health.health("cpu")["cpu_frequency_hz"] is None


class FakeLibrary:
    """nvidia-ml-py with one device."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    def __init__(self, reasons: int = 1, pids: tuple[int, ...] = ()) -> None:
        self.reasons = reasons
        self.pids = pids
        self.open = 0

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        assert self.open == 1
        assert uuid == "GPU-1234"
        return "handle"

    def nvmlDeviceGetClockInfo(self, handle: str, type: int) -> int:
        return 1700

    def nvmlDeviceGetMaxClockInfo(self, handle: str, type: int) -> int:
        return 1980

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.reasons

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 60

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 350_500

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.pids]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Put a library where nvidia-ml-py would be, and a device where torch finds one."""

    def put(library: object) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pynvml", library)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))

    return put


class TestNvidia:
    def test_what_the_driver_tells(self, install) -> None:
        library = FakeLibrary(reasons=0x1 | 0x2)
        install(library)
        found = health.health("cuda:0")
        assert library.open == 0
        assert {name: found[name] for name in ("clock_hz", "max_clock_hz", "temperature_c", "power_w")} == {
            "clock_hz": 1_700_000_000,
            "max_clock_hz": 1_980_000_000,
            "temperature_c": 60,
            "power_w": 350.5,
        }
        assert found["slowed_by"] == []  # idle, and clocks that an administrator chose
        assert found["other_processes"] == 0

    def test_slowed_down_and_shared(self, install) -> None:
        install(FakeLibrary(reasons=0x4 | 0x40, pids=(os.getpid(), os.getppid(), 2**22 + 1)))
        found = health.health("cuda:0")
        assert found["slowed_by"] == ["power cap", "temperature (hardware)"]
        assert found["other_processes"] == 1
        assert health.not_idle(found | {"load_1min": 0.0}) == [
            "the device is slowed down: power cap",
            "the device is slowed down: temperature (hardware)",
            "1 other processes use the device",
        ]

    def test_without_the_library(self, install) -> None:
        install(None)
        assert "nvidia-ml-py is not installed" in health.health("cuda:0")["device_health"]

    def test_without_a_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py, which the extra test brings")
        if torch.cuda.is_available():
            pytest.skip("needs a machine without an NVIDIA driver")
        with pytest.raises(pynvml.NVMLError):
            pynvml.nvmlInit()
        assert health.health("cuda:0")["device_health"].startswith("unknown: ")

    def test_an_error_of_ours_is_not_swallowed(self, install) -> None:
        install(SimpleNamespace(nvmlInit=lambda: 1 / 0, nvmlShutdown=lambda: None))
        with pytest.raises(ZeroDivisionError):
            health.health("cuda:0")


@pytest.mark.contract("device-health")
@pytest.mark.parametrize("name", [name for name in vars(FakeLibrary) if name.startswith("nvml")])
def test_the_real_library_takes_the_same_arguments(name: str) -> None:
    pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py, which the extra test brings")
    real = [one for one in inspect.signature(getattr(pynvml, name)).parameters.values() if one.default is one.empty]
    ours = list(inspect.signature(getattr(FakeLibrary, name)).parameters)[1:]
    assert [one.name for one in real] == ours


@pytest.mark.contract("device-health")
def test_the_real_constants() -> None:
    pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py, which the extra test brings")
    assert pynvml.NVML_CLOCK_SM == FakeLibrary.NVML_CLOCK_SM
    assert pynvml.NVML_TEMPERATURE_GPU == FakeLibrary.NVML_TEMPERATURE_GPU
    named = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    assert [getattr(pynvml, f"nvmlClocksEventReason{name}") for name in named] == list(health.SLOWED_BY)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.1, 2.2, []),  # two cores of our own, and a little
        (None, None, []),
        (0.9, 1.0, ["load 0.9 before the first case"]),
        (0.1, 2.6, ["load 2.6 on 2 cores"]),
    ],
)
def test_what_casts_doubt_on_times(before: float | None, after: float | None, expected: list[str]) -> None:
    assert health.doubts({"load_1min": before}, {"load_1min": after}, 2) == expected


def test_a_device_that_was_slowed_down_or_shared_casts_doubt_once() -> None:
    bad = {"slowed_by": ["power cap"], "other_processes": 2}
    assert health.doubts(bad, bad, 2) == [
        "the device is slowed down: power cap",
        "2 other processes use the device",
    ]
    assert health.doubts({}, bad, 2) == health.doubts(bad, {}, 2)
