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
    require_close(prepared_call(attention.backend(name), inputs)(), inputs.expected, dtype, name)


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
    require_close(runs[0][0], inputs.expected, dtype, "fa1-triton")
    for output, logsumexp in runs[1:]:
        assert torch.equal(output, runs[0][0])
        assert torch.equal(logsumexp, runs[0][1])


@pytest.mark.gpu(*FORWARDS)
def test_second_device_is_used_where_tensors_are(device: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a second GPU")
    inputs = make_inputs(Shape(1, 2, 2, 200, 200, 64, causal=True), "bf16", "cuda:1")
    for name in FORWARDS:
        require_close(prepared_call(attention.backend(name), inputs)(), inputs.expected, "bf16", name)


@pytest.mark.gpu("fa2-triton")
@DTYPES
@HEAD_DIMS
@pytest.mark.parametrize("heads", [(8, 8), (32, 8), (16, 1)], ids=str)
@pytest.mark.parametrize("seqlens", [(1, 300), (1, 16384), (2, 5000), (4, 4097)], ids=str)
def test_decoding_in_splits_matches_float64(
    device: str, dtype: str, head_dim: int, heads: tuple[int, int], seqlens: tuple[int, int]
) -> None:
    inputs = make_inputs(Shape(1, *heads, *seqlens, head_dim, causal=True), dtype, device)
    backend = attention.backend("fa2-triton")
    backend.choices()
    require_close(prepared_call(backend, inputs)(), inputs.expected, dtype, "fa2-triton")
    (what, choice) = next(iter(backend.choices().items()))
    assert what.endswith("decoding")
    if seqlens[1] == 16384:  # the heads alone fill no GPU
        assert int(choice.split(", ")[3].split()[0]) > 1, choice


@pytest.mark.gpu("fa2-triton")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("padding", ["left", "right", "scattered", "all"])
def test_decoding_hides_padded_keys(device: str, dtype: torch.dtype, padding: str) -> None:
    problem = Problem(3, 2, 4, 2, 900, 64, True, padding, 16, 32, dtype=dtype, layout="rows")
    require_float64(FORWARDS["fa2-triton"], problem, rounds_weights=dtype != torch.float32, device=device)


@pytest.mark.gpu("fa2-triton")
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@HEAD_DIMS
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "full"])
def test_tuned_tile_is_kept_and_told(device: str, dtype: str, head_dim: int, causal: bool) -> None:
    """A longer problem of the same bucket has the same tile, and the same one is told again."""
    backend = attention.backend("fa2-triton")
    told = []
    for seqlen in (1500, 1600, 1500):
        inputs = make_inputs(Shape(1, 8, 2, seqlen, seqlen, head_dim, causal), dtype, device)
        backend.choices()
        require_close(prepared_call(backend, inputs)(), inputs.expected, dtype, "fa2-triton")
        told.append(backend.choices())
    assert told[0] == told[1] == told[2]
    assert all(choice.endswith("(autotuned)") for choice in told[0].values())
    assert len(told[0]) == 1


@pytest.mark.gpu("fa2-triton")
@pytest.mark.parametrize("tile", ["128 64 8 3", "128 64 8 2", "128 128 8 2", "64 64 4 2"])
def test_every_candidate_is_right(device: str, monkeypatch: pytest.MonkeyPatch, tile: str) -> None:
    from fixtures.attention.kernels import launch

    one = launch.Tile(*map(int, tile.split()))
    if one.shared_bytes(128, 2) > launch.chip_of(torch.device(device)).shared_memory_bytes:
        pytest.skip(f"{one} needs more shared memory than this GPU has")
    monkeypatch.setattr(launch, "tuned", lambda *given: None)
    monkeypatch.setattr(launch, "fa2_tile", lambda *given: one)
    monkeypatch.setattr(launch, "choose_tile", lambda *given: one)
    inputs = make_inputs(Shape(1, 8, 2, 900, 1100, 128, causal=True), "bf16", device)
    require_close(prepared_call(attention.backend("fa2-triton"), inputs)(), inputs.expected, "bf16", tile)
