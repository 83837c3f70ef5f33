"""Synthetic models: their weights, and that the suite's quality checks accept them and find what is broken in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from perfgate.clocks import WallClock

from fixtures import attention, devices, models, quality, synthetic
from fixtures.attention import Backend
from fixtures.attention.loops import as_transformers
from fixtures.checkpoint import Synthetic
from fixtures.generation import Encoded, folded, generate
from fixtures.models import Loaded, ModelError
from fixtures.quality import QualityError, Reference
from fixtures.quantization import scheme
from fixtures.synthetic import BLOCK, SHAPES, Shape, Weights, largest, share

TINY = Shape(
    name="tiny",
    model="nobody's",
    hidden_size=256,
    intermediate_size=768,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    vocab_size=4096,
    max_positions=2048,
    rope={"rope_type": "default", "rope_theta": 10000.0},
)
EAGER = attention.backend("eager")
NEW_TOKENS = 8
EXACT = ("sdpa-math", "sdpa-flash", "fa1", "fa2", "fa1+fa2")
QUANTIZED = ("bf16", "fp16", "int8", "int8-nodecomp", "nf4", "nf4-dq", "fp4", "fp4-dq", "quanto-int8")


def drawn(shape: Shape, *, backwards: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    waiting = list(Weights(shape, "cpu", seed).state_dict().items())
    return {name: one[...] for name, one in (waiting[::-1] if backwards else waiting)}


def meta_model(shape: Shape) -> torch.nn.Module:
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model: torch.nn.Module = LlamaForCausalLM(shape.config())
    return model


class TestShapes:
    @pytest.mark.parametrize(
        ("name", "published"),
        [("llama-2-7b", 6_738_415_616), ("llama-3.1-8b", 8_030_261_248), ("smollm2-135m", 134_515_008)],
    )
    def test_parameter_counts_are_the_published_ones(self, name: str, published: int) -> None:
        """Source: the safetensors metadata of the models' pages on the Hugging Face hub."""
        (shape,) = (one for one in SHAPES if one.name == name)
        assert sum(parameter.numel() for parameter in meta_model(shape).parameters()) == published
        assert Synthetic(shape, Path()).stored_bytes == 2 * published

    def test_llama_3_has_its_own_rope(self) -> None:
        """Its wavelengths beyond the original context are eight times as long.

        Source: transformers, modeling_rope_utils._compute_llama3_parameters.
        """
        from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

        (shape,) = (one for one in SHAPES if one.name == "llama-3.1-8b")
        plain = replace(shape, rope={"rope_type": "default", "rope_theta": 500000.0})
        ours, default = (LlamaRotaryEmbedding(one.config()).inv_freq for one in (shape, plain))
        assert (ours[0], ours[-1]) == (default[0], pytest.approx(float(default[-1]) / 8))
        assert shape.config().max_position_embeddings == 131072

    @pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
    def test_every_parameter_has_one_tensor_of_its_shape(self, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the meta device, where 8 billion numbers take no memory."""
        monkeypatch.setattr(
            Weights,
            "_filled",
            lambda self, name, rows, columns, make: torch.empty(rows, columns, dtype=self._dtype, device="meta"),
        )
        model = meta_model(shape)
        wanted = {name: tuple(one.shape) for name, one in model.named_parameters()}  # a tied head is not among them
        found = {name: one[...] for name, one in Weights(shape, "meta").state_dict().items()}
        assert {name: tuple(one.shape) for name, one in found.items()} == wanted
        assert {one.dtype for one in found.values()} == {getattr(torch, shape.dtype)}

    @pytest.mark.parametrize(
        "change", [{"vocab_size": 4097}, {"hidden_size": 64}], ids=lambda change: next(iter(change))
    )
    def test_a_shape_that_cannot_be_made_is_refused(self, change: dict[str, int]) -> None:
        with pytest.raises(
            ValueError, match=r"shape tiny: got vocab_size \d+ and hidden_size \d+; tokens come in pairs"
        ):
            replace(TINY, **change)  # type: ignore[arg-type]


class TestWeights:
    def test_a_seed_gives_the_same_weights_in_any_order(self) -> None:
        first, again = drawn(TINY), drawn(TINY, backwards=True)
        assert all(torch.equal(first[name], again[name]) for name in first)

    def test_another_seed_and_another_name_give_others(self) -> None:
        first, other, renamed = drawn(TINY), drawn(TINY, seed=1), drawn(replace(TINY, name="other"))
        name = "model.layers.0.self_attn.q_proj.weight"
        tensors = [first[name], other[name], renamed[name], first[name.replace("layers.0", "layers.1")]]
        same = [(a, b) for a in range(4) for b in range(a) if torch.equal(tensors[a], tensors[b])]
        assert same == []

    def test_blocks_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A large tensor is drawn in blocks, each with its own seed; a block is whole pairs of tokens."""
        monkeypatch.setattr(synthetic, "BLOCK", 1000)
        found = drawn(TINY)["model.layers.0.mlp.gate_proj.weight"]
        assert not torch.equal(found[:2], found[2:4])
        assert BLOCK % 2 == 0

    def test_the_partner_of_a_token_is_its_mirror(self) -> None:
        found = drawn(TINY)
        embeddings, signs = found["model.embed_tokens.weight"].float(), found["model.norm.weight"].float().sign()
        even, odd = embeddings[0::2], embeddings[1::2]
        correlation = (even * signs * odd).mean()
        assert correlation == pytest.approx(share(4096, 256), abs=0.01)
        assert (even * signs * even).mean() == pytest.approx(0.0, abs=0.01), "a token does not follow itself"
        assert odd.std() == pytest.approx(1.0, abs=0.01)
        assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])

    @pytest.mark.parametrize("count", [4096, 32000])
    def test_the_largest_of_many(self, count: int) -> None:
        many = torch.randn(200, count, generator=torch.Generator().manual_seed(0))
        assert many.amax(dim=1).mean() == pytest.approx(largest(count), abs=0.05)


