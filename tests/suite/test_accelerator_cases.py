"""What an accelerator measures: the quick set's sizes, and about how long a first run takes, on paper."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate import Row
from perfgate.plugin.session import CONTEXT

from fixtures import devices, encoder, options
from fixtures.attention import Backend
from fixtures.options import SETTINGS, SuiteSettings
from fixtures.prompts import load_prompts
from fixtures.quantization import Scheme

TABLES = {
    "test_attention": ("prefill_rows", "decode_rows", "ratio_rows"),
    "test_linear": ("linear_rows",),
    "test_encoder": ("encoder_rows",),
    "test_generation": ("generation_rows", "long_rows", "served_rows"),
    "test_harness": ("harness_rows",),
}
QUICK_S, DEFAULT_S = 4 * 60, 20 * 60
ABSENT = ("flash-attn-1", "fa1+fa2")
"""What no machine has beside today's torch, and what stands for another on a CPU."""


@pytest.fixture(autouse=True)
def everything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an H100 where every library is installed."""

    def unavailable(self: Backend, device: str, **how: Any) -> str | None:
        wrong = how.get("dtype") == "fp32" and self.name in ("sdpa-flash", "sdpa-cudnn", "flash-attn-2")
        return "not here" if wrong or self.name in ABSENT else None

    monkeypatch.setattr(Backend, "unavailable", unavailable)
    monkeypatch.setattr(Scheme, "unavailable", lambda self, device: None)
    monkeypatch.setattr(encoder, "unavailable", lambda path, device: None)
    monkeypatch.setattr(devices, "free_bytes", lambda device: 75 * 2**30)


def settings(**changes: Any) -> SuiteSettings:
    model = options.models.source(changes.pop("model", options.models.DEFAULT_MODEL))
    return SuiteSettings(model, load_prompts("en"), None, 1, None, None, **changes)


def rows(device: str = "cuda:0", suite: SuiteSettings | None = None) -> Iterator[Row]:
    config: Any = SimpleNamespace(stash={SETTINGS: suite or settings(), CONTEXT: SimpleNamespace(device=device)})
    for module, tables in TABLES.items():
        for table in tables:
            yield from getattr(importlib.import_module(module), table)(config)


def chosen(*, quick: bool, device: str = "cuda:0", suite: SuiteSettings | None = None) -> list[Row]:
    return [row for row in rows(device, suite) if row.chosen(quick=quick, all_cases=False) and not row.unavailable]


def keys(found: list[Row], benchmark: str) -> list[str]:
    return [row.case.id for row in found if row.case.benchmark == benchmark]


def test_quick_has_sizes_that_keep_the_device_busy() -> None:
    quick = chosen(quick=True)
    prefill = keys(quick, "attention_prefill")
    assert {row.case.fields["seqlen_q"] for row in quick if row.case.benchmark == "attention_prefill"} == {4096, 16384}
    assert all("-hq32-hkv8-d128-causal-cuda" in one for one in prefill)
    assert "eager-bf16-b1-sq4096-hq32-hkv8-d128-causal-cuda" in prefill
    assert not any(one.startswith("eager") and "sq16384" in one for one in prefill)  # 128 GiB of scores
    assert {row.case.fields["seqlen_k"] for row in quick if row.case.benchmark == "attention_decode"} == {16384}
    linear = [row.case.fields for row in quick if row.case.benchmark == "linear"]
    assert {(one["in_features"], one["out_features"]) for one in linear} == {(4096, 4096), (4096, 14336)}
    assert {one["num_tokens"] for one in linear} == {1, 16, 2048}
    assert {one["scheme"] for one in linear} == {"bf16", "int8", "nf4"}
    assert keys(quick, "generation") == []
    assert keys(quick, "generation_served") == [
        "bf16-eager-shapes-llama-3.1-8b-n16-cuda",
        "bf16-fa2-triton-shapes-llama-3.1-8b-n16-cuda",
        "nf4-fa2-triton-shapes-llama-3.1-8b-n16-cuda",
    ]


def test_quick_is_part_of_the_default_set() -> None:
    default = {row.case.key for row in chosen(quick=False)}
    assert {row.case.key for row in chosen(quick=True)} <= default


def test_a_model_that_was_chosen_takes_the_served_ones_place() -> None:
    own = settings(model="shapes:llama-2-7b", model_given=True)
    assert keys(chosen(quick=False, suite=own), "generation_served") == []
    assert len(keys(chosen(quick=True, suite=own), "generation")) == 3


def test_a_cpu_has_no_served_model() -> None:
    assert keys(chosen(quick=False, device="cpu"), "generation_served") == []


@pytest.mark.parametrize(("quick", "most_s"), [(True, QUICK_S), (False, DEFAULT_S)])
def test_a_first_run_on_an_h100_is_expected_within_its_time(quick: bool, most_s: float) -> None:
    """On paper: from the tables' guesses, with every library there. No GPU has confirmed them."""
    expected = [row.expected_s for row in chosen(quick=quick)]
    assert None not in expected
    assert most_s / 4 < sum(filter(None, expected)) <= most_s
