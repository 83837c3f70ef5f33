"""How every pytest that measures for this one is started."""

from __future__ import annotations

import os
import sys

import pytest
from perfgate.lockstep import child_process
from perfgate.machine.process_tree import FAMILY
from perfgate.measure import fault_injection
from perfgate.measure.fault_injection import ENVIRONMENT as FAULTS


def test_a_child_ignores_addopts_and_nobody_traces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COV_CORE_SOURCE", "COVERAGE_PROCESS_START", "COVERAGE_FILE", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "x")
    command = child_process.command(["python"], ["tests"], "--mine")
    assert command == ["python", "tests", "--mine", "-o", "addopts=", "-q", "-p", "no:cacheprovider"]
    environment = child_process.environment(["slow=5%"], {"MORE": "1"})
    assert not any(name.startswith(child_process.TRACING) for name in environment)
    assert environment["COVERAGE_FILE"] == "x"
    assert (environment["PYTEST_ADDOPTS"], environment["MORE"]) == ("", "1")


def test_a_child_belongs_to_its_controllers_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where that one is itself a child: one run's processes are expected on the device, whoever started them."""
    monkeypatch.delenv(FAMILY, raising=False)
    assert child_process.environment([], {})[FAMILY] == str(os.getpid())
    monkeypatch.setenv(FAMILY, "7")
    assert child_process.environment([], {})[FAMILY] == "7"


def test_what_is_none_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setenv("KMP_BLOCKTIME", "1")
    environment = child_process.environment([], {"MKL_CBWR": None, "KMP_BLOCKTIME": "0"})
    assert "MKL_CBWR" not in environment
    assert environment["KMP_BLOCKTIME"] == "0"


def test_faults_are_those_of_this_child_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FAULTS, "wrong")
    assert injected(child_process.environment([], {})) == ()
    assert injected(child_process.environment(["slow=5%", "memory=1MiB@a/*"], {})) == ("slow=5%", "memory=1MiB@a/*")


def injected(environment: dict[str, str]) -> tuple[str, ...]:
    """What a process with this environment injects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FAULTS, environment[FAULTS])
        return tuple(fault.text for fault in fault_injection.injected(()))


def test_a_worker_is_pinned_to_one_core_or_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "usable_cores", lambda: 8)
    one = child_process.pins(3, all_cores=False)
    assert (one["OMP_NUM_THREADS"], one["PERFGATE_WORKER_CORE"]) == ("1", "3")
    assert "PERFGATE_WORKER_CORE" not in child_process.pins(None, all_cores=False)
    every = child_process.pins(3, all_cores=True)
    assert "PERFGATE_WORKER_CORE" not in every
    assert (every["OMP_NUM_THREADS"], every["OMP_WAIT_POLICY"]) == ("8", "PASSIVE"), "who waits must not spin"
    assert every.keys() >= child_process.PINS.keys()


@pytest.mark.parametrize(
    ("started", "flags"), [("/x/site-packages/pytest/__main__.py", []), ("/x/bin/pytest", ["-P"]), ("-c", ["-P"])]
)
def test_a_child_finds_what_lies_in_the_current_folder_only_if_its_controller_does(
    started: str, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "tests"])
    assert child_process.flags() == flags
