"""Shapes and padding on which the adapters for flash-attn 1.x and 2.x are tried, and what both must say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec

import pytest
import torch
from torch import Tensor

from fixtures import attention
from fixtures.attention import flash_attn_1, flash_attn_2, problems
from fixtures.attention.problems import Shape
from fixtures.reference import attention_reference
from tests.support import flash_attn_stand_in

VERSIONS = {"flash-attn-1": "1.0.9", "flash-attn-2": "2.8.3.post2"}
FORWARDS: dict[str, Callable[..., tuple[Tensor, None]]] = {
    "flash-attn-1": flash_attn_1.flash_attn_1_forward,
    "flash-attn-2": flash_attn_2.flash_attn_2_forward,
}
CAUSAL = Shape(batch_size=3, num_heads=6, num_kv_heads=2, seqlen_q=20, seqlen_k=20, head_dim=16, causal=True)
SHAPES = {
    "causal": CAUSAL,
    "full": replace(CAUSAL, causal=False),
    "decode": replace(CAUSAL, seqlen_q=1),
    "chunk": replace(CAUSAL, seqlen_q=7),
    "cross": replace(CAUSAL, causal=False, seqlen_q=7),
    "mha": replace(CAUSAL, num_kv_heads=6),
}


def keep(padding: str, shape: Shape) -> Tensor:
    """Bool (batch_size, seqlen_k): the first sequence has no padding, the others more and more of it."""
    position = torch.arange(shape.seqlen_k)[None]
    hidden = 5 * torch.arange(shape.batch_size)[:, None]
    if padding == "left":
        return position >= hidden
    if padding == "right":
        return position < shape.seqlen_k - hidden
    return (position + hidden) % 3 > 0  # scattered


def expected_of(inputs: problems.Inputs, key_mask: Tensor | None) -> Tensor:
    """Float64's output, 0 for causal queries at hidden positions: these are padding."""
    shape = inputs.shape
    tensors = (inputs.query, inputs.key, inputs.value)
    output, _ = attention_reference(*tensors, scale=shape.scale, causal=shape.causal, key_mask=key_mask)
    if key_mask is not None and shape.causal and shape.seqlen_q > 1:
        output.masked_fill_(~key_mask[:, None, -shape.seqlen_q :, None], 0)
    return output


def require_reason(
    patch: pytest.MonkeyPatch,
    row: str,
    device: str,
    *,
    version: str | None,
    capability: tuple[int, int] | None,
    hub: bool,
    why: str | None,
) -> None:
    """Assert why a row cannot run on a device where torch finds this capability, this version of flash-attn is
    installed or none, and transformers' hub has a kernel or not; ``why`` is a pattern, None where it can."""
    flash_attn_stand_in.pretend(patch, version)
    patch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    patch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    patch.setattr(flash_attn_2, "find_spec", lambda name: ModuleSpec(name, None) if hub else None)
    patch.setattr(flash_attn_2, "lacking", lambda *asked: None)
    reason = attention.backend(row).unavailable(device, dtype="bf16", head_dim=64)
    assert reason is None if why is None else re.search(why, str(reason)), reason


def require_refusals(patch: pytest.MonkeyPatch, row: str, largest: int) -> None:
    """Assert that a row refuses what its kernels do not know: fp32, and head dimensions above ``largest`` or odd."""
    flash_attn_stand_in.pretend(patch, VERSIONS[row])
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    unavailable = attention.backend(row).unavailable
    assert unavailable("cuda:0", dtype="fp32") == f"{row} computes in fp16, bf16, not in fp32"
    assert unavailable("cuda:0", head_dim=largest) is None
    assert str(unavailable("cuda:0", head_dim=largest + 8)).endswith(f", {largest}, not {largest + 8}")
    assert str(unavailable("cuda:0", head_dim=20)).endswith("not 20")
