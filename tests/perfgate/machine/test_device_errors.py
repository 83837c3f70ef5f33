"""Errors of a device: what they are told to mean, and that the cases after them still run."""

from __future__ import annotations

import re

import pytest
import scipy.stats  # noqa: F401  # numpy cannot be loaded twice, as runs inside this process would
import torch
from perfgate.machine import device_errors, environment, nvml
from perfgate.machine.device_errors import CONTEXT_GONE
from perfgate.machine.device_health import DeviceLostError
from perfgate.machine.environment import DeviceError

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
