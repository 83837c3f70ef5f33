"""The linear layers: each scheme against float64, the case table, and that every assertion can fail."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import linear_report
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from perfgate import Row, counters
from perfgate.record import Metric, Record
from perfgate.run import RUN

from fixtures import devices, linear, quantization
from fixtures.linear import LinearWrongError, make_problem
from fixtures.options import SETTINGS
from fixtures.quantization import Scheme
from tests.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[1]
WHY_NOT = {scheme.name: scheme.unavailable("cpu") for scheme in quantization.schemes().values()}
HERE = [name for name, reason in WHY_NOT.items() if reason is None]
EVERY = [pytest.param(name, marks=pytest.mark.skipif(bool(why), reason=str(why))) for name, why in WHY_NOT.items()]
IN, OUT = 512, 256
"""A small layer of whole blocks, with enough outputs for the error to be near its mean."""


def run(scheme: Scheme, problem: linear.Problem) -> tuple[torch.nn.Module, torch.Tensor]:
    layer = scheme.linear.make(problem.weight, "cpu")
    with torch.no_grad():
        return layer, layer(problem.inputs.to(getattr(torch, scheme.dtype("cpu"))))


@pytest.mark.parametrize("outliers", [False, True], ids=["plain", "outliers"])
@pytest.mark.parametrize("name", EVERY)
def test_layer_is_float64s_within_its_bounds_and_weighs_its_theory(name: str, outliers: bool) -> None:
    scheme = quantization.scheme(name)
    problem = make_problem(IN, OUT, 16, outliers=outliers)
    layer, found = run(scheme, problem)
    linear.require_error(scheme, found, problem.expected, outliers=outliers, what=name)
    assert linear.require_weight(scheme, layer, IN, OUT, "cpu", name) > 0


@pytest.mark.parametrize("name", EVERY)
def test_named_kernel_runs_and_its_work_is_counted(name: str) -> None:
    scheme = quantization.scheme(name)
    problem = make_problem(IN, OUT, 16, outliers=False)
    layer, _ = run(scheme, problem)
    inputs = problem.inputs.to(getattr(torch, scheme.dtype("cpu")))
    with torch.no_grad():
        _, counts = counters.count(lambda: layer(inputs))
    assert counts is not None
    assert any(map(counts.ran, scheme.linear.kernel.ran)), counts.operators
    assert not any(map(counts.ran, scheme.linear.kernel.absent)), counts.operators
    assert counts.flops == 2 * 16 * IN * OUT


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    name=st.sampled_from(HERE),
    in_blocks=st.integers(4, 10),
    out_blocks=st.integers(4, 10),
    num_tokens=st.integers(1, 40),
    outliers=st.booleans(),
    scale=st.sampled_from([1e-2, 1.0, 1e2]),
    seed=st.integers(0, 2**32),
)
def test_bounds_hold_for_any_shape_and_size_of_values(
    name: str, in_blocks: int, out_blocks: int, num_tokens: int, outliers: bool, scale: float, seed: int
) -> None:
    """Scaling the inputs changes no relative error, but LLM.int8()'s idea of an outlier: beyond 6.0 in size. So the
    layers with decomposition keep inputs at their own scale."""
    scheme = quantization.scheme(name)
    problem = make_problem(64 * in_blocks, 64 * out_blocks, num_tokens, outliers=outliers, seed=seed)
    factor = 1.0 if name == "int8" else scale
    scaled = replace(problem, inputs=problem.inputs * factor, expected=problem.expected * factor)
    _, found = run(scheme, scaled)
    linear.require_error(scheme, found, scaled.expected, outliers=outliers, what=name)


@pytest.mark.parametrize("name", WHY_NOT)
def test_bounds_are_two_sided_where_something_is_lost(name: str) -> None:
    for low, high in (quantization.scheme(name).linear.error, quantization.scheme(name).linear.outlier_error):
        assert low < high
        assert (low > 0) is (name != "fp32")


class TestWhatMustBeSeen:
    problem = make_problem(IN, OUT, 16, outliers=False)
    with_outliers = make_problem(IN, OUT, 16, outliers=True)

    def test_not_quantized_is_too_good(self) -> None:
        found = self.problem.inputs @ self.problem.weight.T
        with pytest.raises(LinearWrongError, match=r"x: relative error \S+ is below nf4's 0.07: too good"):
            linear.require_error(quantization.scheme("nf4"), found, self.problem.expected, outliers=False, what="x")

    def test_no_decomposition_is_too_bad_with_outliers(self) -> None:
        _, found = run(quantization.scheme("int8-nodecomp"), self.with_outliers)
        with pytest.raises(LinearWrongError, match=r"x: relative error \S+ is above int8's 0.02"):
            linear.require_error(
                quantization.scheme("int8"), found, self.with_outliers.expected, outliers=True, what="x"
            )

    def test_fp4_is_not_nf4(self) -> None:
        for one, other in (("nf4", "fp4"), ("fp4", "nf4")):
            _, found = run(quantization.scheme(one), self.problem)
            with pytest.raises(LinearWrongError, match="relative error"):
                linear.require_error(quantization.scheme(other), found, self.problem.expected, outliers=False, what="x")

    @pytest.mark.parametrize(
        ("found", "message"),
        [
            (problem.expected[:, :5], r"got \(16, 5\), expected \(16, 256\)"),
            (problem.expected * float("nan"), "relative error inf is above"),
            (problem.expected * 1.5, "relative error 0.5 is above"),
        ],
        ids=["shape", "nan", "wrong"],
    )
    def test_a_wrong_result(self, found: torch.Tensor, message: str) -> None:
        with pytest.raises(LinearWrongError, match=message):
            linear.require_error(quantization.scheme("nf4"), found, self.problem.expected, outliers=False, what="x")

    def test_a_weight_too_heavy(self) -> None:
        dense, _ = run(quantization.scheme("fp32"), self.problem)
        with pytest.raises(LinearWrongError, match=r"x: the weight takes 524,288 bytes, nf4 should take [\d,]+: is it"):
            linear.require_weight(quantization.scheme("nf4"), dense, IN, OUT, "cpu", "x")


def rows(device: str = "cpu", **chosen: tuple[str, ...]) -> list[Row]:
    """The benchmark's table, in this process."""
    suite = SimpleNamespace(**{"quantization": None, "attention": None} | chosen)
    config: Any = SimpleNamespace(stash={SETTINGS: suite, RUN: SimpleNamespace(device=device)})
    return list(importlib.import_module("test_linear").linear_rows(config))


