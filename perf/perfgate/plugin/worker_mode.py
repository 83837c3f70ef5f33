"""A worker of an A/B comparison: pytest, running the cases it is told to, a few calls at a time.

A worker collects like any run and then obeys its controller (:mod:`perfgate.lockstep.protocol`). A case's test runs as
always, fixtures and checks included, until it calls ``measure``: there it waits for what to do with the call.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from perfgate.compare import metrics
from perfgate.compare.metrics.process_times import FIRST_CALL, LOAD
from perfgate.lockstep import tracing
from perfgate.lockstep.channel import Channel
from perfgate.measure import fault_injection, op_counts
from perfgate.measure.clocks import Clock, StoppableClock
from perfgate.measure.measurement import Instruments, Kernel, Measure, OutputChangedError
from perfgate.measure.op_counts import Work
from perfgate.measure.policy import DEFAULT_BUDGET_S, MeasurePolicy
from perfgate.measure.replay import Replay
from perfgate.measure.rounds import Timed, own_samples
from perfgate.measure.timers import EventTimer, Timing, stretched
from perfgate.measure.yield_points import pausing
from perfgate.plugin import case_tables
from perfgate.plugin.activation import is_benchmark
from perfgate.records.record import Record

NAME = "perfgate-worker"
"""The plugin that a worker has."""
LONG_CALL_S = 0.3
"""Where a case's times are only compared, a first call of so many seconds is warm-up enough."""


class WorkerMeasure(Measure):
    """``measure`` in a worker: the call is made ready and then run as often as the controller says."""

    def __init__(
        self, policy: MeasurePolicy, instruments: Instruments, replay: Replay, record: Record, channel: Channel
    ) -> None:
        super().__init__(policy, instruments, replay, record)
        self._channel = channel
        self._resumed = 0.0
        self._last: Any = None
        """What the last call of the last block returned."""

    @property
    def disabled(self) -> bool:
        """What a benchmark does with its finished measurement is left out: nothing is finished here."""
        return True

    @property
    def weighs(self) -> bool:
        """In the exact pass, which is the checked one."""
        return self.checked and self.instruments.meter is not None

    @property
    def checked(self) -> bool:
        return self._channel.checked

    def __call__(
        self,
        fn: Callable[..., Any],
        *args: Any,
        inputs: Sequence[Any] | None = None,
        work: Work | None = None,
        check: Callable[[Any], None] | None = None,
        samples: Callable[[Any], Mapping[str, float]] | None = None,
        kernel: Kernel | None = None,
        weights_bytes: int | None = None,
        budget_s: float = DEFAULT_BUDGET_S,
        timing: Timing = "device",
        **kwargs: Any,
    ) -> Any:
        """As ``Measure.__call__``; where there are inputs, each pair of processes times another one. A worker that
        traces runs each input once, and times nothing."""
        load_s = self.instruments.clock.now() - self._channel.loading_since
        self._begin(budget_s, timing)
        self.instruments.watch.start(self._budget_s)
        fn = fault_injection.spoil(fn, self._faults, (work or Work()).tokens, self.instruments)
        first = () if inputs is None else (inputs[self._channel.turn % len(inputs)],)

        call = partial(fn, *first, *args, **kwargs)  # a short call costs least so
        result, first_s = self._first(call)
        if check is not None and self.checked:
            check(result)
        before = self.calling.digest(result)
        if tracing.current() is None:
            warm_s = self._warm(call, first_s)
        else:
            warm_s = first_s
            for one in (inputs or ())[1:]:
                fn(one, *args, **kwargs)
        prepared_s = self._timer.time(call, 1).spent_s if self.calling.prepares else 0.0
        self._channel.garbage.resume()
        self._channel.answer(
            "ready",
            call_s=max(warm_s, prepared_s),
            prepared_s=prepared_s,
            cold_s={LOAD: load_s, FIRST_CALL: first_s},
            digest=before,
            used=self._channel.used.report(),
        )
        while True:
            name, fields = self._channel.request("block", "exact", "stop")
            if name == "block":
                self._channel.core.stay()
                seconds = self._block(call, fields["calls"])
                self._channel.answer("times", s=[seconds], samples=dict(own_samples(self._last)))
            elif name == "exact":
                self._exact(call, warm_s, work or Work(), kernel, weights_bytes)
            else:
                break
        self._note_health()
        last = call() if self._last is None else self._last
        if self.calling.digest(last) != before:
            raise OutputChangedError(f"{self.record.key}: the call returned something else after timing than before it")
        self._replay.replay(())
        return result if inputs is None else [result]

    def _warm(self, call: Callable[[], Any], first_s: float) -> float:
        """Call until the call is warm, unless its first call was warm-up enough; the seconds of the last one."""
        enough = not self.checked and first_s >= LONG_CALL_S
        return first_s if enough else self._rounds.warm(call, first_s)

    def _block(self, call: Callable[[], Any], calls: int) -> float:
        """Run ``calls`` calls; returns the seconds since the last pause, or since the start where there was none."""
        self._last = None  # the calls find the memory that they find alone
        if isinstance(self._timer, EventTimer):  # a call that the device's events time has no place to pause
            one = self._rounds.kept(call, calls)
            self._last = one.result
            return one.seconds
        with pausing(self._pause):
            self._resumed = self.instruments.clock.now()
            for _ in range(calls - 1):
                call()
            self._last = call()
            seconds = self._elapsed()
        self.instruments.watch.look()
        return seconds

    def _elapsed(self) -> float:
        return stretched(self.instruments.clock, self._resumed, fault_injection.slower(self._faults))

    def _pause(self) -> None:
        self._channel.answer("paused", s=self._elapsed())
        clock = self.instruments.clock
        with clock.stopped() if isinstance(clock, StoppableClock) else nullcontext():
            self._channel.request("go")
        self._resumed = self.instruments.clock.now()

    def _exact(
        self,
        call: Callable[[], Any],
        warm_s: float,
        work: Work,
        kernel: Kernel | None,
        weights_bytes: int | None,
    ) -> None:
        _, peak = self._weigh(call)
        _, counts = op_counts.count(call)
        seen = self._seen(Timed([warm_s]), work, counts, by_input=True)
        self._fill(metrics.new(), replace(seen, weights_bytes=weights_bytes, peak_bytes=peak), counts)
        if kernel is not None:
            self._require_kernel(kernel, counts)
        self._channel.answer("exact", record=self.record.to_json())


