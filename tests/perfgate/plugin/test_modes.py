"""One session, one mode: a comparison, a refresh or an A/B run, and never two of them."""

from __future__ import annotations

from itertools import combinations

import pytest
from perfgate.plugin import modes, session
from perfgate.plugin.compare_mode import Gate
from perfgate.plugin.refresh_mode import Refresher
from perfgate.plugin.versus_mode import Versus

ASKED = {
    Gate: ("--benchmark-compare",),
    Refresher: ("--perfgate-refresh-baseline", "--perfgate-reason=because"),
    Versus: ("--perfgate-versus=a==1",),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the same whatever else is installed


def registered(pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.Config, modes.Mode | None]:
    plugins = ("-p", "pytest_benchmark.plugin", "-p", "perfgate.plugin")
    config = pytester.parseconfig(*plugins, "--perfgate-device=cpu", *arguments)
    modes.register(session.of(config))
    return config, config.stash.get(modes.MODE, None)


def test_a_plain_run_has_none(pytester: pytest.Pytester) -> None:
    assert registered(pytester)[1] is None


@pytest.mark.parametrize("kind", ASKED)
def test_an_option_registers_its_mode_which_has_nothing_to_tell_yet(pytester: pytest.Pytester, kind: type) -> None:
    config, mode = registered(pytester, *ASKED[kind])
    assert mode is not None
    assert type(mode) is kind
    assert config.pluginmanager.is_registered(mode)
    assert mode.sections() == []
    assert mode.replaces_suite is (kind is not Gate)


@pytest.mark.parametrize(("one", "other"), [*combinations(ASKED, 2)])
def test_two_are_refused(pytester: pytest.Pytester, one: type, other: type) -> None:
    with pytest.raises(pytest.UsageError, match="exclude each other"):
        registered(pytester, *ASKED[one], *ASKED[other])