def selected(table: list[Row], *, quick: bool = False, all_cases: bool = False) -> list[str]:
    return [row.case.id for row in table if row.chosen(quick=quick, all_cases=all_cases)]


def test_default_set_is_at_most_60_and_every_scheme_is_in_it() -> None:
    table = rows()
    default, every = selected(table), selected(table, all_cases=True)
    assert 40 <= len(default) <= 60
    for name in quantization.schemes():
        assert {f"{name}-i576-o1536-t{num_tokens}" for num_tokens in (1, 16, 256)} <= set(default)
    quick = selected(table, quick=True)
    assert set(quick) < set(default) < set(every)
    assert 0 < len(quick) <= 5
    assert len(every) == len(set(every)) == len(quantization.schemes()) * len(linear.SHAPES) * 3 * 2
    assert selected(rows(attention=("fa2",)), all_cases=True) == []
    assert selected(rows(quantization=("nf4",))) == [one for one in default if one.startswith("nf4-i")]


def test_default_set_of_an_accelerator_has_the_large_models_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: 2**37)
    default = [row.case.fields for row in rows("cuda:0") if row.chosen(quick=False, all_cases=False)]
    assert {(case["in_features"], case["out_features"]) for case in default} == {(4096, 4096), (4096, 14336)}


def test_a_layer_too_large_is_skipped_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: 10**9)
    reasons = {row.case.id: row.unavailable for row in rows()}
    assert reasons["fp32-i4096-o4096-t1"] is None
    assert reasons["fp32-i4096-o14336-t1"] == (
        "a layer of 4096 x 14336 needs about 1,644,167,168 bytes, 1,000,000,000 are free"
    )


def test_collecting_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "loaded_libraries.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    heavy = ('torch', 'transformers', 'bitsandbytes', 'optimum.quanto', 'numpy')\n"
        "    print('loaded:', [name for name in heavy if name in sys.modules])\n"
    )
    command = [
        *(sys.executable, "-m", "pytest", "perf/test_linear.py", "--collect-only", "-q", "-s", "--device", "cpu"),
        *("--all-cases", "-p", "no:cacheprovider", "-p", "loaded_libraries"),
    ]
    environment = finding(tmp_path)
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"::test_linear\[(\S+)\]", done.stdout)
    assert found == selected(rows(), all_cases=True), done.stdout + done.stderr
    assert "loaded: []\n" in done.stdout


