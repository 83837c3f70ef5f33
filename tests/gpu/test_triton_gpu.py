"""The Triton kernels on a GPU: float64 in every dtype, and what only a device can get wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fixtures import attention
from fixtures.attention.fa1_triton import fa1_triton_forward
from fixtures.attention.fa2_triton import fa2_triton_forward
from fixtures.attention.problems import Shape, make_inputs, prepared_call, require_close, require_invariants
from tests.support.attention_problems import Problem, require_float64

FORWARDS = {"fa1-triton": fa1_triton_forward, "fa2-triton": fa2_triton_forward}
ON_GPU = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.gpu(name)) for name in FORWARDS])
DTYPES = pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
HEAD_DIMS = pytest.mark.parametrize("head_dim", [64, 128])


@pytest.fixture
def device() -> str:
    """The device; skips where the kernels do not run."""
    found = "cuda:0" if torch.cuda.is_available() else torch.accelerator.current_accelerator().type
    reason = attention.backend("fa1-triton").unavailable(found)
    if reason is not None:
        pytest.skip(reason)
    return found


@ON_GPU
@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
@pytest.mark.parametrize("seqlens", [(1, 1000), (700, 700), (300, 1000), (1000, 300)], ids=str)
def test_own_blocks_match_float64(
    device: str, name: str, dtype: str, head_dim: int, causal: bool, seqlens: tuple[int, int]
) -> None:
    inputs = make_inputs(Shape(2, 8, 2, *seqlens, head_dim, causal), dtype, device)
    require_close(prepared_call(attention.backend(name), inputs)(), inputs.reference(), dtype, name)


@ON_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("padding", ["left", "right", "scattered", "all"])
@pytest.mark.parametrize("layout", ["rows", "slices", "columns"])
def test_padding_layouts_and_logsumexp_match_float64(
    device: str, name: str, dtype: torch.dtype, padding: str, layout: str
) -> None:
    problem = Problem(3, 2, 3, 200, 200, 64, True, padding, 32, 32, dtype=dtype, layout=layout)
    require_float64(FORWARDS[name], problem, rounds_weights=dtype != torch.float32, device=device)


@ON_GPU
@DTYPES
@HEAD_DIMS
def test_invariants(device: str, name: str, dtype: str, head_dim: int) -> None:
    """Chunks, permutations, and FA1 against FA2."""
    shape = Shape(2, 8, 2, 600, 600, head_dim, causal=True)
    require_invariants(attention.backend(name), make_inputs(shape, dtype, device))


@pytest.mark.gpu("fa1-triton")
@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
def test_fa1_reads_what_it_wrote(device: str, dtype: str, head_dim: int, causal: bool) -> None:
    """Each block of keys reads again what the one before it wrote. Without a barrier between them, some of 64 visits
    would read too early, other ones in every run."""
    inputs = make_inputs(Shape(2, 4, 4, 4096, 4096, head_dim, causal), dtype, device)
    how: dict[str, Any] = {"scale": inputs.shape.scale, "causal": causal}
    runs = [fa1_triton_forward(inputs.query, inputs.key, inputs.value, **how) for _ in range(20)]
    require_close(runs[0][0], inputs.reference(), dtype, "fa1-triton")
    for output, logsumexp in runs[1:]:
        assert torch.equal(output, runs[0][0])
        assert torch.equal(logsumexp, runs[0][1])


@pytest.mark.gpu(*FORWARDS)
def test_second_device_is_used_where_tensors_are(device: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a second GPU")
    inputs = make_inputs(Shape(1, 2, 2, 200, 200, 64, causal=True), "bf16", "cuda:1")
    for name in FORWARDS:
        require_close(prepared_call(attention.backend(name), inputs)(), inputs.reference(), "bf16", name)
