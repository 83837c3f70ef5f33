"""The command line and [tool.perfgate] become Settings, or an error that says what, got and allowed."""

from pathlib import Path

import pytest
from perfgate.options import Settings, from_config, pyproject_table


@pytest.fixture
def settings(pytester: pytest.Pytester):
    """Settings from a command line, in a project whose pyproject.toml holds ``table``."""

    def read(*arguments: str, table: str = "") -> Settings:
        pytester.makefile(".toml", pyproject=f"[tool.pytest.ini_options]\n[tool.perfgate]\n{table}")
        return from_config(pytester.parseconfig("-p", "perfgate.plugin", *arguments))

    return read


class TestValues:
    def test_defaults(self, settings, pytester: pytest.Pytester) -> None:
        assert settings() == Settings(report_dir=pytester.path / "perf-report")

    def test_every_option(self, settings, pytester: pytest.Pytester) -> None:
        line = ["--device=cuda:1", "--quick", "--measure-budget=2", "--measure-precision=3", "--report-dir=r"]
        assert settings(*line, "--no-pins") == Settings(
            device="cuda:1", quick=True, budget_s=2.0, precision=0.03, report_dir=pytester.path / "r", pin=False
        )

    def test_every_setting_of_the_project(self, settings, pytester: pytest.Pytester) -> None:
        table = """
            measure_budget_s = 2
            measure_precision = 0.03
            report_dir = "r"
            benchmarks = "perf"
            packages = ["numpy"]
        """
        assert settings(table=table) == Settings(
            budget_s=2.0, precision=0.03, report_dir=pytester.path / "r", benchmarks="perf", packages=("numpy",)
        )

    def test_the_command_line_wins(self, settings, pytester: pytest.Pytester) -> None:
        table = 'measure_budget_s = 2\nmeasure_precision = 0.03\nreport_dir = "r"'
        chosen = settings("--measure-budget=1", "--measure-precision=5", "--report-dir=s", table=table)
        assert (chosen.budget_s, chosen.precision, chosen.report_dir) == (1.0, 0.05, pytester.path / "s")

    def test_an_absolute_report_dir_stays_where_it_is(self, settings, tmp_path: Path) -> None:
        assert settings(f"--report-dir={tmp_path}").report_dir == tmp_path


class TestRefused:
    @pytest.mark.parametrize("value", ["0", "-1", "nan"])
    def test_a_budget_that_is_not_above_zero(self, settings, value: str) -> None:
        with pytest.raises(pytest.UsageError, match=f"--measure-budget: got {value}, expected seconds above 0"):
            settings(f"--measure-budget={value}")

    @pytest.mark.parametrize(("value", "got"), [("0", "0"), ("100", "100"), ("-1", "-1"), ("nan", "nan")])
    def test_a_precision_that_is_no_percentage(self, settings, value: str, got: str) -> None:
        message = rf"--measure-precision: got {got}\S*%, expected a percentage between 0 and 100"
        with pytest.raises(pytest.UsageError, match=message):
            settings(f"--measure-precision={value}")

    def test_a_report_dir_that_is_a_file(self, settings, pytester: pytest.Pytester) -> None:
        (pytester.path / "taken").touch()
        with pytest.raises(pytest.UsageError, match=r"--report-dir: .*taken is a file, expected a folder"):
            settings("--report-dir=taken")

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
