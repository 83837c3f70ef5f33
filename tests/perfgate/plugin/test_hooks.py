"""The hooks, through a real pytest inside pytest: selection, tables, JSON, reports and exit codes."""

import itertools
import json
import os

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project

BUILTIN, LOOP, MANY = "sums/builtin-n10", "sums/loop-n10", "sums/builtin-n99"
ROUNDS = [1.0, 1.5, 1.25]


class TestSelection:
    def test_rows_run_skip_or_are_deselected(self, project: Project) -> None:
        result = project.run("-rs")
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(["SKIPPED*this machine cannot count to 99"])
        assert {key: record["status"] for key, record in project.records().items()} == {
            BUILTIN: "measured",
            LOOP: "measured",
            MANY: "skipped",
        }
        assert project.records()[MANY]["reason"] == "this machine cannot count to 99"

    def test_quick_keeps_a_subset_with_the_same_ids(self, project: Project) -> None:
        collect = ("--collect-only", "-q")
        default, quick = (
            {line for line in project.run(*collect, *more).outlines if "::" in line}
            for more in ((), ("--perfgate-quick",))
        )
        assert quick == {"test_sums.py::test_sums[builtin-n10]"}
        assert quick < default
        project.run(*collect, "--perfgate-quick").assert_outcomes(deselected=3)

    @pytest.mark.parametrize("expression", ["loop-n10", "loop and n10", "test_sums[loop-n10]"])
    def test_ids_are_selectable(self, project: Project, expression: str) -> None:
        chosen = [f"test_sums.py::{expression}"] if "[" in expression else ["-k", expression]
        project.run(*chosen).assert_outcomes(passed=1, deselected=0 if "[" in expression else 3)
        assert list(project.records()) == [LOOP]

    def test_two_rows_with_one_key_are_a_usage_error(self, project: Project) -> None:
        source = (project.path / "test_sums.py").read_text()
        project.benchmark(source.replace('how="loop", count=10', 'how="builtin", count=10'))
        result = project.run()
        assert result.ret != pytest.ExitCode.OK
        result.stdout.fnmatch_lines(
            [f"*two rows of one case table share the key '{BUILTIN}'; make their fields differ*"]
        )

    def test_a_benchmark_without_a_table_measures_too(self, project: Project) -> None:
        project.benchmark("""
            import pytest

            @pytest.mark.parametrize("size", [3, 4])
            def test_plain(measure, size):
                measure(sum, range(size))
        """)
        project.run().assert_outcomes(passed=2)
        assert list(project.records()) == ["test_plain/3", "test_plain/4"]


class TestPytestBenchmark:
    def test_its_json_holds_our_samples_and_our_records(self, project: Project) -> None:
        project.run("--benchmark-json=out.json")
        data = json.loads((project.path / "out.json").read_text())
        assert [bench["group"] for bench in data["benchmarks"]] == ["sums", "sums"]
        for bench in data["benchmarks"]:
            record = bench["extra_info"]["perfgate"]
            samples = record["metrics"]["latency_s"]["samples"]
            assert bench["stats"]["data"] == pytest.approx(samples)
            assert bench["stats"]["rounds"] == len(samples)
            assert record == project.records()[record["case"]["key"]]
        assert {name: data["perfgate"][name] for name in ("schema", "machine_key", "ledger", "settings")} == {
            name: project.results()["session"][name] for name in ("schema", "machine_key", "ledger", "settings")
        }

    def test_the_samples_are_the_rounds_of_the_clock(self, project: Project) -> None:
        project.run("-k", "builtin-n10")
        samples = project.records()[BUILTIN]["metrics"]["latency_s"]["samples"]
        around = list(itertools.islice(itertools.cycle(ROUNDS), len(samples)))
        turns = [around, *([*ROUNDS[n:], *around][: len(samples)] for n in (1, 2))]
        assert any(samples == pytest.approx(turn) for turn in turns)

    def test_verbose_and_save_still_work(self, project: Project) -> None:
        result = project.run("--benchmark-save=first", "--benchmark-verbose", "-k", "loop-n10")
        result.assert_outcomes(passed=1, deselected=3)
        assert len(list(project.path.glob(".benchmarks/*/0001_first.json"))) == 1
        assert not (project.path / "baselines").exists()

    def test_other_benchmarks_keep_their_own_timer(self, project: Project) -> None:
        project.benchmark("""
            def test_theirs(benchmark):
                benchmark.pedantic(lambda: None, rounds=3)
        """)
        result = project.run("--benchmark-columns=rounds")
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["test_theirs*3"])
        assert not (project.path / "perf-report").exists()


