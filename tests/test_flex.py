"""FlexAttention: what it needs, its masks, and that a growing cache compiles nothing anew."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures import attention
from fixtures.attention import flex, problems
from fixtures.attention.flex import flex_forward
from fixtures.attention.problems import Shape, make_inputs, prepared_call
from fixtures.reference import attention_reference, relative_error

COMPILES = pytest.mark.skipif(flex.missing("cpu") is not None, reason=str(flex.missing("cpu")))
GQA = Shape(batch_size=3, num_heads=9, num_kv_heads=3, seqlen_q=20, seqlen_k=20, head_dim=64, causal=True)


@pytest.mark.parametrize(
    ("device", "lacks", "why"),
    [
        ("cpu", "", None),
        ("cpu", "linux", "FlexAttention compiles for CPUs with AVX2 under Linux only"),
        ("cpu", "avx2", "FlexAttention compiles for CPUs with AVX2 under Linux only"),
        ("cpu", "g++", "FlexAttention needs a C++ compiler, and g++ is not installed: install g++, or set CXX"),
        ("cpu", "CXX", "FlexAttention needs a C++ compiler, and no-such-c++ is not installed: install g++, or set CXX"),
        (
            "cpu",
            "Python.h",
            "FlexAttention needs Python's C headers (Python.h), which are not installed: install python3-dev",
        ),
        ("cuda:0", "", None),
        ("cuda:0", "triton", "FlexAttention compiles with triton here, which is not installed"),
        ("mps", "", "FlexAttention compiles for CPUs and CUDA devices, not for mps"),
    ],
)
def test_what_is_missing_has_one_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, lacks: str, why: str | None
) -> None:
    (tmp_path / "Python.h").touch()
    include = tmp_path / "nowhere" if lacks == "Python.h" else tmp_path
    compilers = () if lacks == "g++" else ("g++",)
    monkeypatch.setattr(sys, "platform", "darwin" if lacks == "linux" else "linux")
    monkeypatch.setattr(flex, "cpu_flags", lambda: frozenset({"sse2"} if lacks == "avx2" else {"sse2", "avx2"}))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in compilers else None)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(include))
    monkeypatch.setattr(flex, "find_spec", lambda name: None if lacks == name else ModuleSpec(name, None))
    monkeypatch.setenv("CXX", "no-such-c++") if lacks == "CXX" else monkeypatch.delenv("CXX", raising=False)
    assert attention.backend("flex").unavailable(device) == why


def graphs() -> int:
    """How many graphs this process has compiled."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def compare(shape: Shape, key_mask: Tensor | None) -> None:
    inputs = make_inputs(shape, "fp32", "cpu")
    tensors = (inputs.query, inputs.key, inputs.value)
    how: dict[str, Any] = {"scale": shape.scale, "causal": shape.causal, "key_mask": key_mask}
    expected, _ = attention_reference(*tensors, **how)
    with torch.no_grad():
        output, _ = flex_forward(*tensors, **how)
    assert relative_error(output, expected) < problems.ERROR_MAX["fp32"]


def padded(padding: str, batch_size: int, seqlen_k: int) -> Tensor:
    """Bool (batch_size, seqlen_k): the first sequence has no padding, the others more and more of it."""
    position, hidden = torch.arange(seqlen_k)[None], 5 * torch.arange(batch_size)[:, None]
    masks = {
        "left": position >= hidden,
        "right": position < seqlen_k - hidden,
        "scattered": (position + hidden) % 3 > 0,
        "all": (position >= hidden) & (hidden < 10),  # the last sequence has no key that may be seen
    }
    return masks[padding]


@COMPILES
@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padding", ["left", "right", "scattered", "all"])
def test_padding_is_hidden(padding: str, causal: bool) -> None:
    shape = Shape(3, 9, 3, 20, 20, 64, causal)
    compare(shape, padded(padding, 3, 20))


