"""The adapters for flash-attn 1.x and 2.x: their arithmetic on stand-ins, their reasons, and their calls against the
signatures in flash-attn's source distributions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from perfgate import counters
from perfgate.clocks import WallClock
from perfgate.measure import FellBackError, Instruments, Measure
from perfgate.options import Settings
from perfgate.record import Record
from torch import Tensor

from fixtures import attention
from fixtures.attention import flash_attn_1, flash_attn_2, problems
from fixtures.attention.problems import Shape, make_inputs, prepared_call
from fixtures.generation import batches, encode, generate
from fixtures.reference import attention_reference, relative_error
from tests import flash_attn_sdist, flash_attn_stand_in
from tests.flash_attn_stand_in import Call

VERSIONS = {"flash-attn-1": "1.0.9", "flash-attn-2": "2.8.3.post2"}
FORWARDS: dict[str, Callable[..., tuple[Tensor, None]]] = {
    "flash-attn-1": flash_attn_1.flash_attn_1_forward,
    "flash-attn-2": flash_attn_2.flash_attn_2_forward,
}
CAUSAL = Shape(batch_size=3, num_heads=6, num_kv_heads=2, seqlen_q=20, seqlen_k=20, head_dim=16, causal=True)
SHAPES = {
    "causal": CAUSAL,
    "full": replace(CAUSAL, causal=False),
    "decode": replace(CAUSAL, seqlen_q=1),
    "chunk": replace(CAUSAL, seqlen_q=7),
    "cross": replace(CAUSAL, causal=False, seqlen_q=7),
    "mha": replace(CAUSAL, num_kv_heads=6),
}


@pytest.fixture(params=VERSIONS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Call]:
    """The stand-in of one version; every call that an adapter makes."""
    return flash_attn_stand_in.install(monkeypatch, VERSIONS[name])


def keep(padding: str, shape: Shape) -> Tensor:
    """Bool (batch_size, seqlen_k): the first sequence has no padding, the others more and more of it."""
    position = torch.arange(shape.seqlen_k)[None]
    hidden = 5 * torch.arange(shape.batch_size)[:, None]
    if padding == "left":
        return position >= hidden
    if padding == "right":
        return position < shape.seqlen_k - hidden
    return (position + hidden) % 3 > 0  # scattered


def expected_of(inputs: problems.Inputs, key_mask: Tensor | None) -> Tensor:
    """Float64's output, 0 for causal queries at hidden positions: these are padding."""
    shape = inputs.shape
    tensors = (inputs.query, inputs.key, inputs.value)
    output, _ = attention_reference(*tensors, scale=shape.scale, causal=shape.causal, key_mask=key_mask)
    if key_mask is not None and shape.causal and shape.seqlen_q > 1:
        output.masked_fill_(~key_mask[:, None, -shape.seqlen_q :, None], 0)
    return output


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_single_call_is_float64s(calls: list[Call], name: str, shape: Shape) -> None:
    backend = attention.backend(name)
    inputs = make_inputs(shape, "fp32", "cpu")
    output, counts = counters.count(prepared_call(backend, inputs))
    problems.require_close(output, inputs.reference(), "fp32", name)
    assert len(calls) == 1
    if name == "flash-attn-2":
        assert calls[0][0] == ("flash_attn_with_kvcache" if shape.seqlen_q == 1 else "flash_attn_func")
    if name == "flash-attn-1" or shape.seqlen_q == 1:  # else torch's dispatcher sees flash-attn's operator
        assert counts is not None
        assert any(counts.ran(kernel) for kernel in backend.kernel.ran)


