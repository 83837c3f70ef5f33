"""Names under which older revisions of a suite know perfgate."""

from __future__ import annotations

import pytest
from perfgate.plugin import command_line, former_names

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
        assert known - set(former_names.OPTIONS) == {"strict", "baselines"}  # which came after the prefix
        assert set(former_names.OPTIONS) <= known
