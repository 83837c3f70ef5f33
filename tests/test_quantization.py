"""The schemes: registry, what a quantized model weighs, and that its work is still counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from perfgate import counters

from fixtures import devices, quantization
from fixtures.models import Loaded, ModelError
from fixtures.quantization import (
    TIE,
    Layer,
    SchemeError,
    bnb,
    layers_of,
    theoretical_bytes,
    weights_bytes,
)

SCHEMES = tuple(quantization.schemes())
WHY_NOT = {name: quantization.scheme(name).unavailable("cpu") for name in SCHEMES}
HERE = [pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=str(why))) for name, why in WHY_NOT.items()]
QUANTIZED = ("int8", "int8-nodecomp", "nf4", "nf4-dq", "fp4", "fp4-dq")
ODD = {"hidden_size": 72, "intermediate_size": 200, "tie_word_embeddings": False, "num_key_value_heads": 1}
"""A model whose weights fill no whole number of 256-scale blocks, with a head of its own."""


def forward(loaded: Loaded, num_tokens: int = 6) -> torch.Tensor:
    ids = torch.arange(5, 5 + num_tokens)[None]
    with torch.no_grad():
        return loaded.model(input_ids=ids, use_cache=False).logits


def test_order_is_the_tables() -> None:
    assert ("fp32", "bf16", "fp16", *QUANTIZED, "quanto-int8") == SCHEMES


def test_unknown_scheme_names_the_allowed() -> None:
    with pytest.raises(SchemeError, match="unknown quantization 'int3'; allowed: ") as caught:
        quantization.scheme("int3")
    assert str(caught.value).endswith(", ".join(SCHEMES))


def test_registering_a_name_twice_is_refused() -> None:
    again = replace(quantization.scheme("nf4"), label="another")
    with pytest.raises(ValueError, match="quantization scheme 'nf4' is registered twice"):
        quantization.register(again)
    assert quantization.scheme("nf4").label == "bitsandbytes NF4"


def test_quantized_schemes_have_a_lower_bound_and_a_theory() -> None:
    """Too good means "not quantized", so a scheme that loses information must say how much it loses at least."""
    for name in QUANTIZED:
        scheme = quantization.scheme(name)
        assert 0 < scheme.bounds.kl_min_nats < scheme.bounds.kl_max_nats, name
        assert scheme.quantized_bytes is not None, name
    assert quantization.scheme("fp32").bounds.kl_min_nats == 0


@pytest.mark.parametrize("name", HERE)
def test_theory_weighs_what_the_model_weighs(tiny: Any, name: str) -> None:
    loaded = tiny.load(name)
    assert weights_bytes(loaded.model) == loaded.weights_bytes == loaded.theory_bytes
    forward(loaded)  # bitsandbytes moves int8 weights at the first call
    assert weights_bytes(loaded.model) == loaded.theory_bytes


@pytest.mark.parametrize("name", HERE)
def test_theory_holds_for_odd_shapes_and_an_untied_head(
    tmp_path: Path, save_model: Callable[..., Any], name: str
) -> None:
    odd = save_model(tmp_path, **ODD)
    if "4" in name and bnb.repacks("cpu"):
        with pytest.raises(ModelError, match=r"cannot do it with .* of \d+ x 72: it needs .* choose another"):
            odd.load(name)
        return
    loaded = odd.load(name)
    assert loaded.weights_bytes == loaded.theory_bytes
    forward(loaded)
    assert weights_bytes(loaded.model) == loaded.theory_bytes


def test_16_bit_weighs_half_of_32(tiny: Any) -> None:
    full = tiny.loaded("fp32").weights_bytes
    assert tiny.loaded("bf16").weights_bytes * 2 == full
    assert tiny.loaded("fp16").weights_bytes * 2 == full
    assert full == 4 * sum(parameter.numel() for parameter in tiny.loaded("fp32").model.parameters())


def test_fewer_bits_weigh_less(tiny: Any) -> None:
    layers = layers_of(tiny.loaded("fp32").model)
    weights = [theoretical_bytes(quantization.scheme(name), layers, "cpu") for name in ("fp32", "int8", "nf4")]
    assert weights == sorted(weights, reverse=True)
    by_name = {name: theoretical_bytes(quantization.scheme(name), layers, "cpu") for name in SCHEMES}
    assert by_name["nf4"] == by_name["fp4"]
    assert by_name["nf4-dq"] == by_name["fp4-dq"]
    assert by_name["int8"] == by_name["int8-nodecomp"]


def test_theory_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 128 x 256 layer: 32,768 weights, 512 blocks of 64, 2 blocks of 256 scales."""
    layers = [Layer("linear", (128, 256), quantized=True), Layer("norm", (256,), quantized=False)]
    expected = {
        "fp32": 4 * 32768 + 4 * 256,
        "bf16": 2 * 32768 + 2 * 256,
        "int8": 32768 + 4 * 128 + 4 * 256,
        "nf4": 16384 + 4 * 512 + 64 + 4 * 256,
        "nf4-dq": 16384 + 512 + 4 * 2 + 4 + 64 + 1024 + 4 * 256,
    }
    monkeypatch.setattr(bnb, "repacks", lambda device: False)
    assert {name: theoretical_bytes(quantization.scheme(name), layers, "cpu") for name in expected} == expected
    monkeypatch.setattr(bnb, "repacks", lambda device: True)
    repacked = expected | {"nf4": 16384 + 2 * 512 + 64 + 4 * 256, "nf4-dq": 16384 + 2 * 512 + 64 + 4 + 4 * 256}
    assert {name: theoretical_bytes(quantization.scheme(name), layers, "cpu") for name in expected} == repacked


