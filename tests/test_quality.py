"""Quality metrics against a slow computation of their own, and the bounds that rows must keep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import attention, quality
from fixtures.generation import Encoded, encode
from fixtures.quality import Quality, QualityError, Reference
from fixtures.quantization import Bounds

TEXTS = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly.")
NEW_TOKENS = 4
EAGER = attention.backend("eager")
HERE = [
    pytest.param(name, marks=pytest.mark.slow) if name == "flex" else name  # what it compiles takes half a minute
    for name, backend in attention.backends().items()
    if backend.unavailable("cpu") is None
]
GOOD = Quality(kl_divergence_nats=0.01, top1_agreement=0.9, perplexity=20.0, scored_tokens=100_000)


@pytest.fixture(scope="module")
def inputs(tiny: Any) -> tuple[Encoded, ...]:
    return tuple(encode(tiny.loaded().tokenizer, str(number), text) for number, text in enumerate(TEXTS))


@pytest.fixture(scope="module")
def reference(tiny: Any, inputs: tuple[Encoded, ...]) -> Reference:
    return quality.make_reference(tiny.loaded(), EAGER, inputs, NEW_TOKENS)


def slow_score(model: Any, reference: Reference) -> Quality:
    """The same three numbers, one token and one vocabulary entry at a time, in float64, by their definitions."""
    kl, agreed, loss, words = [], [], 0.0, 0
    for one, tokens, expected in zip(reference.inputs, reference.tokens, reference.logits, strict=True):
        ids = [*one.token_ids, *tokens]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().tolist()
        for step in range(len(tokens)):
            p = probabilities(expected[step].double().tolist())
            q = probabilities(logits[len(one.token_ids) - 1 + step])
            kl.append(math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)))
            agreed.append(p.index(max(p)) == q.index(max(q)))
        for position in range(max(one.text_start, 1), one.text_stop):  # nothing predicts the first token of all
            loss -= math.log(probabilities(logits[position - 1])[ids[position]])
            words += 1
    return Quality(math.fsum(kl) / len(kl), sum(agreed) / len(agreed), math.exp(loss / words), len(agreed))


def probabilities(logits: list[float]) -> list[float]:
    weights = [math.exp(logit) for logit in logits]
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("name", ["fp32", "bf16", "int8", "nf4"])
def test_score_is_what_its_definition_says(tiny: Any, reference: Reference, name: str) -> None:
    loaded = tiny.loaded(name)
    attention.use(loaded.model, "eager")
    found = quality.score(loaded, EAGER, reference)
    expected = slow_score(loaded.model, reference)
    # Both get the same logits; only perplexity is summed in fp32, a hundred terms of relative rounding 2**-24 each.
    assert found.kl_divergence_nats == pytest.approx(expected.kl_divergence_nats, rel=1e-9, abs=1e-12)
    assert found.top1_agreement == expected.top1_agreement
    assert found.perplexity == pytest.approx(expected.perplexity, rel=100 * 2.0**-23)


@pytest.mark.parametrize("name", HERE)
def test_a_model_does_not_diverge_from_itself(tiny: Any, reference: Reference, name: str) -> None:
    """Rounding e in a logit moves KL by about e squared: (1e-5)**2 is 1e-10."""
    loaded = tiny.loaded()
    found = quality.score(loaded, attention.use(loaded.model, name), reference)
    assert 0 <= found.kl_divergence_nats < 1e-9
    assert found.top1_agreement == 1.0


def test_another_model_diverges(tiny: Any, reference: Reference) -> None:
    loaded = tiny.load("fp32")
    with torch.no_grad():
        loaded.model.model.layers[0].mlp.down_proj.weight.mul_(-1)
    attention.use(loaded.model, "eager")
    found = quality.score(loaded, EAGER, reference)
    assert found.kl_divergence_nats > 0.1
    assert found.top1_agreement < 1.0


def test_reference_keeps_tokens_and_what_they_were_chosen_from(reference: Reference) -> None:
    assert reference.scheme == "fp32"
    for tokens, logits in zip(reference.tokens, reference.logits, strict=True):
        assert logits.shape == (NEW_TOKENS, 128)
        assert logits.dtype == torch.float32
        assert tuple(logits.argmax(-1).tolist()) == tokens


def test_reference_of_a_broken_model_is_refused(tiny: Any, inputs: tuple[Encoded, ...]) -> None:
    loaded = tiny.load("fp32")
    with torch.no_grad():
        loaded.model.model.norm.weight[3] = float("nan")
    with pytest.raises(QualityError, match=r"the reference \(fp32, eager\), input 0: 512 of 512 logits are NaN or Inf"):
        quality.make_reference(loaded, EAGER, inputs, NEW_TOKENS)


def test_score_of_a_broken_model_is_refused(tiny: Any, reference: Reference) -> None:
    loaded = tiny.load("fp32")
    with torch.no_grad():
        loaded.model.model.norm.weight[3] = float("inf")
    with pytest.raises(QualityError, match=r"fp32, eager, input 0: \d+ of \d+ logits are NaN or Inf"):
        quality.score(loaded, EAGER, reference)


def test_perplexity_needs_words_to_predict(tiny: Any) -> None:
    loaded = tiny.loaded()
    attention.use(loaded.model, "eager")
    one_token = Encoded("short", (40,), 0, 1)
    made = quality.make_reference(loaded, EAGER, [one_token], 2)
    assert quality.score(loaded, EAGER, made).perplexity is None


def test_perplexity_leaves_the_template_out(tiny: Any, reference: Reference) -> None:
    loaded = tiny.loaded()
    attention.use(loaded.model, "eager")
    whole = replace(
        reference, inputs=tuple(replace(one, text_start=0, text_stop=len(one.token_ids)) for one in reference.inputs)
    )
    assert quality.score(loaded, EAGER, whole).perplexity != quality.score(loaded, EAGER, reference).perplexity


def a_reference(*tokens: tuple[int, ...]) -> Reference:
    inputs = tuple(Encoded(str(number), (1,), 0, 1) for number in range(len(tokens)))
    return Reference("fp32", inputs, tokens, tuple(torch.zeros(1) for _ in tokens))


@pytest.mark.parametrize(
    ("outputs", "mean"),
    [
        ([(1, 2, 3), (4, 5, 6)], 3.0),
        ([(1, 2, 9), (4, 5, 6)], 2.5),
        ([(9, 2, 3), (9, 5, 6)], 0.0),  # what agrees behind a difference continues another text
        ([(1, 9, 3), (9, 9, 9)], 0.5),
    ],
)
def test_exact_match_counts_leading_tokens(outputs: list[tuple[int, ...]], mean: float) -> None:
    assert quality.exact_match_tokens(outputs, a_reference((1, 2, 3), (4, 5, 6))) == mean


@pytest.mark.parametrize("outputs", [[(1, 2, 3)], [(1, 2), (4, 5, 6)]], ids=["an input missing", "a token missing"])
def test_exact_match_refuses_incomplete_outputs(outputs: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="zip"):
        quality.exact_match_tokens(outputs, a_reference((1, 2, 3), (4, 5, 6)))


ONE = Encoded("q7", (1, 2), 0, 2)
TIE = 2.0**-19


def logits_with_gap(gap: float) -> torch.Tensor:
    """Eager prefers tokens 3, 4, 5; at position 1 token 9 is behind by ``gap``. float64, so that the gap is exact."""
    logits = torch.zeros(3, 10, dtype=torch.float64)
    logits[0, 3] = logits[1, 4] = logits[2, 5] = 8.0
    logits[1, 9] = 8.0 - gap
    return logits


def test_equal_tokens_have_no_difference() -> None:
    assert quality.first_difference(ONE, (3, 4, 5), (3, 4, 5), logits_with_gap(1.0), TIE) is None


@pytest.mark.parametrize(("share", "tied"), [(0.0, True), (1.0, True), (1.25, False)])
def test_first_difference_decides_whether_it_is_a_tie(share: float, tied: bool) -> None:
    gap = share * TIE * 8.0
    found = quality.first_difference(ONE, (3, 9, 9), (3, 4, 5), logits_with_gap(gap), TIE)
    assert found is not None
    assert (found.prompt_id, found.position, found.eager_token, found.row_token) == ("q7", 1, 4, 9)
    assert found.logit_gap == gap
    assert found.tie_below == TIE * 8.0
    assert found.tied is tied
    assert str(found).startswith("input q7, new token 1: eager chose 4, the row 9; logit gap ")
    assert ("no tie" in str(found)) is not tied


def test_coarser_arithmetic_ties_more() -> None:
    gap = 8.0 * 2.0**-7
    found = [quality.first_difference(ONE, (3, 9, 5), (3, 4, 5), logits_with_gap(gap), r) for r in (2.0**-7, 2.0**-23)]
    assert [difference is not None and difference.tied for difference in found] == [True, False]


def test_a_missing_token_is_no_equality() -> None:
    with pytest.raises(ValueError, match="zip"):
        quality.first_difference(ONE, (3, 4), (3, 4, 5), logits_with_gap(1.0), TIE)


def with_bounds(tiny: Any, **bounds: float) -> Any:
    loaded = tiny.loaded()
    wanted = Bounds(**{"kl_min_nats": 1e-3, "kl_max_nats": 0.5, "top1_min": 0.7} | bounds)
    return replace(loaded, scheme=replace(loaded.scheme, name="nf4", bounds=wanted))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"kl_divergence_nats": 9e-4}, "below 0.001: too good for nf4; is the model quantized at all?"),
        ({"kl_divergence_nats": 0.51}, "KL divergence 0.51 nats/token is above nf4's 0.5"),
        (
            {"top1_agreement": 0.69},
            "top-1 agreement 69.0% of 100000 tokens is below nf4's 70%, by more than chance",
        ),
    ],
)
def test_quality_outside_its_bounds_is_refused(tiny: Any, found: dict[str, float], message: str) -> None:
    with pytest.raises(QualityError) as caught:
        quality.require_bounds(replace(GOOD, **found), with_bounds(tiny), "generation/nf4-fa2")
    assert str(caught.value).startswith("generation/nf4-fa2: ")
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("found", [{"kl_divergence_nats": 1e-3}, {"kl_divergence_nats": 0.5}, {"top1_agreement": 0.7}])
def test_bounds_themselves_are_allowed(tiny: Any, found: dict[str, float]) -> None:
    quality.require_bounds(replace(GOOD, **found), with_bounds(tiny), "a row")


def test_few_tokens_say_little_about_a_share() -> None:
    """The upper bound of Clopper and Pearson; with no agreement at all it is 1 - 0.01^(1/n)."""
    assert replace(GOOD, top1_agreement=10 / 12, scored_tokens=12).top1_agreement_upper > 0.95
    assert replace(GOOD, top1_agreement=0.83, scored_tokens=1200).top1_agreement_upper < 0.9
    assert replace(GOOD, top1_agreement=0.0, scored_tokens=8).top1_agreement_upper == pytest.approx(1 - 0.01 ** (1 / 8))
    assert replace(GOOD, top1_agreement=1.0, scored_tokens=8).top1_agreement_upper == 1.0


@settings(deadline=None, derandomize=True)
@given(kl=st.floats(0, 2), agreed=st.integers(0, 12))
def test_bounds_refuse_exactly_what_is_outside(tiny: Any, kl: float, agreed: int) -> None:
    """Of 12 tokens 5 are the fewest whose 99% upper bound still reaches 0.7."""
    inside = 1e-3 <= kl <= 0.5 and agreed >= 5
    try:
        quality.require_bounds(Quality(kl, agreed / 12, None, 12), with_bounds(tiny), "a row")
    except QualityError:
        assert not inside
    else:
        assert inside


@pytest.mark.parametrize(
    ("share", "refused"), [(1.0, False), (1.004, False), (0.996, False), (1.01, True), (0.99, True)]
)
def test_weights_must_weigh_what_theory_says(tiny: Any, share: float, refused: bool) -> None:
    loaded = replace(tiny.loaded(), weights_bytes=round(share * tiny.loaded().theory_bytes))
    if not refused:
        quality.require_weights(loaded, "generation/fp32-eager")
        return
    sizes = f"the weights take {loaded.weights_bytes:,} bytes, fp32 should take {loaded.theory_bytes:,}"
    with pytest.raises(QualityError, match=f"^generation/fp32-eager: {sizes}: is the model quantized at all"):
        quality.require_weights(loaded, "generation/fp32-eager")
