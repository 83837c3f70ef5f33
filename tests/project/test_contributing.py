"""CONTRIBUTING.md's worked examples, run as they stand there."""

from __future__ import annotations

import importlib
import mmap
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from perfgate.compare import metrics
from perfgate.measure import op_counts
from perfgate.plugin.session import CONTEXT
from perfgate.report import metric_list

from fixtures import attention, linear, options, quantization
from fixtures.attention import problems
from fixtures.generation import encode, generate
from fixtures.linear import make_problem
from tests.support.measured_case import Bench

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n# (?:\w+/)+(\w+)/(\w+)\.py\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the example of one folder; what it registers is gone afterwards."""
    attention.backends(), quantization.schemes(), metrics.every()
    monkeypatch.setattr(metrics, "_CLASSES", list(metrics._CLASSES))
    monkeypatch.setattr(attention, "_BACKENDS", dict(attention._BACKENDS))
    monkeypatch.setattr(quantization, "_SCHEMES", dict(quantization._SCHEMES))

    def run(folder: str) -> None:
        (source,) = [code for where, _, code in EXAMPLES if where == folder]
        exec(compile(source, f"CONTRIBUTING.md, {folder}", "exec"), {})

    return run


def test_there_is_one_example_for_each_registry() -> None:
    assert sorted((folder, name) for folder, name, _ in EXAMPLES) == [
        ("attention", "plain"),
        ("metrics", "page_faults"),
        ("quantization", "rounded"),
    ]


def test_attention_example(run_example: Any, tiny: Any) -> None:
    run_example("attention")
    backend = attention.backend("plain")
    assert list(attention.backends())[-1] == "plain"
    inputs = problems.make_inputs(problems.Shape(2, 4, 2, 100, 100, 16, causal=True), "fp32", "cpu")
    found, counts = op_counts.count(problems.prepared_call(backend, inputs))
    problems.require_close(found, inputs.expected, "fp32", "plain")
    problems.require_invariants(backend, inputs)
    assert counts is not None
    assert counts.ran("plain")
    loaded = tiny.loaded()
    batch = [encode(loaded.tokenizer, str(n), text) for n, text in enumerate(("Tell me about the sea.", "Why?"))]
    clock = SimpleNamespace(now=lambda: 0.0)
    expected = generate(batch, loaded, attention.use(loaded.model, "eager"), 5, clock)
    assert generate(batch, loaded, attention.use(loaded.model, "plain"), 5, clock).tokens == expected.tokens
    assert options._names("plain", lambda name: attention.backend(name).name) == ("plain",)


def test_quantization_example(run_example: Any) -> None:
    run_example("quantization")
    scheme = quantization.scheme("rounded")
    assert scheme.unavailable("cpu") is None
    for outliers in (False, True):
        problem = make_problem(512, 256, 16, outliers=outliers)
        layer = scheme.linear.make(problem.weight, "cpu")
        with torch.no_grad():
            found, counts = op_counts.count(lambda: layer(problem.inputs))  # noqa: B023  # called at once
        linear.require_error(scheme, found, problem.expected, outliers=outliers, what="rounded")
        linear.require_weight(scheme, layer, 512, 256, "cpu", "rounded")
        assert counts is not None
        assert counts.ran("rounded")
    dense = problem.inputs @ problem.weight.T
    with pytest.raises(linear.LinearWrongError, match="too good"):
        linear.require_error(scheme, dense, problem.expected, outliers=True, what="rounded")
    assert options._names("rounded", lambda name: quantization.scheme(name).name) == ("rounded",)
    chosen = {row.case.id: row.unavailable for row in linear_rows("rounded")}
    assert chosen == {f"rounded-i576-o1536-t{num_tokens}": None for num_tokens in (1, 16, 256)}
    quantization._SCHEMES["rounded"] = replace(scheme, packages=("no-such-package",))
    reasons = {row.unavailable for row in linear_rows("rounded")}
    assert reasons == {"no-such-package is not installed (pip install no-such-package)"}


def test_metric_example(run_example: Any) -> None:
    run_example("metrics")
    bench = Bench()
    pages = 64

    def touch(value: int = 42) -> int:
        with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
            for page in range(pages):
                memory[page * mmap.PAGESIZE] = 1
        return bench.fn(value)

    bench.measure(touch)
    found = bench.metric("page_faults")
    assert pages <= found.value < 2 * pages
    listed = {str(row["metric"]): row for row in metric_list.sections([bench.record])[0].table.rows}
    assert listed["page_faults"]["judged"] == f"not judged: {metrics.of('page_faults').why_not}"


def linear_rows(scheme: str) -> list[Any]:
    """The linear benchmark's default rows under ``--quantization scheme``."""
    suite = SimpleNamespace(quantization=(scheme,), attention=None)
    config: Any = SimpleNamespace(stash={options.SETTINGS: suite, CONTEXT: SimpleNamespace(device="cpu")})
    rows = importlib.import_module("test_linear").linear_rows(config)
    return [row for row in rows if row.chosen(quick=False, all_cases=False)]


def test_examples_leave_nothing_behind() -> None:
    assert "plain" not in attention.backends()
    assert "rounded" not in quantization.schemes()
