"""A worker's side of a comparison, with a controller whose requests are written down before."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch  # noqa: F401  # without it no kernel can be asserted
from perfgate.lockstep import protocol, tracing
from perfgate.lockstep.channel import Channel
from perfgate.lockstep.used import Used
from perfgate.machine.pinning import SharedCore
from perfgate.measure.clocks import FakeClock, StoppableClock
from perfgate.measure.code_trace import CodeTrace
from perfgate.measure.measurement import FellBackError, Instruments, Kernel, OutputChangedError
from perfgate.measure.memory import FakeMeter
from perfgate.measure.op_counts import Work
from perfgate.measure.policy import MeasurePolicy
from perfgate.measure.yield_points import may_pause
from perfgate.plugin.worker_mode import WorkerLoop, WorkerMeasure
from perfgate.records.record import Record

from tests.support.benchmark_items import Item, items


class Searching:
    """Takes the place of this process's search for garbage; ``said``: what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.said.append(name)


class Controller:
    """Asks these requests in turn; ``answers`` is what the worker said."""

    def __init__(self, *requests: tuple[str, dict[str, Any]]) -> None:
        asked = io.BytesIO(b"".join(protocol.line(name, **fields) for name, fields in requests))
        self._answers = io.BytesIO()
        self.channel = Channel(asked, self._answers, Used((), ()))
        self.garbage = self.channel.garbage = Searching()  # type: ignore[assignment]  # of this process it goes on

    @property
    def answers(self) -> list[tuple[str, dict[str, Any]]]:
        return [protocol.read(line, protocol.ANSWERED) for line in self._answers.getvalue().splitlines()]


CLOCK = FakeClock(itertools.repeat(0.0))
BLOCK, GO, EXACT, STOP = ("block", {"calls": 3}), ("go", {}), ("exact", {}), ("stop", {})


class Case:
    """A worker's ``measure`` on a clock that only the call moves, one second each time."""

    def __init__(self, *requests: tuple[str, dict[str, Any]]) -> None:
        self.controller = Controller(*requests)
        self.clock = FakeClock(itertools.repeat(0.0))
        self.calls = 0
        self.record = Record("sums", 1, {}, "sums/loop")
        replay: Any = SimpleNamespace(disabled=True, replay=lambda samples: None)
        self.measure = WorkerMeasure(
            MeasurePolicy(), Instruments(self.clock, None), replay, self.record, self.controller.channel
        )

    def call(self, result: int = 42) -> int:
        self.calls += 1
        self.clock.advance(1.0)
        return result

    @property
    def said(self) -> list[str]:
        return [name for name, _ in self.controller.answers]


