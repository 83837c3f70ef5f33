"""The experiment: greedy generation under each combination of weight precision and attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest
from perfgate import Case, Measure, Row, Work, cases, device_of, part, slug, versions

from fixtures import attention, quality, quantization
from fixtures.generation import Encoded, Generation, batches, generate
from fixtures.models import DEFAULT_MODEL, ONE_DEVICE, Loaded
from fixtures.options import NEW_TOKENS_CPU, SETTINGS, SuiteSettings
from fixtures.scoring_export import Exporter
from fixtures.subject import LONG_NEW_TOKENS, LONG_PROMPT_LEN, Subject
from fixtures.synthetic import PROVENANCE

CPU_ROWS = (
    ("fp32", "eager"),
    ("fp32", "sdpa-math"),
    ("fp32", "sdpa-flash"),
    ("fp32", "fa1"),
    ("fp32", "fa2"),
    ("fp32", "fa1+fa2"),
    ("bf16", "sdpa-flash"),
    ("int8", "eager"),
    ("int8", "fa2"),
    ("nf4", "eager"),
    ("nf4", "fa2"),
    ("nf4-dq", "fa2"),
    ("fp4", "fa2"),
)
CPU_QUICK = (("fp32", "eager"), ("fp32", "fa2"), ("nf4", "fa2"))
ACCELERATOR_ROWS = tuple(
    (scheme, name)
    for scheme in ("fp32", "bf16", "fp16", "int8", "nf4")
    for name in ("eager", "fa1-triton", "fa2-triton", "flash-attn-2", "fa1+flash-attn-2", "sdpa-flash")
    if scheme != "fp32" or name in ("eager", "fa2-triton")
)
ACCELERATOR_QUICK = (("bf16", "eager"), ("bf16", "fa2-triton"), ("nf4", "fa2-triton"))
"""Of a model that was chosen; else the served model's rows are the quick ones."""
SERVED_ROWS = (*ACCELERATOR_QUICK, ("bf16", "sdpa-flash"), ("int8", "fa2-triton"))
CPU_LONG = ("eager", "sdpa-flash", "fa2")
ACCELERATOR_LONG = ("eager", "sdpa-flash", "fa1-triton", "fa2-triton", "flash-attn-2")

LONG_BUDGET_S = 3.0
"""Seconds of timed rounds for a long prompt, whose call takes two or three: what it is about is memory."""
EXPECTED_S = {"32 bit": 22.0, "16 bit": 75.0, "8 bit": 55.0, "4 bit": 45.0}
"""A first run's guess for a row of the default model on two cores, in seconds, by family; this machine's own times
replace it after the first run."""
ACCELERATOR_EXPECTED_S = {"32 bit": 14.0, "16 bit": 14.0, "8 bit": 26.0, "4 bit": 16.0}
SERVED_EXPECTED_S = {"16 bit": 26.0, "8 bit": 60.0, "4 bit": 36.0}
"""The same on an H100, on paper: 20 inputs of as many tokens as are the default, at what transformers' loop takes for
each (12 ms for 30 small layers, 27 ms for 32 large ones; LLM.int8() twice that and more), as much again for checks and
quality, and loading."""


@dataclass(frozen=True, kw_only=True)
class GenerationCase(Case):
    """One row of the experiment."""

    benchmark: ClassVar[str] = "generation"
    scheme: str = part()
    attention: str = part(render=slug)
    model: str = part(default=DEFAULT_MODEL)
    prompts: str = part(default="en")
    new_tokens: int = part("n{}", default=NEW_TOKENS_CPU)
    batch_size: int = part("b{}", default=1)
    device: str = part(default="cpu")
    device_map: str = part(default=ONE_DEVICE)


@dataclass(frozen=True, kw_only=True)
class ServedCase(GenerationCase):
    """The same for a model of the size that is served on accelerators."""

    benchmark: ClassVar[str] = "generation_served"


@dataclass(frozen=True, kw_only=True)
class LongGenerationCase(Case):
    """One long prompt: prefill and a few tokens, where attention's memory shows."""

    benchmark: ClassVar[str] = "generation_long"
    scheme: str = part()
    attention: str = part(render=slug)
    prompt_len: int = part("p{}")
    new_tokens: int = part("n{}")
    model: str = part(default=DEFAULT_MODEL)
    prompts: str = part(default="en")
    device: str = part(default="cpu")
    device_map: str = part(default=ONE_DEVICE)


