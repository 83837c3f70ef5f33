"""How exactly torch has been told to multiply on CUDA devices."""

from __future__ import annotations

import torch

MATMUL = torch.backends.cuda.matmul
FULL = {
    "fp32_precision": "ieee",
    "allow_bf16_reduced_precision_reduction": False,
    "allow_fp16_reduced_precision_reduction": False,
}


def allow_less(less: bool) -> None:
    MATMUL.allow_tf32 = less
    MATMUL.allow_bf16_reduced_precision_reduction = MATMUL.allow_fp16_reduced_precision_reduction = less
