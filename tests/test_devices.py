"""What the suite sets for a device."""

from __future__ import annotations

import pytest
import torch

from fixtures import quantization

MATMUL = torch.backends.cuda.matmul


@pytest.fixture
def reduced() -> None:
    """torch's default: parts of a sum may be rounded to 16 bit."""
    MATMUL.allow_bf16_reduced_precision_reduction = True
    MATMUL.allow_fp16_reduced_precision_reduction = True


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_layer_of_16_bit_adds_up_in_32(reduced: None, name: str) -> None:
    linear = quantization.scheme(name).linear
    assert linear is not None
    linear.make(torch.zeros(2, 3), "cpu")
    assert not MATMUL.allow_bf16_reduced_precision_reduction
    assert not MATMUL.allow_fp16_reduced_precision_reduction
