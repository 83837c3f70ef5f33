"""Attention problems to draw, and what a forward pass on them is held against: float64, within an error bound derived
from the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from perfgate.measure.clocks import WallClock
from torch import Tensor

from fixtures import attention
from fixtures.attention.loops import Forward
from fixtures.generation import batches, encode, generate_with_logits
from fixtures.models import Loaded
from fixtures.reference import attention_reference

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

EPS32 = torch.finfo(torch.float32).eps
TEXTS = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly, and say why.")


@dataclass(frozen=True)
class Problem:
    """One attention problem.

    ``padding``: none, left, right, scattered, or all (no key may be seen). ``layout`` of query, key and value in
    memory: heads (head before position), rows (position before head, as transformers makes them), slices (of longer
    sequences, NaN beyond their ends), or columns (the last dimension is not contiguous).
    """

    batch_size: int = 1
    num_kv_heads: int = 1
    group: int = 1
    seqlen_q: int = 1
    seqlen_k: int = 1
    head_dim: int = 1
    causal: bool = False
    padding: str = "none"
    block_q: int = 4
    block_k: int = 4
    magnitude: float = 1.0
    dtype: torch.dtype = torch.float32
    seed: int = 0
    layout: str = "heads"

    @property
    def scale(self) -> float:
        return float(self.head_dim**-0.5)

    def tensors(self, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """query, key, value and the key mask, or None; the same on every device."""
        random = torch.Generator().manual_seed(self.seed)

        def normal(heads: int, seqlen: int) -> Tensor:
            shape = (self.batch_size, heads, seqlen, self.head_dim)
            values = (self.magnitude * torch.randn(shape, generator=random)).to(device=device, dtype=self.dtype)
            if self.layout == "rows":
                return values.transpose(1, 2).contiguous().transpose(1, 2)
            if self.layout == "slices":
                return torch.nn.functional.pad(values, (0, 0, 0, 64), value=float("nan"))[:, :, :seqlen]
            return values.mT.contiguous().mT if self.layout == "columns" else values

        query = normal(self.num_kv_heads * self.group, self.seqlen_q)
        key, value = normal(self.num_kv_heads, self.seqlen_k), normal(self.num_kv_heads, self.seqlen_k)
        if self.padding == "none":
            return query, key, value, None
        if self.padding == "scattered":
            key_mask = torch.rand((self.batch_size, self.seqlen_k), generator=random) < 0.5
            return query, key, value, key_mask.to(device)
        lengths = torch.randint(0, self.seqlen_k + 1, (self.batch_size, 1), generator=random)
        position = torch.arange(self.seqlen_k)[None]
        if self.padding == "all":
            lengths[0] = 0
        key_mask = position >= self.seqlen_k - lengths if self.padding == "left" else position < lengths
        return query, key, value, key_mask.to(device)


def problems(**drawn: SearchStrategy[Any]) -> SearchStrategy[Problem]:
    """Problems of every kind, with ``drawn`` in place of fields drawn here."""
    from hypothesis import strategies as st  # here, so that the tests on a GPU need no hypothesis

    every: dict[str, SearchStrategy[Any]] = {
        "batch_size": st.integers(1, 3),
        "num_kv_heads": st.integers(1, 3),
        "group": st.integers(1, 4),
        "seqlen_q": st.integers(1, 24),
        "seqlen_k": st.integers(1, 24),
        "head_dim": st.sampled_from([1, 3, 16, 64]),
        "causal": st.booleans(),
        "padding": st.sampled_from(["none", "left", "right", "scattered", "all"]),
        "block_q": st.integers(1, 25),
        "block_k": st.integers(1, 25),
        "magnitude": st.sampled_from([0.1, 1.0, 10.0]),
        "dtype": st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
        "seed": st.integers(0, 2**32),
        "layout": st.sampled_from(["heads", "rows", "slices", "columns"]),
    }
    return st.builds(Problem, **every | drawn)


def tolerances(
    problem: Problem, query: Tensor, key: Tensor, value: Tensor, *, rounds_weights: bool = False
) -> tuple[float, float]:
    """How far output and logsumexp may be from float64, in absolute terms, when all arithmetic is fp32.

    The inputs are exact in fp32. A dot product of n terms is off by at most n roundings of the sum of the terms' sizes;
    its error, and that of subtracting the maximum, become relative errors of a weight, whose every block adds a few
    roundings (exp, rescale, divide). Numerator and denominator share them, hence the factor 2; the output is an average
    of values, and its rounding to its own type comes last.

    ``rounds_weights``: the weights, which are at most 1, are rounded to the values' type before they meet them (to use
    tensor cores), but not before they are summed. That is half a spacing of each weight, or, where it is subnormal,
    half the smallest number there is; the largest weight is 1, so that the sum to divide by is no smaller.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1 (dot products) and
    theorem 2.2 (rounding).
    """
    group = query.shape[1] // key.shape[1]
    sizes = query.double().abs() @ key.double().abs().repeat_interleave(group, dim=1).transpose(-1, -2)
    largest_score = problem.scale * float(sizes.max())
    score_error = (problem.head_dim + 4) * EPS32 * largest_score
    weight_error = score_error + EPS32 * (problem.seqlen_k + 8 * ceil(problem.seqlen_k / problem.block_k))
    largest_value = float(value.double().abs().max())
    kind = torch.finfo(problem.dtype)
    rounding = (kind.eps + problem.seqlen_k * kind.eps * kind.smallest_normal) / 2 if rounds_weights else 0.0
    return (
        largest_value * (2 * weight_error + rounding + kind.eps),
        weight_error + EPS32 * (largest_score + 8),
    )


def require_float64(forward: Forward, problem: Problem, *, rounds_weights: bool = False, device: str = "cpu") -> None:
    """Hold a forward pass against float64; ``rounds_weights`` as in :func:`tolerances`.

    Raises:
        AssertionError: it is off; the message ends with the problem, a line to paste.
    """
    query, key, value, key_mask = problem.tensors(device)
    given_mask = None if key_mask is None else key_mask.clone()
    how: dict[str, Any] = {"scale": problem.scale, "causal": problem.causal, "key_mask": key_mask}
    output, logsumexp = forward(query, key, value, **how, block_q=problem.block_q, block_k=problem.block_k)
    expected, expected_logsumexp = attention_reference(query, key, value, **how)
    allowed, allowed_logsumexp = tolerances(problem, query, key, value, rounds_weights=rounds_weights)

    found = (output.dtype, output.shape, logsumexp.dtype)
    assert found == (problem.dtype, query.shape, torch.float32), f"{found} in\n{problem}"
    assert key_mask is None or torch.equal(key_mask, given_mask), f"the mask was changed in\n{problem}"
    blind = expected_logsumexp == float("-inf")
    assert torch.equal(logsumexp == float("-inf"), blind), f"not the queries that see no key have -inf in\n{problem}"
    assert not output[blind].any(), f"a query that sees no key has an output in\n{problem}"
    error = float((output.double() - expected).abs().max())
    assert error <= allowed, f"output off by {error:.3g}, allowed is {allowed:.3g}, in\n{problem}"  # NaN fails too
    error = float((logsumexp.double() - expected_logsumexp).masked_fill(blind, 0.0).abs().max())
    assert error <= allowed_logsumexp, (
        f"logsumexp off by {error:.3g}, allowed is {allowed_logsumexp:.3g}, in\n{problem}"
    )


def continued(loaded: Loaded, name: str) -> tuple[tuple[tuple[int, ...], ...], Tensor]:
    """Tokens and logits of a greedy generation from one left-padded batch of ``TEXTS``."""
    backend = attention.use(loaded.model, name)
    batch = batches([encode(loaded.tokenizer, str(number), text) for number, text in enumerate(TEXTS)], len(TEXTS))[0]
    generation, logits = generate_with_logits(batch, loaded, backend, 6, WallClock())
    return generation.tokens, logits


def of_every_kind(test: Callable[..., None]) -> Callable[..., None]:
    """Let a test take a ``problem``: drawn ones, and those that a loop order has got wrong before."""
    from hypothesis import example, given

    for problem in (
        Problem(),  # a single token
        Problem(seqlen_q=1, seqlen_k=24, causal=True, head_dim=64),  # decoding
        Problem(seqlen_q=20, seqlen_k=7, causal=True),  # the first 13 queries see no key
        Problem(seqlen_q=7, seqlen_k=20, causal=True, block_q=3, block_k=6),
        Problem(batch_size=2, seqlen_q=9, seqlen_k=9, causal=True, padding="left", head_dim=16),
        Problem(batch_size=2, group=4, seqlen_q=9, seqlen_k=9, causal=True, padding="right", head_dim=16),
        Problem(seqlen_q=20, seqlen_k=20, head_dim=64, magnitude=10.0),  # scores around 800
    ):
        test = example(problem=problem)(test)
    return given(problem=problems())(test)