class TestMeasure:
    def test_it_waits_ready_and_runs_what_it_is_asked(self) -> None:
        case = Case(BLOCK, BLOCK, STOP)
        assert case.measure(case.call) == 42
        assert case.said == ["ready", "times", "times"]
        ready, *blocks = [fields for _, fields in case.controller.answers]
        assert ready["call_s"] == 1.0
        assert ready["cold_s"] == {"load_s": 0.0, "first_call_s": 1.0}
        assert [fields["s"] for fields in blocks] == [[3.0], [3.0]]

    def test_it_stays_on_the_shared_core_only_where_calls_are_timed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stayed: list[int] = []
        monkeypatch.setattr(SharedCore, "stay", lambda core: stayed.append(case.calls))
        case = Case(EXACT, BLOCK, STOP)
        case.measure(case.call)
        assert stayed == [4], "after the first and the warm one, and those that are weighed and counted"

    def test_garbage_is_searched_for_again_once_a_side_is_ready(self) -> None:
        case = Case(BLOCK, STOP)
        said: list[list[str]] = []

        def call() -> int:
            said.append([*case.controller.garbage.said])
            return case.call()

        case.measure(call)
        first_and_warm = 2
        assert said == [[]] * first_and_warm + [["resume"]] * BLOCK[1]["calls"]

    @pytest.mark.parametrize(("seconds", "checked", "calls"), [(0.29, False, 2), (0.3, False, 1), (0.3, True, 2)])
    def test_a_long_first_call_is_warm_up_enough_where_times_are_only_compared(
        self, seconds: float, checked: bool, calls: int
    ) -> None:
        case = Case(STOP)
        case.controller.channel.checked = checked
        case.measure(lambda: case.call() and case.clock.advance(seconds - 1.0))
        left = 1
        assert case.calls == calls + left
        assert case.controller.answers[0][1]["call_s"] == pytest.approx(seconds)

    def test_traced_it_runs_each_input_once_and_times_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tracing, "_trace", CodeTrace(tmp_path, []))
        case = Case(STOP)
        seen: list[str] = []
        case.measure(lambda one: seen.append(one), inputs=["a", "b", "c"])
        assert seen == ["a", "b", "c", "a"], "the last one is the check on leaving"

    def test_a_call_that_pauses_tells_each_part_and_not_the_wait(self) -> None:
        case = Case(("block", {"calls": 1}), GO, STOP)
        waited = case.controller.channel.request

        def request(*expected: str) -> tuple[str, dict[str, Any]]:
            if expected == ("go",):
                case.clock.advance(100.0)  # the other side's turn
            return waited(*expected)

        case.controller.channel.request = request  # type: ignore[method-assign]  # the controller takes its time

        def call() -> int:
            case.call()
            may_pause()
            return case.call()

        case.measure(call)
        assert [(name, fields["s"]) for name, fields in case.controller.answers[1:]] == [
            ("paused", 1.0),
            ("times", [1.0]),
        ]

    def test_what_a_call_tells_of_itself_leaves_its_pauses_out(self) -> None:
        case = Case(("block", {"calls": 1}), GO, STOP)
        clock = case.measure.instruments.clock = StoppableClock(case.clock)
        waited = case.controller.channel.request

        def request(*expected: str) -> tuple[str, dict[str, Any]]:
            if expected == ("go",):
                case.clock.advance(100.0)
            return waited(*expected)

        case.controller.channel.request = request  # type: ignore[method-assign]

        class Told(int):
            def perfgate_samples(self) -> dict[str, float]:
                return {"second_s": took[-1]}

        took: list[float] = []

        def call() -> Told:
            start = clock.now()
            case.call()
            may_pause()
            case.call()
            took.append(clock.now() - start)
            return Told(42)

        case.measure(call)
        name, fields = case.controller.answers[-1]
        assert (name, fields["samples"]) == ("times", {"second_s": 2.0})

    def test_the_exact_pass_sends_the_record(self) -> None:
        case = Case(EXACT, STOP)
        case.measure(case.call, work=Work(tokens=8))
        record = Record.from_json(case.controller.answers[1][1]["record"])
        assert (record.key, record.value("latency_s"), record.value("throughput_tokens_per_s")) == (
            "sums/loop",
            1.0,
            8.0,
        )

    @pytest.mark.parametrize(("turn", "timed"), [(0, 7), (1, 8), (2, 7)])
    def test_of_several_inputs_each_pair_times_another_one(self, turn: int, timed: int) -> None:
        case = Case(STOP)
        case.controller.channel.turn = turn
        assert case.measure(case.call, inputs=[7, 8]) == [timed]

    def test_another_kernel_than_the_named_one_is_no_exact_pass(self) -> None:
        case = Case(EXACT, STOP)
        with pytest.raises(FellBackError):
            case.measure(case.call, kernel=Kernel("fa2", ran=("fa2",)))
        assert case.said == ["ready"]

    def test_a_result_that_changes_fails_when_the_case_is_left(self) -> None:
        case = Case(BLOCK, STOP)
        with pytest.raises(OutputChangedError):
            case.measure(lambda: case.call(case.calls > 3))

    @pytest.mark.parametrize("requests", [(STOP,), (BLOCK, STOP)])
    def test_leaving_costs_a_call_only_where_no_block_ran(self, requests: Any) -> None:
        case = Case(*requests)
        case.measure(case.call)
        ready = 2  # the first call and the warm one
        assert case.calls == ready + (3 if BLOCK in requests else 1)

    @pytest.mark.parametrize("checked", [True, False])
    def test_a_result_is_checked_where_the_controller_wants_it(self, checked: bool) -> None:
        case = Case(STOP)
        case.controller.channel.checked = checked
        seen: list[int] = []
        case.measure(case.call, check=seen.append)
        assert seen == ([42] if checked else [])
        assert not case.measure.weighs, "there is no meter"
        case.measure.instruments.meter = FakeMeter(1)
        assert case.measure.weighs is checked, "loading is weighed in the exact pass alone: lockstep times it"


