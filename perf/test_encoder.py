"""The encoder fast path (BetterTransformer) against the slow path, padded and not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from perfgate import Case, Measure, Row, Work, cases, device_of, part, versions

from fixtures import encoder
from fixtures.options import SETTINGS

SEQLEN, LONG_SEQLEN = 128, 512
BUDGET_S = 2.0
"""Seconds of timed rounds for a case: some twenty calls of the slowest default one."""


@dataclass(frozen=True, kw_only=True)
class EncoderCase(Case):
    """One encoder on one path."""

    benchmark: ClassVar[str] = "encoder"
    path: str = part()
    dtype: str = part()
    batch_size: int = part("b{}")
    seqlen: int = part("s{}")
    width: int = part("w{}")
    layers: int = part("l{}")
    padded: bool = part(render=lambda padded: "padded" if padded else "full")
    device: str = part(default="cpu")


def encoder_rows(config: pytest.Config) -> Iterator[Row]:
    """Both paths with and without padding; they belong to no scheme's or attention's selection."""
    suite, device = config.stash[SETTINGS], device_of(config)
    dtypes = ("fp32",) if device == "cpu" else ("fp16", "bf16")
    for seqlen in (SEQLEN, LONG_SEQLEN):
        for dtype in dtypes:
            for padded in (True, False):
                for path in encoder.KERNELS:
                    yield Row(
                        EncoderCase(
                            path=path,
                            dtype=dtype,
                            batch_size=8,
                            seqlen=seqlen,
                            width=256,
                            layers=4,
                            padded=padded,
                            device=device.split(":")[0],
                        ),
                        quick=padded and seqlen == SEQLEN,
                        extra=seqlen != SEQLEN,
                        selected=suite.quantization is None and suite.attention is None,
                        unavailable=encoder.unavailable(path, device),
                        expected_s=4.0,
                    )


@cases(encoder_rows)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")
def test_encoder(case: EncoderCase, device: str, measure: Measure, one_core: None) -> None:
    """One forward call. The path is asserted by the operators that ran, its output against float64."""
    subject = encoder.build(
        batch_size=case.batch_size,
        seqlen=case.seqlen,
        width=case.width,
        layers=case.layers,
        padded=case.padded,
        dtype=case.dtype,
        device=device,
    )
    measure.record.provenance["implementation"] = f"torch.nn.TransformerEncoder, {case.path} path"
    measure.record.provenance["package_versions"] = versions(("torch",))
    with encoder.path(case.path):
        output = measure(
            subject,
            work=Work(tokens=subject.tokens),
            check=subject.check,
            kernel=encoder.KERNELS[case.path],
            weights_bytes=subject.weights_bytes,
            budget_s=BUDGET_S,
        )
    if measure.checked:
        measure.bounded("relative_error", subject.relative_error(output), "1", "lower")
    if case.path == "fast" and not measure.disabled:
        subject.require_nested(output, measure.record.operators)
