"""What a controller's processes are asked to run: its selection, and none of its own options."""

from __future__ import annotations

import argparse

import pytest
import pytest_benchmark.plugin
from perfgate.plugin.child_args import BENCHMARK_FLAGS, BENCHMARK_MANY, arguments, process_arguments, worker_arguments


@pytest.mark.parametrize("prefix", ["--perfgate-", "--"])
def test_workers_get_the_selection_and_none_of_the_controllers_options(prefix: str) -> None:
    """By whichever name: a suite has short ones."""
    theirs = [f"{prefix}versus", "x", f"{prefix}versus-budget=5", f"{prefix}report-dir", "r", "-x", f"{prefix}judge"]
    own = ["--benchmark-disable", "-q", "-p", "no:cacheprovider"]
    given = ["perf", "-k", "nf4", *theirs, f"{prefix}quick", "--perfgate-strict"]
    assert worker_arguments(given) == ["perf", "-k", "nf4", f"{prefix}quick", *own]
    assert worker_arguments(["--benchmark-json=a.json", "-vv", "tests"]) == ["tests", *own]


def test_what_the_environment_adds_is_passed_on_too(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--perfgate-quick --perfgate-reason='more words' -k 'a or b'")
    config = pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-device=cpu")
    given = arguments(config)
    at = given.index("--perfgate-quick")
    assert given[at : at + 3] == ["--perfgate-quick", "-k", "a or b"]
    assert given.index("--perfgate-device=cpu") > at


@pytest.mark.parametrize(
    "given",
    [
        ["--benchmark-json", "a.json", "tests"],
        ["--benchmark-compare", "0001", "tests"],
        ["tests", "--benchmark-compare"],
        ["tests", "--benchmark-compare-fail", "mean:5%", "min:10%"],
        ["--benchmark-quiet", "tests"],
        ["--benchmark-autosave", "tests", "--last-failed"],
        ["--junit-xml", "a.xml", "tests", "--maxfail=1", "--sw"],
    ],
)
def test_values_of_the_controllers_options_are_no_paths_to_collect(given: list[str]) -> None:
    assert process_arguments(given) == ["tests"]


def test_every_flag_of_pytest_benchmark_is_known() -> None:
    parser = argparse.ArgumentParser()

    class Group:
        addoption = staticmethod(parser.add_argument)

    class Parser:
        getgroup = staticmethod(lambda *_: Group)

    pytest_benchmark.plugin.pytest_addoption(Parser)
    options = {name: one for one in parser._actions for name in one.option_strings if name.startswith("--benchmark")}
    assert {name for name, one in options.items() if one.nargs == 0} == set(BENCHMARK_FLAGS)
    assert [name for name, one in options.items() if one.nargs == "+"] == [BENCHMARK_MANY]


def test_a_suites_own_options_stay_with_the_controller() -> None:
    given = ["perf", "--max-memory", "2GiB", "--min-quality=0.9", "--perfgate-quick", "--perfgate-no-html"]
    assert process_arguments(given, ["--max-memory", "--min-quality"]) == ["perf", "--perfgate-quick"]
    assert process_arguments(given) == given[:-1]
