"""Health: what is read of the machine, and what readings say about numbers measured between them."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pynvml
import pytest
from perfgate.machine import health
from perfgate.machine.device_health import DeviceHealth, Process, UnreadError
from perfgate.machine.health import BUSY_LOAD, Health
from perfgate.machine.nvml import NEEDS_NVML

from tests.support.fake_nvml import FakeNvml, process

FINE = DeviceHealth(sm_clock_hz=1_755_000_000, throttled_s={"power cap": 1.0}, ecc_errors=0)
HOT = replace(FINE, throttle_reasons=("heat, by the driver",))
STRANGER = Process(77, "train.py", 2**30)
IDLE = Health(load_1min=0.2, available_memory_bytes=2**30, cpu_frequency_hz=None)


class TestMachine:
    def test_units(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=2450.0))
        monkeypatch.setattr(os, "getloadavg", lambda: (1.234, 0.0, 0.0), raising=False)
        now = health.read("cpu")
        assert now.cpu_frequency_hz == 2_450_000_000
        assert now.load_1min == 1.23
        assert 0 < now.available_memory_bytes < psutil.virtual_memory().total
        assert set(now.to_json()) == {"load_1min", "available_memory_bytes", "cpu_frequency_hz"}

    @pytest.mark.parametrize("error", [OSError, NotImplementedError])
    def test_a_container_that_hides_the_frequency(self, monkeypatch: pytest.MonkeyPatch, error: type) -> None:
        def hidden() -> None:
            raise error

        monkeypatch.setattr(psutil, "cpu_freq", hidden)
        assert health.read().cpu_frequency_hz is None

    def test_a_cpu_asks_no_nvml(self, card: FakeNvml) -> None:
        health.read("cpu")
        assert not card.asked


class TestDevices:
    def test_a_reading_by_torchs_name(self, card: FakeNvml) -> None:
        now = health.read("cpu", "cuda:0")
        assert now.devices == {"cuda:0": health.read_device("cuda:0")}
        assert now.unread == {}

    @pytest.mark.parametrize(
        ("function", "error", "said"),
        [
            ("nvmlDeviceGetTemperature", pynvml.NVMLError_GpuIsLost, "the driver has lost the device"),
            ("nvmlInit", pynvml.NVMLError_DriverNotLoaded, "NVML does not start: Driver Not Loaded"),
        ],
    )
    def test_why_there_is_no_reading(self, card: FakeNvml, function: str, error: type[Exception], said: str) -> None:
        card.errors[function] = error()
        now = health.read("cuda:0")
        assert said in now.unread["cuda:0"]
        assert now.devices == {}

    def test_another_kind_of_accelerator(self, card: FakeNvml) -> None:
        with pytest.raises(UnreadError, match="no way to read the health of xpu devices"):
            health.read_device("xpu:0")
        assert not card.asked

    def test_json(self, card: FakeNvml) -> None:
        card.processes = [process(1)]
        written = json.loads(json.dumps(health.read("cuda:0").to_json(), allow_nan=False))
        assert written["devices"]["cuda:0"]["strangers"][0]["pid"] == 1
        assert "unread" not in written


class TestDoubts:
    def test_a_sound_case_has_none(self) -> None:
        assert health.doubts(FINE, [FINE, FINE], FINE) == []

    @pytest.mark.parametrize("where", ["before", "during", "after"])
    def test_throttling_wherever_it_is_seen(self, where: str) -> None:
        seen = {"before": FINE, "during": FINE, "after": FINE} | {where: HOT}
        found = health.doubts(seen["before"], [FINE, seen["during"]], seen["after"])
        assert found == ["the device was throttled (heat, by the driver)"]

    def test_throttling_between_two_readings_that_saw_none(self) -> None:
        later = replace(FINE, throttled_s={"power cap": 1.01})
        assert health.doubts(FINE, [], later) == ["the device was throttled (power cap)"]
        assert health.doubts(later, [], later) == []  # it was before this case

    def test_a_stranger(self) -> None:
        found = health.doubts(FINE, [replace(FINE, strangers=(STRANGER,))], FINE)
        assert found == ["other processes used the device: 77 (train.py, 1,024 MiB)"]

    def test_new_memory_errors_and_not_old_ones(self) -> None:
        old = replace(FINE, ecc_errors=3)
        assert health.doubts(old, [], old) == []
        assert health.doubts(old, [], replace(FINE, ecc_errors=4)) == [
            "the device's memory had uncorrected errors (ECC)"
        ]


class TestNotIdle:
    def test_an_idle_machine(self) -> None:
        assert health.not_idle(replace(IDLE, devices={"cuda:0": FINE})) == []

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"load_1min": 0.51}, "load 0.51, at most 0.5 allowed"),
            ({"devices": {"cuda:0": HOT}}, "cuda:0: the device was throttled"),
            ({"devices": {"cuda:1": replace(FINE, strangers=(STRANGER,))}}, "cuda:1: other processes used the device"),
            ({"unread": {"cuda:0": NEEDS_NVML}}, "cannot be seen: nvidia-ml-py is not installed"),
        ],
    )
    def test_each_reason(self, change: dict[str, object], said: str) -> None:
        (found,) = health.not_idle(replace(IDLE, **change))
        assert said in found

    def test_a_system_without_a_load(self) -> None:
        assert health.not_idle(replace(IDLE, load_1min=None)) == []


class TestStillBusy:
    @pytest.mark.parametrize(
        ("load", "percent", "busy"),
        [(None, 100.0, False), (BUSY_LOAD, 100.0, False), (1.9, 12.5, False), (1.9, 12.6, True)],
    )
    def test_the_minute_before_and_what_runs_now(
        self, monkeypatch: pytest.MonkeyPatch, load: float | None, percent: float, busy: bool
    ) -> None:
        monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval: percent)
        assert health.still_busy(replace(IDLE, load_1min=load)) is busy

    def test_where_the_load_is_low_it_takes_no_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval: pytest.fail("looked"))
        assert not health.still_busy(IDLE)


class TestStored:
    """What casts doubt on times that are to be compared with stored ones."""

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (0.1, 2.2, []),  # two cores of our own, and a little
            (None, None, []),
            (0.9, 1.0, ["load 0.9 before the first case"]),
            (0.1, 2.6, ["load 2.6 on 2 cores"]),
        ],
    )
    def test_a_busy_machine(self, before: float | None, after: float | None, expected: list[str]) -> None:
        readings = [health.Health(load, 2**30, None) for load in (before, after)]
        assert health.doubts_about_stored(readings[0], readings[1], 2) == expected

    def test_a_device_that_is_slowed_down(self) -> None:
        slowed = DeviceHealth(throttle_reasons=("power cap",))
        now = health.Health(0.0, 2**30, None, devices={"cuda:0": slowed})
        assert health.unfit(now) == ["cuda:0: the device was throttled (power cap)"]
        assert health.doubts_about_stored(health.Health(0.0, 2**30, None), now, 2) == health.unfit(now)
        assert health.not_idle(now) == health.unfit(now)
