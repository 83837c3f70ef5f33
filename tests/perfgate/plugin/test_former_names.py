"""Names under which older revisions of a suite know perfgate."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import perfgate
import pytest
from perfgate import measure
from perfgate.plugin import command_line, former_names, session

from tests.perfgate.plugin.test_command_line import SHORT


class TestOptions:
    def test_a_worker_has_all_that_there_were(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        """An older revision's suite registers none, and asks for some; a newer one registers its own again."""
        monkeypatch.setenv("PERFGATE_WORKER_PIPES", "3,4")
        pytester.makeconftest(SHORT.format(names=("quick", "device")))
        config = pytester.parseconfig("-p", "perfgate.plugin", "--quick", "--all-cases")
        former_names.set_options(config)
        assert config.getoption("quick") is True
        assert config.getoption("all_cases") is True
        assert config.getoption("doctor") is False
        assert config.getoption("--refresh-baseline", None) is False

    def test_former_names_are_those_of_options(self) -> None:
        known = {name for _, _, options in command_line.GROUPS for name in options}
        assert known - set(former_names.OPTIONS) == {
            "anchor",
            "compare",
            "strict",
            "baselines",
        }  # which came after the prefix
        assert set(former_names.OPTIONS) <= known


class TestInstall:
    @pytest.fixture(autouse=True)
    def forget(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything that a worker's process gets is taken back afterwards."""
        for old in former_names.MODULES:
            monkeypatch.setitem(sys.modules, f"perfgate.{old}", ModuleType(old))
            monkeypatch.setattr(perfgate, old, None, raising=False)
        for name in former_names.NAMES:
            monkeypatch.setattr(measure, name, None, raising=False)
        for name in ("RUN", "relative"):
            monkeypatch.setattr(session, name, None, raising=False)

    @pytest.mark.parametrize(("old", "new"), former_names.MODULES.items())
    def test_a_module_is_found_where_it_stood(self, old: str, new: str) -> None:
        former_names.install()
        now = importlib.import_module(f"perfgate.{new}")
        assert importlib.import_module(f"perfgate.{old}") is now
        assert getattr(perfgate, old) is now

    def test_names_of_the_former_module_measure(self) -> None:
        former_names.install()
        for name, where in former_names.NAMES.items():
            assert getattr(measure, name) is getattr(importlib.import_module(f"perfgate.{where}"), name)

    def test_a_session_is_found_by_its_former_key(self) -> None:
        former_names.install()
        assert vars(session)["RUN"] is session.CONTEXT