class TestDisabled:
    def test_benchmarks_run_once_and_say_that_nothing_was_measured(self, project: Project) -> None:
        result = project.run("--benchmark-disable")
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(["*ran once as plain tests; nothing was measured"])
        assert not (project.path / "perf-report").exists()

    def test_also_where_the_first_case_is_skipped(self, project: Project) -> None:
        """A report of nothing but the skipped case must not replace the one that is there."""
        project.run()
        before = project.results()
        rows = "def test_sums(", "@cases(lambda config: reversed([*table(config)]))\ndef test_sums("
        project.benchmark((project.path / "test_sums.py").read_text().replace("@cases(table)\n", "").replace(*rows))
        project.run("--benchmark-disable").assert_outcomes(passed=2, skipped=1, deselected=1)
        assert project.results() == before

    def test_a_wrong_result_still_fails(self, project: Project) -> None:
        project.benchmark((project.path / "test_sums.py").read_text().replace("total == 45", "total == 46"))
        project.run("--benchmark-disable").assert_outcomes(failed=2, skipped=1, deselected=1)

    def test_a_run_without_benchmarks_says_nothing_about_them(self, project: Project) -> None:
        project.benchmark("def test_plain(): pass")
        result = project.run("--benchmark-disable")
        result.stdout.no_fnmatch_line("*nothing was measured*")