def test_what_repacking_changes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nf4, fits, odd = quantization.scheme("nf4"), Layer("a", (64, 128), True), Layer("b", (72, 64), True)
    monkeypatch.setattr(bnb, "repacks", lambda device: False)
    assert (nf4.note("cpu"), nf4.refuses(odd, "cpu"), nf4.tie_on("cpu")) == (None, None, TIE["float32"])
    monkeypatch.setattr(bnb, "repacks", lambda device: True)
    assert nf4.tie_on("cpu") == TIE["bfloat16"]
    assert nf4.refuses(fits, "cpu") is None
    assert "b of 72 x 64: it needs out_features divisible by 32" in str(nf4.refuses(odd, "cpu"))
    assert "double quantization undone" in str(nf4.note("cpu"))


def test_no_accelerator_repacks() -> None:
    assert not bnb.repacks("cuda:0")


@pytest.mark.parametrize(("changes", "head"), [({}, 0), (ODD, 1)], ids=["tied", "untied"])
def test_head_and_embeddings_are_not_quantized(
    tmp_path: Path, save_model: Callable[..., Any], changes: dict[str, Any], head: int
) -> None:
    model = save_model(tmp_path, **changes).load("fp32").model
    layers = {layer.name: layer for layer in layers_of(model)}
    assert sum("lm_head" in name for name in layers) == head  # a tied head is the embedding, counted once
    quantized = {name for name, layer in layers.items() if layer.quantized}
    assert quantized == {name for name in layers if name.endswith("_proj.weight")}
    assert len(quantized) == 2 * 7  # q, k, v, o, gate, up, down
    assert sum(layer.numel for layer in layers.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", QUANTIZED)
def test_every_linear_layer_but_the_head_is_really_quantized(tiny: Any, name: str) -> None:
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    kind = Linear8bitLt if name.startswith("int8") else Linear4bit
    modules = dict(tiny.loaded(name).model.named_modules())
    linear = {path: module for path, module in modules.items() if isinstance(module, torch.nn.Linear)}
    assert {path for path, module in linear.items() if not isinstance(module, kind)} == {"lm_head"}


@pytest.mark.parametrize(("name", "threshold"), [("int8", 6.0), ("int8-nodecomp", 0.0)])
def test_int8_keeps_its_threshold(tiny: Any, name: str, threshold: float) -> None:
    layer = tiny.loaded(name).model.model.layers[0].mlp.gate_proj
    forward(tiny.loaded(name))
    assert layer.state.threshold == threshold


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else real(name))
    for name in QUANTIZED:
        reason = quantization.scheme(name).unavailable("cpu")
        assert reason == "bitsandbytes is not installed (pip install bitsandbytes)"
    assert quantization.scheme("bf16").unavailable("cpu") is None


def test_missing_package_of_a_module_within_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'optimum'")  # what find_spec raises for optimum.quanto

    monkeypatch.setattr("importlib.util.find_spec", missing)
    reason = quantization.scheme("quanto-int8").unavailable("cpu")
    assert reason == "optimum-quanto is not installed (pip install optimum-quanto)"


@pytest.mark.skipif(bool(WHY_NOT["quanto-int8"]), reason=str(WHY_NOT["quanto-int8"]))
def test_quanto_quantizes_every_linear_layer_but_the_head(tiny: Any) -> None:
    from optimum.quanto import QLinear

    loaded = tiny.loaded("quanto-int8")
    modules = dict(loaded.model.named_modules())
    linear = {path: module for path, module in modules.items() if isinstance(module, torch.nn.Linear)}
    assert {path for path, module in linear.items() if not isinstance(module, QLinear)} == {"lm_head"}
    _, counts = counters.count(lambda: forward(loaded))
    _, full = counters.count(lambda: forward(tiny.loaded("fp32")))
    assert counts is not None
    assert full is not None
    assert counts.operators["quanto.qbytes_mm.default"] == len(linear) - 1
    assert counts.flops == full.flops


