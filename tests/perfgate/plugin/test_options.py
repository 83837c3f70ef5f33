"""The command line and [tool.perfgate] become Settings, or an error that says what, got and allowed."""

import re
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.compare.tolerances import Tolerances
from perfgate.measure.fault_injection import Fault
from perfgate.plugin.options import Settings, from_config, pyproject_table

from tests.conftest import Project


@pytest.fixture
def settings(pytester: pytest.Pytester):
    """Settings from a command line, in a project whose pyproject.toml holds ``table``."""

    def read(*arguments: str, table: str = "") -> Settings:
        pytester.makefile(".toml", pyproject=f"[tool.pytest.ini_options]\n[tool.perfgate]\n{table}")
        return from_config(pytester.parseconfig("-p", "perfgate.plugin", *arguments))

    return read


class TestValues:
    def test_defaults(self, settings, pytester: pytest.Pytester) -> None:
        assert settings() == Settings(report_dir=pytester.path / "perf-report", baselines=pytester.path / "baselines")

    def test_every_option(self, settings, pytester: pytest.Pytester) -> None:
        line = [
            "--perfgate-device=cuda:1",
            "--perfgate-quick",
            "--perfgate-measure-budget=2",
            "--perfgate-measure-precision=3",
            "--perfgate-report-dir=r",
        ]
        line += [
            "--perfgate-tolerance=2",
            "--perfgate-memory-tolerance=1",
            "--perfgate-inject=slow=5%@a/*",
            "--perfgate-inject=wrong",
            "--perfgate-baselines=b",
        ]
        assert settings(*line, "--perfgate-no-pins") == Settings(
            device="cuda:1",
            quick=True,
            budget_s=2.0,
            precision=0.03,
            report_dir=pytester.path / "r",
            pin=False,
            baselines=pytester.path / "b",
            tolerances=Tolerances(time=0.02, exact_relative=0.01),
            faults=(Fault("slow", 0.05, "a/*", "slow=5%@a/*"), Fault("wrong", 0.0, "*", "wrong")),
        )

    def test_every_setting_of_the_project(self, settings, pytester: pytest.Pytester) -> None:
        table = """
            measure_budget_s = 2
            measure_precision = 0.03
            report_dir = "r"
            benchmarks = "perf"
            packages = ["numpy"]
            sources = ["perf/*.py"]
            baselines = "stored"
            aliases = { "a/b" = "a/c" }
            tolerances = { time = 0.03, alpha = 0.02 }
            overrides = [{ cases = "a/*", time = 0.1 }, { cases = "a/b", exact_bytes = 5 }]
        """
        read = settings(table=table)
        assert read == Settings(
            budget_s=2.0,
            precision=0.03,
            report_dir=pytester.path / "r",
            benchmarks="perf",
            packages=("numpy",),
            sources=("perf/*.py",),
            baselines=pytester.path / "stored",
            aliases={"a/b": "a/c"},
            tolerances=Tolerances(time=0.03, alpha=0.02),
            overrides=(("a/*", {"time": 0.1}), ("a/b", {"exact_bytes": 5})),
        )
        assert read.tolerances_of("b/b") == Tolerances(time=0.03, alpha=0.02)
        assert read.tolerances_of("a/b") == Tolerances(time=0.1, alpha=0.02, exact_bytes=5)

    @pytest.mark.parametrize(
        ("line", "tiers"),
        [
            ([], ("quick", "default")),
            (["--perfgate-quick"], ("quick",)),
            (["--perfgate-all-cases"], ("quick", "default", "extra")),
        ],
    )
    def test_which_stored_cases_a_run_runs(self, settings, line: list[str], tiers: tuple[str, ...]) -> None:
        assert settings(*line).tiers == tiers

    def test_the_command_line_wins(self, settings, pytester: pytest.Pytester) -> None:
        table = 'measure_budget_s = 2\nmeasure_precision = 0.03\nreport_dir = "r"'
        chosen = settings(
            "--perfgate-measure-budget=1", "--perfgate-measure-precision=5", "--perfgate-report-dir=s", table=table
        )
        assert (chosen.budget_s, chosen.precision, chosen.report_dir) == (1.0, 0.05, pytester.path / "s")

    def test_an_absolute_report_dir_stays_where_it_is(self, settings, tmp_path: Path) -> None:
        assert settings(f"--perfgate-report-dir={tmp_path}").report_dir == tmp_path


