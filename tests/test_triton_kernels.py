"""The Triton kernels in Triton's interpreter against float64; what they refuse; where they are available.

The interpreter's ``tl.dot`` silently makes garbage of bf16, so bf16 is compiled (test_triton_compile.py) and run on a
GPU (test_triton_gpu.py), never here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from perfgate import counters
from torch import Tensor

from fixtures import attention
from fixtures.attention.fa1_triton import fa1_triton_forward
from fixtures.attention.fa2_triton import fa2_triton_forward
from fixtures.attention.problems import Shape, make_inputs, prepared_call, require_close, require_invariants
from tests.attention_problems import Problem, continued, problems, require_float64
from tests.subprocesses import finding
from tests.triton_interpreted import NO_TRITON, interpreted, nan_in_fresh_memory

FORWARDS = {"fa1-triton": fa1_triton_forward, "fa2-triton": fa2_triton_forward}
OTHER = {"fa1-triton": "fa2-triton", "fa2-triton": "fa1-triton"}
INTERPRETED = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.interpreted(name)]) for name in FORWARDS]
)
BOTH = pytest.mark.parametrize("name", FORWARDS)
ROOT = Path(__file__).parents[1]
ROOMY = 1 << 30
"""Bytes of shared memory of a chip on which every tile fits."""

FIXED = {
    "single-token": Problem(),
    "one-key": Problem(seqlen_q=20),
    "decoding": Problem(batch_size=2, group=3, seqlen_k=70, causal=True),
    "prefill": Problem(group=2, num_kv_heads=2, seqlen_q=40, seqlen_k=40, causal=True),
    "full-blocks": Problem(seqlen_q=32, seqlen_k=32, causal=True),
    "chunk": Problem(seqlen_q=20, seqlen_k=50, causal=True),
    "blind-blocks": Problem(seqlen_q=60, seqlen_k=20, causal=True),  # the first 40 queries see no key
    "unmasked": Problem(batch_size=2, seqlen_q=20, seqlen_k=50),
    "left": Problem(batch_size=3, seqlen_q=40, seqlen_k=40, causal=True, padding="left"),
    "right": Problem(batch_size=3, seqlen_q=40, seqlen_k=40, causal=True, padding="right"),
    "scattered": Problem(batch_size=2, seqlen_q=20, seqlen_k=50, padding="scattered"),
    "all-hidden": Problem(batch_size=2, seqlen_q=20, seqlen_k=20, padding="all"),
    "large-logits": Problem(seqlen_q=40, seqlen_k=40, magnitude=10.0),  # scores around 800
    "wide-heads": Problem(seqlen_q=20, seqlen_k=40, head_dim=128, causal=True),
    "long-queries": Problem(seqlen_q=70, seqlen_k=70, causal=True, block_q=64, block_k=16),
    "long-keys": Problem(seqlen_q=70, seqlen_k=70, causal=True, block_q=16, block_k=64),
    "rows": Problem(batch_size=2, group=2, seqlen_q=20, seqlen_k=20, causal=True, layout="rows"),
    "columns": Problem(batch_size=2, group=2, seqlen_q=20, seqlen_k=20, causal=True, layout="columns"),
    "slices": Problem(batch_size=2, group=2, seqlen_q=20, seqlen_k=20, causal=True, layout="slices"),
}


def wide(problem: Problem, **changes: Any) -> Problem:
    """``problem`` with a head_dim and blocks that the kernels know."""
    given = {
        "head_dim": max(problem.head_dim, 64),
        "block_q": max(problem.block_q, 16),
        "block_k": max(problem.block_k, 16),
    }
    return replace(problem, **given | changes)


@pytest.fixture(autouse=True, scope="module")
def triton() -> None:
    pytest.importorskip("triton", reason=NO_TRITON)


@pytest.fixture(scope="module")
def interpreter() -> Iterator[None]:
    with interpreted(), nan_in_fresh_memory():
        yield


def multiprocessors(patch: pytest.MonkeyPatch, count: int) -> None:
    """Launch as on a device with ``count`` multiprocessors, so that FA1 shares out the queries of a head."""
    from fixtures.attention.kernels import launch

    patch.setattr(launch, "chip_of", lambda device: launch.Chip(count, ROOMY))


@INTERPRETED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("kind", FIXED)
def test_fixed_problems_match_float64(
    interpreter: None, monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, kind: str
) -> None:
    multiprocessors(monkeypatch, 2)
    require_float64(FORWARDS[name], wide(FIXED[kind], dtype=dtype), rounds_weights=dtype != torch.float32)


@INTERPRETED
@settings(max_examples=settings.default.max_examples // 2)  # half: interpreted, one takes 0.2 s
@given(
    problem=problems(
        batch_size=st.integers(1, 2),
        num_kv_heads=st.integers(1, 2),
        seqlen_q=st.integers(1, 80),
        seqlen_k=st.integers(1, 80),
        head_dim=st.sampled_from([64, 128]),
        block_q=st.sampled_from([16, 32, 64]),
        block_k=st.sampled_from([16, 32, 64]),
        dtype=st.sampled_from([torch.float32, torch.float16]),
    ),
    count=st.sampled_from([0, 2, 6]),
)
@example(problem=wide(Problem(seqlen_q=33, seqlen_k=17, causal=True)), count=0)
def test_drawn_problems_match_float64(interpreter: None, name: str, problem: Problem, count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        multiprocessors(patch, count)
        require_float64(FORWARDS[name], problem, rounds_weights=problem.dtype != torch.float32)


@INTERPRETED
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_own_blocks_and_invariants(interpreter: None, name: str, dtype: str, head_dim: int) -> None:
    """With the blocks of a launch on a GPU: the norm-wise error against float64, with a bound far below the worst case
    that the tests above allow; chunks and permutations."""
    shape = Shape(2, 4, 2, 200, 200, head_dim, causal=True)
    inputs = make_inputs(shape, dtype, "cpu")
    require_close(prepared_call(attention.backend(name), inputs)(), inputs.reference(), dtype, name)
    require_invariants(attention.backend(name), make_inputs(shape, dtype, "cpu", seed=1))


@pytest.mark.slow
@pytest.mark.interpreted(*FORWARDS)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_fa1_equals_fa2(interpreter: None, dtype: str) -> None:
    inputs = make_inputs(Shape(1, 4, 2, 200, 230, 64, causal=True), dtype, "cpu")
    how: dict[str, Any] = {"scale": inputs.shape.scale, "causal": True, "block_q": 32, "block_k": 32}
    outputs, logsumexps = zip(
        *(forward(inputs.query, inputs.key, inputs.value, **how) for forward in FORWARDS.values()), strict=True
    )
    require_close(*outputs, dtype, "fa1-triton against fa2-triton")
    require_close(*logsumexps, "fp32", "their logsumexp")


@pytest.fixture(scope="module")
def wide_tiny(tmp_path_factory: pytest.TempPathFactory, save_model: Callable[..., Any]) -> Any:
    """A tiny model of 4 heads over 2 key/value heads, of a width that the kernels know."""
    return save_model(tmp_path_factory.mktemp("models") / "wide", head_dim=64)


@INTERPRETED
def test_padded_batch_generates_eagers_tokens(interpreter: None, wide_tiny: Any, name: str) -> None:
    """As test_attention.py's test of that name, and with its bound."""
    expected, expected_logits = continued(wide_tiny.loaded(), "eager")
    (tokens, logits), counts = counters.count(lambda: continued(wide_tiny.loaded(), name))
    assert tokens == expected
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-4)
    assert counts is not None
    kernel = attention.backend(name).kernel
    assert counts.kernels[name] == 2 * 6  # layers, steps
    assert not [other for other in kernel.absent if counts.ran(other)]
    assert attention.backend(OTHER[name]).kernel.absent[-1] == name  # so each is told from the other


