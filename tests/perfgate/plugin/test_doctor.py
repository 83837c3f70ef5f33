"""The doctor: what this machine offers and which cases will run, without running any."""

import os
import subprocess
import sys

import pytest

from tests.conftest import Project


def test_it_tells_machine_meter_and_rows_and_runs_nothing(project: Project) -> None:
    source = (project.path / "test_sums.py").read_text()
    project.benchmark(
        source.replace("def test_sums(case, measure):", "def test_sums(case, measure):\n    open('ran', 'w')")
    )
    result = project.run("--perfgate-doctor")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "Machine key: ?*",
            "Device: cpu (asked for: auto)",
            "Clock: wall",
            "Memory meter: *",
            "Energy counter: *",
            "Pins: allocator off: --no-pins; * cores",
            "Versions: python *",
            "*sums/builtin-n10 *quick *yes*",
            "*sums/loop-n10 *yes*",
            "*sums/builtin-n99 *no: this machine cannot count to 99*",
        ]
    )
    result.stdout.no_fnmatch_line("*loop-n99*")
    assert not (project.path / "ran").exists()
    assert not (project.path / "perf-report").exists()


def test_a_suites_own_findings_are_in_it(project: Project) -> None:
    with (project.path / "conftest.py").open("a") as file:
        file.write("\ndef pytest_perfgate_doctor(config):\n    return [Section('x', 'Abacuses', ['Two abacuses.'])]\n")
    result = project.run("--perfgate-doctor")
    result.stdout.fnmatch_lines(["*- Abacuses -*", "Two abacuses.", "*sums/builtin-n10*"])


@pytest.mark.parametrize(
    ("meter", "said"),
    [
        ("memory.FakeMeter(memory.BALLAST_BYTES)", "Memory meter: fake, reads a known allocation right"),
        ("memory.FakeMeter(0)", "Memory meter: broken: memory meter 'fake' read 0 bytes*"),
    ],
)
def test_the_meter_is_tried(project: Project, monkeypatch: pytest.MonkeyPatch, meter: str, said: str) -> None:
    from perfgate.measure import memory

    monkeypatch.setattr(memory, "of", lambda device: eval(meter, {"memory": memory}))  # noqa: S307  # from above
    project.run("--perfgate-doctor").stdout.fnmatch_lines([said])


def test_a_folder_without_benchmarks(project: Project) -> None:
    project.benchmark("def test_plain(): pass")
    project.run("--perfgate-doctor").stdout.fnmatch_lines(["No benchmark cases were found."])


class TestCommand:
    def doctor(self, project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "pytest_benchmark.plugin"}
        program = [sys.executable, "-m", "perfgate", "doctor", *arguments]
        return subprocess.run(program, cwd=project.path, env=environ, capture_output=True, text=True, check=False)

    def test_it_looks_where_the_project_keeps_its_benchmarks(self, project: Project) -> None:
        project.pytester.makepyprojecttoml("[tool.pytest.ini_options]\n[tool.perfgate]\nbenchmarks = 'speed'")
        (project.path / "speed").mkdir()
        (project.path / "test_sums.py").rename(project.path / "speed" / "test_sums.py")
        (project.path / "test_other.py").write_text("def test_other(): raise SystemExit('collected')")
        done = self.doctor(project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "sums/builtin-n10" in done.stdout
        assert "Pins: allocator off: not pinned yet" not in done.stdout

    @pytest.mark.parametrize(
        "arguments", [["test_sums.py", "-k", "loop-n10"], ["-k", "loop-n10"], ["test_sums.py::test_sums[loop-n10]"]]
    )
    def test_it_takes_what_pytest_takes(self, project: Project, arguments: list[str]) -> None:
        done = self.doctor(project, *arguments)
        assert "sums/loop-n10" in done.stdout
        assert "sums/builtin-n10" not in done.stdout

    def test_an_option_that_makes_no_sense(self, project: Project) -> None:
        done = self.doctor(project, "--perfgate-measure-budget", "0")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "--perfgate-measure-budget: got 0" in done.stderr

    def test_without_a_command_it_says_which_there_are(self, project: Project) -> None:
        program = [sys.executable, "-m", "perfgate"]
        done = subprocess.run(program, cwd=project.path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "doctor" in done.stderr
