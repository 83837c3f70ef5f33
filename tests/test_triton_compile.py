"""The Triton kernels compile for GPUs that are not here: with tensor cores, within the chip's shared memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.subprocesses import finding
from tests.triton_compiled import CASES, SHARED_MEMORY_KIB, Case, Compiled
from tests.triton_interpreted import NO_TRITON

ROOT = Path(__file__).parents[1]
EACH = pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.compiled(case.name), id=str(case)) for case in CASES]
)

pytestmark = pytest.mark.slow


def table(all_compiled: list[Compiled]) -> list[str]:
    """The figures, aligned."""
    lines = [
        ("kernel", "chip", "dtype", "head_dim", "block, warps, stages", "shared bytes", "of", "registers", "spilled")
    ]
    for one in all_compiled:
        case, limit = one.case, SHARED_MEMORY_KIB[one.case.capability] * 1024
        figures = (one.shared_bytes, limit, one.registers, one.stack_bytes)
        chip = f"sm_{case.capability}"
        lines.append((case.name, chip, case.dtype, str(case.head_dim), one.tile, *map(str, figures)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


@pytest.fixture(scope="module")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Compiled]:
    """What the compiler told, by case; printed as a table."""
    pytest.importorskip("triton", reason=NO_TRITON)
    cache = tmp_path_factory.mktemp("triton")  # so that all is compiled now
    environment = finding(ROOT, ROOT / "perf", TRITON_CACHE_DIR=str(cache))
    environment.pop("TRITON_INTERPRET", None)
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
    if case.dtype == "fp32":
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
def test_registers_hold_what_a_thread_computes_with(compiled: dict[Case, Compiled], case: Case) -> None:
    """A few values spilled to memory are the compiler's choice; a tile too large for the registers spills hundreds."""
    found = compiled[case]
    if found.stack_bytes is None:
        pytest.skip("Triton's package brings no cuobjdump here")
    assert found.stack_bytes <= 128


@EACH
def test_a_barrier_follows_what_fa1_writes_and_reads_again(compiled: dict[Case, Compiled], case: Case) -> None:
    assert compiled[case].barrier_after_stores == (case.name == "fa1-triton")