class WorkerLoop:
    """The pytest plugin that obeys the controller instead of running every item."""

    def __init__(self, channel: Channel, record_of: Callable[[pytest.Item], Record], clock: Clock) -> None:
        self._channel = channel
        self._record_of = record_of
        self._clock = clock
        self._broken: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {self._record_of(item).key: item for item in session.items if is_benchmark(item)}
        if self._broken and not items:
            where, message = next(iter(self._broken.items()))
            self._channel.answer("error", type="collection", message=message, where=where)
            return True
        self._channel.answer("collected", cases=list(items), broken=self._broken)
        while True:
            name, fields = self._channel.request("load", "trace", "quit")
            if name == "quit":
                return True
            if name == "trace":
                self._tell_trace(items)
                continue
            self._channel.checked, self._channel.turn = fields["checked"], fields["turn"]
            self._channel.core.leave()
            if self._channel.checked:  # what is weighed is loaded as in a plain run
                self._channel.garbage.resume()
            else:
                self._channel.garbage.pause()
            self._channel.loading_since = self._clock.now()
            self._run(session, items[fields["case"]])

    def _run(self, session: pytest.Session, item: pytest.Item) -> None:
        """One case; fixtures shared with its neighbours (a loaded model) stay."""
        assert item.parent is not None
        session._setupstate.teardown_exact(item.parent)  # type: ignore[arg-type]  # what the item does not share ends
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=item.parent)
        self._channel.answer("done", record=self._record_of(item).to_json())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        with tracing.part(self._record_of(item).key):
            return (yield)

    def _tell_trace(self, items: Mapping[str, pytest.Item]) -> None:
        trace = tracing.current()
        assert trace is not None, "the controller asked for a trace when it started this worker"
        trace.stop()
        tables = {key: case_tables.node_of_test(item) for key, item in items.items()}
        self._channel.answer("traced", **tracing.to_json(trace.traced(tables)))

    def pytest_internalerror(self, excrepr: object, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        where = traceback.extract_tb(excinfo.tb)[-1]
        self._channel.answer(
            "error", type=excinfo.typename, message=str(excinfo.value)[:500], where=f"{where.filename}:{where.lineno}"
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._broken[report.nodeid] = str(report.longrepr).strip().splitlines()[-1].removeprefix("E ").strip()[:500]
