"""This process as one that measures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.machine import health, pinning
from perfgate.plugin import workbench

from tests.conftest import Project


class TestSession:
    def test_pins_are_in_every_record(self, project: Project) -> None:
        project.run()
        assert {record["pins"]["allocator"] for record in project.records().values()} == {"off: --no-pins"}


@pytest.fixture
def config(pytester: pytest.Pytester) -> pytest.Config:
    return pytester.parseconfig("-p", "perfgate.plugin")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a workbench does to this process and its devices."""
    found: list[str] = []
    monkeypatch.setattr(pinning, "pin_allocator", lambda: found.append("pinned") or "mallopt")
    monkeypatch.setattr(health, "read", lambda *devices: found.extend(f"read {one}" for one in devices) or IDLE)
    return found


IDLE = health.Health(0.0, 2**30, None)


class TestPrepare:
    def test_it_pins_once_and_not_before_it_is_asked(self, config: pytest.Config, done: list[str]) -> None:
        bench = workbench.Workbench(config, "cpu", pin=True)
        assert (bench.allocator, done) == (workbench.NOT_PINNED, [])
        bench.prepare()
        bench.prepare()
        assert (bench.allocator, done) == ("mallopt", ["pinned"])

    def test_without_pins_it_pins_nothing_and_says_so(self, config: pytest.Config, done: list[str]) -> None:
        bench = workbench.Workbench(config, "cpu", pin=False)
        bench.prepare()
        assert (bench.allocator, done) == (workbench.UNPINNED, [])

    def test_a_device_is_opened_by_the_first_case_alone(self, config: pytest.Config, done: list[str]) -> None:
        bench = workbench.Workbench(config, "cuda:0", pin=True)
        assert done == []
        bench.prepare()
        bench.prepare()
        assert done == ["read cuda:0", "pinned"]


class TestInstruments:
    def test_are_made_once_when_asked_for(self, config: pytest.Config) -> None:
        bench = workbench.Workbench(config, "cpu", pin=False)
        assert bench.accelerator is None
        made = bench.instruments
        assert bench.instruments is made
        assert made.accelerator is None
        assert (made.meter is None) == (made.no_meter is not None)

    def test_may_be_a_tests_own(self, config: pytest.Config) -> None:
        own: Any = SimpleNamespace(accelerator="an accelerator")
        bench = workbench.Workbench(config, "cpu", pin=False)
        bench.instruments = own
        assert bench.instruments is own
        assert bench.accelerator == "an accelerator"