class TestReport:
    def test_terminal_markdown_and_json_show_the_same_figures(self, project: Project) -> None:
        result = project.run()
        record = project.records()[LOOP]
        assert min(ROUNDS) <= record["metrics"]["latency_s"]["value"] <= max(ROUNDS)
        assert record["metrics"]["peak_memory_bytes"]["value"] == 2 * 2**20
        milliseconds = f"{record['metrics']['latency_s']['value'] * 1000:,.1f}"
        result.stdout.fnmatch_lines([f"*{LOOP} *{milliseconds} *2.0*"])
        assert f"| {LOOP} | {milliseconds} | 2.0 |" in project.summary().splitlines()
        rows = {row["case"]: row for row in project.results()["sections"]["sums"]["rows"]}
        assert rows[LOOP]["latency_s"] == record["metrics"]["latency_s"]["value"]

    def test_a_suites_section_is_in_all_three(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines(["*- All the sums -*", "Sums of small numbers.", "*- a note on sums"])
        lines = project.summary().splitlines()
        assert {"## All the sums", "Sums of small numbers.", "- a note on sums"} <= set(lines)
        section = project.results()["sections"]["sums"]
        assert [section["title"], section["notes"]] == ["All the sums", ["a note on sums"]]

    def test_a_line_for_each_case_as_it_finishes(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines([f"perfgate: [[]1/3] {BUILTIN}: * s, peak 2.0 MiB*"])

    def test_the_plan_comes_first(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines(
            ["perfgate: 3 cases on cpu (3 sums)*", "perfgate: 1 of them cannot run here*doctor*"]
        )

    def test_the_next_run_knows_how_long_the_cases_take(self, project: Project) -> None:
        guess = "*of unknown length (a guess: the next run here will know from this one)"
        project.run("-k", "loop-n10").stdout.fnmatch_lines([guess])
        again = project.run("-k", "loop-n10")
        again.stdout.fnmatch_lines(["perfgate: 1 cases on cpu (1 sums), about * s"])
        again.stdout.no_fnmatch_line("*unknown length*")

    def test_report_dir(self, project: Project) -> None:
        result = project.run("--perfgate-report-dir=deep/er")
        result.stdout.fnmatch_lines(["perfgate: wrote results.json, summary.md, index.html into deep/er"])
        assert project.results("deep/er")["session"]["ledger"] == {"measured": [BUILTIN, LOOP], "skipped": [MANY]}
        assert not (project.path / "perf-report").exists()

    def test_pins_are_in_every_record(self, project: Project) -> None:
        project.run()
        assert {record["pins"]["allocator"] for record in project.records().values()} == {"off: --no-pins"}

    def test_one_that_cannot_be_written_fails_the_run_but_is_shown(self, project: Project) -> None:
        (project.path / "file").touch()
        result = project.run("--perfgate-report-dir=file/below")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(
            [f"*{LOOP} *", "perfgate: the report could not be written to *pass --perfgate-report-dir DIR*"]
        )


class TestFailures:
    def test_a_wrong_result_is_recorded_and_the_others_go_on(self, project: Project) -> None:
        source = (project.path / "test_sums.py").read_text()
        project.benchmark(source.replace("total == 45", "case.how == 'loop', 'the builtin is wrong'"))
        result = project.run()
        result.assert_outcomes(passed=1, failed=1, skipped=1, deselected=1)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        failed = project.records()[BUILTIN]
        assert (failed["status"], failed["metrics"]) == ("failed", {})
        assert failed["reason"].startswith("AssertionError: the builtin is wrong")
        assert f"- {BUILTIN}: failed: AssertionError: the builtin is wrong" in project.summary().replace("\\", "")
        assert project.records()[LOOP]["status"] == "measured"

    @pytest.mark.parametrize(
        ("body", "outcome", "status", "reason"),
        [
            ("pass", "failed", "failed", "takes the fixture 'measure' and never calls it"),
            ("measure(sum, [1]); measure(sum, [1])", "failed", "failed", "RuntimeError: measure(...) was called twice"),
            ("measure(object)", "failed", "failed", "TypeError: a benchmark returned object"),
            ("pytest.skip('not today')", "skipped", "skipped", "not today"),
            (
                "measure(sum, [1], kernel=Kernel('fa2', ran=('fa2',)))",
                "failed",
                "fell_back",
                "FellBackError: test_one/default: FELL_BACK",
            ),
        ],
    )
    def test_what_went_wrong_is_in_the_record(
        self, project: Project, body: str, outcome: str, status: str, reason: str
    ) -> None:
        project.benchmark(f"""
            import pytest
            from perfgate import Kernel

            def test_one(measure):
                {body}
        """)
        project.run().assert_outcomes(**{outcome: 1})
        record = project.records()["test_one/default"]
        assert record["status"] == status
        assert reason in record["reason"]

    @pytest.mark.parametrize(
        ("fixture", "outcomes"),
        [
            ("raise OSError('no model')", {"errors": 1}),
            ("yield; raise OSError('no model')", {"passed": 1, "errors": 1}),
        ],
        ids=["set-up", "tear-down"],
    )
    def test_so_is_a_fixture_that_broke(self, project: Project, fixture: str, outcomes: dict[str, int]) -> None:
        project.benchmark(f"""
            import pytest

            @pytest.fixture
            def model():
                {fixture}

            def test_one(model, measure):
                measure(sum, [1])
        """)
        project.run().assert_outcomes(**outcomes)
        record = project.records()["test_one/default"]
        assert (record["status"], record["reason"]) == ("failed", "OSError: no model")

    def test_a_strict_xfail_that_passes(self, project: Project) -> None:
        project.benchmark("""
            import pytest

            @pytest.mark.xfail(strict=True, reason="cannot add yet")
            def test_one(measure):
                measure(sum, [1])
        """)
        project.run().assert_outcomes(failed=1)
        assert project.records()["test_one/default"]["reason"] == "[XPASS(strict)] cannot add yet"


class TestExitCodes:
    def test_only_skips_is_nothing_measured(self, project: Project) -> None:
        assert project.run("-k", "n99").ret == pytest.ExitCode.NO_TESTS_COLLECTED

    def test_skips_beside_a_plain_test_that_passed_are_not(self, project: Project) -> None:
        project.pytester.makepyfile(test_plain="def test_plain(): pass")
        assert project.run("-k", "n99 or plain").ret == pytest.ExitCode.OK

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


INTERRUPT = """
    import os, signal
    import pytest

    signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells start their children deaf to it

    @pytest.mark.parametrize("position", ["first", "second", "third"])
    def test_one(measure, position):
        measure(lambda: os.kill(os.getpid(), signal.SIGINT) if position == "second" else 42)
"""


class TestProcess:
    """What needs a process of its own."""

    @pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to one process")
    def test_an_interrupted_run_saves_and_reports_what_it_has(self, project: Project) -> None:
        project.benchmark(INTERRUPT)
        result = project.run_subprocess("--benchmark-json=out.json")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert list(project.records()) == ["test_one/first"]
        result.stdout.fnmatch_lines(
            [
                "Interrupted: only the cases below were measured.",
                "*wrote results.json, summary.md, index.html into perf-report",
            ]
        )
        session = json.loads((project.path / "out.json").read_text())["perfgate"]
        assert session["interrupted"] is project.results()["session"]["interrupted"] is True

    def test_without_torch_nothing_imports_it_and_everything_else_is_measured(self, project: Project) -> None:
        (project.path / "conftest.py").write_text(
            "import sys\n\ndef pytest_unconfigure(config):\n    print('torch loaded:', 'torch' in sys.modules)\n"
        )
        (project.path / "torch.py").write_text("raise RuntimeError('somebody imported torch')")
        result = project.run_subprocess(
            "--perfgate-measure-budget=0.05", "--perfgate-device=cpu", "-s", "-k", "loop-n10"
        )
        result.assert_outcomes(passed=1, deselected=3)
        result.stdout.fnmatch_lines(["torch loaded: False"])
        record = project.records()[LOOP]
        assert {"latency_s", "peak_memory_bytes", "resident_set_bytes"} <= set(record["metrics"])
        assert "operator_calls" not in record["metrics"]
        assert record["clock"] == "wall"
        assert record["pins"]["allocator"] != "off: not pinned yet"


def test_two_benchmarks_with_one_key_are_refused(project: Project) -> None:
    """Their records would overwrite each other, and one of them would pass for both."""
    project.benchmark("def test_one(measure): measure(sum, [1])")
    project.pytester.makepyfile(test_more="def test_one(measure): measure(sum, [2])")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two benchmarks share the key 'test_one/default'*test_more*test_sums*rename*"])