def test_interpreter_leaves_triton_as_it_was() -> None:
    import triton.language as tl
    from triton.runtime.jit import JITFunction

    def names() -> dict[Any, dict[str, Any]]:
        return {owner: dict(vars(owner)) for owner in (tl.core, tl.standard, tl.math, tl.tensor, tl.dtype)}

    before, maximum = names(), tl.max
    with interpreted():
        assert not isinstance(tl.max, JITFunction)
        require_float64(fa2_triton_forward, wide(Problem()))
    assert names() == before
    assert tl.max is maximum


@BOTH
def test_on_a_cpu_only_interpreted(name: str) -> None:
    query, key, value, _ = wide(Problem()).tensors()
    with pytest.raises(
        attention.AttentionError, match="Triton needs an accelerator; on a CPU its interpreter runs it "
    ):
        FORWARDS[name](query, key, value, scale=1.0, causal=True)


@BOTH
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"head_dim": 32}, "head_dim 32: these Triton kernels know 64 and 128"),
        ({"dtype": torch.float64}, "query, key and value in float64, float64, float64: expected one of float32, "),
        ({"block_q": 24}, "block_q=24, block_k=16: expected powers of two, 16 or more"),
        ({"block_k": 8}, "block_q=16, block_k=8: expected powers of two, 16 or more"),
        ({"seqlen_k": 0}, "heads, seqlen, head_dim), none of them 0, key and value alike"),
    ],
)
def test_what_they_do_not_know_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    problem = wide(Problem(seqlen_q=5, seqlen_k=5), **changes)
    query, key, value, _ = problem.tensors()
    blocks = {"block_q": problem.block_q, "block_k": problem.block_k}
    with pytest.raises(attention.AttentionError) as caught:
        FORWARDS[name](query, key, value, scale=1.0, causal=True, **blocks)
    assert words in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("heads", "kv_heads", "mask", "words"),
    [
        (3, 2, (1, 5), "num_heads a multiple of num_kv_heads"),
        (4, 2, (1, 4), r"key_mask \(1, 4\): expected \(batch_size, seqlen_k\) = \(1, 5\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    name: str, heads: int, kv_heads: int, mask: tuple[int, int], words: str
) -> None:
    query, key = torch.zeros(1, heads, 5, 64), torch.zeros(1, kv_heads, 5, 64)
    with pytest.raises(attention.AttentionError, match=words):
        FORWARDS[name](query, key, key, scale=1.0, causal=True, key_mask=torch.ones(mask, dtype=torch.bool))


@BOTH
def test_mixed_types_are_refused(name: str) -> None:
    query = torch.zeros(1, 1, 5, 64)
    with pytest.raises(attention.AttentionError, match="in float32, float16, float16: expected one of "):
        FORWARDS[name](query, query.half(), query.half(), scale=1.0, causal=True)


@BOTH
def test_where_they_are_available(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = attention.backend(name)
    needs = "these Triton kernels need an NVIDIA GPU of compute capability 8.0 or newer"
    assert backend.unavailable("cpu") == (
        "Triton needs an accelerator; on a CPU its interpreter runs it for tests only, never timed"
    )
    assert backend.unavailable("mps:0") == f"{needs}, not mps:0"
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backend.unavailable("cuda:0") == f"{needs}; torch finds none"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert backend.unavailable("cuda:0") == f"{needs}; cuda:0 has 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert backend.unavailable("cuda:0", dtype="bf16", head_dim=128) is None
    assert backend.unavailable("cuda:0", head_dim=32) == f"{name} knows head_dim 64, 128, not 32"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert str(backend.unavailable("cuda:0")).startswith(f"{needs}; cuda:0 is an AMD GPU")
    monkeypatch.setattr("fixtures.attention.kernels.find_spec", lambda name: None)
    assert backend.unavailable("cuda:0") == "triton is not installed: pip install triton"


def test_their_modules_import_neither_torch_nor_triton() -> None:
    code = (
        "import sys, fixtures.attention.fa1_triton, fixtures.attention.fa2_triton;"
        "print([name for name in ('torch', 'triton') if name in sys.modules])"
    )
    environment = finding(ROOT, ROOT / "perf")
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_tiles_fit_the_problem_and_the_chip() -> None:
    from fixtures.attention.kernels.launch import SMALL_SHARED_MEMORY, Chip, Tile, choose_tile

    large, small = Chip(108, ROOMY), Chip(82, SMALL_SHARED_MEMORY)
    assert choose_tile(torch.bfloat16, 128, 4096, large) == Tile(128, 64, num_warps=8, num_stages=2)
    assert choose_tile(torch.bfloat16, 128, 4096, small) == Tile(64, 64, num_warps=8, num_stages=2)
    assert choose_tile(torch.bfloat16, 64, 4096, small) == choose_tile(torch.bfloat16, 64, 4096, large)
    assert [choose_tile(torch.float16, 64, seqlen_q, large).block_q for seqlen_q in (1, 17, 64, 65, 9999)] == [
        16,
        32,
        64,
        128,
        128,
    ]


@pytest.mark.parametrize(
    ("batch_size", "multiprocessors", "splits"),
    [
        (1, 0, 1),  # a CPU
        (1, 108, 32),  # 27 would do, but then some have two blocks and most have one
        (4, 108, 8),  # 7 would do, and 8 have equal shares
        (99, 108, 1),
    ],
)
def test_splits_fill_the_device_with_equal_shares(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, multiprocessors: int, splits: int
) -> None:
    from fixtures.attention.kernels import launch

    monkeypatch.setattr(launch, "chip_of", lambda device: launch.Chip(multiprocessors, ROOMY))
    query = torch.empty(batch_size, 8, 4096, 64, dtype=torch.float16, device="meta")  # 32 blocks of queries
    arranged = launch.arrange(query, query, query, scale=1.0, causal=True, key_mask=None, block_q=None, block_k=None)
    assert (arranged.num_q_blocks, arranged.num_splits) == (32, splits)


def test_a_failing_problem_is_one_line_to_paste() -> None:
    def wrong(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(query), torch.zeros(query.shape[:3])

    problem = Problem(seqlen_k=3, seed=7)
    with pytest.raises(AssertionError, match="output off by ") as caught:
        require_float64(wrong, problem)
    line = str(caught.value).splitlines()[-1]
    names = {"Problem": Problem, "torch": torch}
    assert eval(line, names) == problem  # noqa: S307  # that it can be pasted is what is tested
