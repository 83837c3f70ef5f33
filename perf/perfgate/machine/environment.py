"""The machine and the versions: a fingerprint of what was measured, and a key for where."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from perfgate.machine import nvml
from perfgate.machine.pinning import usable_cores
from perfgate.records.case import slug

ALWAYS_RECORDED = ("perfgate", "pytest", "pytest-benchmark", "numpy")
COMPUTING = ("CUBLAS_", "CUDA_", "KMP_", "MKL_", "NVIDIA_TF32_", "OMP_", "OPENBLAS_", "PYTORCH_", "TORCH_ALLOW_")
"""How the names of environment variables begin that choose threads, kernels, allocators or precision."""
NOT_COMPUTING = frozenset({"CUDA_CACHE_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES"})
"""These say where something is; which device there is, the machine's key says."""
VECTOR_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")
"""The widest first."""
CPU_BUILD_MARK = "+cpu"
MATMUL_SETTINGS = (
    "fp32_precision",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
"""How exactly matrices are multiplied on CUDA devices, each a choice between speed and precision.

Source: torch 2.11 and 2.13, torch/backends/cuda/__init__.py, cuBLASModule."""


class DeviceError(ValueError):
    """A device that does not exist here; the message says which ones do."""


def resolve_device(name: str) -> str:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` to the device that will be used, like ``cpu`` or ``cuda:0``.

    torch is imported only where an accelerator is possible: not for ``cpu``, and for ``auto`` not when torch is
    missing or says in its version that it is a CPU build.

    Raises:
        DeviceError: the name is malformed or this machine has no such device.
    """
    if name == "cpu":
        return "cpu"
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = None
    if name == "auto" and (version is None or CPU_BUILD_MARK in version):
        return "cpu"
    if version is None:
        raise DeviceError(
            f"--perfgate-device {name}: torch is not installed; use --perfgate-device cpu, or install the extra 'suite'"
        )
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return "cpu" if accelerator is None else f"{accelerator.type}:0"
    try:
        wanted = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--perfgate-device {name}: not a device name; allowed: auto, cpu, cuda, cuda:N") from None
    found = "no accelerator" if accelerator is None else f"{torch.accelerator.device_count()} x {accelerator.type}"
    if (
        accelerator is None
        or wanted.type != accelerator.type
        or (wanted.index or 0) >= torch.accelerator.device_count()
    ):
        raise DeviceError(
            f"--perfgate-device {name}: this machine has no such device (torch {torch.__version__} finds {found}"
            f"{_why_no_cuda(torch) if accelerator is None and wanted.type == 'cuda' else ''}); "
            "use --perfgate-device cpu, or a torch build and a driver for it"
        )
    return f"{wanted.type}:{wanted.index or 0}"


def _why_no_cuda(torch: Any) -> str:
    """What torch and the driver say when they are asked for a CUDA device and find none, as a part of a sentence."""
    said = []
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as wrong:
        said.append(f"torch: {next(iter(str(wrong).splitlines()), '')}")
    driver = nvml.why_no_nvidia()
    if driver is not None:
        said.append(f"driver: {driver}")
    return "".join(f"; {one}" for one in said)


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of ``packages`` and of what perfgate itself stands on; missing ones are left out."""
    found = {"python": platform.python_version()}
    for package in (*ALWAYS_RECORDED, *packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def variables() -> dict[str, str]:
    """This process's environment variables that change how libraries compute."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(COMPUTING) and name not in NOT_COMPUTING
    }


def commit(root: Path) -> dict[str, Any]:
    """The checkout's commit and whether it has uncommitted changes; both None outside a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    identifier = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain") if identifier else None
    return {"commit": identifier, "dirty": None if changes is None else bool(changes)}


def cpu_model() -> str:
    """The processor's name as the operating system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def vector_instructions() -> str | None:
    """The widest vector instructions that the processor has, as Linux names them: two processors of one marketing name
    may differ there, and with them which kernels run. None where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return None
    lines = cpuinfo.read_text(errors="replace").splitlines()
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return next((name for name in VECTOR_INSTRUCTIONS if name in flags), None)


def machine(device: str) -> dict[str, Any]:
    """What determines speed here: processor, cores, memory in bytes, and on an accelerator its model and count."""
    out: dict[str, Any] = {
        "cpu": cpu_model(),
        "vector_instructions": vector_instructions(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
    }
    if device != "cpu":
        import torch

        module = torch.get_device_module(torch.device(device))
        properties = module.get_device_properties(device)
        out |= {
            "accelerator": properties.name,
            "accelerator_memory_bytes": int(properties.total_memory),
            "accelerators": module.device_count(),
        }
    return out


def machine_key(described: dict[str, Any]) -> str:
    """A folder name for baselines: what determines speed, and nothing that an upgrade changes."""
    gib = round(described["memory_bytes"] / 2**30)
    parts = [described["cpu"], described["vector_instructions"] or "", f"{described['cores']}c", f"{gib}gib"]
    if "accelerator" in described:
        accelerator_gib = round(described["accelerator_memory_bytes"] / 2**30)
        parts = [f"{described['accelerators']}x", described["accelerator"], f"{accelerator_gib}gib"]
    return slug("-".join(filter(None, parts)))


def driver(device: str) -> str | None:
    """The accelerator driver's version, or None on a CPU or where the driver does not tell."""
    version = Path("/sys/module/nvidia/version")
    if not device.startswith("cuda") or not version.is_file():
        return None
    return version.read_text().strip()


def matmul_settings(device: str) -> dict[str, Any]:
    """What torch is told about the precision of matrix products on ``device``, by torch's own names; empty for a kind
    of device that these settings do not concern. A program, a library and an image's environment can each change them,
    and with them a product's speed."""
    if not device.startswith("cuda"):
        return {}
    import torch

    matmul = torch.backends.cuda.matmul
    return {name: getattr(matmul, name) for name in MATMUL_SETTINGS if hasattr(matmul, name)}  # older ones have fewer
