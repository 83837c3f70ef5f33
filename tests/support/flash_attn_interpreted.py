"""A process of its own, in an environment that has flash-attn without CUDA: the adapters on CPU tensors.

What runs is the package's public API over its Triton kernels (written for AMD) interpreted, not its CUDA kernels.
test_flash_attn_package.py runs it as ``python -m tests.support.flash_attn_interpreted`` with ``ENVIRONMENT``; it prints
a JSON object: by case the relative error against float64 and the kernels that the work counter saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fixtures.attention.problems import Shape

if TYPE_CHECKING:
    from torch import Tensor

ENVIRONMENT = {"TRITON_INTERPRET": "1", "FLASH_ATTENTION_TRITON_AMD_ENABLE": "TRUE"}

CAUSAL = Shape(batch_size=2, num_heads=4, num_kv_heads=2, seqlen_q=40, seqlen_k=40, head_dim=64, causal=True)


@dataclass(frozen=True)
class Case:
    """One problem; ``padding`` is "none" (through ``prepare``), "left" or "right" (through variable lengths)."""

    shape: Shape
    dtype: str = "fp32"
    padding: str = "none"


CASES = {
    "prefill": Case(CAUSAL),
    "prefill-fp16": Case(CAUSAL, "fp16"),
    "prefill-full": Case(replace(CAUSAL, causal=False, head_dim=128)),
    "prefill-chunk": Case(replace(CAUSAL, seqlen_q=24)),
    "prefill-mha": Case(replace(CAUSAL, num_kv_heads=4)),
    "decode": Case(replace(CAUSAL, seqlen_q=1)),
    "decode-fp16": Case(replace(CAUSAL, seqlen_q=1), "fp16"),
    "varlen-left": Case(CAUSAL, padding="left"),
    "varlen-right": Case(CAUSAL, padding="right"),
    "varlen-right-fp16": Case(CAUSAL, "fp16", padding="right"),
    "varlen-left-decode": Case(replace(CAUSAL, seqlen_q=1), padding="left"),
}
HIDDEN = 13
"""Padding of the first sequence of a padded batch; the second one has none."""


def key_mask_of(case: Case) -> Tensor | None:
    """Bool ``(batch_size, seqlen_k)``, True where a key may be seen, or None without padding."""
    import torch

    if case.padding == "none":
        return None
    mask = torch.ones(case.shape.batch_size, case.shape.seqlen_k, dtype=torch.bool)
    mask[0, slice(None, HIDDEN) if case.padding == "left" else slice(-HIDDEN, None)] = False
    return mask


def register_cpu_kernels() -> None:
    """Let the package's two operators, which it registers for CUDA alone, run the same code on a CPU."""
    from flash_attn import flash_attn_interface as interface

    for operator in (interface._flash_attn_forward, interface._flash_attn_varlen_forward):
        operator.register_kernel("cpu")(operator._init_fn)


def run(case: Case) -> dict[str, Any]:
    """The adapters' output against float64, and which of the row's kernels the work counter saw."""
    import torch
    from perfgate.measure import op_counts

    from fixtures import attention
    from fixtures.attention.flash_attn_2 import flash_attn_2_forward
    from fixtures.attention.problems import make_inputs, prepared_call
    from fixtures.reference import attention_reference, relative_error

    backend = attention.backend("flash-attn-2")
    inputs = make_inputs(case.shape, case.dtype, "cpu")
    key_mask = key_mask_of(case)
    how: dict[str, Any] = {"scale": case.shape.scale, "causal": case.shape.causal, "key_mask": key_mask}
    tensors = (inputs.query, inputs.key, inputs.value)
    with torch.no_grad():
        if key_mask is None:
            output, counts = op_counts.count(prepared_call(backend, inputs))
        else:
            (output, _), counts = op_counts.count(lambda: flash_attn_2_forward(*tensors, **how))
    expected, _ = attention_reference(*tensors, **how)
    if key_mask is not None and case.shape.seqlen_q > 1:
        expected.masked_fill_(~key_mask[:, None, :, None], 0)  # queries that are padding
    assert counts is not None
    return {
        "error": relative_error(output, expected),
        "dtype": str(output.dtype),
        "kernels": [name for name in (*backend.kernel.ran, *backend.kernel.absent) if counts.ran(name)],
    }


def main() -> None:
    register_cpu_kernels()
    print(json.dumps({name: run(case) for name, case in CASES.items()}))


if __name__ == "__main__":
    main()