def test_ids_are_folded_and_nothing_else() -> None:
    one = Encoded("a", (5, 4096, 49151), 1, 2)
    assert folded(one, 4096) == Encoded("a", (5, 0, 49151 % 4096), 1, 2)


@pytest.fixture(scope="module")
def checkpoint(tiny: Any) -> Synthetic:
    return Synthetic(TINY, tiny.folder)


@pytest.fixture(scope="module")
def load(checkpoint: Synthetic) -> Callable[[str], Loaded]:
    """A fresh model under a scheme."""
    return lambda name: models.load(checkpoint, scheme(name), "cpu")


@pytest.fixture(scope="module")
def reference(load: Callable[[str], Loaded]) -> Reference:
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(0, TINY.vocab_size, (40 + 5 * n,), generator=generator).tolist() for n in range(4)]
    inputs = [Encoded(str(n), tuple(one), 3, 30) for n, one in enumerate(ids)]
    return quality.make_reference(load("fp32"), EAGER, inputs, NEW_TOKENS)


def judged(loaded: Loaded, reference: Reference, name: str = "eager") -> None:
    """What the experiment asserts of a row.

    Raises:
        QualityError: as the experiment does.
    """
    found = quality.score(loaded, attention.use(loaded.model, name), reference)
    quality.require_bounds(found, loaded, f"{loaded.scheme.name}-{name}")


