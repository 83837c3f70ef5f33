"""The hooks, through a real pytest inside pytest: selection, tables, JSON, reports and exit codes."""

import itertools
import json

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project

BUILTIN, LOOP, MANY = "sums/builtin-n10", "sums/loop-n10", "sums/builtin-n99"
ROUNDS = [1.0, 1.5, 1.25]


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


class TestProcess:
    """What needs a process of its own."""

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