@COMPILES
@pytest.mark.slow
@pytest.mark.parametrize(("seqlen_q", "padding"), [(1, None), (1, "left"), (3, None), (3, "left")])
def test_a_growing_cache_compiles_nothing_anew(seqlen_q: int, padding: str | None) -> None:
    """Over a power of two too, with padding: there the room of the captured mask doubles, once."""
    compiled = {}
    for seqlen_k in (*range(250, 260), 300, 400):
        key_mask = None if padding is None else padded(padding, 3, seqlen_k)
        compare(Shape(3, 9, 3, seqlen_q, seqlen_k, 64, causal=True), key_mask)
        compiled[seqlen_k] = graphs()
    assert compiled[250] == compiled[255]
    assert compiled[256] - compiled[255] == (0 if padding is None else 1)
    assert compiled[256] == compiled[400]


@COMPILES
@pytest.mark.slow
def test_past_the_limit_it_raises_and_computes_nothing_unfused(
    monkeypatch: pytest.MonkeyPatch, fresh_compilation: None
) -> None:
    monkeypatch.setattr(flex, "RECOMPILE_LIMIT", 1)
    compare(GQA, None)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        prepared_call(attention.backend("flex"), make_inputs(Shape(1, 4, 4, 8, 8, 16, True), "fp32", "cpu"))()


@pytest.mark.parametrize("takes_limit", [False, True], ids=["torch 2.11", "torch 2.13"])
def test_the_limit_reaches_torch_whether_or_not_compile_takes_it(
    monkeypatch: pytest.MonkeyPatch, fresh_compilation: None, takes_limit: bool
) -> None:
    """torch 2.11's compile has no ``recompile_limit``; its configuration has, and is as before after each call."""
    usual, limits = torch._dynamo.config.recompile_limit, []

    def compile_2_11(
        model: Any = None,
        *,
        fullgraph: bool = False,
        dynamic: bool | None = None,
        backend: Any = "inductor",
        mode: str | None = None,
        options: Any = None,
        disable: bool = False,
    ) -> Any:
        return lambda *args, **kwargs: limits.append(torch._dynamo.config.recompile_limit)

    def compile_2_13(model: Any = None, *, recompile_limit: int | None = None, **how: Any) -> Any:
        return lambda *args, **kwargs: limits.append(recompile_limit)

    monkeypatch.setattr(torch, "compile", compile_2_13 if takes_limit else compile_2_11)
    tensor = torch.zeros(1, 1, 2, 8)
    for _ in range(2):
        flex._run(tensor, tensor, tensor, None, 1.0)
    assert limits == [flex.RECOMPILE_LIMIT] * 2
    assert torch._dynamo.config.recompile_limit == usual


def forget_compiled() -> None:
    torch._dynamo.reset()
    flex._compiled.cache_clear()


@pytest.fixture
def fresh_compilation() -> Iterator[None]:
    """A process-wide cache of compiled kernels that starts and ends empty."""
    forget_compiled()
    yield
    forget_compiled()


@COMPILES
@pytest.mark.slow
def test_transformers_own_name_does_not_decode_a_padded_batch(tiny: Any, fresh_compilation: None) -> None:
    """Why the suite registers a name of its own; once this fails, transformers' can be tried again."""
    model = tiny.load("fp32").model
    model.set_attn_implementation("flex_attention")
    ids, mask = torch.full((2, 9), 7), torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    with torch.no_grad():
        first = model(input_ids=ids, attention_mask=mask, use_cache=True)
        mask = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
        with pytest.raises(Exception, match=r"was not declared in this scope|undeclared identifier"):
            model(input_ids=ids[:, :1], attention_mask=mask, past_key_values=first.past_key_values)


def test_the_layers_of_a_model_share_one_block_mask() -> None:
    key_mask = torch.ones(2, 8, dtype=torch.bool)
    first = flex._layers_block_mask(key_mask, 8, 8, True, key_mask.device)
    assert flex._layers_block_mask(key_mask, 8, 8, True, key_mask.device) is first
    assert flex._layers_block_mask(key_mask.clone(), 8, 8, True, key_mask.device) is not first
    assert flex._layers_block_mask(None, 1, 8, True, key_mask.device) is None