class TestLoop:
    def run(self, *requests: tuple[str, dict[str, Any]]) -> tuple[Controller, list[Any]]:
        """What a worker with two cases does: what it says, and which tests it runs, checked or not."""
        controller, ran = Controller(*requests), []
        records = {}

        def record_of(item: Any) -> Record:
            return records.setdefault(item, Record("sums", 1, {}, f"sums/{item.nodeid[-2]}"))

        def protocol_of(item: Any, nextitem: Any) -> None:
            ran.append((record_of(item).key, controller.channel.checked))

        cases: list[Any] = [*items("a", "b"), Item(name="test_plain", measures=False)]
        for item in cases:
            item.parent = "module"
            item.config.hook = SimpleNamespace(pytest_runtest_protocol=protocol_of)
        session: Any = SimpleNamespace(items=cases, _setupstate=SimpleNamespace(teardown_exact=lambda parent: None))
        assert WorkerLoop(controller.channel, record_of, CLOCK).pytest_runtestloop(session) is True
        return controller, ran

    def test_it_tells_its_benchmarks_and_obeys(self) -> None:
        load: Callable[..., Any] = lambda key, checked: (  # noqa: E731
            "load",
            {"case": key, "checked": checked, "turn": 5},
        )
        controller, ran = self.run(load("sums/b", True), load("sums/a", False), ("quit", {}))
        assert ran == [("sums/b", True), ("sums/a", False)]
        assert controller.channel.turn == 5
        assert controller.garbage.said == ["resume", "pause"], "what is weighed is loaded as in a plain run"
        (name, collected), *done = controller.answers
        assert (name, collected["cases"]) == ("collected", ["sums/a", "sums/b"])
        assert [(name, fields["record"]["case"]["key"]) for name, fields in done] == [
            ("done", "sums/b"),
            ("done", "sums/a"),
        ]

    def test_cases_load_on_all_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        left: list[None] = []
        monkeypatch.setattr(SharedCore, "leave", lambda core: left.append(None))
        load = {"case": "sums/a", "checked": False, "turn": 0}
        self.run(("load", load), ("load", load), ("quit", {}))
        assert len(left) == 2

    def test_a_case_is_traced_while_its_test_is_called(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trace = CodeTrace(tmp_path, [])
        monkeypatch.setattr(tracing, "_trace", trace)
        controller = Controller(("trace", {}), ("quit", {}))
        loop = WorkerLoop(controller.channel, lambda item: Record("a", 1, {}, "a/b"), CLOCK)
        called = loop.pytest_runtest_call(Item(name="test_a[a/b]"))  # type: ignore[arg-type]
        next(called)
        with pytest.raises(StopIteration):
            called.send(None)
        session: Any = SimpleNamespace(items=[])
        assert loop.pytest_runtestloop(session) is True
        assert controller.answers[1] == ("traced", {"cases": {"a/b": []}, "shared": []})

    @pytest.mark.parametrize(("others", "said"), [(("a",), "collected"), ((), "error")])
    def test_what_cannot_be_collected_is_told(self, others: tuple[str, ...], said: str) -> None:
        """The others are compared; where there are none, the side does not start."""
        controller = Controller(("quit", {}))
        loop = WorkerLoop(controller.channel, lambda item: Record("a", 1, {}, "a/b"), CLOCK)
        for failed in (False, True):
            report: Any = SimpleNamespace(failed=failed, longrepr="a traceback\nE   SyntaxError", nodeid="test_x.py")
            loop.pytest_collectreport(report)
        session: Any = SimpleNamespace(items=items(*others))
        assert loop.pytest_runtestloop(session) is True
        assert controller.answers == [
            ("collected", {"cases": ["a/b"], "broken": {"test_x.py": "SyntaxError"}})
            if others
            else ("error", {"type": "collection", "message": "SyntaxError", "where": "test_x.py"})
        ]
        assert controller.answers[0][0] == said

    def test_an_error_of_its_own_is_told_with_its_place(self) -> None:
        controller = Controller()
        with pytest.raises(OSError, match="no disk") as caught:
            raise OSError("no disk")
        WorkerLoop(controller.channel, lambda item: Record("a", 1, {}, "a/b"), CLOCK).pytest_internalerror("", caught)
        ((name, fields),) = controller.answers
        assert (name, fields["type"], fields["message"]) == ("error", "OSError", "no disk")
        assert __file__ in fields["where"]