class TestModel:
    def test_it_is_loaded_as_drawn_and_from_nothing_else(self, load: Callable[[str], Loaded]) -> None:
        loaded, expected = load("fp32"), drawn(TINY)
        found = dict(loaded.model.named_parameters())
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name].float()) for name in found)

    def test_texts_follow_the_partner_and_the_noise(self, reference: Reference) -> None:
        """With either alone, a text would not depend on the weights, or rounding would decide it."""
        texts = [(one.token_ids[-1], *tokens) for one, tokens in zip(reference.inputs, reference.tokens, strict=True)]
        follows = [after == before ^ 1 for text in texts for before, after in pairwise(text)]
        assert 0.2 < sum(follows) / len(follows) < 0.9
        top = torch.cat(reference.logits).topk(2).values
        assert (top[:, 0] - top[:, 1]).median() > 0.5

    @pytest.mark.parametrize("name", QUANTIZED)
    def test_every_scheme_passes(self, load: Callable[[str], Loaded], reference: Reference, name: str) -> None:
        why = scheme(name).unavailable("cpu")
        if why is not None:
            pytest.skip(why)
        loaded = load(name)
        quality.require_weights(loaded, name)
        judged(loaded, reference)

    @pytest.mark.parametrize("name", EXACT)
    def test_every_attention_passes(self, load: Callable[[str], Loaded], reference: Reference, name: str) -> None:
        judged(load("fp32"), reference, name)

    def test_too_little_memory_is_told_with_sizes(self, checkpoint: Synthetic, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before anything is drawn."""
        monkeypatch.setattr(devices, "free_bytes", lambda device: 2**30)
        monkeypatch.setattr(Weights, "state_dict", lambda self: pytest.fail("weights were drawn"))
        large = replace(checkpoint, shape=SHAPES[0])
        with pytest.raises(
            ModelError, match=r"^out of memory: shapes:llama-2-7b under fp32 needs 25\.1 GiB .*, 1\.0 GiB"
        ):
            models.load(large, scheme("fp32"), "cpu")

    def test_it_can_be_spread(self, checkpoint: Synthetic) -> None:
        loaded = models.load(checkpoint, scheme("fp32"), "cpu", "auto")
        expected = drawn(TINY)["model.norm.weight"].float()
        assert torch.equal(loaded.model.model.norm.weight, expected)


def attending(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Backend:
    """FA2's loop order with other arguments than it was given."""
    from fixtures.attention.fa2_torch import fa2_forward

    def wrong(query: Any, key: Any, value: Any, **how: Any) -> Any:
        if changes.get("heads"):
            value = value.flip(1)
        return fa2_forward(query, key, value, **how | {name: one for name, one in changes.items() if name in how})

    backend = replace(
        attention.backend("fa2"), name="wrong", implementation="perf_wrong", attend=as_transformers(wrong)
    )
    monkeypatch.setitem(attention._BACKENDS, "wrong", backend)
    return backend


class TestFaults:
    """What must not pass, on weights that mean nothing."""

    @pytest.mark.parametrize(
        "fault", [{"scale": 0.126}, {"causal": False}, {"heads": True}], ids=lambda fault: next(iter(fault))
    )
    def test_a_wrong_attention_fails(
        self,
        load: Callable[[str], Loaded],
        reference: Reference,
        monkeypatch: pytest.MonkeyPatch,
        fault: dict[str, Any],
    ) -> None:
        attending(monkeypatch, **fault)
        with pytest.raises(QualityError, match=r"KL divergence .* is above fp32's 1e-06"):
            judged(load("fp32"), reference, "wrong")

    @pytest.mark.parametrize("name", ["fp32", "nf4"])
    def test_a_wrong_attention_gives_other_tokens_than_eager(
        self, load: Callable[[str], Loaded], reference: Reference, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """At any precision, where the divergence from the unquantized model is no help."""
        loaded, inputs = load(name), reference.inputs
        right = generate(inputs[:1], loaded, attention.use(loaded.model, "eager"), NEW_TOKENS, WallClock())
        assert generate(inputs[:1], loaded, attention.use(loaded.model, "fa2"), NEW_TOKENS, WallClock()) == right
        wrong = attending(monkeypatch, heads=True)
        found = generate(inputs[:1], loaded, attention.use(loaded.model, wrong.name), NEW_TOKENS, WallClock())
        assert found != right

    @pytest.mark.parametrize(
        ("name", "factor"), [("bf16", 1.02), ("int8", 1.1), ("nf4", 1.5), ("fp4", 1.5)], ids=lambda value: str(value)
    )
    def test_scales_that_are_off_fail(
        self, load: Callable[[str], Loaded], reference: Reference, name: str, factor: float
    ) -> None:
        """A scheme whose weights come out a constant factor too large."""
        loaded = replace(load("fp32"), scheme=scheme(name))
        with torch.no_grad():
            for module in loaded.model.model.layers.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.mul_(factor)
        with pytest.raises(QualityError, match=r"KL divergence .* is above"):
            judged(loaded, reference)

    def test_weights_that_are_not_quantized_fail(self, load: Callable[[str], Loaded], reference: Reference) -> None:
        for name in ("int8", "nf4"):
            loaded = replace(load("fp32"), scheme=scheme(name))
            with pytest.raises(QualityError, match="too good for"):
                judged(loaded, reference)
