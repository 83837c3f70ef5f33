"""Every module has a test file of its name, in the folder of tests that mirrors the module's."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
ELSEWHERE = {
    "perf/perfgate/lockstep/code_recording.py": "integration/test_changed_functions.py",
    "perf/perfgate/plugin/compare_mode.py": "integration/test_compare.py",
    "perf/perfgate/plugin/judging.py": "integration/test_compare.py",
    "perf/perfgate/plugin/refresh_mode.py": "integration/test_refresh.py",
    "perf/perfgate/plugin/versus_mode.py": "integration/test_versus.py",
    "fixtures/attention/fa1_triton.py": "fixtures/test_triton_kernels.py",
    "fixtures/attention/fa2_triton.py": "fixtures/test_triton_kernels.py",
    "fixtures/attention/kernels/fa1.py": "fixtures/test_triton_kernels.py",
    "fixtures/attention/kernels/fa2.py": "fixtures/test_triton_kernels.py",
    "fixtures/attention/kernels/fa2_decode.py": "fixtures/test_triton_kernels.py",
    "fixtures/attention/kernels/tiles.py": "fixtures/test_triton_kernels.py",
}
"""Modules that are tested in another file: modes, which start and judge real processes, and the Triton kernels,
which every test runs side by side."""
DATA = {"perf/perfgate/compare/known_time.py", "perf/perfgate/measure/policy.py"}
"""Modules that hold numbers and nothing that could be wrong."""


def mirror(module: Path) -> Path:
    """The folder of tests that mirrors a module's."""
    inside = module.relative_to(ROOT / "perf") if module.is_relative_to(ROOT / "perf") else module.relative_to(ROOT)
    return TESTS / inside.parent


MODULES = [
    path
    for room in ("perf/perfgate", "fixtures")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py") and path.relative_to(ROOT).as_posix() not in DATA
]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_has_its_own_test_file(module: Path) -> None:
    name = module.relative_to(ROOT).as_posix()
    if name in ELSEWHERE:
        assert (TESTS / ELSEWHERE[name]).is_file()
        return
    folder = mirror(module)
    assert list(folder.glob(f"test_{module.stem}.py")) or list(folder.glob(f"test_{module.stem}_*.py")), (
        f"{name}: expected {folder.relative_to(ROOT).as_posix()}/test_{module.stem}.py"
    )


def test_no_exception_is_left_over() -> None:
    assert {*ELSEWHERE, *DATA} <= {path.relative_to(ROOT).as_posix() for path in ROOT.glob("perf/perfgate/**/*.py")} | {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("fixtures/**/*.py")
    }
