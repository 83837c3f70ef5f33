"""The ``measure`` fixture: five passes over one callable, each on its own so that none disturbs another.

1. **correct**: one call, handed to ``check``;
2. **warm**: calls until two successive ones take about the same time, bounded;
3. **time**: rounds until the median's interval is narrow enough or the time budget ends (or once for each input);
4. **profile**: one call under the memory meter, one under the operator counters;
5. **re-check**: what those two calls returned, after timing, must equal what the first one returned, and must pass
   ``check`` again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from perfgate.compare import metrics
from perfgate.compare.metrics import Quantity, Seen, Surroundings
from perfgate.compare.metrics.memory import LOADING, METER
from perfgate.machine import environment
from perfgate.machine.accelerator import Accelerator
from perfgate.machine.energy import Counter
from perfgate.measure import fault_injection, memory, op_counts, timers
from perfgate.measure.clocks import Clock
from perfgate.measure.op_counts import Counts, Work
from perfgate.measure.output_digest import digest
from perfgate.measure.policy import DEFAULT_BUDGET_S, MeasurePolicy
from perfgate.measure.replay import Replay
from perfgate.measure.rounds import MIN_ROUNDS, Rounds, Timed
from perfgate.measure.throttle_guard import Watch
from perfgate.measure.timers import Timer, Timing, WallTimer
from perfgate.records.record import Metric, Record


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


@dataclass
class Instruments:
    """What a session measures with. The meter is proved (:func:`perfgate.measure.memory.verify`) before its first use;
    ``no_meter`` says why there is none; ``accelerator`` is None on a CPU, whose ``watch`` watches nothing; ``energy``
    is None where nothing counts it."""

    clock: Clock
    meter: memory.Meter | None
    no_meter: str | None = None
    accelerator: Accelerator | None = None
    watch: Watch = field(default_factory=Watch)
    energy: Counter | None = None
    meter_verified: bool = False

    def proved_meter(self) -> memory.Meter | None:
        if self.meter is not None and not self.meter_verified:
            memory.verify(self.meter)
            self.meter_verified = True
        return self.meter


@dataclass(frozen=True)
class Calling:
    """What is special about a measured call: ``digest`` is what must repeat of its results; ``prepares``: it does work
    that the clock leaves out, so that it costs more than its time says."""

    digest: Callable[[Any], str] = digest
    prepares: bool = False


class Measure:
    """The fixture's value: call it once in a benchmark; it fills the case's record."""

    def __init__(self, policy: MeasurePolicy, instruments: Instruments, replay: Replay, record: Record) -> None:
        self.policy = policy
        self.instruments = instruments
        self.record = record
        self.calling = Calling()
        self._replay = replay
        self._budget_s = DEFAULT_BUDGET_S
        self._faults = tuple(fault for fault in policy.faults if fault.hits(record.key))
        self._timer: Timer = WallTimer(instruments.clock)
        self._other_timer: Timer = self._timer
        self.used = False
        self.repeats = False
        """Whether the first call has come to its end: from now on it is made again and again."""

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
        timing: Timing = "device",
        **kwargs: Any,
    ) -> Any:
        """Measure ``fn(*args, **kwargs)`` in five passes and return its result.

        Args:
            fn: what is measured; it must return something :func:`perfgate.measure.output_digest.digest` can compare.
            inputs: one round for each input, in order, each run once as ``fn(input, *args, **kwargs)``; the other
                passes use the first. The return value is then the list of the rounds' results.
            work: what one call processes, for throughputs.
            check: asserts that a result is right; runs before and after timing.
            samples: numbers to take from each round's result, by metric name, in seconds; default: what a result tells
                of itself by a method ``perfgate_samples``. Only that is compared in lockstep too.
            kernel: the kernel that must have run.
            weights_bytes: bytes that the subject keeps allocated; peak memory is these plus the call's peak.
            budget_s: seconds of timed rounds, where the user chose no ``--perfgate-measure-budget``.
            timing: "device" times what an accelerator does, by its own events; "wall" times what the caller waits for,
                which is right for calls that talk to the host all the time. On a CPU they are the same.

        Raises:
            AssertionError: ``check`` failed; :class:`OutputChangedError` or :class:`FellBackError`.
            perfgate.measure.memory.MeterError: the memory meter does not see memory.
            perfgate.machine.device_health.DeviceLostError: the driver cannot reach the device any more.
        """
        self._begin(budget_s, timing)
        if inputs is not None and not inputs:
            raise ValueError("measure(inputs=...) got no inputs")
        work = work or Work()
        fn = fault_injection.spoil(fn, self._faults, work.tokens, self.instruments)

        call = partial(fn, *(() if inputs is None else (inputs[0],)), *args, **kwargs)  # a short call costs least so
        if self.disabled:
            result = call()
            if check is not None:
                check(result)
            self._replay.replay(())
            return result if inputs is None else [result]

        result, cold_s = self._first(call)
        if check is not None:
            check(result)
        before = self.calling.digest(result)

        rounds = self._rounds
        warm_s = rounds.warm(call, cold_s)
        gc.collect()
        alone = inputs is not None or self.calling.prepares
        calls = 1 if alone else rounds.calls_per_round(call, warm_s)
        quantities = metrics.new()
        with metrics.measured(quantities, Surroundings(self.instruments.clock, self.instruments.energy)):
            if inputs is None:
                timed = rounds.until_precise(call, calls, samples)
            else:
                timed = rounds.by_input(lambda one: fn(one, *args, **kwargs), inputs, samples)
        self._note_timing(timed)
        waited_s = self._waited_s(call)

        weighed, peak = self._weigh(call)
        counted, counts = op_counts.count(call)
        for after in (weighed, counted):
            if self.calling.digest(after) != before:
                raise OutputChangedError(
                    f"{self.record.key}: the call returned something else after timing than before it; "
                    "nondeterministic output: the timings are invalid"
                )
        if check is not None:
            check(counted)

        by_input = inputs is not None
        seen = self._seen(timed, work, counts, by_input=by_input, waited_s=waited_s)
        self._fill(quantities, replace(seen, weights_bytes=weights_bytes, peak_bytes=peak), counts)
        self._replay.replay(timed.times)
        if kernel is not None:
            self._require_kernel(kernel, counts)
        return counted if inputs is None else timed.results

    def _begin(self, budget_s: float, timing: Timing) -> None:
        if self.used:
            raise RuntimeError("measure(...) was called twice in one test; one case is one measured callable")
        self.used = True
        self._budget_s = budget_s if self.policy.budget_s is None else self.policy.budget_s
        accelerator = self.instruments.accelerator
        self._timer = timers.choose(accelerator, self.instruments.clock, timing, fault_injection.slower(self._faults))
        self._other_timer = timers.choose(accelerator, self.instruments.clock, timing)
        if accelerator is not None:
            accelerator.find_devices()
            if settings := environment.matmul_settings(accelerator.device):
                self.record.provenance["matmul_settings"] = settings
        if not self._replay.disabled:
            self.instruments.watch.start(self._budget_s)

    @property
    def _rounds(self) -> Rounds:
        return Rounds(self._timer, self.instruments.watch, self._budget_s, self.policy.precision)

    def _first(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """The first call and its seconds: by the clock, because compiling is the host's work."""
        first = WallTimer(self.instruments.clock, fault_injection.slower(self._faults)).time(call, 1)
        self.repeats = True
        return first.result, first.seconds

    def time(self, call: Callable[[], Any]) -> tuple[Any, float]:
        """Another call than the measured one, timed as that is: its result and its seconds."""
        one = self._other_timer.time(call, 1)
        return one.result, one.seconds

    def peak_of(self, call: Callable[[], Any]) -> int | None:
        """Peak memory of one more untimed call, in bytes, for invariants between calls; None without a meter."""
        meter = self.instruments.proved_meter()
        return None if meter is None else meter.peak_of(call)[1]

    @property
    def weighs(self) -> bool:
        """Whether memory is weighed here: what is loaded before the measured call is then loaded by ``weighed``."""
        return not self.disabled and self.instruments.meter is not None

    def weighed(self, load: Callable[[], Any]) -> tuple[Any, int | None]:
        """Load, once, what the measured call needs; returns it and the peak of the memory meanwhile, in bytes; None
        without a meter. Record it with :meth:`loaded`."""
        meter = self.instruments.proved_meter()
        gc.collect()
        return (load(), None) if meter is None else meter.peak_of_one(load)

    def loaded(self, peak_bytes: int | None) -> None:
        """Record the peak of loading, which cases that share what was loaded have in common."""
        if peak_bytes is not None:
            self.add(LOADING, Metric("exact", "bytes", "lower", peak_bytes))

    def add(self, name: str, metric: Metric) -> None:
        """Add a metric that the benchmark computed itself (bounded metrics, mostly) to the case's record."""
        self.record.metrics[name] = metric

    def bounded(self, name: str, value: float, unit: str, better: str, samples: Sequence[float] = ()) -> None:
        """Add a bounded metric: a quality or an error, which the benchmark holds to absolute bounds. ``samples`` are
        the values of the single inputs, in order: a comparison tells by them what chance alone may change."""
        self.add(name, Metric("bounded", unit, better, value, tuple(samples)))  # type: ignore[arg-type]  # validated there

    def _weigh(self, call: Callable[[], Any]) -> tuple[Any, int | None]:
        meter = self.instruments.proved_meter()
        if meter is None:
            self.record.notes.append(self.instruments.no_meter or "peak memory was not measured")
            return call(), None
        gc.collect()
        self.record.provenance[METER] = meter.name
        return meter.peak_of(call)

    def _note_timing(self, timed: Timed) -> None:
        """How it was timed, and how the device was meanwhile."""
        self.record.stopped_by = timed.stopped_by
        self.record.clock = self._timer.name
        self._note_health()
        if self._timer.note is not None:
            self.record.notes.append(self._timer.note)

    def _waited_s(self, call: Callable[[], Any]) -> list[float]:
        """What a caller waits for a call, in seconds, where the timer times something else."""
        waited = [self._timer.wall_s(call) for _ in range(MIN_ROUNDS)]
        return [seconds for seconds in waited if seconds is not None]

    def _note_health(self) -> None:
        """What the watch saw while the rounds ran, into the record."""
        watch = self.instruments.watch
        found = watch.found()
        if found is not None:
            self.record.provenance["device_health"] = found
        self.record.doubts = watch.doubts
        self.record.notes += watch.notes

    def _seen(
        self, timed: Timed, work: Work, counts: Counts | None, *, by_input: bool, waited_s: Sequence[float] = ()
    ) -> Seen:
        """What the passes saw, apart from the memory of the measured call."""
        return Seen(
            times_s=timed.times,
            extra_s=timed.extra,
            calls=timed.calls,
            by_input=by_input,
            waited_s=waited_s,
            tokens=work.tokens,
            flops=work.flops or (counts.flops if counts else 0),
            bytes=work.bytes,
            operator_calls=None if counts is None else counts.calls,
            resident_set_bytes=memory.resident_set_bytes(),
            beside_bytes={} if self.instruments.meter is None else self.instruments.meter.beside(),
            provenance=self.record.provenance,
        )

    def _fill(self, quantities: Sequence[Quantity], seen: Seen, counts: Counts | None) -> None:
        """The record's metrics and its operators."""
        for quantity in quantities:
            self.record.metrics.update(quantity.recorded(seen))
        if counts is not None:
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
