"""How every pytest that measures for this one is started."""

from __future__ import annotations

import pytest
from perfgate.lockstep import child_process


def test_a_child_ignores_addopts_and_nobody_traces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COV_CORE_SOURCE", "COVERAGE_PROCESS_START", "COVERAGE_FILE", "PYTEST_ADDOPTS"):
        monkeypatch.setenv(name, "x")
    command = child_process.command(["python"], ["tests"], "--mine")
    assert command == ["python", "tests", "--mine", "-o", "addopts=", "-q", "-p", "no:cacheprovider"]
    environment = child_process.environment(["slow=5%"], {"MORE": "1"})
    assert not any(name.startswith(child_process.TRACING) for name in environment)
    assert environment["COVERAGE_FILE"] == "x"
    assert (environment["PYTEST_ADDOPTS"], environment["MORE"]) == ("", "1")
