"""The five passes of ``measure``, on a clock and a meter that show what they are told."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch  # loaded so that work is counted, whichever tests ran before these
from perfgate import Kernel, Measure, Metric, Record, Work, note_kernel
from perfgate.measure import memory, op_counts
from perfgate.measure.clocks import FakeClock
from perfgate.measure.measurement import FellBackError, Instruments, MeasurePolicy, OutputChangedError
from perfgate.measure.memory import FakeMeter, MeterError

from tests.support.fake_replay import FakeReplay
from tests.support.measured_case import PEAK, Bench

pytestmark = pytest.mark.usefixtures("no_collections")


class TestPasses:
    def test_five_in_their_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each pass on its own: nothing is checked, weighed or counted while the clock runs."""
        log: list[str] = []
        bench = Bench(budget_s=100.0)
        tick, count = bench.clock.now, op_counts.count
        monkeypatch.setattr(bench.clock, "now", lambda: (log.append("clock"), tick())[1])
        monkeypatch.setattr(memory, "verify", lambda meter: log.append("prove meter"))
        monkeypatch.setattr(op_counts, "count", lambda call: (log.append("counter on"), count(call))[1])
        monkeypatch.setattr(bench.replay, "replay", lambda samples: log.append("replay"))

        def peak_of(self: FakeMeter, call: Callable[[], Any]) -> tuple[Any, int]:
            log.append("meter")
            return call(), PEAK

        monkeypatch.setattr(FakeMeter, "peak_of", peak_of)
        bench.measure(lambda: (log.append("call"), bench.fn())[1], check=lambda result: log.append("check"))

        timed = ["clock", "call", "clock"]
        warm_up, rounds = timed, 6 * timed
        assert log == [
            *timed,
            "check",
            *warm_up,
            *rounds,
            *["prove meter", "meter", "call"],
            *["counter on", "call", "check"],
            "replay",
        ]

    def test_returns_the_result(self) -> None:
        bench = Bench()
        assert bench.measure(bench.fn, value="result") == "result"


class TestLoading:
    def test_it_is_made_once_and_its_peak_recorded(self) -> None:
        bench = Bench()
        loaded, peak_bytes = bench.measure.weighed(bench.fn)
        bench.measure.loaded(peak_bytes)
        assert (loaded, bench.calls) == (42, 1)
        metric = bench.metric("loading_peak_bytes")
        assert (metric.value, metric.kind, metric.unit, metric.better) == (PEAK, "exact", "bytes", "lower")

    def test_without_a_meter_it_is_made_and_nothing_recorded(self) -> None:
        bench = Bench()
        bench.measure.instruments.meter = None
        bench.measure.loaded(bench.measure.weighed(bench.fn)[1])
        assert bench.calls == 1
        assert bench.record.metrics == {}

    @pytest.mark.parametrize("disabled", [True, False])
    def test_where_nothing_is_measured_nothing_is_weighed(self, disabled: bool) -> None:
        bench = Bench(disabled=disabled)
        assert bench.measure.weighs is not disabled
        bench.measure.instruments.meter = None
        assert not bench.measure.weighs


class TestCorrectness:
    def test_a_wrong_result_is_not_timed(self) -> None:
        bench = Bench()

        def check(result: int) -> None:
            assert result == 43, "wrong sum"

        with pytest.raises(AssertionError, match="wrong sum"):
            bench.measure(bench.fn, check=check)
        assert bench.calls == 1
        assert not bench.replay.given
        assert not bench.record.metrics

    def test_a_result_that_becomes_wrong_is_found_after_timing(self) -> None:
        bench = Bench()
        verdicts = iter([True, False])

        def check(result: int) -> None:
            assert next(verdicts), "wrong now"

        with pytest.raises(AssertionError, match="wrong now"):
            bench.measure(bench.fn, check=check)
        assert bench.calls > 6

    @pytest.mark.parametrize("last", [1, 2], ids=["in the counter pass", "in the memory pass"])
    def test_an_output_that_changed_while_being_timed(self, last: int) -> None:
        whole = Bench()
        whole.measure(whole.fn)
        bench = Bench()

        def drifts() -> int:
            bench.fn()
            return int(bench.calls == whole.calls - last + 1)

        with pytest.raises(OutputChangedError, match=r"sums/loop: .* something else after timing"):
            bench.measure(drifts)
        assert not bench.replay.given

    def test_the_same_buffer_filled_differently_counts_as_changed(self) -> None:
        bench = Bench()
        buffer = torch.zeros(3)

        def accumulates() -> torch.Tensor:
            bench.fn()
            return buffer.add_(1)

        with pytest.raises(OutputChangedError):
            bench.measure(accumulates)