def chosen_rows(config: pytest.Config, default: tuple[tuple[str, str], ...]) -> list[tuple[str, str, bool]]:
    """Pairs of scheme and attention with whether they are selected.

    ``--quantization`` and ``--attention`` together mean every combination of the two; one alone narrows the default
    rows, and a name that no default row has gets a row of its own (with eager, or with fp32).
    """
    suite = config.stash[SETTINGS]
    schemes, attentions = suite.quantization, suite.attention
    wanted = list(default)
    if schemes and attentions:
        wanted = [(scheme, name) for scheme in schemes for name in attentions]
    elif schemes:
        wanted = [pair for pair in default if pair[0] in schemes]
        wanted += [(scheme, "eager") for scheme in schemes if scheme not in {pair[0] for pair in default}]
    elif attentions:
        wanted = [pair for pair in default if pair[1] in attentions]
        wanted += [("fp32", name) for name in attentions if name not in {pair[1] for pair in default}]
    every = dict.fromkeys((*default, *wanted))
    order = list(quantization.schemes())
    return [(*pair, pair in wanted) for pair in sorted(every, key=lambda pair: order.index(pair[0]))]


def unavailable(scheme: str, name: str, device: str, batch_size: int = 1) -> str | None:
    """Why this machine cannot run a combination, or None. A batch of several prompts is padded to the longest."""
    chosen, backend = quantization.scheme(scheme), attention.backend(name)
    reason = chosen.unavailable(device)
    return reason or backend.unavailable(device, dtype=chosen.short_dtype(device), padded=batch_size > 1)


def case_fields(suite: SuiteSettings, scheme: str, name: str, device: str) -> dict[str, Any]:
    """The fields of one row of the experiment."""
    return {
        "scheme": scheme,
        "attention": name,
        "model": suite.model.slug,
        "prompts": suite.prompts.name,
        "new_tokens": suite.new_tokens_on(device),
        "batch_size": suite.batch_size,
        "device": device.split(":")[0],
        "device_map": suite.device_map,
    }


def generation_rows(config: pytest.Config) -> Iterator[Row]:
    """The rows of the experiment on the device of this run."""
    suite, device = config.stash[SETTINGS], device_of(config)
    default, quick, expected = CPU_ROWS, CPU_QUICK, EXPECTED_S
    if device != "cpu":
        default, expected = ACCELERATOR_ROWS, ACCELERATOR_EXPECTED_S
        quick = () if suite.has_served(device) else ACCELERATOR_QUICK
    for scheme, name, selected in chosen_rows(config, default):
        yield Row(
            GenerationCase(**case_fields(suite, scheme, name, device)),
            quick=(scheme, name) in quick,
            selected=selected,
            unavailable=unavailable(scheme, name, device, suite.batch_size),
            expected_s=expected[quantization.scheme(scheme).family],
        )


def served_rows(config: pytest.Config) -> Iterator[Row]:
    """Some rows of a model of the size that is served; deselected on a CPU, and where a model was chosen."""
    suite, device = config.stash[SETTINGS], device_of(config)
    wanted = {(scheme, name) for scheme, name, selected in chosen_rows(config, SERVED_ROWS) if selected}
    for scheme, name in SERVED_ROWS:
        yield Row(
            ServedCase(**case_fields(suite.served, scheme, name, device)),
            quick=(scheme, name) in ACCELERATOR_QUICK,
            selected=suite.has_served(device) and (scheme, name) in wanted,
            unavailable=unavailable(scheme, name, device, suite.batch_size),
            expected_s=SERVED_EXPECTED_S[quantization.scheme(scheme).family],
        )


def long_rows(config: pytest.Config) -> Iterator[Row]:
    """The long-prompt cases, for prompt sets that have a long text."""
    suite, device = config.stash[SETTINGS], device_of(config)
    scheme = "fp32" if device == "cpu" else "bf16"
    no_text = None if suite.prompts.long_text else f"prompt set {suite.prompts.name} has no long text (en and ja have)"
    for name in CPU_LONG if device == "cpu" else ACCELERATOR_LONG:
        yield Row(
            LongGenerationCase(
                scheme=scheme,
                attention=name,
                prompt_len=LONG_PROMPT_LEN,
                new_tokens=LONG_NEW_TOKENS,
                model=suite.model.slug,
                prompts=suite.prompts.name,
                device=device.split(":")[0],
                device_map=suite.device_map,
            ),
            selected=(not suite.quantization or scheme in suite.quantization)
            and (not suite.attention or name in suite.attention),
            unavailable=no_text or unavailable(scheme, name, device),
            expected_s=25.0 if device == "cpu" else 8.0,
        )


