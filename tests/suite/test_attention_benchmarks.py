"""The attention benchmarks: their tables, what they assert, and that each assertion can fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from perfgate import slug
from torch import Tensor

from fixtures import attention
from fixtures.attention import Backend, problems
from fixtures.attention.problems import AttentionWrongError, References, Shape, make_inputs, prepared_call
from fixtures.peaks import PEAKS, peak_of
from fixtures.reference import attention_reference, relative_error
from tests.support.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = Shape(batch_size=2, num_heads=4, num_kv_heads=2, seqlen_q=300, seqlen_k=300, head_dim=16, causal=True)
HERE = [
    pytest.param(b.name, marks=pytest.mark.slow) if b.name == "flex" else b.name  # it compiles for half a minute
    for b in attention.backends().values()
    if b.prepare is not None and b.unavailable("cpu") is None
]


def collect(*arguments: str) -> list[str]:
    """The ids of the attention cases that a command line selects."""
    command = [sys.executable, "-m", "pytest", "perf/test_attention.py", "--device", "cpu", "--collect-only", "-q"]
    done = subprocess.run([*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return re.findall(r"::test_(attention_\w+\[\S+\])", done.stdout)


def test_default_set_is_at_most_40_and_every_backend_is_in_it() -> None:
    default = collect()
    assert 30 <= len(default) <= 40
    for name in attention.backends():
        has_call = attention.backend(name).prepare is not None
        assert any(f"[{slug(name)}-fp32" in one for one in default) is has_call, name
    assert sum("sq4096" in one for one in default if "prefill" in one) >= 3
    quick, every = collect("--quick"), collect("--all-cases")
    assert set(quick) < set(default) < set(every)
    assert 0 < len(quick) <= 5


def test_selection_narrows_and_never_renames() -> None:
    default = collect()
    assert collect("--attention", "fa2") == [one for one in default if "[fa2-fp32" in one and "vs" not in one]
    assert collect("--quantization", "nf4") == []
    assert collect("--quantization", "fp32") == default


class TestOneCall:
    @pytest.mark.parametrize("name", HERE)
    @pytest.mark.parametrize(
        "shape",
        [
            SMALL,
            replace(SMALL, causal=False),
            replace(SMALL, seqlen_q=1),
            replace(SMALL, seqlen_q=37),
            replace(SMALL, num_kv_heads=4, head_dim=64),
            replace(SMALL, num_kv_heads=1, seqlen_q=1, seqlen_k=1),
        ],
        ids=["causal", "full", "decode", "chunk", "mha", "single"],
    )
    def test_is_float64s_within_rounding(self, name: str, shape: Shape) -> None:
        inputs = make_inputs(shape, "fp32", "cpu")
        found = prepared_call(attention.backend(name), inputs)()
        problems.require_close(found, inputs.reference(), "fp32", name)

    @pytest.mark.parametrize("name", HERE)
    def test_invariants_hold(self, name: str) -> None:
        problems.require_invariants(attention.backend(name), make_inputs(SMALL, "fp32", "cpu"))


def faulty(change: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]], **replaced: Any) -> Backend:
    """fa2 as it would be if it saw changed inputs."""
    original = attention.backend("fa2")
    assert original.prepare is not None
    prepare = original.prepare

    def prepared(query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool) -> Callable[[], Tensor]:
        query, key, value = change(query, key, value)
        return prepare(query, key, value, scale=scale, causal=replaced.get("causal", causal))

    return replace(original, prepare=prepared)


FAULTS = {
    "two chunks": faulty(lambda q, k, v: (q, k, v) if q.shape[2] == k.shape[2] else (q, k.flip(2), v.flip(2))),
    "batch and heads": faulty(lambda q, k, v: (q, k, v) if k.shape[2] != 300 else (q, k[:1].expand_as(k), v)),
    "mask lost": faulty(lambda q, k, v: (q, k, v), causal=False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_invariant_is_seen(fault: str) -> None:
    with pytest.raises(AttentionWrongError, match=r"relative error .* is above fp32's"):
        problems.require_invariants(FAULTS[fault], make_inputs(SMALL, "fp32", "cpu"))


def test_fa1_unlike_fa2_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = replace(faulty(lambda q, k, v: (q, k, v + 1.0)), name="fa2")
    monkeypatch.setitem(attention._BACKENDS, "fa2", twin)
    with pytest.raises(AttentionWrongError, match="fa1 against fa2: relative error"):
        problems.require_invariants(attention.backend("fa1"), make_inputs(SMALL, "fp32", "cpu"))


class TestRequireClose:
    right = make_inputs(SMALL, "fp32", "cpu").reference()

    def test_tells_the_error(self) -> None:
        assert 0 < problems.require_close(self.right.float(), self.right, "fp32", "x") < 2**-23

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            (right.float() * (1 + 1e-5), "relative error 1e-05 is above fp32's 1.91e-06"),
            (right.float()[:, :1], r"got \(2, 1, 300, 16\) in torch.float32, expected \(2, 4, 300, 16\) in fp32"),
            (right.half(), "in torch.float16, expected"),
            (torch.where(right > 2, float("nan"), right).float(), "relative error inf is above"),
        ],
        ids=["off", "shape", "dtype", "nan"],
    )
    def test_refuses(self, wrong: Tensor, message: str) -> None:
        with pytest.raises(AttentionWrongError, match="x: .*" + message):
            problems.require_close(wrong, self.right, "fp32", "x")


def test_reference_in_blocks_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(SMALL, "fp32", "cpu")
    mask = torch.arange(300)[None] >= torch.tensor([[0], [299]])
    at_once = attention_reference(inputs.query, inputs.key, inputs.value, scale=0.25, causal=True, key_mask=mask)
    monkeypatch.setattr("fixtures.reference._SCORES_BYTES", 8 * 2 * 4 * 300 * 7)  # seven rows at a time
    in_blocks = attention_reference(inputs.query, inputs.key, inputs.value, scale=0.25, causal=True, key_mask=mask)
    for one, other in zip(at_once, in_blocks, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_relative_error_by_hand() -> None:
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_error(torch.tensor([float("inf"), 1.0]), torch.tensor([1.0, 1.0])) == float("inf")


def test_work_by_hand() -> None:
    """Two products of 2 operations a multiply-add; causal prefill counts half, a single query sees everything."""
    shape = Shape(1, 4, 2, 8, 8, 16, causal=False)
    assert shape.flops == 2 * 2 * 4 * 8 * 8 * 16
    assert replace(shape, causal=True).flops * 2 == shape.flops
    assert replace(shape, causal=True, seqlen_q=1).flops == 2 * 2 * 4 * 8 * 16
    assert shape.bytes(4) == 4 * (2 * 4 * 8 * 16 + 2 * 2 * 8 * 16)


def test_references_keep_the_last_problem_and_eagers_peaks() -> None:
    references = References()
    first = references.get(SMALL, "fp32", "cpu")
    assert references.get(SMALL, "fp32", "cpu") is first
    assert references.get(replace(SMALL, causal=False), "fp32", "cpu") is not first
    peaks = iter((100, 200))
    assert references.eager_peak(SMALL, lambda: next(peaks)) == 100
    assert references.eager_peak(SMALL, lambda: next(peaks)) == 100


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100 80GB HBM3"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("AMD EPYC", None),
    ],
)
def test_peaks_are_found_by_the_drivers_name(name: str, found: str | None) -> None:
    assert peak_of(name) is (None if found is None else dict(PEAKS)[found])


PLANTED = """
import dataclasses

