"""The ``measure`` fixture: five passes over one callable, each on its own so that none disturbs another.

1. **correct**: one call, handed to ``check``;
2. **warm**: calls until two successive ones take about the same time, bounded;
3. **time**: rounds until the median's interval is narrow enough or the time budget ends (or once for each input);
4. **weigh and count**: one call under the memory meter, one under the work counters;
5. **re-check**: what those two calls returned, after timing, must equal what the first one returned, and must pass
   ``check`` again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median
from typing import Any, Protocol

from perfgate import counters, faults, memory
from perfgate.clocks import Clock
from perfgate.counters import Counts, Work
from perfgate.options import DEFAULT_BUDGET_S, Settings
from perfgate.outputs import digest
from perfgate.record import Metric, Record, StoppedBy
from perfgate.statistics import median_interval

WARM_ROUNDS = 5
"""At most this many warm-up rounds."""
WARM_AGREEMENT = 0.1
"""Warm when a round's time is within this fraction of the round before it: rounds of one process vary by 3-24%."""
WARM_SHARE = 0.5
"""At most this share of the time budget goes into warm-up."""
MIN_ROUNDS = 6
"""The fewest samples that can give a 95% interval of the median (see :func:`perfgate.statistics.median_interval`)."""
ROUND_FLOOR_S = 1e-3
"""A shorter call is repeated inside its round until the round takes this long, far above the clock's own cost."""
LOOK_EVERY = 1.2
"""The stopping rule looks again when the samples have grown by this factor, so that looking stays cheap."""


class OutputChangedError(AssertionError):
    """A call after timing returned something else than the call before it."""


class FellBackError(AssertionError):
    """Another kernel ran than the one the case names."""


@dataclass(frozen=True)
class Kernel:
    """Which kernel a case is about: ``ran`` lists names of which at least one must have run (operators such as
    ``aten.mm`` or names given to ``note_kernel``), ``absent`` names none of which may have run."""

    name: str
    ran: tuple[str, ...]
    absent: tuple[str, ...] = ()


class Replay(Protocol):
    """Hands finished samples to pytest-benchmark."""

    disabled: bool

    def replay(self, samples: Sequence[float]) -> None: ...


@dataclass
class Instruments:
    """What a session measures with. The meter is proved (see :func:`perfgate.memory.verify`) before its first use;
    ``no_meter`` says why there is none."""

    clock: Clock
    meter: memory.Meter | None
    no_meter: str | None = None
    meter_verified: bool = False

    def proved_meter(self) -> memory.Meter | None:
        if self.meter is not None and not self.meter_verified:
            memory.verify(self.meter)
            self.meter_verified = True
        return self.meter


