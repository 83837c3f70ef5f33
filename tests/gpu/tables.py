"""The probe's tables: every attention's time and error over the length, every scheme's linear layers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fixtures import attention, quantization
from fixtures.attention import Backend, problems
from fixtures.attention.problems import Inputs, Shape
from fixtures.reference import relative_error
from tests.gpu.probe import Device, Log

DTYPE = "bf16"
CAUSAL = Shape(batch_size=1, num_heads=32, num_kv_heads=8, seqlen_q=4096, seqlen_k=4096, head_dim=128, causal=True)
"""Llama-3.1-8B's heads."""
PREFILL, DECODE = (1024, 4096, 16384), (4096, 16384)
SHAPES = (
    *(replace(CAUSAL, seqlen_q=length, seqlen_k=length) for length in PREFILL),
    replace(CAUSAL, causal=False),
    Shape(batch_size=4, num_heads=9, num_kv_heads=3, seqlen_q=4096, seqlen_k=4096, head_dim=64, causal=True),
    *(replace(CAUSAL, seqlen_q=1, seqlen_k=length) for length in DECODE),
)
REFERENCE_TO = 4096
"""The longest prefill that is held against float64: the reference holds all scores, in 8 bytes each."""
BACKENDS = ("sdpa-flash", "sdpa-cudnn", "sdpa-efficient", "fa1-triton", "fa2-triton", "flash-attn-2")
SCHEMES = ("bf16", "int8", "int8-nodecomp", "nf4", "nf4-dq")
LINEAR_SHAPES = ((4096, 4096), (4096, 14336), (14336, 4096), (4096, 11008))
"""(in_features, out_features) of Llama-3.1-8B's and Llama-2-7B's layers."""
NUM_TOKENS = (1, 16, 256, 2048)

REHEARSED = (Shape(1, 4, 2, 64, 64, 32, True), Shape(1, 4, 2, 1, 64, 32, True))
REHEARSED_BACKENDS = ("sdpa-flash", "sdpa-cudnn", "fa2")


def attention_table(log: Log, device: Device) -> None:
    """A line for each backend and shape; what cannot run says why."""
    names = REHEARSED_BACKENDS if device.rehearsal else BACKENDS
    for shape in REHEARSED if device.rehearsal else SHAPES:
        inputs = problems.make_inputs(shape, DTYPE, device.name)
        references: list[Any] = []

        def make(references: list[Any] = references, inputs: Inputs = inputs) -> None:
            references.append(inputs.expected)

        if shape.seqlen_q <= REFERENCE_TO:
            log.attempt(f"float64 reference of {_short(shape)}", make)
        for name in names:
            backend = attention.backend(name)
            why = backend.unavailable(device.name, dtype=DTYPE, head_dim=shape.head_dim)
            if why is not None:
                log.say("skipped", what=f"{name} {_short(shape)}", why=why)
                continue
            log.attempt(f"{name} {_short(shape)}", _timed(log, device, backend, inputs, references))


def _short(shape: Shape) -> str:
    mask = "causal" if shape.causal else "full"
    return f"sq{shape.seqlen_q} sk{shape.seqlen_k} d{shape.head_dim} {mask}"


def _timed(log: Log, device: Device, backend: Backend, inputs: Inputs, references: list[Any]) -> Callable[[], None]:
    def item() -> None:
        shape = inputs.shape
        began = time.perf_counter()
        call = problems.prepared_call(backend, inputs)
        found = call()
        device.synchronize()
        first_s = time.perf_counter() - began
        error = relative_error(found, references[0]) if references else None
        del found
        seconds = device.median_s(call)
        log.say(
            "attention",
            name=backend.name,
            seqlen_q=shape.seqlen_q,
            seqlen_k=shape.seqlen_k,
            head_dim=shape.head_dim,
            batch_size=shape.batch_size,
            causal=shape.causal,
            us=seconds * 1e6,
            tflops=shape.flops / seconds / 1e12,
            gbs=shape.bytes(2) / seconds / 1e9,
            error=error,
            first_s=round(first_s, 2),
        )

    return item


def linear_table(log: Log, device: Device) -> None:
    """A line for each scheme, shape and number of tokens, its error held against the scheme's bounds."""
    import torch

    for in_features, out_features in ((128, 256),) if device.rehearsal else LINEAR_SHAPES:
        # Quantized on the device from a weight made on the CPU, as the suite's linear cases do.
        weight = torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(0))
        exact = weight.to(device.name).double()
        for name in ("bf16", "int8", "nf4") if device.rehearsal else SCHEMES:

            def item(name: str = name, weight: Any = weight, exact: Any = exact) -> None:
                scheme = quantization.scheme(name)
                layer = scheme.linear.make(weight, device.name)
                for num_tokens in (1, 3) if device.rehearsal else NUM_TOKENS:
                    inputs = torch.randn(num_tokens, exact.shape[1], device=device.name)
                    cast = inputs.to(getattr(torch, scheme.dtype(device.name)))
                    with torch.no_grad():
                        error = relative_error(layer(cast), inputs.double() @ exact.T)
                        seconds = device.median_s(lambda cast=cast: layer(cast))  # type: ignore[misc]
                    low, high = scheme.linear.error
                    log.say(
                        "linear",
                        scheme=name,
                        in_features=exact.shape[1],
                        out_features=exact.shape[0],
                        num_tokens=num_tokens,
                        us=seconds * 1e6,
                        tflops=2 * num_tokens * exact.numel() / seconds / 1e12,
                        error=error,
                        within_bounds=low <= error <= high,
                    )

            log.attempt(f"linear {name} {in_features}x{out_features}", item)
