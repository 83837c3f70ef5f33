"""The pinned backends of scaled_dot_product_attention: the names they run under on CUDA devices, and their limits."""

from __future__ import annotations

import pytest
import torch
from perfgate import counters
from torch import Tensor
from torch.nn.attention import bias

from fixtures import attention
from fixtures.attention import SDPA_KERNELS

NOT_REACHED = {
    "scaled_dot_product_attention": "the composite that chooses one of the others",
    "_scaled_dot_product_attention_math": "a composite of products and a softmax, which is its mark",
    "_native_multi_head_attention": "torch.nn.MultiheadAttention's own",
    "_triton_multi_head_attention": "torch.nn.MultiheadAttention's own",
    "_triton_scaled_dot_attention": "torch.nn.MultiheadAttention's own",
}


def test_every_attention_of_torch_is_known_by_name() -> None:
    """A kernel that nobody knows could run in another's place without being seen."""
    found = {name.partition("::")[2] for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")}
    forward = {name.partition(".")[0] for name in found if "attention" in name and "_backward" not in name}
    known = {name.partition(".")[2] for name in SDPA_KERNELS}
    assert forward - known == NOT_REACHED.keys() & forward
    assert {"_efficient_attention_forward", "_scaled_dot_product_cudnn_attention"} <= forward


@pytest.mark.parametrize(("name", "can_use"), [("sdpa-efficient", "efficient"), ("sdpa-flash", "flash")])
def test_a_chunk_on_cuda_runs_the_kernel_that_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, can_use: str
) -> None:
    """On meta tensors, which dispatch as CUDA's do once torch is told that its kernels may be used: a chunk's mask is
    aligned to the bottom right, and torch then calls the efficient kernel by its inner name."""
    for kernel in ("flash", "efficient"):
        monkeypatch.setattr(bias, f"can_use_{kernel}_attention", lambda params, yes=kernel == can_use: yes)
    backend = attention.backend(name)
    assert backend.prepare is not None
    query, key = torch.empty(1, 4, 8, 64, device="meta"), torch.empty(1, 2, 24, 64, device="meta")
    attend = backend.prepare(query, key, key, scale=1.0, causal=True)

    def call() -> Tensor:
        with torch.no_grad(), backend.context():
            return attend()

    _, counts = counters.count(call)
    assert counts is not None
    assert any(counts.ran(kernel) for kernel in backend.kernel.ran), counts.operators
    assert counts.flops == 2 * 4 * 8 * 24 * (64 + 64)
    assert not [kernel for kernel in backend.kernel.absent if counts.ran(kernel)]


@pytest.mark.parametrize(
    ("device", "dtype", "padded", "why"),
    [
        ("cpu", "fp32", True, None),
        ("cuda:0", "bf16", False, None),
        ("cuda:0", "fp32", False, "sdpa-flash computes in fp16, bf16 on CUDA devices, not in fp32"),
        (
            "cuda:0",
            "bf16",
            True,
            "sdpa-flash takes no mask on CUDA devices, which padding needs: use --batch-size 1",
        ),
    ],
)
def test_flash_is_limited_on_cuda_and_says_so(device: str, dtype: str, padded: bool, why: str | None) -> None:
    assert attention.backend("sdpa-flash").unavailable(device, dtype=dtype, padded=padded) == why
    assert attention.backend("sdpa-efficient").unavailable("cuda:0", dtype=dtype, padded=padded) is None