class TestRefused:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("tolerances = { times = 1 }", "has no 'times'; known: time, exact_relative, exact_bytes, alpha"),
            ('tolerances = { time = "5%" }', "time = '5%' is no number"),
            ("tolerances = { time = 0 }", "tolerance time: got 0, expected a fraction above 0"),
            ("overrides = [{ time = 1 }]", 'expected cases = "PATTERN" and a tolerance'),
            ('overrides = [{ cases = "a" }]', 'expected cases = "PATTERN" and a tolerance'),
            ('overrides = [{ cases = "a", alpha = 0.1 }]', "has no 'alpha'; known: time, exact_relative, exact_bytes"),
            ("aliases = { a = 1 }", "aliases = {'a': 1} has the wrong type"),
        ],
    )
    def test_tolerances_and_aliases_that_make_no_sense(self, settings, table: str, message: str) -> None:
        with pytest.raises(pytest.UsageError, match=re.escape(message)):
            settings(table=table)

    @pytest.mark.parametrize("fault", ["slow", "slow=x", "wrong=1", "noise=5%", "", "slow=5%@"])
    def test_a_fault_that_does_not_exist(self, settings, fault: str) -> None:
        with pytest.raises(pytest.UsageError, match="--perfgate-inject: fault "):
            settings(f"--perfgate-inject={fault}")

    @pytest.mark.parametrize("value", ["0", "-1", "nan"])
    def test_a_budget_that_is_not_above_zero(self, settings, value: str) -> None:
        with pytest.raises(
            pytest.UsageError, match=f"--perfgate-measure-budget: got {value}, expected seconds above 0"
        ):
            settings(f"--perfgate-measure-budget={value}")

    @pytest.mark.parametrize(("value", "got"), [("0", "0"), ("100", "100"), ("-1", "-1"), ("nan", "nan")])
    def test_a_precision_that_is_no_percentage(self, settings, value: str, got: str) -> None:
        message = rf"--perfgate-measure-precision: got {got}\S*%, expected a percentage between 0 and 100"
        with pytest.raises(pytest.UsageError, match=message):
            settings(f"--perfgate-measure-precision={value}")

    def test_a_report_dir_that_is_a_file(self, settings, pytester: pytest.Pytester) -> None:
        (pytester.path / "taken").touch()
        with pytest.raises(pytest.UsageError, match=r"--perfgate-report-dir: .*taken is a file, expected a folder"):
            settings("--perfgate-report-dir=taken")

    def test_an_unknown_setting_and_the_known_ones(self, settings) -> None:
        with pytest.raises(pytest.UsageError, match=r"no setting 'budget'; known: measure_budget_s, measure_precision"):
            settings(table="budget = 5")

    @pytest.mark.parametrize(
        "line",
        [
            'measure_budget_s = "5"',
            "measure_budget_s = true",
            "report_dir = 5",
            'packages = "numpy"',
            "packages = [1]",
            "benchmarks = []",
        ],
    )
    def test_a_setting_of_the_wrong_type(self, settings, line: str) -> None:
        with pytest.raises(pytest.UsageError, match=rf"\[tool\.perfgate\] {line.split()[0]} = .* has the wrong type"):
            settings(table=line)

    def test_undecided_is_fail_or_pass(self, settings) -> None:
        with pytest.raises(pytest.UsageError, match=r"undecided = 'ignore'; allowed: \"fail\", \"pass\""):
            settings(table='undecided = "ignore"')


@pytest.mark.parametrize(
    ("table", "option", "fails"),
    [("", "", False), ('undecided = "fail"', "", True), ('undecided = "pass"', "--perfgate-strict", True)],
)
def test_whether_what_is_undecided_fails(settings, table: str, option: str, fails: bool) -> None:
    assert settings(*option.split(), table=table).undecided_fails is fails


class TestPyproject:
    def test_no_file_no_settings(self, tmp_path: Path) -> None:
        assert pyproject_table(tmp_path / "pyproject.toml") == {}

    @pytest.mark.parametrize("content", ["", "[project]\nname = 'x'", "[tool.other]\nx = 1"])
    def test_no_table_no_settings(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "pyproject.toml"
        path.write_text(content)
        assert pyproject_table(path) == {}

    def test_broken_toml_names_file_and_place(self, tmp_path: Path) -> None:
        path = tmp_path / "pyproject.toml"
        path.write_text("[tool.perfgate\n")
        with pytest.raises(pytest.UsageError, match=r"pyproject\.toml: not valid TOML: .*line 1"):
            pyproject_table(path)

    @pytest.mark.parametrize("content", ["[tool]\nperfgate = 5", "tool = 5"])
    def test_something_else_where_the_table_belongs(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "pyproject.toml"
        path.write_text(content)
        with pytest.raises(pytest.UsageError, match=r"\[tool\.perfgate\] is not a table"):
            pyproject_table(path)


class TestSession:
    """What makes no sense ends the session before it collects."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--perfgate-device=abacus"], "--perfgate-device abacus: *"),
            (["--perfgate-measure-budget=0"], "--perfgate-measure-budget: got 0, expected seconds above 0"),
            (["--perfgate-measure-budget=soon"], "*--perfgate-measure-budget: invalid float value: 'soon'"),
            (
                ["--perfgate-measure-precision=500"],
                "--perfgate-measure-precision: got 500*%, expected a percentage between 0 and 100",
            ),
            (
                ["--perfgate-report-dir=test_sums.py"],
                "--perfgate-report-dir: *test_sums.py is a file, expected a folder*",
            ),
        ],
    )
    def test_options_that_make_no_sense(self, project: Project, arguments: list[str], message: str) -> None:
        result = project.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*ERROR: {message}" if "invalid" not in message else message])

    def test_a_project_setting_that_does_not_exist(self, project: Project) -> None:
        project.pytester.makepyprojecttoml("[tool.pytest.ini_options]\n[tool.perfgate]\nbudget = 5")
        result = project.run()
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*pyproject.toml: [[]tool.perfgate] has no setting 'budget'; known: *"])
