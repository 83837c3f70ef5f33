"""What a controller's processes are asked to run: its selection and what it measures, and nothing that is its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from perfgate.plugin import child_args

SUITE = """
def pytest_addoption(parser):
    group = parser.getgroup("suite")
    group.addoption("--model")
    group.addoption("--fast", action="store_true")
    group.addoption("--sizes", nargs="+")
    group.addoption("--max-memory")


def pytest_perfgate_own_options():
    return ["--max-memory"]
"""
PLUGIN = """
def pytest_addoption(parser):
    parser.addoption("--cov", nargs="?", const=True)
    parser.getgroup("processes")._addoption("-n", "--numprocesses")
    parser.addoption("--browser")
"""


@pytest.fixture
def installed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose suite has options, where another plugin is installed."""
    folder = pytester.path / "venv" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "other_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    pytester.makeconftest(SUITE)
    return pytester


def passed_on(pytester: pytest.Pytester, *given: str) -> tuple[list[str], list[str]]:
    """What a session that was given this passes on, without the plugins that the test itself names, and leaves out."""
    config = pytester.parseconfig("-p", "perfgate.plugin", "-p", "other_plugin", *given)
    passed, left_out = child_args.passed_on(config)
    for named in ("perfgate.plugin", "other_plugin"):
        at = passed.index(named)
        del passed[at - 1 : at + 1]
    return passed, left_out


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-xv", ""),
        ("-vvv", ""),
        ("-q -s -x --maxfail=3 --tb=short -rA", ""),
        ("--pdb --durations 5 --junitxml=a.xml --junit-xml a.xml", ""),
        ("--lf --ff --nf --sw --lfnf none --cache-clear", ""),
        ("--collect-only --basetemp=elsewhere", ""),
        ("--strict-markers -p no:cacheprovider -p no:terminal", ""),
        ("--benchmark-json a.json tests", "tests"),
        ("--benchmark-compare=0001 tests", "tests"),
        ("tests --benchmark-compare", "tests"),
        ("tests --benchmark-compare-fail mean:5% min:10%", "tests"),
        ("--benchmark-autosave tests --benchmark-columns min,max", "tests"),
        ("-k name", "-k name"),
        ("-kname", "-k name"),
        ("-k=name", "-k name"),
        ("-xvk name", "-k name"),
        ("-xvkname a.py", "a.py -k name"),
        ("-m slow -m=fast", "-m slow -m fast"),
        ("-k=-name", "-k=-name"),
        ("--deselect a.py::test", "--deselect=a.py::test"),
        ("--deselect=a.py::test[x] b.py::test[1-2]", "b.py::test[1-2] --deselect=a.py::test[x]"),
        ("-v --ignore a --ignore-glob=b*", "--ignore=a --ignore-glob=b*"),
        ("-v -k x -- tests more", "tests more -k x"),
        ("--rootdir . --noconftest --assert=plain", "--rootdir=. --noconftest --assert=plain"),
        ("--import-mode=importlib --runxfail -W error", "--import-mode=importlib --runxfail -W error"),
        ("-o xfail_strict=true -p no:faulthandler", "-o xfail_strict=true -p no:faulthandler"),
        ("--model x a.py", "a.py --model=x"),
        ("--fast --model=-1 --sizes 1 2", "--fast --model=-1 --sizes 1 2"),
        ("a.py --max-memory 2GiB", "a.py"),
        ("--perfgate-quick --perfgate-device cpu", "--perfgate-quick --perfgate-device=cpu"),
        ("--perfgate-measure-budget=2 --perfgate-no-pins", "--perfgate-measure-budget=2 --perfgate-no-pins"),
        ("--perfgate-versus x --perfgate-versus-budget=5 --perfgate-judge --perfgate-strict", ""),
        ("--perfgate-report-dir r --perfgate-no-html --perfgate-inject slow=5% --perfgate-alias a=b", ""),
    ],
)
def test_only_what_is_listed_is_passed_on(installed: pytest.Pytester, given: str, expected: str) -> None:
    assert passed_on(installed, *given.split()) == (expected.split(), [])


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ("--cov", "--cov"),
        ("--cov=x tests", "--cov=x"),
        ("-n 2 tests", "-n 2"),
        ("-n2 --browser firefox tests", "-n 2 --browser=firefox"),
    ],
)
def test_other_plugins_options_stay_and_are_named(installed: pytest.Pytester, given: str, left_out: str) -> None:
    passed, left = passed_on(installed, *given.split())
    assert passed == (["tests"] if "tests" in given else [])
    assert left == left_out.split()


def test_a_suite_names_other_plugins_options_that_count(installed: pytest.Pytester) -> None:
    installed.makeconftest("def pytest_perfgate_measuring_options():\n    return ['--browser']\n")
    assert passed_on(installed, "--browser=firefox", "--cov=x") == (["--browser=firefox"], ["--cov=x"])


def test_a_suites_short_names_become_perfgates_own(installed: pytest.Pytester) -> None:
    """Which processes of every revision know."""
    installed.makeconftest(
        "from perfgate.plugin import command_line\n\n\ndef pytest_addoption(parser):\n"
        "    command_line.add_short_names(parser, ['quick', 'device', 'versus', 'report-dir', 'judge'])\n"
    )
    given = ["--quick", "--device=cpu", "--versus", "x", "--report-dir", "r", "--judge"]
    assert passed_on(installed, *given) == (["--perfgate-quick", "--perfgate-device=cpu"], [])


def test_addopts_and_the_environment_count_in_pytests_order(
    installed: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.makeini("[pytest]\naddopts = -m 'not slow' --cov=x -v --import-mode=importlib\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--perfgate-quick --perfgate-reason='more words' -k 'a or b'")
    passed, left_out = passed_on(installed, "-m", "slow", "tests")
    assert passed == [
        *("tests", "-m", "not slow", "--import-mode=importlib"),
        *("--perfgate-quick", "-k", "a or b", "-m", "slow"),
    ]
    assert left_out == ["--cov=x"]
    said: list[str] = []
    config = installed.parseconfig("-p", "perfgate.plugin", "-p", "other_plugin")
    first = child_args.arguments(config, said.append)
    assert child_args.arguments(config, said.append) == first
    assert len(said) == 1
    assert "not passed on to the processes that measure: --cov=x;" in said[0]


def test_paths_of_the_project_are_relative(installed: pytest.Pytester, tmp_path: Path) -> None:
    """One side of a comparison may run in another checkout."""
    given = installed.path / "perf" / "test_a.py"
    passed, _ = passed_on(installed, f"{given}::test[a::/b]", f"--rootdir={installed.path}", f"--ignore={tmp_path}")
    assert passed == ["perf/test_a.py::test[a::/b]", "--rootdir=.", f"--ignore={tmp_path}"]