def quantized_linear(name: str, in_features: int, out_features: int) -> torch.nn.Module:
    """One linear layer under a scheme, as transformers makes it."""
    import bitsandbytes as bnb

    weight = torch.randn(out_features, in_features, generator=torch.Generator().manual_seed(0))
    layer: Any
    if name.startswith("int8"):
        threshold = quantization.scheme(name).config(torch.float32).llm_int8_threshold
        layer = bnb.nn.Linear8bitLt(in_features, out_features, bias=False, has_fp16_weights=False, threshold=threshold)
        layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False).to("cpu")
    else:
        config = quantization.scheme(name).config(torch.float32)
        layer = bnb.nn.Linear4bit(
            in_features, out_features, bias=False, compute_dtype=torch.float32, quant_type=config.bnb_4bit_quant_type
        )
        double = config.bnb_4bit_use_double_quant
        layer.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, quant_type=config.bnb_4bit_quant_type, compress_statistics=double
        ).to("cpu")
    return layer.eval()  # in training mode int8 goes another way


@pytest.mark.parametrize("outliers", [False, True], ids=["plain", "outliers"])
@pytest.mark.parametrize("num_tokens", [1, 5])
@pytest.mark.parametrize("name", QUANTIZED)
def test_linear_layer_counts_two_operations_a_multiply_add(name: str, num_tokens: int, outliers: bool) -> None:
    layer = quantized_linear(name, in_features=128, out_features=192)
    inputs = torch.randn(1, num_tokens, 128, generator=torch.Generator().manual_seed(1))
    inputs[..., 7] = 50.0 if outliers else 1.0  # far above LLM.int8()'s threshold of 6
    with torch.no_grad():
        layer(inputs)
        _, counts = counters.count(lambda: layer(inputs))
    assert counts is not None
    assert any(operator.startswith("bitsandbytes.") for operator in counts.operators)
    assert counts.flops == 2 * num_tokens * 192 * 128


@pytest.mark.parametrize("num_tokens", [1, 6])
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_model_does_as_many_operations_as_fp32(tiny: Any, name: str, num_tokens: int) -> None:
    _, full = counters.count(lambda: forward(tiny.loaded("fp32"), num_tokens))
    _, quantized = counters.count(lambda: forward(tiny.loaded(name), num_tokens))
    assert full is not None
    assert quantized is not None
    assert full.flops > 0
    assert quantized.flops == full.flops


@pytest.fixture(autouse=True)
def real_cpu_flags_afterwards() -> Iterator[None]:
    yield
    devices.cpu_flags.cache_clear()


CPUINFO = "processor\t: 0\nmodel name\t: a CPU\nflags\t\t: fpu sse2 {}\n\nprocessor\t: 1\nflags\t\t: fpu\n"


def with_cpuinfo(monkeypatch: pytest.MonkeyPatch, path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(devices, "Path", lambda _: path)
    devices.cpu_flags.cache_clear()


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        (CPUINFO.format("avx2"), {"fpu", "sse2", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("processor\t: 0\n", set()),
        (None, set()),
    ],
    ids=["x86", "arm", "no-flags", "no-cpuinfo"],
)
def test_cpu_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, flags: set[str]) -> None:
    with_cpuinfo(monkeypatch, tmp_path / "cpuinfo", content)
    assert devices.cpu_flags() == flags


@pytest.mark.parametrize(
    ("flag", "emulated"),
    [
        ("avx2", {"bf16", "fp16"}),
        ("avx512f", {"bf16", "fp16"}),
        ("avx512_bf16", {"fp16"}),
        ("amx_bf16", {"fp16"}),
        ("avx512_fp16", {"bf16"}),
    ],
)
def test_emulated_16_bit_is_said_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, emulated: set[str]
) -> None:
    with_cpuinfo(monkeypatch, tmp_path / "cpuinfo", CPUINFO.format(flag))
    for name in ("bf16", "fp16"):
        note = quantization.scheme(name).note("cpu")
        assert (note is not None) is (name in emulated)
        assert note is None or f"{name} arithmetic is emulated on this CPU" in note
        assert quantization.scheme(name).note("cuda:0") is None
    assert quantization.scheme("fp32").note("cpu") is None