def check_tokens(
    subject: Subject, case: Case, inputs: Sequence[Encoded], tokens: Sequence[Sequence[int]], measure: Measure
) -> None:
    """Assert that the tokens generated for each input are eager's, ties within rounding aside; note differences.

    Raises:
        fixtures.quality.QualityError: another token than eager's that no rounding explains.
    """
    scheme, backend = str(case.fields["scheme"]), attention.backend(str(case.fields["attention"]))
    if backend.name == "eager" and not subject.is_reference(scheme):
        return  # it is what the others are compared with; against the unquantized model it stands by its quality
    for one, chosen in zip(inputs, tokens, strict=True):
        difference = subject.difference_from_eager(scheme, one, chosen, backend)
        if difference is not None:
            if str(difference) not in measure.record.notes:
                measure.record.notes.append(str(difference))
            if not difference.tied:
                raise quality.QualityError(f"{case.key}: not eager's tokens: {difference}")


def use(loaded: Loaded, name: str) -> attention.Backend:
    """Switch the model to an attention; the row is skipped where that one has no kernel for the model's head_dim, which
    is known only now."""
    backend = attention.backend(name)
    if backend.head_dims is not None:
        config = loaded.model.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        dtype = loaded.scheme.short_dtype(loaded.device)
        reason = backend.unavailable(loaded.device, dtype=dtype, head_dim=head_dim)
        if reason is not None:
            pytest.skip(reason)
    return attention.use(loaded.model, name)


def describe(measure: Measure, subject: Subject, loaded: Loaded, backend: attention.Backend) -> None:
    """Where the row's numbers come from, and what a reader must know of them."""
    measure.record.provenance["implementation"] = f"{loaded.scheme.label}; {backend.label}"
    measure.record.provenance["package_versions"] = versions(("torch", "transformers", *loaded.scheme.packages))
    if subject.label is not None:
        measure.record.provenance[PROVENANCE] = subject.label
    note = loaded.scheme.note(loaded.device)
    measure.record.notes += subject.notes if note is None else [note, *subject.notes]
    backend.choices()  # those of calls before this row's


def note_choices(measure: Measure, backend: attention.Backend) -> None:
    """Which blocks the row's kernels ran with, where its attention chooses them for the device."""
    chosen = backend.choices()
    if chosen:
        measure.record.provenance["kernel_choices"] = chosen


def assess(
    loaded: Loaded, backend: attention.Backend, reference: quality.Reference, case: GenerationCase, measure: Measure
) -> None:
    """Score the row against the unquantized model, into the record.

    Raises:
        fixtures.quality.QualityError: outside the scheme's bounds.
    """
    scored = quality.score(loaded, backend, reference)
    for name, value, unit, better in (
        ("kl_divergence_nats", scored.kl_divergence_nats, "nats/token", "lower"),
        ("top1_agreement", scored.top1_agreement, "fraction", "higher"),
        ("perplexity", scored.perplexity, "1", "lower"),
    ):
        if value is not None:
            measure.bounded(name, value, unit, better)
    quality.require_bounds(scored, loaded, case.key)


def measure_row(case: GenerationCase, subject: Subject, measure: Measure) -> tuple[Loaded, attention.Backend]:
    """Every input once, greedily, a fixed number of new tokens; returns what it ran with.

    Raises:
        fixtures.quality.QualityError: wrong tokens, weights or quality.
    """
    reference = subject.reference if measure.checked else None  # before the row's own model: only one is in memory
    loaded = subject.loaded(case.scheme)
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
        samples=Generation.samples,
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
        measure.bounded("exact_match_tokens", quality.exact_match_tokens(outputs, reference), "tokens", "higher")
    return loaded, backend


@cases(generation_rows)
def test_generation(case: GenerationCase, subject: Subject, measure: Measure, scoring: Exporter | None) -> None:
    """The experiment's rows: every input once, greedily, a fixed number of new tokens."""
    loaded, backend = measure_row(case, subject, measure)
    if scoring is not None and not measure.disabled:
        scoring.collect(subject, loaded, backend, case.batch_size)


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
        samples=Generation.samples,
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
