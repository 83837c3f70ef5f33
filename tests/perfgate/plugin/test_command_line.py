"""perfgate's options: their own names everywhere, short ones where a suite asks for them."""

from __future__ import annotations

import pytest
from perfgate.plugin.command_line import destination, strict

SHORT = """
    from perfgate.plugin import command_line

    def pytest_addoption(parser):
        command_line.add_short_names(parser, {names!r})
"""
PLAYWRIGHT = """
    def pytest_addoption(parser):
        parser.addoption("--device", dest="playwright_device")
"""


def test_destinations_are_pytests_own(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-report-dir=r", "--perfgate-judge")
    for name in ("report-dir", "judge", "measure-budget"):
        assert config.getoption(f"--perfgate-{name}") == config.getoption(destination(name))
    assert config.getoption(destination("report-dir")) == "r"


class TestShortNames:
    def test_without_a_suite_there_are_none(self, pytester: pytest.Pytester) -> None:
        with pytest.raises(pytest.UsageError, match="unrecognized arguments: --quick"):
            pytester.parseconfig("-p", "perfgate.plugin", "--quick")

    @pytest.mark.parametrize("line", [("--quick", "--device=cpu"), ("--perfgate-quick", "--perfgate-device=cpu")])
    def test_a_suite_has_both(self, pytester: pytest.Pytester, line: tuple[str, str]) -> None:
        pytester.makeconftest(SHORT.format(names=("quick", "device", "measure-budget")))
        config = pytester.parseconfig("-p", "perfgate.plugin", *line)
        assert config.getoption(destination("quick")) is True
        assert config.getoption("--device") == config.getoption("--perfgate-device") == "cpu"
        assert config.getoption("--measure-budget") is None

    def test_one_that_perfgate_does_not_have(self, pytester: pytest.Pytester) -> None:
        pytester.makeconftest(SHORT.format(names=("quikc",)))
        with pytest.raises(pytest.UsageError, match="perfgate has no option --perfgate-quikc; it has: device, quick"):
            pytester.parseconfig("-p", "perfgate.plugin")

    def test_one_that_another_plugin_has(self, pytester: pytest.Pytester) -> None:
        pytester.makepyfile(other_plugin=PLAYWRIGHT)
        pytester.makeconftest(SHORT.format(names=("device",)))
        pytester.syspathinsert()
        with pytest.raises(pytest.UsageError, match=r"--device: .* another pytest plugin here; leave that plugin out"):
            pytester.parseconfig("-p", "perfgate.plugin", "-p", "other_plugin")


class TestStrict:
    @pytest.mark.parametrize(
        ("line", "addopts", "ini", "environment", "expected"),
        [
            ((), "", "", "", False),
            (("--perfgate-strict",), "", "", "", True),
            ((), "--perfgate-strict", "", "", True),
            ((), "", "", "--perfgate-strict", True),
            ((), "", "perfgate_strict = true", "", True),
            (("--strict",), "", "strict = true", "", False),
        ],
    )
    def test_from_everywhere_but_pytests_own(
        self,
        pytester: pytest.Pytester,
        monkeypatch: pytest.MonkeyPatch,
        line: tuple[str, ...],
        addopts: str,
        ini: str,
        environment: str,
        expected: bool,
    ) -> None:
        monkeypatch.setenv("PYTEST_ADDOPTS", environment)
        pytester.makeini(f"[pytest]\naddopts = {addopts}\n{ini}\n")
        assert strict(pytester.parseconfig("-p", "perfgate.plugin", *line)) is expected
