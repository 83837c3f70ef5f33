"""A build of flash-attn that lacks something: the adapter says what. What a reduced build is made of."""

from __future__ import annotations

import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fixtures import attention
from fixtures.attention import flash_attn_2
from fixtures.attention.flash_attn_2 import lacking
from perf import test_generation
from tests import flash_attn_sdist, flash_attn_stand_in
from tests.gpu import BundleError, flash_attn_reduced

VERSION = "2.8.3.post2"
LEFT_OUT = "left out of this build"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test asks anew."""
    lacking.cache_clear()
    yield
    lacking.cache_clear()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A stand-in of flash-attn of which ``function`` raises as a stub does for these head dimensions and masks."""

    def make(function: str, head_dim: int, masks: tuple[bool, ...] = (True, False)) -> list[str]:
        calls: list[str] = []
        flash_attn_stand_in.install(monkeypatch, VERSION)
        package = sys.modules["flash_attn"]
        whole = getattr(package, function)

        def reduced(*tensors: Any, causal: bool, **rest: Any) -> Any:
            calls.append(function)
            if tensors[0].shape[-1] == head_dim and causal in masks:
                raise RuntimeError(f"{LEFT_OUT}: forward, head_dim {head_dim}, bf16\nException raised from ...")
            return whole(*tensors, causal=causal, **rest)

        monkeypatch.setattr(package, function, reduced)
        return calls

    return make


FUNCTIONS = ("flash_attn_func", "flash_attn_varlen_func", "flash_attn_with_kvcache")


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("masks", "said"), [((True, False), "causal"), ((False,), "full")], ids=["both", "full"])
def test_what_a_build_leaves_out_is_said(without: Any, function: str, masks: tuple[bool, ...], said: str) -> None:
    without(function, 96, masks)
    assert lacking("cpu", "bf16", 96) == (
        f"this build of flash-attn {VERSION} has no {function} ({said}) for bf16 and head_dim 96: "
        f"{LEFT_OUT}: forward, head_dim 96, bf16"
    )
    assert lacking("cpu", "bf16", 64) is None


def test_a_build_is_asked_once_for_each_kernel(without: Any) -> None:
    calls = without("flash_attn_func", 96)
    for _ in range(3):
        assert lacking("cpu", "bf16", 64) is None
    assert len(calls) == 2  # causal, and full


def test_an_extension_that_cannot_be_loaded_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    flash_attn_stand_in.pretend(monkeypatch, VERSION)
    monkeypatch.setitem(sys.modules, "flash_attn", None)  # importing it raises ImportError
    assert str(lacking("cpu", "bf16", 64)).startswith(f"flash-attn {VERSION} cannot be loaded: ")


def test_too_little_memory_says_nothing_about_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    flash_attn_stand_in.install(monkeypatch, VERSION)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(sys.modules["flash_attn"], "flash_attn_func", full)
    assert lacking("cpu", "bf16", 64) is None


@pytest.mark.parametrize("row", ["flash-attn-2", "fa1+flash-attn-2"])
def test_the_rows_are_unavailable_with_that_reason(monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    flash_attn_stand_in.pretend(monkeypatch, VERSION)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(flash_attn_2, "lacking", lambda device, dtype, head_dim: f"no {dtype} {head_dim} on {device}")
    backend = attention.backend(row)
    assert backend.unavailable("cuda:0", dtype="bf16", head_dim=96) == "no bf16 96 on cuda:0"
    assert backend.unavailable("cuda:0", dtype="bf16") is None  # nothing to ask for
    assert backend.unavailable("cuda:0", dtype="fp32", head_dim=96) == f"{row} computes in fp16, bf16, not in fp32"

    config = SimpleNamespace(hidden_size=192, num_attention_heads=2)
    scheme = SimpleNamespace(short_dtype=lambda device: "bf16")
    loaded = SimpleNamespace(model=SimpleNamespace(config=config), scheme=scheme, device="cuda:0")
    with pytest.raises(pytest.skip.Exception, match="no bf16 96 on cuda:0"):
        test_generation.use(loaded, row)  # type: ignore[arg-type]


def kernels(text: str) -> set[tuple[str, str, int, str]]:
    """The specialisations that C++ text defines: function, type, head dimension, causal."""
    found = re.findall(r"(run_mha_\w+)<(cutlass::\w+), (\d+), (true|false)>\(Flash", text)
    return {(function, kind, int(head_dim), causal) for function, kind, head_dim, causal in found}


def test_stubs_define_what_is_not_compiled() -> None:
    found = kernels(flash_attn_reduced.stubs({64, 128}))
    assert len(found) == 2 * 4 * 2 * 2 + 6 * 2 * 2  # forward and split without 64 and 128, all of backward
    assert ("run_mha_fwd_", "cutlass::half_t", 96, "true") in found
    assert not {head_dim for function, _, head_dim, _ in found if "bwd" not in function} & {64, 128}


def test_another_setup_is_refused() -> None:
    with pytest.raises(BundleError, match=r"not the one of flash-attn 2\.8\.3"):
        flash_attn_reduced.reduced('"csrc/flash_attn/flash_api.cpp",', {64})


@pytest.mark.slow
def test_the_sdist_with_the_stubs_defines_every_kernel_once(tmp_path: Path) -> None:
    """Each specialisation of flash-attn's own files is compiled or replaced, none is both."""
    archive = flash_attn_sdist.download(VERSION, tmp_path)
    with tarfile.open(archive) as opened:
        wanted = [one for one in opened if "/csrc/flash_attn/" in one.name or one.name.endswith("/setup.py")]
        opened.extractall(tmp_path, members=wanted, filter="data")
    folder = tmp_path / archive.name.removesuffix(".tar.gz")
    assert flash_attn_reduced.main([str(folder), "--head-dims", "64,128"]) == 0
    setup = (folder / "setup.py").read_text(encoding="utf-8")
    compile(setup, "setup.py", "exec")
    sources = re.findall(r'"(csrc/flash_attn/src/flash_\w+\.cu)"', setup)
    assert len(sources) == 2 * 2 * 2 * 2  # forward and split, two head dimensions, two types, causal and not
    assert f'"{flash_attn_reduced.STUBS.as_posix()}"' in setup
    compiled = set().union(*(kernels((folder / source).read_text(encoding="utf-8")) for source in sources))
    stubs = kernels((folder / flash_attn_reduced.STUBS).read_text(encoding="utf-8"))
    every = set().union(*(kernels(path.read_text("utf-8")) for path in (folder / "csrc/flash_attn/src").glob("*.cu")))
    assert not compiled & stubs
    assert compiled | stubs == every
    assert "-DFLASHATTENTION_DISABLE_BACKWARD" in setup.partition("CUDAExtension(")[0]
