"""Reduce flash-attn's source distribution to the forward kernels of some head dimensions, before it is compiled.

The whole of it takes hours and gigabytes; this suite runs forward kernels alone. What is left out is replaced by
functions that raise an error, so that the extension loads and says what it lacks. docs/gpu-runner.md has the commands
around it::

    python -m tests.gpu.flash_attn_reduced FOLDER_OF_THE_UNPACKED_SDIST --head-dims 32,64,128
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Collection
from pathlib import Path

from tests.gpu import BundleError

HEAD_DIMS = (32, 64, 96, 128, 192, 256)
"""What one source file each is for; others are padded to the next. Source: flash-attn 2.8.3, static_switch.h."""
SOURCES = Path("csrc", "flash_attn", "src")
STUBS = SOURCES / "left_out.cpp"
DISABLED = ("BACKWARD", "DROPOUT", "ALIBI", "SOFTCAP", "LOCAL")
"""The sdist's own switches. Source: flash-attn 2.8.3, setup.py (nvcc_flags, commented out there)."""
FUNCTIONS = {
    "run_mha_fwd_": "Flash_fwd_params",
    "run_mha_fwd_splitkv_dispatch": "Flash_fwd_params",
    "run_mha_bwd_": "Flash_bwd_params",
}
"""The templates that the API calls, each specialised in files of their own. Source: flash-attn 2.8.3, flash.h."""
TYPES = {"cutlass::half_t": "fp16", "cutlass::bfloat16_t": "bf16"}
SOURCE = re.compile(r'^ +"csrc/flash_attn/src/flash_(fwd|fwd_split|bwd)_hdim(\d+)_\w+\.cu",\n', re.MULTILINE)


def stubs(head_dims: Collection[int]) -> str:
    """C++ that defines every specialisation that is not compiled: it raises, with the head dimension and what for."""
    lines = [
        "// Written by tests/gpu/flash_attn_reduced.py: what this build leaves out.",
        '#include "namespace_config.h"',
        "#include <c10/util/Exception.h>",
        "#include <cutlass/numeric_types.h>",
        '#include "flash.h"',
        "namespace FLASH_NAMESPACE {",
    ]
    for (function, params), head_dim, (kind, dtype), causal in itertools.product(
        FUNCTIONS.items(), HEAD_DIMS, TYPES.items(), ("false", "true")
    ):
        if "bwd" in function or head_dim not in head_dims:
            what = f"{'backward' if 'bwd' in function else 'forward'}, head_dim {head_dim}, {dtype}"
            lines.append(
                f"template<> void {function}<{kind}, {head_dim}, {causal}>({params} &, cudaStream_t) "
                f'{{ TORCH_CHECK(false, "left out of this build: {what}"); }}'
            )
    return "\n".join([*lines, "}  // namespace FLASH_NAMESPACE", ""])


def reduced(setup: str, head_dims: Collection[int]) -> str:
    """``setup.py`` with the sources of these head dimensions alone, the stubs, and the switches on.

    Raises:
        BundleError: it is not that of flash-attn 2.8.3.
    """

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[1] != "bwd" and int(found[2]) in head_dims else ""

    api = '                "csrc/flash_attn/flash_api.cpp",\n'
    if len(SOURCE.findall(setup)) != 3 * 2 * 2 * len(HEAD_DIMS) or api not in setup:
        raise BundleError("its setup.py is not the one of flash-attn 2.8.3 (72 kernel files): give that sdist's folder")
    setup = SOURCE.sub(kept, setup).replace(api, f'{api}                "{STUBS.as_posix()}",\n')
    for switch in DISABLED:
        setup = setup.replace(f'# "-DFLASHATTENTION_DISABLE_{switch}"', f'"-DFLASHATTENTION_DISABLE_{switch}"')
    # The API's own file is C++: it must refuse what the kernels leave out, not compute something else.
    flags = ", ".join(f'"-DFLASHATTENTION_DISABLE_{switch}"' for switch in DISABLED)
    return setup.replace('compiler_c17_flag=["-O3", "-std=c++17"]', f'compiler_c17_flag=["-O3", "-std=c++17", {flags}]')


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.flash_attn_reduced", description=(__doc__ or "")[:117])
    parser.add_argument("folder", type=Path, help="the unpacked source distribution of flash-attn 2.8.3")
    parser.add_argument("--head-dims", default="64,128", help=f"which of {', '.join(map(str, HEAD_DIMS))}")
    options = parser.parse_args(arguments)
    wanted = set(options.head_dims.split(","))
    if not wanted <= set(map(str, HEAD_DIMS)):
        parser.error(f"--head-dims: got {options.head_dims}, expected some of {', '.join(map(str, HEAD_DIMS))}")
    head_dims = {int(one) for one in wanted}
    path = options.folder / "setup.py"
    try:
        text = reduced(path.read_text(encoding="utf-8"), head_dims)
    except (OSError, BundleError) as wrong:
        print(f"not reduced: {wrong}", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    (options.folder / STUBS).write_text(stubs(head_dims), encoding="utf-8")
    print(f"{options.folder} is reduced to the forward kernels of head_dim {', '.join(map(str, sorted(head_dims)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