class TestInputs:
    def test_each_once_in_order_and_their_results_come_back(self) -> None:
        bench = Bench()
        seen: list[str] = []

        def fn(one: str, suffix: str) -> str:
            seen.append(one)
            return bench.fn(one + suffix)

        assert bench.measure(fn, "!", inputs=["a", "b", "c"]) == ["a!", "b!", "c!"]
        assert seen == ["a", "a", "a", "b", "c", "a", "a"]  # correct, warm, the rounds, weigh, count

    def test_the_value_is_the_mean_over_the_inputs(self) -> None:
        rounds = itertools.chain([0.0, 1.0, 1.0], [1.0, 2.0, 6.0], itertools.repeat(0.0))
        bench = Bench(durations=rounds)
        bench.measure(bench.fn, inputs=[1, 2, 3])
        assert bench.metric("latency_s") == Metric("sampled", "s", "lower", 3.0, samples=(1.0, 2.0, 6.0))
        assert bench.record.stopped_by == "inputs"
        assert bench.replay.given == [[1.0, 2.0, 6.0]]

    def test_the_budget_does_not_shorten_them(self) -> None:
        bench = Bench(durations=itertools.repeat(10.0), budget_s=1.0)
        assert bench.measure(bench.fn, inputs=list(range(20))) == list(range(20))

    def test_none_at_all_is_refused(self) -> None:
        bench = Bench()
        with pytest.raises(ValueError, match="got no inputs"):
            bench.measure(bench.fn, inputs=[])


class TestMetrics:
    def test_work_becomes_throughputs(self) -> None:
        bench = Bench(durations=itertools.repeat(0.5))
        bench.measure(bench.fn, work=Work(tokens=10, flops=100, bytes=1000))
        assert bench.metric("throughput_tokens_per_s") == Metric("sampled", "tokens/s", "higher", 20.0)
        assert bench.metric("throughput_flop_per_s") == Metric("sampled", "flop/s", "higher", 200.0)
        assert bench.metric("bandwidth_bytes_per_s") == Metric("sampled", "bytes/s", "higher", 2000.0)
        assert bench.metric("flops").value == 100

    def test_work_not_stated_makes_no_throughput(self) -> None:
        bench = Bench()
        bench.measure(bench.fn)
        assert not [name for name in bench.record.metrics if "throughput" in name or "bandwidth" in name]

    def test_counted_flops_stand_in_for_stated_ones(self) -> None:
        bench = Bench(durations=itertools.repeat(0.5))
        bench.measure(lambda: bench.fn(torch.ones(2, 3) @ torch.ones(3, 4)))
        assert bench.metric("flops").value == 2 * 2 * 3 * 4
        assert bench.metric("throughput_flop_per_s").value == 96.0
        assert bench.record.operators == {"aten.mm.default": 1, "aten.ones.default": 2}
        assert bench.metric("operator_calls").value == 3

    def test_peak_is_weights_and_what_the_call_adds(self) -> None:
        bench = Bench()
        bench.measure(bench.fn, weights_bytes=1000)
        values = [bench.metric(f"{name}_bytes").value for name in ("weights", "activation_peak", "peak_memory")]
        assert values == [1000, PEAK, 1000 + PEAK]
        assert bench.record.provenance["memory_meter"] == "fake"

    def test_without_stated_weights_the_peak_is_the_calls(self) -> None:
        bench = Bench()
        bench.measure(bench.fn)
        assert bench.metric("peak_memory_bytes").value == PEAK
        assert "weights_bytes" not in bench.record.metrics

    def test_samples_are_taken_from_each_round(self) -> None:
        bench = Bench(durations=itertools.chain([0.0], itertools.repeat(1.0)))
        given = itertools.count(1)
        bench.measure(bench.fn, inputs=[1, 2, 3], samples=lambda result: {"ttft_s": next(given), "tpot_s": result / 10})
        assert bench.metric("ttft_s").samples == (1, 2, 3)
        assert bench.metric("tpot_s").samples == (0.1, 0.2, 0.3)
        assert bench.metric("tpot_s").value == pytest.approx(0.2)

    def test_the_benchmark_may_add_its_own(self) -> None:
        bench = Bench()
        bench.measure.bounded("relative_error", 1e-3, "1", "lower")
        assert bench.metric("relative_error") == Metric("bounded", "1", "lower", 1e-3)

    def test_pytest_benchmark_gets_the_very_samples_of_the_record(self) -> None:
        bench = Bench(durations=itertools.cycle([1.0, 1.5, 1.25]))
        bench.measure(bench.fn)
        assert bench.replay.given == [list(bench.metric("latency_s").samples)]


