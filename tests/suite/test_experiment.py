"""The experiment's table and the comparison's claims, from made-up records."""

from __future__ import annotations

import pytest
from perfgate.records.record import Metric, Record
from suite_report import experiment

from fixtures.limits import NO_LIMITS


def row(
    scheme: str,
    attention: str,
    *,
    peak: float = 500,
    speed: float = 10.0,
    top1: float = 1.0,
    status: str = "measured",
    note: str | None = None,
) -> Record:
    fields = {"scheme": scheme, "attention": attention, "model": "m", "prompts": "en", "new_tokens": 8, "batch_size": 1}
    record = Record("generation", 1, fields, f"generation/{scheme}-{attention}", status=status)  # type: ignore[arg-type]
    record.metrics = {
        "latency_s": Metric("sampled", "s", "lower", 0.75, samples=(0.5, 1.0)),
        "throughput_tokens_per_s": Metric("sampled", "tokens/s", "higher", speed),
        "peak_memory_bytes": Metric("exact", "bytes", "lower", peak * 2**20),
        "top1_agreement": Metric("bounded", "fraction", "higher", top1),
    }
    record.notes = [note] if note else []
    return record


NONE = [row("fp32", "eager"), row("fp32", "fa2", speed=12.0), row("fp32", "fa1+fa2", speed=13.0)]
EIGHT = row("int8", "eager", peak=220, top1=0.97)
FOUR = row("nf4", "fa2", peak=170, top1=0.9)


def outcomes(*records: Record) -> list[str]:
    return [claim.outcome for claim in experiment.claims(records)]


def test_all_claims_hold_on_the_comparisons_own_picture() -> None:
    assert outcomes(*NONE, EIGHT, FOUR) == ["held"] * 5


@pytest.mark.parametrize(
    ("failing", "records"),
    [
        ({0, 4}, [*NONE, EIGHT, row("nf4", "fa2", peak=230, top1=0.9)]),  # 8 bit is leaner than 4 bit
        ({1}, [*NONE, row("int8", "eager", peak=220, top1=0.94), FOUR]),  # 8 bit loses six points
        ({2}, [*NONE, EIGHT, row("nf4", "fa2", peak=170, top1=0.81)]),  # 4 bit loses sixteen points more
        ({2}, [*NONE, EIGHT, row("nf4", "fa2", peak=170, top1=0.99)]),  # 4 bit is better than 8 bit
        ({3}, [*NONE, row("nf4", "fa2", peak=170, top1=0.9, speed=12.5), EIGHT]),  # a 4-bit row is faster
        ({4}, [*NONE, EIGHT, FOUR, row("nf4", "eager", peak=169, top1=0.9)]),  # leaner without FA
    ],
)
def test_a_claim_fails_with_its_own_numbers(failing: set[int], records: list[Record]) -> None:
    assert {number for number, found in enumerate(outcomes(*records)) if found == "not held"} == failing


@pytest.mark.parametrize(
    ("claim", "records"), [(0, NONE), (1, NONE), (2, [*NONE, EIGHT]), (3, [EIGHT, FOUR]), (4, NONE)]
)
def test_a_claim_without_its_rows_is_not_judged(claim: int, records: list[Record]) -> None:
    assert outcomes(*records)[claim] == "not judged here"


def test_every_claim_carries_its_numbers() -> None:
    for claim in experiment.claims([*NONE, EIGHT, FOUR]):
        assert any(character.isdigit() for character in claim.because), claim


def test_the_table_has_a_row_for_each_measured_row_and_only_those() -> None:
    records = [*NONE, row("int8", "fa2", status="failed"), Record("other", 1, {}, "other/x")]
    _, table, claims = experiment.sections(records, NO_LIMITS)
    assert [one["row"] for one in table.table.rows] == ["fp32 + eager", "fp32 + fa2", "fp32 + fa1+fa2"]
    assert table.table.rows[0]["total_s"] == 1.5, "the total is the sum over the inputs"
    assert table.table.rows[0]["ttft_s"] is None, "what was not measured is absent, not zero"
    assert [claim["outcome"] for claim in claims.data["claims"]].count("held") == 1


def test_a_note_is_printed_once_with_the_rows_it_belongs_to() -> None:
    records = [row("bf16", "eager", note="emulated"), row("bf16", "fa2", note="emulated")]
    _, table, _ = experiment.sections(records, NO_LIMITS)
    assert list(table.notes) == ["bf16 + eager, bf16 + fa2: emulated"]


def test_nothing_measured_makes_no_section() -> None:
    assert experiment.sections([row("fp32", "eager", status="failed")], NO_LIMITS) == []
