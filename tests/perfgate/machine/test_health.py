"""Health: what is read of the machine and its accelerators, and what readings say about numbers measured between."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pynvml
import pytest
import torch
from perfgate.machine import health
from perfgate.machine.health import DeviceHealth, DeviceLostError, Health, Process, UnreadError

from tests.support.fake_nvml import FakeNvml, process

FINE = DeviceHealth(sm_clock_hz=1_755_000_000, throttled_s={"power cap": 1.0}, ecc_errors=0)
HOT = replace(FINE, throttle_reasons=("heat, by the driver",))
STRANGER = Process(77, "train.py", 2**30)
IDLE = Health(load_1min=0.2, available_memory_bytes=2**30, cpu_frequency_hz=None)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A machine with one NVIDIA card, ``cuda:0``, on which this process holds no memory yet."""
    fake = FakeNvml()
    properties = SimpleNamespace(uuid="6c5f0a2e-0000-0000-0000-000000000000")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: 0)
    yield fake
    health._library.cache_clear()
    health._handle.cache_clear()


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

    def test_a_cpu_asks_no_nvml(self, nvml: FakeNvml) -> None:
        health.read("cpu")
        assert not nvml.asked


class TestDevice:
    def test_units(self, nvml: FakeNvml) -> None:
        nvml.violations_ns = {pynvml.NVML_PERF_POLICY_THERMAL: 2_500_000_000}
        assert health.read_device("cuda:0") == DeviceHealth(
            sm_clock_hz=1_755_000_000,
            sm_clock_max_hz=1_980_000_000,
            memory_clock_hz=2_619_000_000,
            temperature_c=60,
            power_w=310.5,
            power_limit_w=700.0,
            throttled_s={"power cap": 0.0, "heat": 2.5, "board limit": 0.0, "voltage limit": 0.0},
            ecc=True,
            ecc_errors=0,
            persistence=False,
        )

    def test_is_found_by_its_uuid(self, nvml: FakeNvml) -> None:
        health.read_device("cuda:0")
        assert health._handle("cuda:0") == "GPU-6c5f0a2e-0000-0000-0000-000000000000"

    @pytest.mark.parametrize(
        ("names", "reasons"),
        [
            (["SwPowerCap", "HwThermalSlowdown"], ("power cap", "heat, by the hardware")),
            (["GpuIdle", "ApplicationsClocksSetting", "DisplayClockSetting"], ()),  # no accident
        ],
    )
    def test_throttle_reasons(self, nvml: FakeNvml, names: list[str], reasons: tuple[str, ...]) -> None:
        nvml.reasons = sum(getattr(pynvml, f"nvmlClocksEventReason{name}") for name in names)
        assert health.read_device("cuda:0").throttle_reasons == reasons

    def test_an_old_driver_knows_the_reasons_by_their_old_name(self, nvml: FakeNvml) -> None:
        nvml.errors["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError_FunctionNotFound()
        nvml.reasons = pynvml.nvmlClocksEventReasonSwPowerCap
        assert health.read_device("cuda:0").throttle_reasons == ("power cap",)

    def test_what_a_card_does_not_tell_is_none(self, nvml: FakeNvml) -> None:
        names = ("TotalEccErrors", "EccMode", "ViolationStatus", "PowerUsage", "ComputeRunningProcesses")
        nvml.errors = {f"nvmlDeviceGet{name}": pynvml.NVMLError_NotSupported() for name in names}
        now = health.read_device("cuda:0")
        assert (now.ecc, now.ecc_errors, now.power_w, now.throttled_s, now.strangers) == (None, None, None, {}, ())
        assert now.temperature_c == 60

    @pytest.mark.parametrize("error", [pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired])
    def test_a_lost_card_is_no_silent_none(self, nvml: FakeNvml, error: type[Exception]) -> None:
        nvml.errors["nvmlDeviceGetTemperature"] = error()
        with pytest.raises(DeviceLostError, match=r"the driver has lost the device .*dmesg"):
            health.read_device("cuda:0")
        assert "the driver has lost the device" in health.read("cuda:0").unread["cuda:0"]

    def test_json(self, nvml: FakeNvml) -> None:
        nvml.processes = [process(1)]
        written = json.loads(json.dumps(health.read("cuda:0").to_json(), allow_nan=False))
        assert written["devices"]["cuda:0"]["strangers"][0]["pid"] == 1
        assert "unread" not in written


class TestUnread:
    def test_without_nvidia_ml_py(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        with pytest.raises(UnreadError, match="pip install nvidia-ml-py"):
            health.read_device("cuda:0")
        assert health.why_no_nvidia() == health.NEEDS_NVML

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (pynvml.NVMLError_LibRmVersionMismatch, "different versions, as after an update: reboot"),
            (pynvml.NVMLError_DriverNotLoaded, "NVML does not start: Driver Not Loaded; `nvidia-smi` shows more"),
        ],
    )
    def test_a_driver_that_does_not_start(self, nvml: FakeNvml, error: type[Exception], said: str) -> None:
        nvml.errors["nvmlInit"] = error()
        assert said in str(health.why_no_nvidia())
        assert said in health.read("cuda:0").unread["cuda:0"]

    def test_a_driver_that_starts(self, nvml: FakeNvml) -> None:
        assert health.why_no_nvidia() is None

    def test_a_device_that_nvml_does_not_know(self, nvml: FakeNvml) -> None:
        nvml.errors["nvmlDeviceGetHandleByUUID"] = pynvml.NVMLError_NotFound()
        with pytest.raises(UnreadError, match="NVML does not know cuda:0"):
            health.read_device("cuda:0")

    def test_another_kind_of_accelerator(self, nvml: FakeNvml) -> None:
        with pytest.raises(UnreadError, match="no way to read the health of xpu devices"):
            health.read_device("xpu:0")
        assert not nvml.asked


