"""Measurement overhead: throughput through ``measure`` against a hand-written loop around the same call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest
from perfgate import Case, Measure, Metric, Row, Work, cases, device_of, part

from fixtures import attention
from fixtures.generation import Encoded, Generation, generate
from fixtures.models import DEFAULT_MODEL
from fixtures.options import SETTINGS
from fixtures.subject import Subject

ROUNDS = 6
"""Enough pairs for a ratio within a few percent on a noisy machine, in about ten seconds."""


@dataclass(frozen=True, kw_only=True)
class HarnessCase(Case):
    """The cheapest generation of the default set, measured twice in turns."""

    benchmark: ClassVar[str] = "harness"
    scheme: str = part(default="fp32")
    attention: str = part()
    model: str = part(default=DEFAULT_MODEL)
    prompts: str = part(default="en")
    device: str = part(default="cpu")


def harness_rows(config: pytest.Config) -> Iterator[Row]:
    """One case, which belongs to no scheme's or attention's selection."""
    suite, device = config.stash[SETTINGS], device_of(config)
    yield Row(
        HarnessCase(
            scheme="fp32" if device == "cpu" else "bf16",
            attention="sdpa-flash",
            model=suite.model.slug,
            prompts=suite.prompts.name,
            device=device.split(":")[0],
        ),
        selected=suite.quantization is None and suite.attention is None,
        expected_s=20.0,
    )


@cases(harness_rows)
def test_harness(case: HarnessCase, subject: Subject, measure: Measure) -> None:
    """Each round through ``measure`` is followed by the same call in a hand-written loop, so that drift cancels."""
    loaded = subject.loaded(case.scheme)
    backend = attention.use(loaded.model, case.attention)
    run = partial(generate, loaded=loaded, backend=backend, new_tokens=subject.new_tokens, clock=subject.clock)
    # One input again and again: with several, the call by hand would always meet lengths that measure met first.
    batch: list[Encoded] = [subject.inputs[0]]

    def by_hand(result: Any) -> dict[str, float]:
        start = time.perf_counter()
        again = run(batch)
        took = time.perf_counter() - start
        assert again == result, "the same call gave other tokens by hand"
        return {"by_hand_s": took}

    measure(
        run,
        inputs=[batch] * ROUNDS,
        work=Work(tokens=subject.new_tokens),
        samples=by_hand,
        timing="wall",
        check=lambda result: check_length(result, subject.new_tokens),
        kernel=backend.kernel,
    )
    if not measure.disabled:
        metrics = measure.record.metrics
        ratio = metrics["by_hand_s"].value / metrics["latency_s"].value
        measure.add("throughput_ratio", Metric("sampled", "1", "higher", ratio))
        measure.record.notes.append(f"throughput through measure is {ratio:.3f} of a hand-written loop's")


def check_length(result: Generation, new_tokens: int) -> None:
    """The call generates as many tokens as it was asked for."""
    assert [len(tokens) for tokens in result.tokens] == [new_tokens]
