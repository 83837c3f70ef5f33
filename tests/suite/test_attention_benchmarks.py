"""The attention benchmarks: what they assert, and that each assertion can fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures import attention
from tests.support.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[2]


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


@pytest.mark.slow
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
