"""A process of its own, without an accelerator: the Triton kernels compiled for GPUs that are not here.

The backends' own forward functions arrange the launches, so that tiles, strides and alignment are those of a real call;
what would launch a kernel compiles it (``triton.compile`` of an ``ASTSource`` for a ``GPUTarget``) and stops there.
test_triton_compile.py runs it as ``python -m tests.support.triton_compiled``; it prints a JSON list of
:class:`Compiled`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.support import sass

SHARED_MEMORY_KIB = {80: 163, 86: 99, 90: 227}
"""What a program may have, by compute capability without its dot.

Source: CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability" (maximum amount of shared
memory per thread block).
"""
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
NAMES = ("fa1-triton", "fa2-triton")
MULTIPROCESSORS = 108


def kernels_of(fa1: Any, fa2: Any, decode: Any) -> tuple[tuple[Any, str], ...]:
    """Every kernel by its module and its name there; the one that merges splits comes last."""
    return ((fa1, "fa1_kernel"), (fa2, "fa2_kernel"), (decode, "decode_kernel"), (decode, "merge_kernel"))


@dataclass(frozen=True)
class Case:
    """One kernel to compile. With ``seqlen_q`` 1 the problem is decoding, without a mask; FA2 then splits the keys.
    ``padded``: with a key mask."""

    name: str
    capability: int
    dtype: str
    head_dim: int
    seqlen_q: int = 512
    padded: bool = False

    def __str__(self) -> str:
        padded = "-padded" if self.padded else ""
        return f"{self.name}-sm{self.capability}-{self.dtype}-d{self.head_dim}-sq{self.seqlen_q}{padded}"


@dataclass(frozen=True)
class Compiled:
    """What the compiler told. ``registers`` of a thread, ``stack_bytes``, to which it spills those it has not, and
    ``loop``, the instructions of the hot loop (see :mod:`tests.support.sass`), are None where Triton's package brings
    no cuobjdump. ``barrier_after_stores``: a barrier follows the last store of a loop over keys, before it ends."""

    case: Case
    tile: str
    shared_bytes: int
    registers: int | None
    stack_bytes: int | None
    loop: int | None
    mma: int
    wgmma: int
    tf32: bool
    barrier_after_stores: bool


CASES = (
    *(
        Case(name, capability, dtype, head_dim)
        for capability in (80, 90)
        for dtype in DTYPES
        for head_dim in (64, 128)
        for name in NAMES
    ),
    *(Case(name, 86, "bf16", 128) for name in NAMES),  # the tile for little shared memory
    *(Case(name, capability, "bf16", 128, padded=True) for capability in (80, 90) for name in NAMES),
    *(Case(name, capability, "bf16", 128, seqlen_q=1) for capability in (80, 90) for name in NAMES),
)


class AbsentGpu:
    """Triton's driver for a GPU of ``capability``, as far as compiling asks."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability  # compiled kernels are kept by device

    def get_current_stream(self, device: int) -> int:
        return 0


class CompileOnly:
    """A kernel that compiles where it would be launched, and keeps what that made."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.compiled: Any = None

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            self.compiled = self.kernel.warmup(*arguments, grid=grid, **constants)

        return launch


def barrier_after_stores(ir: str) -> bool:
    """Whether, in the text of Triton's first representation, a barrier ends the outer loop, behind its last store."""
    ends = re.search(r"tt\.store(?!.*tt\.store).*?\n    \} ", ir, re.DOTALL)
    return ends is not None and "barrier" in ends[0]


def compile_case(case: Case) -> Compiled:
    """Compile what the backend would launch for ``case``."""
    import torch
    from triton.runtime import driver

    from fixtures.attention import fa1_triton, fa2_triton
    from fixtures.attention.kernels import LAUNCHED, decode, fa1, fa2, launch

    driver.set_active(AbsentGpu(case.capability))
    chip = launch.Chip(MULTIPROCESSORS, SHARED_MEMORY_KIB[case.capability] * 1024)
    launch.chip_of = lambda device: chip
    forward = {"fa1-triton": fa1_triton.fa1_triton_forward, "fa2-triton": fa2_triton.fa2_triton_forward}[case.name]
    kernels = {name: CompileOnly(getattr(module, name)) for module, name in kernels_of(fa1, fa2, decode)}
    for module, name in kernels_of(fa1, fa2, decode):
        setattr(module, name, kernels[name])
    LAUNCHED.clear()
    try:
        dtype = getattr(torch, DTYPES[case.dtype])
        query = torch.zeros(2, 8, case.seqlen_q, case.head_dim, dtype=dtype)
        key = torch.zeros(2, 2, 512, case.head_dim, dtype=dtype)
        key_mask = torch.ones(2, 512, dtype=torch.bool) if case.padded else None
        forward(query, key, key, scale=1.0, causal=case.seqlen_q > 1, key_mask=key_mask)
    finally:
        for module, name in kernels_of(fa1, fa2, decode):
            setattr(module, name, kernels[name].kernel)
    made = next(kernel.compiled for kernel in kernels.values() if kernel.compiled is not None)
    (tile,) = LAUNCHED.values()
    registers, stack_bytes = sass.resources(made.kernel)
    return Compiled(
        case=case,
        tile=tile,
        shared_bytes=made.metadata.shared,
        registers=registers,
        stack_bytes=stack_bytes,
        loop=sass.hot_loop(made.kernel),
        mma=made.asm["ptx"].count("mma.sync"),
        wgmma=made.asm["ptx"].count("wgmma.mma_async"),
        tf32="tf32" in made.asm["ptx"],
        barrier_after_stores=barrier_after_stores(made.asm["ttir"]),
    )


if __name__ == "__main__":
    json.dump([asdict(compile_case(case)) for case in CASES], sys.stdout)