import pytest
from perfgate.measure.measurement import Measure

from fixtures import attention
from fixtures.attention import problems
from fixtures.attention.sdpa import pinned


def another_kernel(patch, name):
    broken = dataclasses.replace(attention.backend(name), context=lambda: pinned("MATH"))
    patch.setitem(attention._BACKENDS, name, broken)


def wrong_from_the_fourth_call_on(patch, name):
    original = attention.backend(name)

    def prepare(query, key, value, *, scale, causal):
        inner, calls = original.prepare(query, key, value, scale=scale, causal=causal), []

        def call():
            calls.append(None)
            return inner() * (2.0 if len(calls) > 3 else 1.0)

        return call

    patch.setitem(attention._BACKENDS, name, dataclasses.replace(original, prepare=prepare))


def keeps_the_scores(patch, name):
    original = attention.backend(name)

    def prepare(query, key, value, *, scale, causal):
        inner = original.prepare(query, key, value, scale=scale, causal=causal)

        def call():
            scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(-1, -2)
            return inner() + 0 * scores[..., :1]

        return call

    patch.setitem(attention._BACKENDS, name, dataclasses.replace(original, prepare=prepare))


def a_slightly_wrong_result(patch, name):
    original = attention.backend(name)

    def prepare(query, key, value, *, scale, causal):
        return original.prepare(query, key, value, scale=scale * 1.001, causal=causal)

    patch.setattr(problems, "require_invariants", lambda backend, small: None)
    patch.setitem(attention._BACKENDS, name, dataclasses.replace(original, prepare=prepare))


PLANTS = {
    ("sdpa-flash", 512): another_kernel,
    ("eager", 512): wrong_from_the_fourth_call_on,
    ("fa2", 2048): keeps_the_scores,
    ("fa1", 512): a_slightly_wrong_result,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    case = item.callspec.params["case"]
    with pytest.MonkeyPatch.context() as patch:
        plant = PLANTS.get((case.attention, case.seqlen_q))
        if plant is not None:
            plant(patch, case.attention)
        return (yield)
"""


def test_each_planted_fault_fails_its_own_case(tmp_path: Path) -> None:
    (tmp_path / "planted_attention_faults.py").write_text(PLANTED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "perf/test_attention.py", "--device", "cpu", "--measure-budget", "0.01"),
            *("-k", "prefill and hkv3 and (sq512 or (sq2048 and fa2))", "--report-dir", str(tmp_path / "report")),
            *("-p", "no:cacheprovider", "-p", "planted_attention_faults"),
        ],
        cwd=REPOSITORY,
        env=finding(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    records = json.loads((tmp_path / "report/results.json").read_text())["records"]
    found = {
        (r["case"]["fields"]["attention"], r["case"]["fields"]["seqlen_q"]): SimpleNamespace(**r)
        for r in records
        if r["status"] != "skipped"
    }
    assert {case: record.status for case, record in found.items()} == {
        ("eager", 512): "failed",
        ("sdpa-flash", 512): "fell_back",
        ("fa1", 512): "failed",
        ("fa2", 512): "measured",
        ("fa2", 2048): "failed",
    }
    assert "OutputChangedError" in found["eager", 512].reason
    assert "instead ran aten._safe_softmax" in found["sdpa-flash", 512].reason
    assert re.search(r"relative error \S+ is above fp32's", found["fa1", 512].reason)
    assert "does not grow linearly" in found["fa2", 2048].reason
    skipped = {r["case"]["fields"]["attention"]: r["reason"] for r in records if r["status"] == "skipped"}
    summary = (tmp_path / "report/summary.md").read_text()
    for name, reason in skipped.items():
        assert reason == attention.backend(name).unavailable("cpu", dtype="fp32", head_dim=64)
        assert f"{name}: not measured: " in summary