@pytest.mark.parametrize("padding", ["left", "right", "scattered"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_padding_is_left_out(calls: list[Call], name: str, shape: Shape, padding: str) -> None:
    inputs, key_mask = make_inputs(shape, "fp32", "cpu"), keep(padding, shape)
    tensors = (inputs.query, inputs.key, inputs.value)
    output, _ = FORWARDS[name](*tensors, scale=shape.scale, causal=shape.causal, key_mask=key_mask)
    assert output.shape == inputs.query.shape
    assert relative_error(output, expected_of(inputs, key_mask)) < problems.ERROR_MAX["fp32"]
    kept = int(key_mask.sum())
    assert [call.arguments["k"].shape[0] for _, call in calls] == [kept]  # no padding reaches the kernel


def test_a_sequence_without_keys_gives_zeros(calls: list[Call], name: str) -> None:
    inputs = make_inputs(replace(CAUSAL, seqlen_q=1), "fp32", "cpu")
    key_mask = torch.ones(3, 20, dtype=torch.bool)
    key_mask[1] = False
    tensors = (inputs.query, inputs.key, inputs.value)
    output, _ = FORWARDS[name](*tensors, scale=0.25, causal=True, key_mask=key_mask)
    assert not output[1].any()
    assert output[0].any()
    assert torch.isfinite(output).all()


@pytest.mark.parametrize("key_mask", [None, torch.ones(3, 7, dtype=torch.bool)], ids=["whole", "masked"])
def test_more_queries_than_keys_see_nothing_at_first(calls: list[Call], name: str, key_mask: Tensor | None) -> None:
    inputs = make_inputs(replace(CAUSAL, seqlen_k=7), "fp32", "cpu")
    tensors = (inputs.query, inputs.key, inputs.value)
    output, _ = FORWARDS[name](*tensors, scale=0.25, causal=True, key_mask=key_mask)
    expected, _ = attention_reference(*tensors, scale=0.25, causal=True)
    assert relative_error(output, expected) < problems.ERROR_MAX["fp32"]
    assert not output[:, :, :13].any()


def test_flash_attn_1_would_be_wrong_without_queries_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the adapter fills up: the stand-in's mask is aligned to the top left, as flash-attn 1.x's is."""
    flash_attn_stand_in.install(monkeypatch, "1.0.9")
    monkeypatch.setattr(flash_attn_1, "_aligned", lambda query, seqlen: query)
    inputs = make_inputs(SHAPES["chunk"], "fp32", "cpu")
    output = prepared_call(attention.backend("flash-attn-1"), inputs)()
    assert relative_error(output, inputs.reference()) > 0.1


def test_generation_on_flash_attn_1_gives_eagers_tokens(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.loaded()
    texts = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly.")
    batch = batches([encode(loaded.tokenizer, str(number), text) for number, text in enumerate(texts)], 3)[0]

    def tokens(backend: str) -> tuple[tuple[int, ...], ...]:
        return generate(batch, loaded, attention.use(loaded.model, backend), 6, WallClock()).tokens

    expected = tokens("eager")
    calls = flash_attn_stand_in.install(monkeypatch, "1.0.9")
    assert tokens("flash-attn-1") == expected
    assert len(calls) == 6 * 2  # a call for each step and layer


class NoReplay:
    """Takes samples that nobody wants."""

    disabled = False

    def replay(self, samples: Any) -> None:
        pass


@pytest.fixture
def hub_kernel() -> Iterator[Callable[[Tensor], Tensor]]:
    """An operator named as kernels from a hub are."""
    library = torch.library.Library("_flash_attn2_stand_in", "DEF")
    library.define("fwd(Tensor q) -> Tensor")
    library.impl("fwd", lambda q: q.clone(), "CompositeExplicitAutograd")
    yield torch.ops._flash_attn2_stand_in.fwd
    library._destroy()


@pytest.mark.parametrize("row", ["flash-attn-2", "fa1+flash-attn-2", "flash-attn-1"])
@pytest.mark.parametrize("really", ["hub", "sdpa"])
def test_another_kernel_fails_as_fallen_back(hub_kernel: Callable[..., Tensor], row: str, really: str) -> None:
    tensor = torch.ones(1, 2, 5, 8)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    call = {"hub": lambda: hub_kernel(tensor), "sdpa": lambda: sdpa(tensor, tensor, tensor)}[really]
    measure = Measure(Settings(budget_s=1e-6), Instruments(WallClock(), None), NoReplay(), Record("a", 1, {}, "a/b"))
    with torch.no_grad(), pytest.raises(FellBackError, match=f"FELL_BACK: the case names kernel '{row[-12:]}'"):
        measure(call, kernel=attention.backend(row).kernel)


INSTALL_2 = "pip install flash-attn --no-build-isolation"
INSTALL_1 = "pip install flash-attn==1.0.9 --no-build-isolation"
HUB = r"\(transformers would silently run a kernel from its hub in its place\)"
NEEDS_2 = "flash-attn's kernels need an NVIDIA GPU of compute capability 8.0 or newer"
NEEDS_1 = "flash-attn 1.x's kernels need an NVIDIA GPU of compute capability 8.0 to 9.0"


@pytest.mark.parametrize(
    ("row", "device", "version", "capability", "hub", "why"),
    [
        ("flash-attn-2", "cpu", "2.8.3.post2", (9, 0), False, NEEDS_2),
        ("flash-attn-2", "mps", "2.8.3.post2", (9, 0), False, NEEDS_2),
        ("flash-attn-2", "cuda:0", None, (9, 0), False, f"flash-attn is not installed: {INSTALL_2}"),
        ("flash-attn-2", "cuda:0", None, (9, 0), True, f"flash-attn is not installed {HUB}: {INSTALL_2}"),
        (
            "flash-attn-2",
            "cuda",
            "1.0.9",
            (9, 0),
            False,
            "flash-attn 1.0.9 is installed, 2.3.3 or newer is needed: pip",
        ),
        (
            "flash-attn-2",
            "cuda",
            "2.3.1.post1",
            (9, 0),
            True,
            f"2.3.1.post1 is installed, 2.3.3 or newer .* {HUB}: pip",
        ),
        ("flash-attn-2", "cuda:0", "2.8.3.post2", (7, 5), False, f"{NEEDS_2}; cuda:0 has 7.5"),
        ("flash-attn-2", "cuda:0", "2.8.3.post2", None, False, f"{NEEDS_2}; torch finds none"),
        ("flash-attn-2", "cuda:0", "2.8.3.post2", (9, 0), True, None),
        ("flash-attn-2", "cuda:0", "2.3.3", (12, 0), False, None),
        ("fa1+flash-attn-2", "cuda:0", None, (9, 0), False, f"flash-attn is not installed: {INSTALL_2}"),
        ("flash-attn-1", "cpu", "1.0.9", (9, 0), False, NEEDS_1),
        ("flash-attn-1", "cuda:0", None, (9, 0), False, f"it is not installed; 1.0.9 needs .* 11.8: {INSTALL_1}"),
        ("flash-attn-1", "cuda:0", "2.8.3.post2", (9, 0), False, f"2.8.3.post2 is installed; 1.0.9 .*: {INSTALL_1}"),
        ("flash-attn-1", "cuda:0", "1.0.9", (7, 5), False, f"{NEEDS_1}; cuda:0 has 7.5"),
        ("flash-attn-1", "cuda:0", "1.0.9", (10, 0), False, f"{NEEDS_1}; cuda:0 has 10.0"),
        ("flash-attn-1", "cuda:0", "1.0.9", None, False, f"{NEEDS_1}; torch finds none"),
        ("flash-attn-1", "cuda:0", "1.0.9", (8, 9), False, None),
    ],
)
def test_what_is_missing_has_one_reason(
    monkeypatch: pytest.MonkeyPatch,
    row: str,
    device: str,
    version: str | None,
    capability: tuple[int, int] | None,
    hub: bool,
    why: str | None,
) -> None:
    flash_attn_stand_in.pretend(monkeypatch, version)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(flash_attn_2, "find_spec", lambda name: ModuleSpec(name, None) if hub else None)
    monkeypatch.setattr(flash_attn_2, "lacking", lambda *asked: None)
    reason = attention.backend(row).unavailable(device, dtype="bf16", head_dim=64)
    assert reason is None if why is None else re.search(why, str(reason)), reason


@pytest.mark.parametrize(("row", "largest"), [("flash-attn-1", 128), ("flash-attn-2", 256)])
def test_what_the_kernels_do_not_know_is_refused(monkeypatch: pytest.MonkeyPatch, row: str, largest: int) -> None:
    flash_attn_stand_in.pretend(monkeypatch, VERSIONS[row])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    unavailable = attention.backend(row).unavailable
    assert unavailable("cuda:0", dtype="fp32") == f"{row} computes in fp16, bf16, not in fp32"
    assert unavailable("cuda:0", head_dim=largest) is None
    assert str(unavailable("cuda:0", head_dim=largest + 8)).endswith(f", {largest}, not {largest + 8}")
    assert str(unavailable("cuda:0", head_dim=20)).endswith("not 20")


def own_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Call]:
    """Every kind of call that an adapter makes."""
    calls = flash_attn_stand_in.install(monkeypatch, VERSIONS[name])
    for shape in (CAUSAL, SHAPES["decode"]):
        inputs = make_inputs(shape, "fp32", "cpu")
        prepared_call(attention.backend(name), inputs)()
        tensors = (inputs.query, inputs.key, inputs.value)
        FORWARDS[name](*tensors, scale=0.25, causal=True, key_mask=keep("left", shape))
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("row", [pytest.param(row, marks=pytest.mark.contract(row)) for row in VERSIONS])
def test_signatures_and_calls_are_the_librarys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, row: str) -> None:
    """The library's signatures, from its source distribution, are the stand-ins'; the adapters' calls fit them."""
    library = flash_attn_sdist.interface(flash_attn_sdist.download(VERSIONS[row], tmp_path))
    for function in flash_attn_stand_in.FUNCTIONS[VERSIONS[row]]:
        assert library[function.__name__] == inspect.signature(function), function.__name__
    calls = own_calls(monkeypatch, row)
    assert {called for called, _ in calls} == {one.__name__ for one in flash_attn_stand_in.FUNCTIONS[VERSIONS[row]]}
    for called, made in calls:
        found = library[called].bind(*made.args, **made.kwargs).arguments
        assert found["softmax_scale"] == 0.25
        assert all(isinstance(found[tensor], Tensor) for tensor in ("q", "k_cache" if "kvcache" in called else "k"))


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("def f(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False): pass", True),
        ("def f(q, k, v, dropout_p=0.0, scale=None, causal=False): pass", False),
        ("def f(q, k, v, dropout_p, softmax_scale, causal, window): pass", False),
    ],
    ids=["same", "renamed", "one more"],
)
def test_a_changed_signature_is_noticed(text: str, fits: bool) -> None:
    (read,) = flash_attn_sdist.signatures(text).values()
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    assert read == inspect.signature(namespace["f"])
    try:
        read.bind(1, 2, 3, softmax_scale=0.25, causal=True)
    except TypeError:
        assert not fits
    else:
        assert fits