class TestStrangers:
    def test_this_process_and_its_children_are_none(self, nvml: FakeNvml) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            nvml.processes = [process(os.getpid()), process(child.pid)]
            assert health.read_device("cuda:0").strangers == ()
            child.communicate(b"\n")

    def test_whoever_shares_the_controller_is_none(self, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
        nvml.processes = [process(os.getpid()), process(os.getppid())]
        assert [one.pid for one in health.read_device("cuda:0").strangers] == [os.getppid()]
        monkeypatch.setenv(health.FAMILY, str(os.getppid()))
        assert health.read_device("cuda:0").strangers == ()

    def test_a_process_that_one_starts_is_told_the_eldest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(health.FAMILY, raising=False)
        assert health.for_children() == {health.FAMILY: str(os.getpid())}
        monkeypatch.setenv(health.FAMILY, "1234")
        assert health.for_children() == {health.FAMILY: "1234"}

    def test_a_stranger_has_a_name_and_its_bytes(self, nvml: FakeNvml) -> None:
        nvml.processes = [process(os.getpid()), process(os.getppid(), 3 * 2**20)]
        (stranger,) = health.read_device("cuda:0").strangers
        assert stranger == Process(os.getppid(), psutil.Process(os.getppid()).name(), 3 * 2**20)
        assert str(stranger).endswith(", 3 MiB)")

    @pytest.mark.parametrize(("holds", "listed", "strangers"), [(100, 1, 0), (100, 2, 2), (0, 1, 1)])
    def test_a_container_in_which_nobody_is_known(
        self, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, holds: int, listed: int, strangers: int
    ) -> None:
        """One unknown process while this one holds memory is this one; of two it cannot be told."""
        monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: holds)
        nvml.processes = [process(2**22 + n) for n in range(listed)]  # beyond any process number of Linux
        assert len(health.read_device("cuda:0").strangers) == strangers


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
            ({"unread": {"cuda:0": health.NEEDS_NVML}}, "cannot be seen: nvidia-ml-py is not installed"),
        ],
    )
    def test_each_reason(self, change: dict[str, object], said: str) -> None:
        (found,) = health.not_idle(replace(IDLE, **change))
        assert said in found

    def test_a_system_without_a_load(self) -> None:
        assert health.not_idle(replace(IDLE, load_1min=None)) == []


@pytest.mark.contract("device-health")
def test_the_installed_nvidia_ml_py_has_every_name() -> None:
    """The functions' arguments are held to the real signatures at every call of the fake."""
    for name in (*health.THROTTLING, *health.THROTTLED):
        assert isinstance(getattr(pynvml, name), int)
    assert {field[0] for field in pynvml.c_nvmlViolationTime_t._fields_} == {"referenceTime", "violationTime"}
    assert {"pid", "usedGpuMemory"} <= {field[0] for field in pynvml.c_nvmlProcessInfo_v3_t._fields_}


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
        slowed = health.DeviceHealth(throttle_reasons=("power cap",))
        now = health.Health(0.0, 2**30, None, devices={"cuda:0": slowed})
        assert health.unfit(now) == ["cuda:0: the device was throttled (power cap)"]
        assert health.doubts_about_stored(health.Health(0.0, 2**30, None), now, 2) == health.unfit(now)
        assert health.not_idle(now) == health.unfit(now)
