"""Injected faults do what their names say."""

from dataclasses import dataclass

import pytest
import torch
from perfgate.measure import fault_injection, op_counts
from perfgate.measure.clocks import FakeClock, WallClock
from perfgate.measure.fault_injection import Fault, parse
from perfgate.measure.measurement import Instruments, Kernel, Measure, MeasurePolicy
from perfgate.measure.memory import HeapMeter
from perfgate.records.record import Record

from tests.support.fake_replay import FakeReplay


def measured(*texts: str, clock: object = None, weighed: bool = False, **kwargs: object) -> Record:
    """A record of one small call with these faults; weighing it takes a second."""
    record = Record("sums", 1, {}, "sums/ones")
    settings = MeasurePolicy(budget_s=1e-6, faults=tuple(map(parse, texts)))
    measure = Measure(
        settings, Instruments(clock or WallClock(), HeapMeter() if weighed else None), FakeReplay(), record
    )
    measure(lambda: torch.ones(3).sum(), **kwargs)
    return record


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("slow=5%", Fault("slow", 0.05, "*", "slow=5%")),
        ("memory=1MiB@linear/*", Fault("memory", 2.0**20, "linear/*", "memory=1MiB@linear/*")),
        ("operator=1", Fault("operator", 1.0, "*", "operator=1")),
        ("vanish@a/b", Fault("vanish", 0.0, "a/b", "vanish@a/b")),
    ],
)
def test_reading(text: str, fault: Fault) -> None:
    assert parse(text) == fault


def test_a_pattern_chooses_cases() -> None:
    fault = parse("wrong@linear/nf4-*")
    assert fault.hits("linear/nf4-t1")
    assert not fault.hits("linear/fp4-t1")
    assert measured("wrong@max/*", check=lambda total: None).status == "measured"


def test_the_environment_injects_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fault_injection.ENVIRONMENT, "slow=5% wrong")
    assert [fault.kind for fault in fault_injection.injected(["vanish"])] == ["vanish", "slow", "wrong"]


def test_more_memory() -> None:
    plain, spoiled = measured(weighed=True), measured("memory=1MiB", weighed=True)
    grown = spoiled.metrics["peak_memory_bytes"].value - plain.metrics["peak_memory_bytes"].value
    assert grown == pytest.approx(2**20, rel=0.01)


def test_one_more_operator_for_each_token() -> None:
    plain, spoiled = measured(), measured("operator=1", work=op_counts.Work(tokens=5))
    assert spoiled.metrics["operator_calls"].value == plain.metrics["operator_calls"].value + 5
    assert spoiled.operators["aten.neg.default"] == 5


def test_slower() -> None:
    steps = iter(lambda: 0.1, None)  # every reading of the clock is a tenth of a second later
    plain = measured(clock=FakeClock(steps))
    slow = measured("slow=300%", clock=FakeClock(steps))
    assert plain.metrics["latency_s"].value == pytest.approx(0.1)
    assert slow.metrics["latency_s"].value == pytest.approx(0.45, abs=0.06)  # until a reading is past 0.4


def test_a_wrong_result_fails_the_check() -> None:
    def check(total: torch.Tensor) -> None:
        assert total == 3

    measured(check=check)
    with pytest.raises(AssertionError):
        measured("wrong", check=check)


def test_the_kernel_does_not_run_and_the_result_is_right() -> None:
    kernel = Kernel("sum", ran=("aten.sum",))
    assert measured(kernel=kernel).provenance["kernel"] == "aten.sum"
    with pytest.raises(AssertionError, match="FELL_BACK"):
        measured("kernel", kernel=kernel)


@dataclass(frozen=True)
class Answer:
    tokens: tuple[int, ...]
    text: str


def test_every_number_of_a_result_is_wrong() -> None:
    assert fault_injection.perturbed({"a": [1, 2.5], "b": None}) == {"a": [2, 3.5], "b": None}
    assert fault_injection.perturbed(Answer((1, 2), "x")) == Answer((2, 3), "x")
    assert torch.equal(fault_injection.perturbed(torch.zeros(2)), torch.ones(2))
