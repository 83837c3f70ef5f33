"""The attention loops against float64, the registry, the kernels that run, and whole generations."""

from __future__ import annotations

import re
from math import log
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given
from perfgate import counters
from perfgate.clocks import WallClock
from perfgate.measure import FellBackError, Instruments, Kernel, Measure
from perfgate.options import Settings
from perfgate.record import Record
from torch import Tensor

from fixtures import attention
from fixtures.attention.fa1_torch import fa1_forward
from fixtures.attention.fa2_torch import fa2_forward
from fixtures.attention.loops import as_transformers
from fixtures.generation import encode, left_padded
from fixtures.models import Loaded
from fixtures.reference import attention_reference
from tests.attention_problems import TEXTS, Problem, continued, problems, require_float64

FORWARDS = {"fa1": fa1_forward, "fa2": fa2_forward}
COMPILES = ("flex",)
"""Backends that a C++ compiler takes ten seconds for."""
HERE = [
    pytest.param(name, marks=[pytest.mark.slow] if name in COMPILES else [])
    for name, backend in attention.backends().items()
    if backend.unavailable("cpu") is None
]
OTHERS = [one for one in HERE if one.values != ("eager",)]


@pytest.mark.parametrize("name", FORWARDS)
@given(problem=problems())
@example(problem=Problem())  # a single token
@example(problem=Problem(seqlen_q=1, seqlen_k=24, causal=True, head_dim=64))  # decoding
@example(problem=Problem(seqlen_q=20, seqlen_k=7, causal=True))  # the first 13 queries see no key
@example(problem=Problem(seqlen_q=7, seqlen_k=20, causal=True, block_q=3, block_k=6))
@example(problem=Problem(batch_size=2, seqlen_q=9, seqlen_k=9, causal=True, padding="left", head_dim=16))
@example(problem=Problem(batch_size=2, group=4, seqlen_q=9, seqlen_k=9, causal=True, padding="right", head_dim=16))
@example(problem=Problem(seqlen_q=20, seqlen_k=20, head_dim=64, magnitude=10.0))  # scores around 800
def test_matches_float64(name: str, problem: Problem) -> None:
    require_float64(FORWARDS[name], problem)


def test_reference_by_hand() -> None:
    """Scores 0 and ln 3 give the weights 1/4 and 3/4, and the logsumexp ln 4."""
    query, value = torch.tensor([[[[2.0]]]]), torch.tensor([[[[4.0], [8.0]]]])
    output, logsumexp = attention_reference(query, torch.tensor([[[[0.0], [log(3)]]]]), value, scale=0.5, causal=False)
    assert output.item() == pytest.approx(7.0, rel=1e-6)
    assert logsumexp.item() == pytest.approx(log(4), rel=1e-6)


def test_reference_agrees_with_torch() -> None:
    query, key, value, key_mask = Problem(2, 2, 3, 9, 9, 16, padding="scattered").tensors()
    assert key_mask is not None
    key_mask[:, 0] = True  # torch gives NaN where a query sees nothing
    visible = key_mask[:, None, None] & torch.ones(9, 9, dtype=torch.bool).tril()
    expected = torch.nn.functional.scaled_dot_product_attention(
        query.double(), key.double(), value.double(), attn_mask=visible, scale=0.3, enable_gqa=True
    )
    output, _ = attention_reference(query, key, value, scale=0.3, causal=True, key_mask=key_mask)
    # Values and scores are below 10; a sum of 16 terms is off by at most 16 roundings, twice.
    torch.testing.assert_close(output, expected, rtol=0, atol=10 * 32 * torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "mask", "words"),
    [(3, 2, (1, 5), "num_heads a multiple of num_kv_heads"), (4, 2, (1, 4), r"expected \(batch_size, seqlen_k\)")],
)
def test_shapes_that_do_not_fit_are_refused(
    name: str, heads: int, kv_heads: int, mask: tuple[int, int], words: str
) -> None:
    query, key = torch.zeros(1, heads, 5, 8), torch.zeros(1, kv_heads, 5, 8)
    with pytest.raises(attention.AttentionError, match=words):
        FORWARDS[name](query, key, key, scale=1.0, causal=True, key_mask=torch.ones(mask, dtype=torch.bool))


