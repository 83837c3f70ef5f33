"""Energy counters: a folder like Linux's, and a stand-in for NVML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynvml
import pytest
from perfgate.machine import energy, nvml
from perfgate.machine.device_health import DeviceLostError


def package(folder: Path, number: int, name: str, microjoules: str, largest: str = "1000000") -> Path:
    one = folder / f"intel-rapl:{number}"
    one.mkdir()
    (one / "name").write_text(f"{name}\n")
    (one / "energy_uj").write_text(f"{microjoules}\n")
    (one / "max_energy_range_uj").write_text(f"{largest}\n")
    return one


def test_whole_packages_are_added_and_their_parts_are_in_them(tmp_path: Path) -> None:
    first, second = (package(tmp_path, number, f"package-{number}", "100") for number in (0, 1))
    package(tmp_path, 2, "dram", "7")
    counter = energy.of("cpu", tmp_path)
    assert counter is not None
    assert energy.why_none("cpu", tmp_path) is None
    before = counter.read()
    (first / "energy_uj").write_text("250100")
    (second / "energy_uj").write_text("500100")
    assert counter.joules(before, counter.read()) == 0.75


def test_a_counter_that_went_round(tmp_path: Path) -> None:
    one = package(tmp_path, 0, "package-0", "900000", largest="999999")
    counter = energy.of("cpu", tmp_path)
    assert counter is not None
    before = counter.read()
    (one / "energy_uj").write_text("150000")
    assert counter.joules(before, counter.read()) == 0.25


@pytest.mark.parametrize(
    ("microjoules", "why"), [(None, "shows no counters of packages"), ("x", "it cannot be read: invalid literal")]
)
def test_no_counter_is_said_and_is_no_zero(tmp_path: Path, microjoules: str | None, why: str) -> None:
    if microjoules is not None:
        package(tmp_path, 0, "package-0", microjoules)
    assert energy.of("cpu", tmp_path) is None
    assert why in (energy.why_none("cpu", tmp_path) or "")


def test_a_counter_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = package(tmp_path, 0, "package-0", "1")
    read = Path.read_text

    def refused(path: Path, *arguments: Any, **more: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **more)

    monkeypatch.setattr(Path, "read_text", refused)
    assert energy.why_none("cpu", tmp_path) == f"{one / 'energy_uj'} can be read by root alone"


def test_an_nvidia_device(card: Any) -> None:
    counter = energy.of("cuda:0")
    assert counter is not None
    before = counter.read()
    card.energy_mj += 2_500
    assert counter.joules(before, counter.read()) == 2.5


def test_a_device_that_does_not_count(card: Any) -> None:
    card.errors["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError_NotSupported()
    assert energy.of("cuda:0") is None
    assert energy.why_none("cuda:0") == "cuda:0 does not count its energy"


def test_a_lost_device_is_lost(card: Any) -> None:
    card.errors["nvmlDeviceGetTotalEnergyConsumption"] = pynvml.NVMLError_GpuIsLost()
    with pytest.raises(DeviceLostError):
        nvml.energy_mj("cuda:0")


def test_another_kind_of_device() -> None:
    assert energy.why_none("xpu:0") == "no counter is known for xpu:0"
