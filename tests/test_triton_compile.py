"""The Triton kernels compile for GPUs that are not here: with tensor cores, within the chip's shared memory,
and no longer than they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.triton_compiled import CASES, SHARED_MEMORY_KIB, Case, Compiled
from tests.triton_interpreted import NO_TRITON
from tests.triton_limits import LIMITS
from tests.triton_sass import hot_loop_of

ROOT = Path(__file__).parents[1]
EACH = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.compiled(case.name), id=str(case)) for case in CASES]
)

pytestmark = pytest.mark.slow


def table(all_compiled: list[Compiled]) -> list[str]:
    """The figures, aligned."""
    lines = [
        (
            *("kernel", "chip", "dtype", "head_dim", "queries", "block, warps, stages"),
            *("hot loop", "registers", "spilled", "shared bytes", "of"),
        )
    ]
    for one in all_compiled:
        case, limit = one.case, SHARED_MEMORY_KIB[one.case.capability] * 1024
        figures = (one.loop, one.registers, one.stack_bytes, one.shared_bytes, limit)
        queries = f"{case.seqlen_q}{' padded' if case.padded else ''}"
        kernel, chip = case.kernel.removesuffix("_kernel"), f"sm_{case.capability}"
        lines.append((kernel, chip, case.dtype, str(case.head_dim), queries, one.tile, *map(str, figures)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Compiled]:
    """What the compiler told, by case; printed as a table."""
    pytest.importorskip("triton", reason=NO_TRITON)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "perf")]),
        "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")),  # so that all is compiled now
    }
    run = subprocess.run(
        [sys.executable, "-m", "tests.triton_compiled"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout)
    all_compiled = [Compiled(**one | {"case": Case(**one["case"])}) for one in found]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(table(all_compiled)))
    return {one.case: one for one in all_compiled}


@EACH
def test_products_run_on_tensor_cores_and_fp32_stays_fp32(compiled: dict[Case, Compiled], case: Case) -> None:
    found = compiled[case]
    if case.dtype == "fp32" or case.kernel == "fa2_merge_kernel":
        assert (found.mma, found.wgmma, found.tf32) == (0, 0, False)
    elif case.capability == 90 and case.seqlen_q >= 64:  # wgmma multiplies 64 rows or more
        assert found.wgmma >= 2  # both products
        assert found.mma == 0
    else:
        assert found.mma >= 2


@EACH
def test_shared_memory_is_within_the_chips(compiled: dict[Case, Compiled], case: Case) -> None:
    assert 0 < compiled[case].shared_bytes <= SHARED_MEMORY_KIB[case.capability] * 1024


@EACH
def test_hot_loop_registers_and_spills_do_not_grow(compiled: dict[Case, Compiled], case: Case) -> None:
    found = compiled[case]
    if found.loop is None or found.registers is None or found.stack_bytes is None:
        pytest.skip("Triton's package brings no cuobjdump and nvdisasm here")
    loop, registers, spilled = LIMITS[str(case)]
    assert found.loop <= loop
    assert found.registers <= registers
    assert found.stack_bytes <= spilled


@EACH
def test_a_barrier_follows_what_fa1_writes_and_reads_again(compiled: dict[Case, Compiled], case: Case) -> None:
    assert compiled[case].barrier_after_stores == (case.name == "fa1-triton")


def test_every_limit_has_a_case() -> None:
    assert sorted(LIMITS) == sorted(map(str, CASES))


def listing(*lines: str) -> str:
    """As nvdisasm prints instructions, an address before each; a line that ends with a colon is a label."""
    return "\n".join(
        line if line.endswith(":") else f"        /*{4096 + at:04x}*/   {line} ;" for at, line in enumerate(lines)
    )


HEAVY = ("HMMA.16816.F32 R0", "HMMA.16816.F32 R4", "FFMA R1")


@pytest.mark.parametrize(
    ("lines", "instructions"),
    [
        (("MOV R0", "EXIT"), None),
        ((".L_x_0:", *HEAVY, "@P0 BRA `(.L_x_0)", "EXIT"), 4),
        ((".L_x_0:", *HEAVY, "FSEL R1", "@P0 BRA `(.L_x_0)", ".L_x_1:", *HEAVY, "@P0 BRA `(.L_x_1)"), 4),  # no mask
        ((".L_x_0:", *HEAVY, "@P0 BRA `(.L_x_0)", ".L_x_1:", *HEAVY[1:], "@P0 BRA `(.L_x_1)"), 4),  # fewer products
        ((".L_x_0:", "MOV R0", ".L_x_1:", *HEAVY, "@P0 BRA `(.L_x_1)", "@P1 BRA `(.L_x_0)"), 4),  # the inner one
        ((".L_x_0:", "FFMA R1", "FFMA R2", "BRA `(.L_x_0)", ".L_x_1:", "MOV R0", "BRA `(.L_x_1)"), 3),  # no products
        (("BRA `(.L_x_0)", *HEAVY, ".L_x_0:", "EXIT", ".L_x_1:", "BRA `(.L_x_1)"), None),  # forward, and the padding
    ],
)
def test_hot_loop_is_the_innermost_with_most_products_and_no_mask(
    lines: tuple[str, ...], instructions: int | None
) -> None:
    assert hot_loop_of(listing(*lines)) == instructions
