"""NVML: what is read of a device, why nothing can be, and which processes on it are not this run's."""

import os
import re
import subprocess
import sys

import psutil
import pynvml
import pytest
import torch
from perfgate.machine import nvml, process_tree
from perfgate.machine.device_health import DeviceHealth, DeviceLostError, Process, UnreadError

from tests.support.fake_nvml import FakeNvml, process


class TestDevice:
    def test_units(self, card: FakeNvml) -> None:
        card.violations_ns = {pynvml.NVML_PERF_POLICY_THERMAL: 2_500_000_000}
        assert nvml.read("cuda:0") == DeviceHealth(
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

    def test_is_found_by_its_uuid(self, card: FakeNvml) -> None:
        nvml.read("cuda:0")
        assert nvml._handle("cuda:0") == "GPU-6c5f0a2e-0000-0000-0000-000000000000"

    @pytest.mark.parametrize(
        ("names", "reasons"),
        [
            (["SwPowerCap", "HwThermalSlowdown"], ("power cap", "heat, by the hardware")),
            (["GpuIdle", "ApplicationsClocksSetting", "DisplayClockSetting"], ()),  # no accident
        ],
    )
    def test_throttle_reasons(self, card: FakeNvml, names: list[str], reasons: tuple[str, ...]) -> None:
        card.reasons = sum(getattr(pynvml, f"nvmlClocksEventReason{name}") for name in names)
        assert nvml.read("cuda:0").throttle_reasons == reasons

    def test_an_old_driver_knows_the_reasons_by_their_old_name(self, card: FakeNvml) -> None:
        card.errors["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError_FunctionNotFound()
        card.reasons = pynvml.nvmlClocksEventReasonSwPowerCap
        assert nvml.read("cuda:0").throttle_reasons == ("power cap",)

    def test_what_a_card_does_not_tell_is_none(self, card: FakeNvml) -> None:
        names = ("TotalEccErrors", "EccMode", "ViolationStatus", "PowerUsage", "ComputeRunningProcesses")
        card.errors = {f"nvmlDeviceGet{name}": pynvml.NVMLError_NotSupported() for name in names}
        now = nvml.read("cuda:0")
        assert (now.ecc, now.ecc_errors, now.power_w, now.throttled_s, now.strangers) == (None, None, None, {}, ())
        assert now.temperature_c == 60

    @pytest.mark.parametrize("error", [pynvml.NVMLError_GpuIsLost, pynvml.NVMLError_ResetRequired])
    def test_a_lost_card_is_no_silent_none(self, card: FakeNvml, error: type[Exception]) -> None:
        card.errors["nvmlDeviceGetTemperature"] = error()
        with pytest.raises(DeviceLostError, match=r"the driver has lost the device .*dmesg"):
            nvml.read("cuda:0")


class TestUnread:
    def test_without_nvidia_ml_py(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        with pytest.raises(UnreadError, match="pip install nvidia-ml-py"):
            nvml.read("cuda:0")
        assert nvml.why_no_nvidia() == nvml.NEEDS_NVML

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (pynvml.NVMLError_LibRmVersionMismatch, "different versions, as after an update: reboot"),
            (pynvml.NVMLError_DriverNotLoaded, "NVML does not start: Driver Not Loaded; `nvidia-smi` shows more"),
        ],
    )
    def test_a_driver_that_does_not_start(self, card: FakeNvml, error: type[Exception], said: str) -> None:
        card.errors["nvmlInit"] = error()
        assert said in str(nvml.why_no_nvidia())
        with pytest.raises(UnreadError, match=re.escape(said)):
            nvml.read("cuda:0")

    def test_a_driver_that_starts(self, card: FakeNvml) -> None:
        assert nvml.why_no_nvidia() is None

    def test_a_device_that_nvml_does_not_know(self, card: FakeNvml) -> None:
        card.errors["nvmlDeviceGetHandleByUUID"] = pynvml.NVMLError_NotFound()
        with pytest.raises(UnreadError, match="NVML does not know cuda:0"):
            nvml.read("cuda:0")


class TestStrangers:
    def test_this_process_and_its_children_are_none(self, card: FakeNvml) -> None:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            card.processes = [process(os.getpid()), process(child.pid)]
            assert nvml.read("cuda:0").strangers == ()
            child.communicate(b"\n")

    def test_whoever_shares_the_controller_is_none(self, card: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
        card.processes = [process(os.getpid()), process(os.getppid())]
        assert [one.pid for one in nvml.read("cuda:0").strangers] == [os.getppid()]
        monkeypatch.setenv(process_tree.FAMILY, str(os.getppid()))
        assert nvml.read("cuda:0").strangers == ()

    def test_a_stranger_has_a_name_and_its_bytes(self, card: FakeNvml) -> None:
        card.processes = [process(os.getpid()), process(os.getppid(), 3 * 2**20)]
        (stranger,) = nvml.read("cuda:0").strangers
        assert stranger == Process(os.getppid(), psutil.Process(os.getppid()).name(), 3 * 2**20)
        assert str(stranger).endswith(", 3 MiB)")

    @pytest.mark.parametrize(("holds", "listed", "strangers"), [(100, 1, 0), (100, 2, 2), (0, 1, 1)])
    def test_a_container_in_which_nobody_is_known(
        self, card: FakeNvml, monkeypatch: pytest.MonkeyPatch, holds: int, listed: int, strangers: int
    ) -> None:
        """One unknown process while this one holds memory is this one; of two it cannot be told."""
        monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: holds)
        card.processes = [process(2**22 + n) for n in range(listed)]  # beyond any process number of Linux
        assert len(nvml.read("cuda:0").strangers) == strangers


@pytest.mark.contract("device-health")
def test_the_installed_nvidia_ml_py_has_every_name() -> None:
    """The functions' arguments are held to the real signatures at every call of the fake."""
    for name in (*nvml.THROTTLING, *nvml.THROTTLED):
        assert isinstance(getattr(pynvml, name), int)
    assert {field[0] for field in pynvml.c_nvmlViolationTime_t._fields_} == {"referenceTime", "violationTime"}
    assert {"pid", "usedGpuMemory"} <= {field[0] for field in pynvml.c_nvmlProcessInfo_v3_t._fields_}
