"""What a compiled kernel costs, read from its machine code with the tools that Triton's package brings."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

PRODUCTS = ("HMMA", "HGMMA")
"""Machine instructions of the tensor cores for 16 bit: of compute capability 8.0, and of 9.0 for four warps at once.

Source: CUDA Binary Utilities, instruction set reference (Ampere and Hopper).
"""


def _tool(name: str, *arguments: str, cubin: bytes) -> str | None:
    """What a tool of Triton's package prints about ``cubin``, or None where the package does not bring it."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    if not tool.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run([tool, *arguments, path], capture_output=True, text=True, check=True).stdout


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and bytes of stack of a thread; None where there is no cuobjdump."""
    told = _tool("cuobjdump", "--dump-resource-usage", cubin=cubin)
    found = re.search(r"REG:(\d+) STACK:(\d+)", told or "")
    return (int(found[1]), int(found[2])) if found else (None, None)


def hot_loop(cubin: bytes) -> int | None:
    """Instructions of the hot loop (see :func:`hot_loop_of`); None where there is no nvdisasm or no loop."""
    told = _tool("nvdisasm", "--print-code", cubin=cubin)
    return None if told is None else hot_loop_of(told)


def hot_loop_of(listing: str) -> int | None:
    """Instructions of the hot loop in nvdisasm's listing of one kernel; None if it has no loop.

    A loop is what lies from the target of a backward branch to the branch, both counted. Of the innermost ones, the hot
    loop has the most tensor-core instructions, and of several with as many, the fewest instructions in all: the same
    work without a mask. Where no loop has any (fp32), the longest one counts.
    """
    labels: dict[str, int] = {}
    instructions: list[str] = []
    for line in listing.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        if label:
            labels[label[1]] = len(instructions)
        instruction = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line)
        if instruction:
            instructions.append(instruction[1])
    loops = []
    for end, instruction in enumerate(instructions):
        branch = re.search(r"\bBRA.*`\((\.L_x_\d+)\)", instruction)
        if branch and labels.get(branch[1], end) < end:  # a branch to itself is the padding behind the kernel
            loops.append((labels[branch[1]], end))
    innermost = [
        (start, end)
        for start, end in loops
        if not any(start <= other[0] and other[1] <= end and other != (start, end) for other in loops)
    ]
    counted = [
        (sum(name in one for one in instructions[start : end + 1] for name in PRODUCTS), end + 1 - start)
        for start, end in innermost
    ]
    most = max((products for products, _ in counted), default=0)
    sizes = [size for products, size in counted if products == most]
    return (min(sizes) if most else max(sizes)) if sizes else None
