"""Launches of the Triton kernels on devices that are not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

ROOMY = 1 << 30
"""Bytes of shared memory of a chip on which every tile fits."""


def multiprocessors(patch: pytest.MonkeyPatch, count: int) -> None:
    """Launch as on a device with ``count`` multiprocessors."""
    from fixtures.attention.kernels import launch

    patch.setattr(launch, "chip_of", lambda device: launch.Chip(count, ROOMY))


def arranged(batch_size: int, seqlen_q: int, seqlen_k: int, group: int = 4, **blocks: int) -> Any:
    """A launch of bf16 tensors without memory, 8 key/value heads of head_dim 128."""
    from fixtures.attention.kernels import launch

    query = torch.empty(batch_size, 8 * group, seqlen_q, 128, dtype=torch.bfloat16, device="meta")
    key = torch.empty(batch_size, 8, seqlen_k, 128, dtype=torch.bfloat16, device="meta")
    given: dict[str, Any] = {"block_q": None, "block_k": None} | blocks
    return launch.arrange(query, key, key, scale=1.0, causal=True, key_mask=None, **given)
