"""A process of its own, without an accelerator: the Triton kernels compiled for GPUs that are not here.

The backends' own forward functions arrange the launches, so that tiles, strides and alignment are those of a real call;
what would launch a kernel compiles it (``triton.compile`` of an ``ASTSource`` for a ``GPUTarget``) and stops there.
test_triton_compile.py runs it as ``python -m tests.support.triton_compiled``; it prints a JSON list of
:class:`Compiled`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SHARED_MEMORY_KIB = {80: 163, 86: 99, 90: 227}
"""What a program may have, by compute capability without its dot.

Source: CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability" (maximum amount of shared
memory per thread block).
"""
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
NAMES = ("fa1-triton", "fa2-triton")
MULTIPROCESSORS = 108


@dataclass(frozen=True)
class Case:
    """One kernel to compile. With ``seqlen_q`` 1 the problem is decoding, without a mask."""

    name: str
    capability: int
    dtype: str
    head_dim: int
    seqlen_q: int = 512

    def __str__(self) -> str:
        return f"{self.name}-sm{self.capability}-{self.dtype}-d{self.head_dim}-sq{self.seqlen_q}"


@dataclass(frozen=True)
class Compiled:
    """What the compiler told. ``registers`` of a thread and ``stack_bytes``, to which it spills those it has not, are
    None where Triton's package brings no cuobjdump. ``barrier_after_stores``: a barrier follows the last store of a
    loop over keys, before the loop ends."""

    case: Case
    tile: str
    shared_bytes: int
    registers: int | None
    stack_bytes: int | None
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


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and bytes of stack of a thread, from the cuobjdump that Triton's package brings."""
    import triton

    cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not cuobjdump.is_file():
        return None, None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        told = subprocess.run([cuobjdump, "--dump-resource-usage", path], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told.stdout)
    return (int(found[1]), int(found[2])) if found else (None, None)


def barrier_after_stores(ir: str) -> bool:
    """Whether, in the text of Triton's first representation, a barrier ends the outer loop, behind its last store."""
    ends = re.search(r"tt\.store(?!.*tt\.store).*?\n    \} ", ir, re.DOTALL)
    return ends is not None and "barrier" in ends[0]


def compile_case(case: Case) -> Compiled:
    """Compile what the backend would launch for ``case``."""
    import torch
    from triton.runtime import driver

    from fixtures.attention import fa1_triton, fa2_triton
    from fixtures.attention.kernels import fa1, fa2, launch

    driver.set_active(AbsentGpu(case.capability))
    chip = launch.Chip(MULTIPROCESSORS, SHARED_MEMORY_KIB[case.capability] * 1024)
    launch.chip_of = lambda device: chip
    module, forward = {
        "fa1-triton": (fa1, fa1_triton.fa1_triton_forward),
        "fa2-triton": (fa2, fa2_triton.fa2_triton_forward),
    }[case.name]
    attribute = f"{module.__name__.rsplit('.', 1)[1]}_kernel"
    original = getattr(module, attribute)
    kernel = CompileOnly(original)
    setattr(module, attribute, kernel)
    try:
        dtype = getattr(torch, DTYPES[case.dtype])
        query = torch.zeros(2, 8, case.seqlen_q, case.head_dim, dtype=dtype)
        key = torch.zeros(2, 2, 512, case.head_dim, dtype=dtype)
        key_mask = torch.ones(2, 512, dtype=torch.bool) if case.seqlen_q > 1 else None
        forward(query, key, key, scale=1.0, causal=case.seqlen_q > 1, key_mask=key_mask)
    finally:
        setattr(module, attribute, original)
    made = kernel.compiled
    registers, stack_bytes = resources(made.kernel)
    tile = launch.choose_tile(dtype, case.head_dim, case.seqlen_q, chip)
    return Compiled(
        case=case,
        tile=f"{tile.block_q}x{tile.block_k}, {tile.num_warps} warps, {tile.num_stages} stages",
        shared_bytes=made.metadata.shared,
        registers=registers,
        stack_bytes=stack_bytes,
        mma=made.asm["ptx"].count("mma.sync"),
        wgmma=made.asm["ptx"].count("wgmma.mma_async"),
        tf32="tf32" in made.asm["ptx"],
        barrier_after_stores=barrier_after_stores(made.asm["ttir"]),
    )


if __name__ == "__main__":
    json.dump([asdict(compile_case(case)) for case in CASES], sys.stdout)