def test_unknown_attention_names_the_allowed() -> None:
    with pytest.raises(attention.AttentionError, match="unknown attention 'fa9'; allowed: ") as caught:
        attention.backend("fa9")
    assert str(caught.value).endswith(", ".join(attention.backends()))


def test_order_is_the_tables() -> None:
    assert list(attention.backends()) == [
        "eager",
        "sdpa-math",
        "sdpa-flash",
        "sdpa-efficient",
        "sdpa-cudnn",
        "flex",
        "fa1",
        "fa2",
        "fa1+fa2",
        "fa1-triton",
        "fa2-triton",
        "flash-attn-1",
        "flash-attn-2",
        "fa1+flash-attn-2",
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sdpa-efficient", "CUDA devices only; pinned on cpu, it raises 'No viable backend'"),
        ("sdpa-cudnn", "CUDA devices only; pinned on cpu, it raises 'No viable backend'"),
        ("flash-attn-1", "need an NVIDIA GPU of compute capability 8.0 to 9.0"),
        ("flash-attn-2", "need an NVIDIA GPU of compute capability 8.0 or newer"),
        ("fa1+flash-attn-2", "need an NVIDIA GPU of compute capability 8.0 or newer"),
    ],
)
def test_what_a_cpu_cannot_run_says_why(name: str, why: str) -> None:
    assert str(attention.backend(name).unavailable("cpu")).endswith(why)


def test_the_efficient_kernel_gets_no_grouped_heads(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes none: a single call and transformers both hand it as many key/value heads as query heads."""
    heads: list[tuple[int, int, bool]] = []

    def spy(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
        heads.append((query.shape[1], key.shape[1], how.get("enable_gqa", False)))
        return query

    loaded = tiny.loaded()
    backend = attention.use(loaded.model, "sdpa-efficient")
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    with torch.no_grad(), backend.context():
        loaded.model(input_ids=torch.full((1, 5), 7), use_cache=False)  # no padding: no mask
    assert backend.prepare is not None
    backend.prepare(torch.zeros(1, 4, 5, 8), *torch.zeros(2, 1, 2, 5, 8), scale=1.0, causal=True)()
    assert heads == [(4, 4, False)] * 3


@pytest.mark.parametrize("name", ["sdpa-efficient", "sdpa-cudnn"])
def test_a_kernel_for_cuda_really_raises_what_its_reason_says(name: str) -> None:
    tensor = torch.zeros(1, 2, 5, 8)
    backend = attention.backend(name)
    assert backend.prepare is not None
    with backend.context(), pytest.raises(RuntimeError, match="No viable backend"):
        backend.prepare(tensor, tensor, tensor, scale=1.0, causal=False)()


def test_registering_a_name_twice_is_refused() -> None:
    before = attention.backends()
    with pytest.raises(ValueError, match="attention backend 'fa2' is registered twice"):
        attention.register(attention.Backend("fa2", "other", "another", Kernel("other", ran=())))
    assert attention.backends() == before


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"dropout": 0.1}, "dropout"),
        ({"sliding_window": 4}, "sliding_window"),
        ({"softcap": 30.0}, "softcap"),
        ({"s_aux": torch.zeros(2)}, "s_aux"),
        ({"position_bias": torch.zeros(1)}, "position_bias"),
    ],
)
@pytest.mark.parametrize("loop", FORWARDS)
def test_what_it_does_not_know_is_refused_by_name(loop: str, asked: dict[str, Any], name: str) -> None:
    attend = as_transformers(FORWARDS[loop])
    tensor, module = torch.zeros(1, 2, 5, 8), SimpleNamespace(is_causal=True)
    attend(module, tensor, tensor, tensor, None, sliding_window=5)  # a window as long as the keys hides nothing
    with pytest.raises(attention.AttentionError, match=f"does not know {name}; use --attention eager or sdpa-flash"):
        attend(module, tensor, tensor, tensor, None, **asked)


def forward(loaded: Loaded, backend: attention.Backend) -> Tensor:
    """The logits of one forward pass over a left-padded batch, under the backend's context."""
    inputs = [encode(loaded.tokenizer, str(number), text) for number, text in enumerate(TEXTS)]
    ids, mask = left_padded(inputs, 0, "cpu")
    with torch.no_grad(), backend.context():
        return loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits


@pytest.mark.parametrize("name", HERE)
def test_named_kernel_runs_and_no_other(tiny: Any, name: str) -> None:
    loaded = tiny.loaded()
    backend = attention.use(loaded.model, name)
    _, counts = counters.count(lambda: forward(loaded, backend))
    assert counts is not None
    assert any(counts.ran(kernel) for kernel in backend.kernel.ran)
    assert not [kernel for kernel in backend.kernel.absent if counts.ran(kernel)]


class NoReplay:
    """Takes samples that nobody wants."""

    disabled = False

    def replay(self, samples: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("named", "really"),
    [
        ("eager", "sdpa-flash"),
        ("eager", "fa2"),
        ("sdpa-math", "sdpa-flash"),
        ("sdpa-flash", "sdpa-math"),
        ("fa1", "fa2"),
        ("fa2", "fa1"),
        ("fa1+fa2", "sdpa-flash"),
        ("fa2", "eager"),
    ],
)
def test_other_kernel_than_named_is_detected(tiny: Any, named: str, really: str) -> None:
    loaded = tiny.loaded()
    backend = attention.use(loaded.model, really)
    record = Record("generation", 1, {}, f"generation/fp32-{named}")
    measure = Measure(Settings(budget_s=1e-6), Instruments(WallClock(), None), NoReplay(), record)
    with pytest.raises(FellBackError, match=re.escape(f"fp32-{named}: FELL_BACK: the case names kernel ")):
        measure(lambda: forward(loaded, backend), kernel=attention.backend(named).kernel)


@pytest.mark.parametrize("name", OTHERS)
def test_padded_batch_generates_eagers_tokens(tiny: Any, name: str) -> None:
    """Logits of a few units, fp32: two layers and six steps of a few dozen roundings each stay far below 1e-4, and the
    wrong tokens of a lost mask are off by whole units (below)."""
    expected, expected_logits = continued(tiny.loaded(), "eager")
    tokens, logits = continued(tiny.loaded(), name)
    assert tokens == expected
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-4)


