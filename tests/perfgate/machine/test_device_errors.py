"""Errors of a device: what they are told to mean, and that the cases after them still run."""

from __future__ import annotations

import json
import re
import sys

import pytest
import scipy.stats  # noqa: F401  # numpy cannot be loaded twice, as runs inside this process would
import torch
from perfgate.machine import device_errors, environment, nvml
from perfgate.machine.device_errors import CONTEXT_GONE
from perfgate.machine.device_health import DeviceLostError
from perfgate.machine.environment import DeviceError

from tests.conftest import Project
from tests.support.fake_accelerator import MIB, FakeAccelerator

CUDA_ERROR = "CUDA error: {}\nCUDA kernel errors might be asynchronously reported at some other API call."


class TestMeaning:
    @pytest.mark.parametrize("words", CONTEXT_GONE)
    def test_a_context_that_is_gone(self, words: str) -> None:
        failure = device_errors.of(torch.AcceleratorError(CUDA_ERROR.format(words)), "cuda:1")
        assert failure is not None
        assert failure.context_gone
        assert failure.text.startswith("cuda:1: the device's context is gone, cases after this one run in a fresh")
        assert f"AcceleratorError: CUDA error: {words};" in failure.text
        assert "CUDA_LAUNCH_BLOCKING=1" in failure.text

    def test_a_device_that_the_driver_lost(self) -> None:
        failure = device_errors.of(DeviceLostError("the driver has lost the device (GPU is lost)"), "cuda:0")
        assert failure is not None
        assert failure.context_gone
        assert "cuda:0 is lost" in failure.text

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            torch.AcceleratorError(CUDA_ERROR.format("out of memory")),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ],
    )
    def test_out_of_memory(self, error: Exception) -> None:
        failure = device_errors.of(error, "cuda:0")
        assert failure is not None
        assert (failure.out_of_memory, failure.context_gone) == (True, False)
        assert failure.text.startswith("out of memory on cuda:0: ")
        assert "--perfgate-device" in failure.text

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("no kernel image is available for execution on the device", "compute capability.*get_arch_list"),
            ("CUDA driver version is insufficient for CUDA runtime version", "update the driver and reboot"),
        ],
    )
    def test_a_build_or_a_driver_that_does_not_fit(self, said: str, told: str) -> None:
        failure = device_errors.of(torch.AcceleratorError(CUDA_ERROR.format(said)), "cuda:0")
        assert failure is not None
        assert not failure.context_gone
        assert re.search(told, failure.text)

    def test_the_error_behind_an_error(self) -> None:
        def wrapped() -> None:
            try:
                raise torch.AcceleratorError(CUDA_ERROR.format("misaligned address"))
            except RuntimeError as wrong:
                raise ValueError("the layer failed") from wrong

        with pytest.raises(ValueError, match="the layer failed") as raised:
            wrapped()
        failure = device_errors.of(raised.value, "cuda:0")
        assert failure is not None
        assert failure.context_gone

    @pytest.mark.parametrize(
        "error",
        [
            AssertionError("out of memory is what this text is about: CUDA"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            MemoryError("the device is full"),
            ValueError("illegal memory access"),
        ],
    )
    def test_what_is_about_no_device(self, error: Exception) -> None:
        assert device_errors.of(error, "cuda:0") is None


def test_memory_that_a_failed_case_held_is_freed() -> None:
    device = FakeAccelerator()

    def runs_out() -> None:
        held = device.allocate(100 * MIB)
        raise torch.OutOfMemoryError(f"CUDA out of memory while {held} is there")

    with pytest.raises(torch.OutOfMemoryError) as raised:
        runs_out()
    assert device.memory(device.device).allocated == 100 * MIB  # the traceback keeps the frame
    device_errors.free_memory(device, raised.tb)
    after = device.memory(device.device)
    assert (after.allocated, after.peak_allocated) == (0, 0)


class TestNoDevice:
    def test_says_what_torch_and_the_driver_say(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def too_old() -> None:
            raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "init", too_old)
        monkeypatch.setattr(nvml, "why_no_nvidia", lambda: "libraries have different versions: reboot")
        with pytest.raises(DeviceError) as refused:
            environment.resolve_device("cuda")
        assert "too old (found version 11040).; driver: libraries have different versions: reboot)" in str(
            refused.value
        )


BENCHMARK = """
    import os

    import pytest
    import torch
    from perfgate import Kernel

    BROKEN = []

    @pytest.fixture
    def device():
        if BROKEN:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return "a device"

    def breaks():
        BROKEN.append(True)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def process():
        with open("processes.log", "a") as log:
            log.write(f"{os.getpid()} ")
        return 1

    def test_a(device, measure): measure(process)
    def test_b(device, measure): measure(breaks)
    def test_c(device, measure): measure(process)
    def test_d(device, measure): pytest.skip("lacks an abacus")
    def test_e(device, measure): measure(process, kernel=Kernel("fa2", ran=("fa2",)))
    def test_f(device, measure): measure(process, check=lambda result: None if result == 2 else pytest.fail("wrong"))
    def test_g(device, measure): measure(breaks)
    def test_h(device, measure): measure(process)
    def test_plain(): assert BROKEN
"""


class TestTheRest:
    @pytest.fixture
    def broken(self, project: Project) -> Project:
        project.benchmark(BENCHMARK)
        return project

    def processes(self, project: Project) -> list[int]:
        return list(dict.fromkeys(map(int, (project.path / "processes.log").read_text().split())))

    def test_goes_on_in_fresh_processes(self, broken: Project) -> None:
        result = broken.run("--benchmark-json=out.json")
        result.assert_outcomes(passed=4, skipped=1, failed=4)
        result.stdout.fnmatch_lines(
            [
                "perfgate: a case broke the device's context; 6 cases go on in a fresh process",
                "perfgate: that one lost the device as well; 1 cases go on in a fresh process",
            ]
        )
        records = broken.records()
        statuses = {key.split("/")[0].removeprefix("test_"): record["status"] for key, record in records.items()}
        assert statuses == {
            "a": "measured",
            "b": "failed",
            "c": "measured",
            "d": "skipped",
            "e": "fell_back",
            "f": "failed",
            "g": "failed",
            "h": "measured",
        }
        reasons = {key.split("/")[0].removeprefix("test_"): record["reason"] for key, record in records.items()}
        assert "the device's context is gone" in reasons["b"]
        assert "lacks an abacus" in reasons["d"]
        assert "of which fa2 must run" in reasons["e"]
        assert "wrong" in reasons["f"]
        assert "the device's context is gone" in reasons["g"]
        assert len(self.processes(broken)) == 3  # this one, the one that test_g ended, the last
        written = json.loads((broken.path / "out.json").read_text())["benchmarks"]
        assert [one["name"] for one in written] == ["test_a", "test_c", "test_e", "test_h"]

    def test_is_not_run_with_x(self, broken: Project) -> None:
        broken.run("-x").assert_outcomes(passed=1, failed=1)

    def test_where_no_process_starts_each_case_says_so(self, broken: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        result = broken.run()
        result.assert_outcomes(passed=2, failed=7)
        assert "a fresh process ended with 1 and left no results" in broken.records()["test_h/default"]["reason"]

    def test_with_the_benchmarks_disabled_nothing_is_started(self, broken: Project) -> None:
        result = broken.run("--benchmark-disable")
        assert "fresh process" not in result.stdout.str().replace("run in a fresh process", "")
        assert len(self.processes(broken)) == 1
