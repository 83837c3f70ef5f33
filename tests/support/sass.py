"""What the assembler made of a kernel: its resources, and how many instructions its hot loop has."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

MATRIX = re.compile(r"\b(HGMMA|HMMA|FFMA)\b")
"""Instructions that multiply matrices: warp-group and warp products of the tensor cores, and fp32 on ordinary cores."""
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", re.MULTILINE)
_JUMP = re.compile(r"\bBRA(?:\.\w+)*\s+(?:\w+,\s*)?`?\(?(?:\.L_x_\d+)?\)?.*?(0x[0-9a-f]+)")


def tool(name: str) -> Path | None:
    """One of the binary tools that Triton's package brings, or None where it does not."""
    import triton

    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return path if path.is_file() else None


def _ask(cubin: bytes, option: str) -> str | None:
    cuobjdump = tool("cuobjdump")
    if cuobjdump is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run([cuobjdump, option, path], capture_output=True, text=True, check=True).stdout


def resources(cubin: bytes) -> tuple[int | None, int | None]:
    """Registers and bytes of stack of a thread; None where Triton's package brings no cuobjdump."""
    told = _ask(cubin, "--dump-resource-usage")
    found = None if told is None else re.search(r"REG:(\d+) STACK:(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (None, None)


def loops(sass: str) -> list[list[str]]:
    """The bodies of all innermost loops: from the target of a jump backward to that jump, with no other such loop
    inside."""
    code = [(int(address, 16), text) for address, text in _INSTRUCTION.findall(sass)]
    spans = []
    for address, text in code:
        jump = _JUMP.search(text)
        if jump is not None and int(jump[1], 16) < address:
            spans.append((int(jump[1], 16), address))
    inner = [
        (start, stop)
        for start, stop in spans
        if not any(start <= a and b <= stop for a, b in spans if (a, b) != (start, stop))
    ]
    return [[text for address, text in code if start <= address <= stop] for start, stop in inner]


def hot_loop(cubin: bytes) -> int | None:
    """Instructions in the hot loop: of the innermost loops with at least half as many matrix products as the one with
    the most, the shortest. Where whole and masked blocks have a loop each, that is the one of the whole blocks, in
    which a long sequence spends its time. None without cuobjdump, or where no loop multiplies matrices."""
    sass = _ask(cubin, "-sass")
    if sass is None:
        return None
    bodies = loops(sass)
    products = [sum(MATRIX.search(text) is not None for text in body) for body in bodies]
    if not any(products):
        return None
    return min(len(body) for body, count in zip(bodies, products, strict=True) if 2 * count >= max(products))
