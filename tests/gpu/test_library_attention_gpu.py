"""Library attention on an accelerator: single calls and whole forward passes, against float64 and against eager."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from perfgate.measure import op_counts
from torch import Tensor

from fixtures import attention, models, quantization
from fixtures.attention import Backend, problems
from fixtures.attention.problems import Shape, make_inputs, prepared_call
from fixtures.generation import encode, left_padded
from fixtures.reference import relative_error

DEVICE = "cuda:0"
CALLS = ("sdpa-efficient", "sdpa-cudnn", "flex", "flash-attn-1", "flash-attn-2")
"""Backends with a call of their own."""
MODELS = (*CALLS, "fa1+flash-attn-2")

CAUSAL = Shape(batch_size=2, num_heads=8, num_kv_heads=2, seqlen_q=333, seqlen_k=333, head_dim=64, causal=True)
SHAPES = {
    "causal": CAUSAL,
    "full": replace(CAUSAL, causal=False),
    "chunk": replace(CAUSAL, seqlen_q=100),
    "decode": replace(CAUSAL, seqlen_q=1),
    "mha": replace(CAUSAL, num_kv_heads=8),
    "d128": replace(CAUSAL, head_dim=128),
}
LOGITS_ERROR_MAX = 0.05
"""Largest norm-wise relative error between two bf16 forward passes of the tiny model, whose roundings differ: between
eager and sdpa-flash on a CPU it is 0.013; without the padding mask it is 0.34."""


def available(name: str, dtype: str, head_dim: int, padded: bool = False) -> Backend:
    """The backend, where this machine can run it; else the test is skipped with the reason."""
    backend = attention.backend(name)
    reason = backend.unavailable(DEVICE, dtype=dtype, head_dim=head_dim, padded=padded)
    if reason is not None:
        pytest.skip(reason)
    return backend


def require_kernel(backend: Backend, counts: op_counts.Counts | None) -> None:
    assert counts is not None
    assert any(counts.ran(kernel) for kernel in backend.kernel.ran), counts
    assert not [kernel for kernel in backend.kernel.absent if counts.ran(kernel)], counts


def gpu(names: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.gpu(name)) for name in names]


@pytest.mark.parametrize("name", gpu(CALLS))
@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_call_is_float64s_and_its_kernel_runs(name: str, dtype: str, shape: Shape) -> None:
    backend = available(name, dtype, shape.head_dim)
    inputs = make_inputs(shape, dtype, DEVICE)
    output, counts = op_counts.count(prepared_call(backend, inputs))
    problems.require_close(output, inputs.expected, dtype, name)
    require_kernel(backend, counts)


@pytest.mark.parametrize("name", gpu(CALLS))
def test_invariants_hold(name: str) -> None:
    problems.require_invariants(available(name, "bf16", CAUSAL.head_dim), make_inputs(CAUSAL, "bf16", DEVICE))


@pytest.mark.parametrize("name", gpu(MODELS))
def test_a_left_padded_forward_pass_has_eagers_logits(tiny: Any, name: str) -> None:
    loaded = models.load(tiny.checkpoint, quantization.scheme("bf16"), DEVICE)
    backend = available(name, "bf16", loaded.model.config.head_dim, padded=True)
    texts = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly, and say why.")
    ids, mask = left_padded([encode(loaded.tokenizer, str(i), text) for i, text in enumerate(texts)], 0, DEVICE)

    def last_logits() -> Tensor:
        with torch.no_grad(), backend.context():
            return loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, -1]

    attention.use(loaded.model, "eager")
    expected = last_logits()
    attention.use(loaded.model, name)
    found, counts = op_counts.count(last_logits)
    assert relative_error(found, expected) < LOGITS_ERROR_MAX
    require_kernel(backend, counts)