class TestMeter:
    def test_one_that_sees_nothing_fails_the_case(self) -> None:
        bench = Bench(meter=FakeMeter(0))
        with pytest.raises(MeterError, match="read 0 bytes"):
            bench.measure(bench.fn)

    def test_is_proved_once_for_all_cases(self, monkeypatch: pytest.MonkeyPatch) -> None:
        proved: list[object] = []
        monkeypatch.setattr(memory, "verify", proved.append)
        instruments = Instruments(FakeClock(), FakeMeter(PEAK))
        for _ in range(2):
            Measure(MeasurePolicy(), instruments, FakeReplay(), Record("sums", 1, {}, "sums/loop"))(lambda: 42)
        assert proved == [FakeMeter(PEAK)]

    def test_without_one_the_record_says_so(self) -> None:
        bench = Bench()
        bench.measure.instruments.meter = None
        bench.measure(bench.fn)
        assert "peak_memory_bytes" not in bench.record.metrics
        assert any("not measured" in note for note in bench.record.notes)


class TestKernel:
    def fn(self) -> int:
        note_kernel("fa2")
        note_kernel("attention_math")
        return 42

    def test_that_ran_is_kept(self) -> None:
        bench = Bench()
        bench.measure(lambda: (bench.fn(), self.fn())[1], kernel=Kernel("fa2", ran=("fa2", "fa3"), absent=("eager",)))
        assert bench.record.provenance["kernel"] == "fa2"

    @pytest.mark.parametrize(
        ("kernel", "message"),
        [
            (Kernel("fa1", ran=("fa1", "fa1b")), "of which fa1 or fa1b must run; none of it ran; kernels seen: .*fa2"),
            (Kernel("fa2", ran=("fa2",), absent=("attention_math",)), "instead ran attention_math"),
        ],
    )
    def test_that_did_not_run_fails_the_case_but_keeps_its_numbers(self, kernel: Kernel, message: str) -> None:
        bench = Bench()
        with pytest.raises(FellBackError, match=f"FELL_BACK.*{message}"):
            bench.measure(lambda: (bench.fn(), self.fn())[1], kernel=kernel)
        assert bench.metric("latency_s").value == 1.0

    def test_cannot_be_asserted_where_nothing_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(op_counts, "count", lambda call: (call(), None))
        bench = Bench()
        with pytest.raises(RuntimeError, match="'fa2' cannot be asserted without torch"):
            bench.measure(bench.fn, kernel=Kernel("fa2", ran=("fa2",)))


class TestUse:
    def test_a_second_call_is_refused(self) -> None:
        bench = Bench()
        bench.measure(bench.fn)
        with pytest.raises(RuntimeError, match="called twice in one test"):
            bench.measure(bench.fn)

    @pytest.mark.parametrize(("inputs", "result"), [(None, 42), (["a", "b"], ["a"])])
    def test_disabled_it_runs_once_checks_and_measures_nothing(self, inputs: Any, result: Any) -> None:
        bench = Bench(disabled=True)
        checked: list[Any] = []
        assert bench.measure(bench.fn, inputs=inputs, check=checked.append) == result
        assert bench.calls == len(checked) == 1
        assert bench.record.metrics == {}
        assert bench.replay.given == [[]]

    def test_disabled_it_still_fails_on_a_wrong_result(self) -> None:
        bench = Bench(disabled=True)

        def check(result: int) -> None:
            raise AssertionError("wrong sum")

        with pytest.raises(AssertionError, match="wrong sum"):
            bench.measure(bench.fn, check=check)
