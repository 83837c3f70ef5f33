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

from tests.support.triton_sass import hot_loop, resources

SHARED_MEMORY_KIB = {80: 163, 86: 99, 90: 227}
"""What a program may have, by compute capability without its dot.

Source: CUDA C++ Programming Guide, table "Technical Specifications per Compute Capability" (maximum amount of shared
memory per thread block).
"""
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
MULTIPROCESSORS = 108


KERNELS = {
    "fa1-triton": {"fa1": ("fa1_kernel",)},
    "fa2-triton": {"fa2": ("fa2_kernel",), "fa2_decode": ("fa2_decode_kernel", "fa2_merge_kernel")},
}
"""The kernels that a backend may launch, by module."""


@dataclass(frozen=True)
class Case:
    """One kernel to compile. With ``seqlen_q`` 1 the problem is decoding, without a mask; ``padded``: with a mask of
    keys; ``tile``: FA2's, one of the tuner's candidates, in place of the one by rule, as
    "block_q block_k warps stages"."""

    name: str
    capability: int
    dtype: str
    head_dim: int
    seqlen_q: int = 512
    kernel: str = "fa1_kernel"
    padded: bool = False
    tile: str = ""

    def __str__(self) -> str:
        parts = (self.kernel.removesuffix("_kernel"), f"sm{self.capability}", self.dtype, f"d{self.head_dim}")
        given = (f"sq{self.seqlen_q}", "padded" if self.padded else "", self.tile.replace(" ", "x"))
        return "-".join(filter(None, (*parts, *given)))


@dataclass(frozen=True)
class Compiled:
    """What the compiler told. ``loop``: instructions of the hot loop (see :func:`tests.triton_sass.hot_loop_of`).
    ``registers`` of a thread and ``stack_bytes``, to which it spills those it has not. All three are None where
    Triton's package brings no tools to read them. ``barrier_after_stores``: a barrier follows the last store of a loop
    over keys, before the loop ends."""

    case: Case
    tile: str
    shared_bytes: int
    loop: int | None
    registers: int | None
    stack_bytes: int | None
    mma: int
    wgmma: int
    tf32: bool
    barrier_after_stores: bool


CAPABILITIES = (80, 90)
CANDIDATES = ((128, "128 64 8 2"), (128, "128 128 8 2"), (128, "64 64 4 2"), (64, "128 64 4 3"), (64, "128 128 8 3"))
"""Head_dim and tile that the tuner times beside the tile by rule."""
LONG = {"fa1-triton": "fa1_kernel", "fa2-triton": "fa2_kernel"}
DECODING = (("fa1-triton", "fa1_kernel"), ("fa2-triton", "fa2_decode_kernel"))
CASES = (
    *(
        Case(name, capability, dtype, head_dim, kernel=kernel)
        for capability in CAPABILITIES
        for dtype in DTYPES
        for head_dim in (64, 128)
        for name, kernel in LONG.items()
    ),
    *(Case(name, 86, "bf16", 128, kernel=kernel) for name, kernel in LONG.items()),  # the tile for little shared memory
    *(
        Case(name, capability, "bf16", 128, kernel=kernel, padded=True)
        for capability in CAPABILITIES
        for name, kernel in LONG.items()
    ),
    *(
        Case(name, capability, "bf16", 128, 1, kernel)
        for capability in CAPABILITIES
        for name, kernel in (*DECODING, ("fa2-triton", "fa2_merge_kernel"))
    ),
    *(Case("fa2-triton", 90, dtype, 64, 1, "fa2_decode_kernel") for dtype in ("fp32", "bf16")),
    Case("fa2-triton", 80, "fp32", 128, 1, "fa2_decode_kernel"),
    *(
        Case("fa2-triton", capability, "bf16", head_dim, 512, "fa2_kernel", tile=tile)
        for capability in CAPABILITIES
        for head_dim, tile in CANDIDATES
    ),
)


HOW = {"num_warps": "warps", "num_stages": "stages"}
"""What is told of a launch beside its blocks."""


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
        self.tile = ""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            blocks = "x".join(str(constants[name]) for name in ("BLOCK_Q", "BLOCK_K") if name in constants)
            how = [f"{constants[name]} {word}" for name, word in HOW.items() if name in constants]
            self.tile = ", ".join(filter(None, (blocks, *how)))
            self.compiled = self.kernel.warmup(*arguments, grid=grid, **constants)

        return launch


def barrier_after_stores(ir: str) -> bool:
    """Whether, in the text of Triton's first representation, a barrier ends the outer loop, behind its last store."""
    ends = re.search(r"tt\.store(?!.*tt\.store).*?\n    \} ", ir, re.DOTALL)
    return ends is not None and "barrier" in ends[0]


def compile_case(case: Case) -> Compiled:
    """Compile what the backend would launch for ``case``."""
    import importlib

    import pytest
    import torch
    from triton.runtime import driver

    from fixtures.attention import fa1_triton, fa2_triton
    from fixtures.attention.kernels import launch

    driver.set_active(AbsentGpu(case.capability))
    chip = launch.Chip(MULTIPROCESSORS, SHARED_MEMORY_KIB[case.capability] * 1024)
    kernels = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "chip_of", lambda device: chip)
        if case.tile:
            patch.setattr(launch, "fa2_tile", lambda *given: launch.Tile(*map(int, case.tile.split())))
        for module_name, names in KERNELS[case.name].items():
            module = importlib.import_module(f"fixtures.attention.kernels.{module_name}")
            for name in names:
                kernels[name] = CompileOnly(getattr(module, name))
                patch.setattr(module, name, kernels[name])
        dtype = getattr(torch, DTYPES[case.dtype])
        query = torch.zeros(2, 8, case.seqlen_q, case.head_dim, dtype=dtype)
        key = torch.zeros(2, 2, 512, case.head_dim, dtype=dtype)
        key_mask = torch.ones(2, 512, dtype=torch.bool) if case.padded else None
        forward = {"fa1-triton": fa1_triton.fa1_triton_forward, "fa2-triton": fa2_triton.fa2_triton_forward}[case.name]
        forward(query, key, key, scale=1.0, causal=case.seqlen_q > 1, key_mask=key_mask)
    kernel = kernels[case.kernel]
    made = kernel.compiled
    registers, stack_bytes = resources(made.kernel)
    return Compiled(
        case=case,
        tile=kernel.tile,
        shared_bytes=made.metadata.shared,
        loop=hot_loop(made.kernel),
        registers=registers,
        stack_bytes=stack_bytes,
        mma=made.asm["ptx"].count("mma.sync"),
        wgmma=made.asm["ptx"].count("wgmma.mma_async"),
        tf32="tf32" in made.asm["ptx"],
        barrier_after_stores=barrier_after_stores(made.asm["ttir"]),
    )


if __name__ == "__main__":
    json.dump([asdict(compile_case(case)) for case in CASES], sys.stdout)
