"""Attention alone: prefill, decode, and two backends in turns; each result against float64."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from perfgate import Measure, Metric, cases

from fixtures import attention
from fixtures.attention.checks import checked, require_linear_memory, work_of
from fixtures.attention.problems import References
from fixtures.case_tables.attention import DecodeCase, PrefillCase, RatioCase, decode_rows, prefill_rows, ratio_rows
from fixtures.ceilings import Ceilings, add_shares

BUDGET_S = 0.6
"""Seconds of timed rounds for a case: a hundred calls of a short one, two of the longest."""
RATIO_ROUNDS = 3
"""Turns of two backends: the slower one takes seconds on a CPU."""


@pytest.fixture(scope="module")
def references() -> References:
    """Float64 references, computed once for all backends of a shape."""
    return References()


@cases(prefill_rows)
def test_attention_prefill(
    case: PrefillCase, references: References, ceilings: Ceilings, device: str, measure: Measure, one_core: None
) -> None:
    """A whole prompt at once, and the invariants that need no baseline."""
    backend = attention.backend(case.attention)
    if measure.checked:
        references.require_invariants(backend, case.shape, case.dtype, device)
    call, check = checked(backend, case, references, device, measure)
    measure(call, work=work_of(case), check=check, kernel=backend.kernel, budget_s=BUDGET_S)
    add_shares(measure, ceilings, case.dtype)
    if measure.disabled:
        return
    if backend.name == "eager":
        references.eager_peak(case.shape, lambda: measure.record.metrics["activation_peak_bytes"].value)
    if backend.linear_memory:
        require_linear_memory(backend, case, references, device, measure)


@cases(decode_rows)
def test_attention_decode(
    case: DecodeCase, references: References, ceilings: Ceilings, device: str, measure: Measure, one_core: None
) -> None:
    """One new token: bandwidth, not arithmetic, is what it costs."""
    backend = attention.backend(case.attention)
    call, check = checked(backend, case, references, device, measure)
    measure(call, work=work_of(case), check=check, kernel=backend.kernel, budget_s=BUDGET_S)
    add_shares(measure, ceilings, case.dtype)


@cases(ratio_rows)
def test_attention_ratio(
    case: RatioCase, references: References, device: str, measure: Measure, one_core: None
) -> None:
    """Each round is followed by the other backend's call on the same tensors."""
    backend, versus = attention.backend(case.attention), attention.backend(case.versus)
    call, check = checked(backend, case, references, device, measure)
    other, check_other = checked(versus, case, references, device, measure)
    if measure.checked:  # a warm-up too: the first call of the large temporaries pays for their pages
        check_other(other())

    def in_turn(result: Any) -> dict[str, float]:
        output, took = measure.time(other)
        if measure.checked:
            check_other(output)
        return {"versus_s": took}

    measure(
        lambda turn: call(),
        inputs=range(RATIO_ROUNDS),
        work=work_of(case),
        check=check,
        kernel=backend.kernel,
        samples=in_turn,
    )
    if not measure.disabled:
        metrics = measure.record.metrics
        ratio = median(metrics["latency_s"].samples) / median(metrics["versus_s"].samples)
        measure.add("time_ratio", Metric("sampled", "1", "lower", ratio))
