"""In place of flash-attn, which is not installed here: functions with its signatures that compute in float64.

test_flash_attn_contract.py holds the signatures against those of the source distributions. Nothing of flash-attn runs.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.reference import attention_reference

Call = tuple[str, inspect.BoundArguments]


def sequences(cu_seqlens: Tensor, longest: int, total: int) -> list[slice]:
    """The rows of each sequence, from cumulated lengths ``(batch_size + 1,)``."""
    assert cu_seqlens.dtype == torch.int32
    ends = cu_seqlens.tolist()
    assert (ends[0], ends[-1]) == (0, total)
    rows = [slice(start, stop) for start, stop in itertools.pairwise(ends)]
    assert max(one.stop - one.start for one in rows) == longest
    return rows


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """Float64's output for ``(batch_size, seqlen, heads, head_dim)``, causal to the bottom right, rounded once."""
    by_head = [tensor.transpose(1, 2) for tensor in (q, k, v)]
    output, _ = attention_reference(*by_head, scale=scale, causal=causal)
    return output.transpose(1, 2).to(q.dtype)


def flash_attn_func(
    q,
    k,
    v,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
):
    """Source: flash-attn 2.8.3, flash_attn_interface.py."""
    return attend(q, k, v, softmax_scale, causal)


def flash_attn_varlen_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p=0.0,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    alibi_slopes=None,
    deterministic=False,
    return_attn_probs=False,
    block_table=None,
):
    """Source: flash-attn 2.8.3, flash_attn_interface.py."""
    output = torch.full_like(q, float("nan"))
    queries, keys = sequences(cu_seqlens_q, max_seqlen_q, len(q)), sequences(cu_seqlens_k, max_seqlen_k, len(k))
    for rows, columns in zip(queries, keys, strict=True):
        if rows.start == rows.stop:
            continue
        output[rows] = attend(q[None, rows], k[None, columns], v[None, columns], softmax_scale, causal)[0]
    return output


def flash_attn_with_kvcache(
    q,
    k_cache,
    v_cache,
    k=None,
    v=None,
    rotary_cos=None,
    rotary_sin=None,
    cache_seqlens=None,
    cache_batch_idx=None,
    cache_leftpad=None,
    block_table=None,
    softmax_scale=None,
    causal=False,
    window_size=(-1, -1),
    softcap=0.0,
    rotary_interleaved=True,
    alibi_slopes=None,
    num_splits=0,
    return_softmax_lse=False,
):
    """Source: flash-attn 2.8.3, flash_attn_interface.py."""
    assert cache_seqlens.dtype == torch.int32
    outputs = [
        attend(q[row, None], k_cache[row, None, :length], v_cache[row, None, :length], softmax_scale, causal)
        for row, length in enumerate(cache_seqlens.tolist())
    ]
    return torch.cat(outputs)


def flash_attn_unpadded_func(
    q,
    k,
    v,
    cu_seqlens_q,
    cu_seqlens_k,
    max_seqlen_q,
    max_seqlen_k,
    dropout_p,
    softmax_scale=None,
    causal=False,
    return_attn_probs=False,
    deterministic=False,
):
    """Causal to the top left, as many key/value heads as query heads, garbage where a query has no key.

    Source: flash-attn 1.0.9, flash_attn_interface.py; csrc/flash_attn: fmha_api.cpp (CHECK_SHAPE), src/fmha/mask.h.
    """
    assert q.shape[1:] == k.shape[1:] == v.shape[1:]
    assert dropout_p == 0.0
    output = torch.full_like(q, float("nan"))
    queries, keys = sequences(cu_seqlens_q, max_seqlen_q, len(q)), sequences(cu_seqlens_k, max_seqlen_k, len(k))
    for rows, columns in zip(queries, keys, strict=True):
        scores = softmax_scale * torch.einsum("qhd,khd->hqk", q[rows].double(), k[columns].double())
        if causal:
            scores.masked_fill_(torch.ones(scores.shape[1:], dtype=torch.bool).triu(1), float("-inf"))
        output[rows] = torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v[columns].double()).to(q.dtype)
    return output


FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "1.0.9": (flash_attn_unpadded_func,),
    "2.8.3.post2": (flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache),
}
"""What the adapters call, by version."""


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """Let this version of flash-attn seem installed, or none."""
    usual = metadata.version

    def installed(name: str) -> str:
        if name != "flash-attn":
            return usual(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", installed)


def install(monkeypatch: pytest.MonkeyPatch, version: str) -> list[Call]:
    """Put the stand-ins of ``version`` where flash-attn would be; the list gets every call of them."""
    calls: list[Call] = []
    package, interface = ModuleType("flash_attn"), ModuleType("flash_attn.flash_attn_interface")
    package.__spec__ = ModuleSpec("flash_attn", None)  # transformers looks for it
    for function in FUNCTIONS[version]:

        def recording(*args: Any, function: Callable[..., Any] = function, **kwargs: Any) -> Any:
            calls.append((function.__name__, inspect.signature(function).bind(*args, **kwargs)))
            return function(*args, **kwargs)

        setattr(interface, function.__name__, recording)
        if version.startswith("2."):
            setattr(package, function.__name__, recording)
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.flash_attn_interface", interface)
    pretend(monkeypatch, version)
    return calls
