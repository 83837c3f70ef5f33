"""What an accelerator's errors mean: told apart by what they say, because torch raises most of them as RuntimeError."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from perfgate.machine.accelerator import Accelerator
from perfgate.machine.device_health import DeviceLostError

OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
CONTEXT_GONE = (
    "unspecified launch failure",  # 719
    "illegal memory access",  # 700
    "device-side assert",  # 710
    "uncorrectable ECC error",  # 214
    "uncorrectable NVLink error",  # 220
    "the launch timed out and was terminated",  # 702
    "hardware stack error",  # 714
    "an illegal instruction",  # 715
    "misaligned address",  # 716
    "operation not supported on global/shared address space",  # 717
    "invalid program counter",  # 718
    "devices unavailable",  # 46
    "device(s) is/are busy or unavailable",  # 46
)
"""After these errors every call on the device fails until the process ends.

Source: CUDA Runtime API, cudaError: those of which it says that the process must be terminated and relaunched, or that
leave the device unusable; the numbers are its own."""
NO_KERNEL_IMAGE = "no kernel image is available"  # 209
DRIVER = (
    "driver version is insufficient",  # 35
    "NVIDIA driver on your system is too old",
    "unsupported display driver / cuda driver combination",  # 803
    "forward compatibility was attempted on non supported HW",  # 804
)
QUOTED = 300
"""Characters of the error that are quoted."""


@dataclass(frozen=True)
class Failure:
    """What went wrong, in words with what helps. ``context_gone``: nothing runs on the device in this process any
    more."""

    text: str
    context_gone: bool = False
    out_of_memory: bool = False


def of(error: BaseException, device: str) -> Failure | None:
    """What an error, or one that it was raised from, says about the device; None where it is not about one."""
    for one in _causes(error):
        found = _failure(one, device)
        if found is not None:
            return found
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__


def _failure(error: BaseException, device: str) -> Failure | None:
    said = str(error)
    first = next(iter(said.strip().splitlines()), "")[:QUOTED]
    quoted = f"{type(error).__name__}: {first}"
    if isinstance(error, DeviceLostError):
        return Failure(f"{device} is lost: {quoted}", context_gone=True)
    if not isinstance(error, (RuntimeError, MemoryError)):
        return None
    if any(words in said for words in CONTEXT_GONE):
        return Failure(
            f"{device}: the device's context is gone, cases after this one run in a fresh process: {quoted}; run this "
            "case alone with CUDA_LAUNCH_BLOCKING=1, or under compute-sanitizer, to see which kernel it was",
            context_gone=True,
        )
    if type(error).__name__ == "OutOfMemoryError" or ("CUDA" in said and any(word in said for word in OUT_OF_MEMORY)):
        return Failure(
            f"out of memory on {device}: {quoted}; free what else uses it (`nvidia-smi` lists it), choose a smaller "
            "case with -k, or a larger device with --perfgate-device",
            out_of_memory=True,
        )
    if NO_KERNEL_IMAGE in said:
        return Failure(
            f"{device}: a library was not compiled for this device's compute capability: {quoted}; "
            'python -c "import torch; print(torch.cuda.get_arch_list(), torch.cuda.get_device_capability())" tells '
            "torch's and the device's; install a build for it"
        )
    if any(words in said for words in DRIVER):
        return Failure(
            f"{device}: the driver does not fit the library: {quoted}; update the driver and reboot, or install a "
            "build for the driver that is there (`nvidia-smi` tells the highest CUDA version it serves)"
        )
    return None


def free_memory(accelerator: Accelerator | None, frames: TracebackType) -> None:
    """After a case ran out of memory: drop what its frames still hold, so that the next one finds room."""
    traceback.clear_frames(frames)
    gc.collect()
    if accelerator is not None:
        with suppress(RuntimeError):
            accelerator.clear()
