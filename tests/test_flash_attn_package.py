"""The flash-attn package without CUDA, through our adapters: its public API over its Triton kernels interpreted.

Not its CUDA kernels: they need a GPU. The package and what its build needs go into an environment of their own, laid
over the running one and thrown away after; this takes about 20 seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from fixtures.attention.problems import ERROR_MAX, TORCH_DTYPES
from tests import flash_attn_sdist
from tests.flash_attn_interpreted import CASES, ENVIRONMENT
from tests.flash_attn_sdist import pip
from tests.subprocesses import finding

VERSION = "2.8.3.post2"
BUILD_NEEDS = ("setuptools", "wheel", "packaging", "ninja", "psutil", "einops")
WITHOUT_CUDA = {"FLASH_ATTENTION_FORCE_BUILD": "TRUE", "FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"}
"""Source: flash-attn 2.8.3, setup.py."""
ROOT = Path(__file__).parents[1]
TIMEOUT_S = 300

pytestmark = pytest.mark.slow


def own_copies() -> list[str]:
    """What the running environment has of flash-attn."""
    return sorted(path.name for path in Path(sysconfig.get_path("purelib")).glob("flash_attn*"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that sees the running one's packages and adds flash-attn."""
    import torch

    if sys.platform != "linux":
        pytest.skip("flash-attn's Triton kernels are interpreted with triton, which is for Linux")
    if torch.cuda.is_available():
        pytest.skip("a build of flash-attn without CUDA does not belong on a machine with a GPU")
    folder = tmp_path_factory.mktemp("flash-attn")
    archive = flash_attn_sdist.download(VERSION, folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "overlay"], check=True, timeout=TIMEOUT_S)
    overlay = str(folder / "overlay" / "bin" / "python")
    base = {"base": str(folder / "overlay"), "platbase": str(folder / "overlay")}
    parents = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    Path(sysconfig.get_path("purelib", vars=base), "parent.pth").write_text("\n".join(parents), encoding="utf-8")
    needs = pip(overlay, "install", *BUILD_NEEDS)
    if needs.returncode:
        pytest.skip(f"what flash-attn's build needs cannot be had: {needs.stderr.strip().splitlines()[-1]}")
    before = own_copies()
    # Without pip's cache: it would offer this build to later installations that want CUDA.
    how = ("--no-build-isolation", "--no-deps", "--no-cache-dir", "--ignore-installed")
    built = pip(overlay, "install", *how, str(archive), **WITHOUT_CUDA)
    assert built.returncode == 0, built.stderr
    assert own_copies() == before, "flash-attn went into the running environment"
    return overlay


@pytest.fixture(scope="module")
def results(python: str) -> dict[str, Any]:
    """What the process of its own found, by case."""
    done = subprocess.run(
        [python, "-m", "tests.flash_attn_interpreted"],
        cwd=ROOT,
        env=finding(ROOT, ROOT / "perf", **ENVIRONMENT),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.interpreted("flash-attn-2")
@pytest.mark.parametrize("name", CASES)
def test_public_api_over_triton_kernels_interpreted_matches_float64(results: dict[str, Any], name: str) -> None:
    case, found = CASES[name], results[name]
    assert found["error"] <= ERROR_MAX[case.dtype]
    assert found["dtype"] == f"torch.{TORCH_DTYPES[case.dtype]}"
    if case.padding != "none":
        expected = "flash_attn._flash_attn_varlen_forward"
    else:
        expected = "flash-attn-2-kvcache" if case.shape.seqlen_q == 1 else "flash_attn._flash_attn_forward"
    assert found["kernels"] == [expected]  # what names the row, and nothing that it must not run


def test_it_is_the_package_of_the_overlay_that_runs(python: str) -> None:
    where = "import flash_attn, pathlib; print(pathlib.Path(flash_attn.__file__).parents[1])"
    done = subprocess.run(
        [python, "-c", where], env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert Path(python).parents[1] in Path(done.stdout.strip()).parents