def test_without_mask_function_padding_is_silently_dropped(tiny: Any) -> None:
    """Why ``attention.use`` registers a mask function: without one transformers hands over no mask, and no error."""
    from transformers import AttentionInterface

    masks: list[Tensor | None] = []
    attend = as_transformers(fa2_forward)

    def maskless(*args: Any, **kwargs: Any) -> Any:
        masks.append(args[4])
        return attend(*args, **kwargs)

    loaded = tiny.loaded()
    expected = forward(loaded, attention.use(loaded.model, "eager"))
    AttentionInterface.register("perf_test_without_mask", maskless)
    loaded.model.set_attn_implementation("perf_test_without_mask")
    found = forward(loaded, attention.backend("fa2"))
    assert masks == [None, None]  # one for each layer
    longest = max(range(len(TEXTS)), key=lambda row: len(TEXTS[row]))
    torch.testing.assert_close(found[longest], expected[longest], rtol=0, atol=1e-4)  # it has no padding
    shortest = min(range(len(TEXTS)), key=lambda row: len(TEXTS[row]))
    assert float((found[shortest, -1] - expected[shortest, -1]).abs().max()) > 0.1


def test_flash_context_around_fa2_does_nothing(tiny: Any) -> None:
    loaded = tiny.loaded()
    plain = forward(loaded, attention.use(loaded.model, "fa2"))
    inside, counts = counters.count(lambda: forward(loaded, attention.use(loaded.model, "fa1+fa2")))
    assert counts is not None
    assert not [operator for operator in counts.operators if "scaled_dot_product" in operator]
    assert torch.equal(inside, plain)
