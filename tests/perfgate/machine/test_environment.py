"""The machine, its devices and its versions."""

import importlib.metadata
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from perfgate.machine import environment
from perfgate.machine.environment import DeviceError, resolve_device

from tests.support.repository import git

MACHINE = {
    "cpu": "AMD EPYC(TM) 7B13",
    "vector_instructions": "avx2",
    "cores": 2,
    "memory_bytes": 25_000_000_000,
    "device": "cpu",
}


def torch_version(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """Pretend that this torch, or none, is installed."""

    def installed(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)


def accelerators(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Pretend that torch finds ``count`` CUDA devices."""
    torch_version(monkeypatch, "2.13.0")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))


class TestDevice:
    def test_cpu_needs_no_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch_version(monkeypatch, None)
        assert resolve_device("cpu") == "cpu"

    @pytest.mark.parametrize("version", [None, "2.13.0+cpu"])
    def test_auto_without_an_accelerator_build_does_not_even_ask_torch(
        self, monkeypatch: pytest.MonkeyPatch, version: str | None
    ) -> None:
        accelerators(monkeypatch, 1)  # would be found if torch were asked
        torch_version(monkeypatch, version)
        assert resolve_device("auto") == "cpu"

    @pytest.mark.parametrize(
        ("name", "count", "device"),
        [("auto", 0, "cpu"), ("auto", 1, "cuda:0"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")],
    )
    def test_found(self, monkeypatch: pytest.MonkeyPatch, name: str, count: int, device: str) -> None:
        accelerators(monkeypatch, count)
        assert resolve_device(name) == device

    @pytest.mark.parametrize(
        ("name", "count", "message"),
        [
            ("cuda", 0, "no such device .* finds no accelerator.*; use --perfgate-device cpu"),
            ("cuda:2", 2, "no such device .* finds 2 x cuda"),
            ("mps", 1, "no such device .* finds 1 x cuda"),
            ("gpu", 1, "not a device name; allowed: auto, cpu, cuda, cuda:N"),
            ("", 1, "not a device name"),
        ],
    )
    def test_not_found(self, monkeypatch: pytest.MonkeyPatch, name: str, count: int, message: str) -> None:
        accelerators(monkeypatch, count)
        with pytest.raises(DeviceError, match=f"--perfgate-device {name}: .*{message}"):
            resolve_device(name)

    def test_an_accelerator_without_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch_version(monkeypatch, None)
        with pytest.raises(DeviceError, match="torch is not installed; use --perfgate-device cpu, or install"):
            resolve_device("cuda")


def test_versions_name_what_is_installed_and_leave_out_what_is_not() -> None:
    found = environment.versions(("hypothesis", "no-such-package"))
    assert found["hypothesis"] == importlib.metadata.version("hypothesis")
    assert {"python", "pytest", "pytest-benchmark"} <= set(found)
    assert "no-such-package" not in found


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
class TestCommit:
    def test_clean_then_dirty(self, tmp_path: Path) -> None:
        git(tmp_path, "init", "-q")
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
        head = git(tmp_path, "rev-parse", "HEAD")
        assert environment.commit(tmp_path) == {"commit": head, "dirty": False}
        (tmp_path / "new").touch()
        assert environment.commit(tmp_path) == {"commit": head, "dirty": True}

    def test_outside_a_checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert environment.commit(tmp_path) == {"commit": None, "dirty": None}


def test_variables_that_choose_threads_kernels_or_precision_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(environment.COMPUTING)]:
        monkeypatch.delenv(name)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "HOME", "MY_OMP_"):
        monkeypatch.setenv(name, "1")
    assert environment.variables() == {"CUDA_LAUNCH_BLOCKING": "1", "OMP_NUM_THREADS": "1"}


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.commit(tmp_path) == {"commit": None, "dirty": None}


class TestMachine:
    def test_on_a_cpu(self) -> None:
        described = environment.machine("cpu")
        assert described["memory_bytes"] == psutil.virtual_memory().total
        assert 1 <= described["cores"] <= (os.cpu_count() or 1)
        assert described["cpu"] == environment.cpu_model() != ""
        assert "accelerator" not in described

    def test_on_an_accelerator(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = SimpleNamespace(
            get_device_properties=lambda device: SimpleNamespace(name="NVIDIA H200", total_memory=139 * 2**30),
            device_count=lambda: 8,
        )
        monkeypatch.setattr(torch, "get_device_module", lambda device: module)
        described = environment.machine("cuda:0")
        assert (described["accelerator"], described["accelerators"]) == ("NVIDIA H200", 8)
        assert environment.machine_key(described) == "8x-nvidia-h200-139gib"

    def test_the_key_of_a_cpu_names_model_cores_and_memory(self) -> None:
        assert environment.machine_key(MACHINE) == "amd-epyc-tm-7b13-avx2-2c-23gib"
        assert environment.machine_key(MACHINE | {"vector_instructions": None}) == "amd-epyc-tm-7b13-2c-23gib"

    @pytest.mark.parametrize(
        "change",
        [{"cpu": "other"}, {"vector_instructions": "avx512f"}, {"cores": 4}, {"memory_bytes": 50_000_000_000}],
        ids=["cpu", "vectors", "cores", "memory"],
    )
    def test_what_determines_speed_changes_the_key(self, change: dict[str, Any]) -> None:
        assert environment.machine_key(MACHINE | change) != environment.machine_key(MACHINE)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", "avx512_bf16"),
            ("flags\t\t: fpu avx2\nflags\t\t: fpu avx512f\n", "avx2"),
            ("Features\t: fp asimd sve\n", "sve"),
            ("flags\t\t: fpu\n", None),
            ("", None),
        ],
    )
    def test_the_widest_vectors(self, monkeypatch: pytest.MonkeyPatch, text: str, found: str | None) -> None:
        monkeypatch.setattr(Path, "read_text", lambda path, **_: text)
        monkeypatch.setattr(Path, "is_file", lambda path: True)
        assert environment.vector_instructions() == found

    def test_a_few_bytes_less_after_an_upgrade_do_not(self) -> None:
        less = MACHINE | {"memory_bytes": MACHINE["memory_bytes"] - 4096, "system": "Linux 9"}
        assert environment.machine_key(less) == environment.machine_key(MACHINE)


def test_a_cpu_has_no_driver() -> None:
    assert environment.driver("cpu") is None


@pytest.fixture
def matmul() -> Iterator[Any]:
    """torch's own settings of matrix products, put back afterwards."""
    settings = torch.backends.cuda.matmul
    before = settings.allow_tf32, settings.allow_bf16_reduced_precision_reduction
    yield settings
    settings.allow_tf32, settings.allow_bf16_reduced_precision_reduction = before


class TestMatmulSettings:
    @pytest.mark.parametrize(("reduced", "precision"), [(True, "tf32"), (False, "ieee")])
    def test_are_what_torch_was_told(self, matmul: Any, reduced: bool, precision: str) -> None:
        matmul.allow_tf32 = matmul.allow_bf16_reduced_precision_reduction = reduced
        found = environment.matmul_settings("cuda:1")
        assert (found["fp32_precision"], found["allow_bf16_reduced_precision_reduction"]) == (precision, reduced)

    @pytest.mark.parametrize("device", ["cpu", "xpu:0"])
    def test_do_not_concern_other_devices(self, device: str) -> None:
        assert environment.matmul_settings(device) == {}

    def test_the_installed_torch_has_every_one(self) -> None:
        assert environment.matmul_settings("cuda:0").keys() == {*environment.MATMUL_SETTINGS}

    def test_what_an_older_torch_lacks_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_fp16_accumulation=True))
        assert environment.matmul_settings("cuda:0") == {"allow_fp16_accumulation": True}