class Measure:
    """The fixture's value: call it once in a benchmark; it fills the case's record."""

    def __init__(self, settings: Settings, instruments: Instruments, replay: Replay, record: Record) -> None:
        self.settings = settings
        self.instruments = instruments
        self.record = record
        self._replay = replay
        self._budget_s = DEFAULT_BUDGET_S
        self._faults = tuple(fault for fault in settings.faults if fault.hits(record.key))
        self.used = False

    @property
    def disabled(self) -> bool:
        """Whether benchmarks run once as plain tests (``--benchmark-disable``, xdist)."""
        return self._replay.disabled

    @property
    def checked(self) -> bool:
        """Whether results are to be asserted. In an A/B comparison once for a side is enough: a benchmark then spares
        what only its checks need."""
        return True

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
        **kwargs: Any,
    ) -> Any:
        """Measure ``fn(*args, **kwargs)`` in five passes and return its result.

        Args:
            fn: what is measured; it must return something :func:`perfgate.outputs.digest` can compare.
            inputs: one round for each input, in order, each run once as ``fn(input, *args, **kwargs)``; the other
                passes use the first. The return value is then the list of the rounds' results.
            work: what one call processes, for throughputs.
            check: asserts that a result is right; runs before and after timing.
            samples: numbers to take from each round's result, by metric name, in seconds.
            kernel: the kernel that must have run.
            weights_bytes: bytes that the subject keeps allocated; peak memory is these plus the call's peak.
            budget_s: seconds of timed rounds, where the user chose no ``--measure-budget``.

        Raises:
            AssertionError: ``check`` failed; :class:`OutputChangedError` or :class:`FellBackError`.
            perfgate.memory.MeterError: the memory meter does not see memory.
        """
        self._begin(budget_s)
        if inputs is not None and not inputs:
            raise ValueError("measure(inputs=...) got no inputs")
        fn = faults.spoil(fn, self._faults, (work or Work()).tokens, self.instruments)

        def call() -> Any:
            return fn(*args, **kwargs) if inputs is None else fn(inputs[0], *args, **kwargs)

        if self.disabled:
            result = call()
            if check is not None:
                check(result)
            self._replay.replay(())
            return result if inputs is None else [result]

        result, cold_s = self._round(call, 1)
        if check is not None:
            check(result)
        before = digest(result)

        warm_s = self._warm(call, cold_s)
        gc.collect()
        if inputs is None:
            times, extra, stopped_by = self._time(call, self._calls_per_round(call, warm_s), samples)
        else:
            results, times, extra = self._time_inputs(lambda one: fn(one, *args, **kwargs), inputs, samples)
            stopped_by = "inputs"
        self.record.stopped_by = stopped_by
        self.record.clock = self.instruments.clock.name

        weighed, peak = self._weigh(call)
        counted, counts = counters.count(call)
        for after in (weighed, counted):
            if digest(after) != before:
                raise OutputChangedError(
                    f"{self.record.key}: the call returned something else after timing than before it; "
                    "its timings belong to no one result"
                )
        if check is not None:
            check(counted)

        self._fill(times, extra, peak, counts, work or Work(), weights_bytes, by_input=inputs is not None)
        self._replay.replay(times)
        if kernel is not None:
            self._require_kernel(kernel, counts)
        return counted if inputs is None else results

    def _begin(self, budget_s: float) -> None:
        if self.used:
            raise RuntimeError("measure(...) was called twice in one test; one case is one measured callable")
        self.used = True
        self._budget_s = budget_s if self.settings.budget_s is None else self.settings.budget_s

    def peak_of(self, call: Callable[[], Any]) -> int | None:
        """Peak memory of one more untimed call, in bytes, for invariants between calls; None without a meter."""
        meter = self.instruments.proved_meter()
        return None if meter is None else meter.peak_of(call)[1]

    def add(self, name: str, metric: Metric) -> None:
        """Add a metric that the benchmark computed itself (bounded metrics, mostly) to the case's record."""
        self.record.metrics[name] = metric

    def bounded(self, name: str, value: float, unit: str, better: str) -> None:
        """Add a bounded metric: a quality or an error, judged by absolute bounds."""
        self.add(name, Metric(kind="bounded", unit=unit, better=better, value=value))  # type: ignore[arg-type]  # validated there

    def _warm(self, call: Callable[[], Any], previous_s: float) -> float:
        """Call until a call takes about as long as the one before it (the first: as ``previous_s``); returns how long
        the last one took, in seconds."""
        spent = 0.0
        for _ in range(WARM_ROUNDS):
            _, duration = self._round(call, 1)
            spent += duration
            agrees = abs(duration - previous_s) <= WARM_AGREEMENT * previous_s
            previous_s = duration
            if agrees or spent > WARM_SHARE * self._budget_s:
                break
        return previous_s

    def _calls_per_round(self, call: Callable[[], Any], duration: float) -> int:
        """How many calls make one round: one, or as many as a very short call needs to fill ``ROUND_FLOOR_S``.

        ``duration`` is what one warm call took, in seconds.
        """
        calls = 1
        while duration < ROUND_FLOOR_S:
            calls *= 10 if duration < ROUND_FLOOR_S / 10 else 2
            _, duration = self._round(call, calls)
        return calls

    def _round(self, call: Callable[[], Any], calls: int) -> tuple[Any, float]:
        repeat = range(calls)
        now = self.instruments.clock.now
        start = now()
        for _ in repeat:
            result = call()
        return result, self._slowed(start) if self._faults else now() - start

    def _slowed(self, start: float) -> float:
        """The seconds since ``start``, after waiting for as long as injected faults slow the calls down."""
        now = self.instruments.clock.now
        elapsed = now() - start
        until = start + elapsed * (1 + faults.slower(self._faults))
        while start + elapsed < until:
            elapsed = now() - start
        return elapsed

    def _time(
        self, call: Callable[[], Any], calls: int, samples: Callable[[Any], Mapping[str, float]] | None
    ) -> tuple[list[float], dict[str, list[float]], StoppedBy]:
        times: list[float] = []
        extra: dict[str, list[float]] = {}
        spent = 0.0
        next_look = MIN_ROUNDS
        while True:
            result, duration = self._round(call, calls)
            times.append(duration / calls)
            _collect(extra, samples, result)
            spent += duration
            if len(times) >= next_look:
                estimate = median_interval(times)
                if estimate is not None and estimate.relative_half_width <= self.settings.precision:
                    return times, extra, "precision"
                next_look = int(len(times) * LOOK_EVERY) + 1
            if spent >= self._budget_s and len(times) >= 2:
                return times, extra, "budget"

    def _time_inputs(
        self, call: Callable[[Any], Any], inputs: Sequence[Any], samples: Callable[[Any], Mapping[str, float]] | None
    ) -> tuple[list[Any], list[float], dict[str, list[float]]]:
        results, times = [], []
        extra: dict[str, list[float]] = {}
        for one in inputs:
            result, duration = self._round(partial(call, one), 1)
            results.append(result)
            times.append(duration)
            _collect(extra, samples, result)
        return results, times, extra

    def _weigh(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        meter = self.instruments.proved_meter()
        if meter is None:
            return call(), None
        gc.collect()
        self.record.provenance["memory_meter"] = meter.name
        return meter.peak_of(call)

    def _fill(
        self,
        times: list[float],
        extra: dict[str, list[float]],
        peak: int | None,
        counts: Counts | None,
        work: Work,
        weights_bytes: int | None,
        *,
        by_input: bool,
    ) -> None:
        metrics = self.record.metrics
        latency = metrics["latency_s"] = _sampled(times, by_input=by_input)
        for name, values in extra.items():
            metrics[name] = _sampled(values, by_input=by_input)

        def rate(amount: float, unit: str) -> Metric:
            return Metric(kind="sampled", unit=unit, better="higher", value=amount / latency.value)

        def exact(value: int, unit: str, better: str = "lower") -> Metric:
            return Metric(kind="exact", unit=unit, better=better, value=value)  # type: ignore[arg-type]  # validated there

        if work.tokens:
            metrics["throughput_tokens_per_s"] = rate(work.tokens, "tokens/s")
        flops = work.flops or (counts.flops if counts else 0)
        if flops:
            metrics["flops"] = exact(flops, "flop")
            metrics["throughput_flop_per_s"] = rate(flops, "flop/s")
        if work.bytes:
            metrics["bandwidth_bytes_per_s"] = rate(work.bytes, "bytes/s")
        if weights_bytes is not None:
            metrics["weights_bytes"] = exact(weights_bytes, "bytes")
        if peak is not None:
            metrics["activation_peak_bytes"] = exact(peak, "bytes")
            metrics["peak_memory_bytes"] = exact((weights_bytes or 0) + peak, "bytes")
        else:
            self.record.notes.append(self.instruments.no_meter or "peak memory was not measured")
        metrics["resident_set_bytes"] = Metric("sampled", "bytes", "none", memory.resident_set_bytes())
        if counts is not None:
            metrics["operator_calls"] = exact(counts.calls, "calls")
            self.record.operators = dict(sorted(counts.operators.items()))

    def _require_kernel(self, kernel: Kernel, counts: Counts | None) -> None:
        if counts is None:
            raise RuntimeError(f"{self.record.key}: kernel {kernel.name!r} cannot be asserted without torch")
        ran = [name for name in kernel.ran if counts.ran(name)]
        wrong = [name for name in kernel.absent if counts.ran(name)]
        self.record.provenance["kernel"] = ", ".join(ran) or "none of those expected"
        if ran and not wrong:
            return
        seen = sorted(name for name in {*counts.kernels, *counts.operators} if "attention" in name or "softmax" in name)
        seen += sorted(set(counts.kernels) - set(seen))
        raise FellBackError(
            f"{self.record.key}: FELL_BACK: the case names kernel {kernel.name!r}, of which {' or '.join(kernel.ran)} "
            f"must run; {'instead ran ' + ', '.join(wrong) if wrong else 'none of it ran'}; "
            f"kernels seen: {', '.join(seen) or 'none known'}"
        )


def _collect(extra: dict[str, list[float]], samples: Callable[[Any], Mapping[str, float]] | None, result: Any) -> None:
    if samples is not None:
        for name, value in samples(result).items():
            extra.setdefault(name, []).append(value)


def _sampled(values: list[float], *, by_input: bool) -> Metric:
    """Rounds of one input: their median and its interval. One round per input: the mean over the inputs."""
    estimate = None if by_input else median_interval(values)
    return Metric(
        kind="sampled",
        unit="s",
        better="lower",
        value=fmean(values) if by_input else median(values),
        samples=tuple(values),
        interval=None if estimate is None else (estimate.low, estimate.high),
    )