def record(scheme: str, *, skipped: str | None = None, note: str | None = None) -> Record:
    latency = Metric("sampled", "s", "lower", 2e-3, (1.9e-3, 2e-3, 2.2e-3), (1.9e-3, 2.1e-3))
    return Record(
        "linear",
        1,
        {"scheme": scheme, "in_features": 8, "out_features": 8, "num_tokens": 1, "outliers": False},
        f"linear/{scheme}-i8-o8-t1",
        status="skipped" if skipped else "measured",
        reason=skipped,
        metrics={} if skipped else {"latency_s": latency},
        notes=[note] if note else [],
    )


def test_report_names_every_scheme_of_a_reason_and_of_a_note() -> None:
    (section,) = linear_report.sections(
        [
            record("fp32"),
            *(record(scheme, note="is emulated") for scheme in ("bf16", "fp16", "fp16")),
            *(record(scheme, skipped="no library") for scheme in ("int8", "nf4", "nf4")),
        ]
    )
    assert section.table is not None
    assert section.table.rows[0]["latency_ms"] == 2.0
    assert section.table.rows[0]["spread"] == pytest.approx(0.05)
    assert section.notes == ["int8, nf4: not measured: no library", "bf16, fp16: is emulated"]
    assert linear_report.sections([]) == []


PLANTED = """
import dataclasses

import pytest
import torch

from fixtures import quantization


def plant(patch, name, **changes):
    scheme = quantization.scheme(name)
    linear = dataclasses.replace(scheme.linear, **changes)
    patch.setitem(quantization._SCHEMES, name, dataclasses.replace(scheme, linear=linear))


def not_quantized(patch):
    plant(patch, "nf4", make=quantization.scheme("fp32").linear.make)


def not_quantized_and_noisy(patch):
    def make(weight, device):
        noise = 0.09 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
        return quantization.scheme("fp32").linear.make(weight + noise, device)

    plant(patch, "nf4-dq", make=make)


def not_decomposed(patch):
    plant(patch, "int8", make=quantization.scheme("int8-nodecomp").linear.make)


def changes_after_timing(patch):
    original = quantization.scheme("fp32").linear.make

    def make(weight, device):
        layer, calls = original(weight, device), []

        def forward(inputs):
            calls.append(None)
            return torch.nn.functional.linear(inputs, layer.weight * (1.0 + 1e-7 * len(calls)))

        layer.forward = forward
        return layer

    plant(patch, "fp32", make=make)


PLANTS = {
    "nf4": not_quantized, "nf4-dq": not_quantized_and_noisy, "int8": not_decomposed, "fp32": changes_after_timing,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with pytest.MonkeyPatch.context() as patch:
        found = PLANTS.get(item.callspec.params["case"].scheme)
        if found is not None:
            found(patch)
        return (yield)
"""


@pytest.mark.slow
def test_each_planted_fault_fails_its_own_case(tmp_path: Path) -> None:
    (tmp_path / "planted_linear_faults.py").write_text(PLANTED)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "perf/test_linear.py", "--device", "cpu", "--measure-budget", "0.01"),
            *("-k", "i576-o1536-t16 and not quanto", "--report-dir", str(tmp_path / "report")),
            *("-p", "no:cacheprovider", "-p", "planted_linear_faults"),
        ],
        cwd=REPOSITORY,
        env=finding(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    records = json.loads((tmp_path / "report/results.json").read_text())["records"]
    by_case = {record["case"]["key"].partition("/")[2]: record for record in records}
    failed = {case: record["reason"] for case, record in by_case.items() if record["status"] != "measured"}
    expected = {
        "nf4-i576-o1536-t16": "too good; is it quantized at all",
        "nf4-i576-o1536-t16-outliers": "too good; is it quantized at all",
        "nf4-dq-i576-o1536-t16": "the weight takes",
        "int8-i576-o1536-t16": "FELL_BACK",
        "int8-i576-o1536-t16-outliers": "is above int8's",
        "fp32-i576-o1536-t16": "OutputChangedError",
        "fp32-i576-o1536-t16-outliers": "OutputChangedError",
    }
    assert failed.keys() == expected.keys(), failed
    for case, message in expected.items():
        assert message in failed[case], failed[case]
    assert by_case["int8-i576-o1536-t16"]["status"] == "fell_back"
    assert "Linear layers" in done.stdout
