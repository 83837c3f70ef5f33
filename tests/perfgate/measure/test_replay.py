"""Replay: pytest-benchmark, timing by the replayed samples, finds exactly those."""

from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.measure.replay import BenchmarkReplay, ReplayTimer

from tests.conftest import Project

BUILTIN = "sums/builtin-n10"


class FakeBenchmark:
    """pytest-benchmark's fixture, as far as a replay uses it: reads its timer before and after each round."""

    def __init__(self, timer: ReplayTimer, *, disabled: bool = False) -> None:
        self.disabled = disabled
        self.timer = timer
        self.rounds: list[float] = []
        self.used = False

    def pedantic(self, target: Callable[[], Any], *, rounds: int, iterations: int) -> None:
        assert iterations == 1
        self.used = True
        if self.disabled:
            target()
            return
        for _ in range(rounds):
            start = self.timer()
            target()
            self.rounds.append(self.timer() - start)


class TestSamples:
    def test_each_is_a_round(self) -> None:
        timer = ReplayTimer()
        benchmark = FakeBenchmark(timer)
        BenchmarkReplay(benchmark.pedantic, timer, disabled=False).replay([0.25, 1.5, 1e-9])
        assert benchmark.rounds == [0.25, 1.5, 1e-9]

    def test_none_are_left_over(self) -> None:
        timer = ReplayTimer()
        BenchmarkReplay(FakeBenchmark(timer).pedantic, timer, disabled=False).replay([0.25])
        with pytest.raises(StopIteration):
            timer()

    def test_none_at_all_where_nothing_is_measured(self) -> None:
        """The fixture is used all the same: pytest-benchmark warns of one that a test took and never called."""
        timer = ReplayTimer()
        benchmark = FakeBenchmark(timer, disabled=True)
        BenchmarkReplay(benchmark.pedantic, timer, disabled=True).replay(())
        assert benchmark.used
        assert benchmark.rounds == []


class TestPytestBenchmark:
    def test_its_table_shows_our_samples(self, project: Project) -> None:
        result = project.run("-k", "builtin-n10", "--benchmark-columns=min,max,rounds")
        rounds = len(project.records()[BUILTIN]["metrics"]["latency_s"]["samples"])
        result.stdout.fnmatch_lines(["*benchmark 'sums': 1 tests*", f"test_sums?builtin-n10?*1.0000*1.5000*{rounds}"])
