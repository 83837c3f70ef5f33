"""The experiment: greedy generation under each combination of weight precision and attention."""

from __future__ import annotations

from functools import partial
from statistics import fmean

from perfgate import Measure, Work, cases

from fixtures import attention, quality
from fixtures.attention.checks import note_choices
from fixtures.case_tables.generation import (
    AllCoresCase,
    GenerationCase,
    LongGenerationCase,
    ServedCase,
    all_cores_rows,
    generation_rows,
    long_rows,
    served_rows,
)
from fixtures.generation import batches, generate
from fixtures.generation_checks import assess, check_tokens, describe, use
from fixtures.models import Loaded
from fixtures.scoring_export import Exporter
from fixtures.subject import Subject

LONG_BUDGET_S = 3.0
"""Seconds of timed rounds for a long prompt, whose call takes two or three: what it is about is memory."""


def measure_row(case: GenerationCase, subject: Subject, measure: Measure) -> tuple[Loaded, attention.Backend]:
    """Every input once, greedily, a fixed number of new tokens; returns what it ran with.

    Raises:
        fixtures.quality.QualityError: wrong tokens, weights or quality.
    """
    reference = subject.reference if measure.checked else None  # before the row's own model: only one is in memory
    loaded = subject.loaded(case.scheme, measure.weighed if measure.weighs else None)
    measure.loaded(loaded.loading_peak_bytes)
    quality.require_weights(loaded, case.key)
    backend = use(loaded, case.attention)
    describe(measure, subject, loaded, backend)
    run = partial(generate, loaded=loaded, backend=backend, new_tokens=case.new_tokens, clock=subject.clock)

    if reference is not None:
        assess(loaded, backend, reference, case, measure)

    rounds = batches(subject.inputs, case.batch_size)
    results = measure(
        run,
        inputs=rounds,
        work=Work(tokens=case.new_tokens * len(subject.inputs) / len(rounds)),
        check=lambda output: check_tokens(subject, case, rounds[0], output.tokens, measure),
        timing="wall",  # every token goes to the host: what a user waits for is what counts
        kernel=backend.kernel,
        weights_bytes=loaded.weights_bytes,
    )
    note_choices(measure, backend)
    outputs = [tokens for result in results for tokens in result.tokens]
    if reference is not None and not measure.disabled:
        known = subject.comparable(case.scheme)
        check_tokens(subject, case, known, outputs[: len(known)], measure)
        if case.attention == "eager" and case.batch_size == 1:
            subject.remember_eager(case.scheme, outputs)
        equal = quality.exact_match_tokens(outputs, reference)
        measure.bounded("exact_match_tokens", fmean(equal), "tokens", "higher", equal)
    return loaded, backend


@cases(generation_rows)
def test_generation(case: GenerationCase, subject: Subject, measure: Measure, scoring: Exporter | None) -> None:
    """The experiment's rows: every input once, greedily, a fixed number of new tokens."""
    loaded, backend = measure_row(case, subject, measure)
    if scoring is not None and not measure.disabled:
        scoring.collect(subject, loaded, backend, case.batch_size)


@cases(all_cores_rows)
def test_generation_all_cores(case: AllCoresCase, subject: Subject, measure: Measure) -> None:
    """A row of the experiment that a comparison runs on all cores."""
    measure_row(case, subject, measure)


@cases(long_rows)
def test_generation_long(case: LongGenerationCase, subject: Subject, measure: Measure) -> None:
    """Prefill of a long prompt and a few tokens: the peak of the call shows what attention keeps in memory."""
    loaded = subject.loaded(case.scheme)
    backend = use(loaded, case.attention)
    describe(measure, subject, loaded, backend)
    measure(
        partial(generate, [subject.long_input], loaded, backend, case.new_tokens, subject.clock),
        work=Work(tokens=case.new_tokens),
        check=lambda output: check_tokens(subject, case, [subject.long_input], output.tokens, measure),
        timing="wall",  # every token goes to the host: what a user waits for is what counts
        kernel=backend.kernel,
        weights_bytes=loaded.weights_bytes,
        budget_s=LONG_BUDGET_S,
    )
    note_choices(measure, backend)


@cases(served_rows)
def test_generation_served(case: ServedCase, served_subject: Subject, measure: Measure) -> None:
    """The same in the shapes of a model that is served: what an accelerator is bought for."""
    measure_row(case, served_subject, measure)
