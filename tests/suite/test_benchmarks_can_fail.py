"""The experiment's own rows on a tiny model: unharmed they pass, and each planted fault fails the row it is in.

A benchmark that cannot fail proves nothing. One run plants a different fault into each of nine rows, so that it also
shows that a broken row leaves its neighbours alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[2]

PROMPTS = ("Tell me about the sea.", "Why?", "Name three birds that cannot fly.", "Spell it.")
TESTS_FAILED = 1

FAULTS = """
import dataclasses

import pytest
import torch
from perfgate.measure.memory import FakeMeter
from perfgate.measure.rounds import Rounds
from perfgate.plugin.session import CONTEXT

from fixtures import attention, devices, quantization
from fixtures.attention.sdpa import pinned


def output_changes_after_timing(patch, item):
    generate, time_inputs, timed = item.module.generate, Rounds.by_input, []

    def forgetful(*args, **kwargs):
        out = generate(*args, **kwargs)
        tokens = tuple((row[0] + 1, *row[1:]) for row in out.tokens) if timed else out.tokens
        return dataclasses.replace(out, tokens=tokens)

    def then_remember(*args, **kwargs):
        out = time_inputs(*args, **kwargs)
        timed.append(True)
        return out

    patch.setattr(item.module, "generate", forgetful)
    patch.setattr(Rounds, "by_input", then_remember)


def another_kernel(patch, item):
    use = attention.use
    other = lambda model, name: dataclasses.replace(use(model, name), context=lambda: pinned("MATH"))
    patch.setattr(attention, "use", other)


def padding_mask_dropped(patch, item):
    from transformers import AttentionMaskInterface

    patch.setattr(AttentionMaskInterface, "register", lambda name, function: None)


def meter_reads_zero(patch, item):
    instruments = item.config.stash[CONTEXT].instruments
    patch.setattr(instruments, "meter", FakeMeter(0))
    patch.setattr(instruments, "meter_verified", False)


def logits_not_a_number(patch, item):
    head = item.funcargs["subject"].loaded("fp32").model.lm_head
    patch.setattr(head, "forward", lambda hidden: torch.full((*hidden.shape[:-1], 128), float("nan")))


def out_of_memory(patch, item):
    patch.setattr(devices, "free_bytes", lambda device: 1000)


def not_quantized(patch, item, **changes):
    patch.setattr(item.funcargs["subject"].pool, "_loaded", None)  # undone: no later row gets this model
    scheme = quantization.scheme(item.callspec.params["case"].scheme)
    patch.setitem(quantization._SCHEMES, scheme.name, dataclasses.replace(scheme, config=lambda dtype: None, **changes))


def not_quantized_and_weighed_wrong(patch, item):
    not_quantized(patch, item, quantized_bytes=lambda layer, device: 4 * layer.numel)


def another_tokens_than_eager(patch, item):
    generate = item.module.generate

    def shifted(*args, **kwargs):
        out = generate(*args, **kwargs)
        return dataclasses.replace(out, tokens=tuple((row[0] + 1, *row[1:]) for row in out.tokens))

    patch.setattr(item.module, "generate", shifted)


PLANTED = {
    ("fp32", "sdpa-math"): output_changes_after_timing,
    ("fp32", "sdpa-flash"): another_kernel,
    ("fp32", "fa1"): padding_mask_dropped,
    ("fp32", "fa2"): meter_reads_zero,
    ("fp32", "fa1+fa2"): logits_not_a_number,
    ("bf16", "sdpa-flash"): out_of_memory,
    ("int8", "eager"): not_quantized_and_weighed_wrong,
    ("nf4", "fa2"): another_tokens_than_eager,
    ("nf4-dq", "fa2"): not_quantized,
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    case = item.callspec.params["case"]
    item.funcargs["subject"].reference  # made now, before anything is broken
    with pytest.MonkeyPatch.context() as patch:
        plant = PLANTED.get((case.scheme, case.attention))
        if plant is not None:
            plant(patch, item)
        return (yield)
"""

NOT_EAGERS = r"QualityError: .*not eager's tokens for \d+ of \d+ inputs: input .*eager chose \d+, .* \d+; .*no tie"
CAUGHT = {
    ("fp32", "sdpa-math"): ("failed", r"OutputChangedError: .*returned something else after timing than before it"),
    ("fp32", "sdpa-flash"): (
        "fell_back",
        r"FellBackError: .*FELL_BACK: the case names kernel 'sdpa-flash', .*instead ran .*aten\._safe_softmax",
    ),
    ("fp32", "fa1"): ("failed", NOT_EAGERS),
    ("fp32", "fa2"): ("failed", r"MeterError: memory meter 'fake' read 0 bytes while 1,048,576 bytes were allocated"),
    ("fp32", "fa1+fa2"): ("failed", r"QualityError: fp32, fa1\+fa2, input .*: \d+ of \d+ logits are NaN or Inf"),
    ("bf16", "sdpa-flash"): ("failed", r"ModelError: out of memory: .* under bf16 needs .* choose another"),
    ("int8", "eager"): (
        "failed",
        r"QualityError: .*KL divergence .* is below 0\.0001: too good for int8; is the model quantized at all\?",
    ),
    ("nf4", "fa2"): ("failed", NOT_EAGERS),
    ("nf4-dq", "fa2"): (
        "failed",
        r"QualityError: .*the weights take .* bytes, nf4-dq should take .*: is the model quantized at all\?",
    ),
}
"""Status and message of each row with a fault."""
UNHARMED = {("fp32", "eager"), ("int8", "fa2"), ("nf4", "eager"), ("fp4", "fa2")}


@dataclass(frozen=True)
class Outcome:
    """What a run of the experiment left; ``records`` by scheme and attention."""

    exit_code: int
    output: str
    records: dict[tuple[str, str], dict[str, Any]]


Experiment = Callable[..., Outcome]


@pytest.fixture
def experiment(tiny: Any, tmp_path: Path) -> Experiment:
    """Run the experiment on the tiny model, two inputs at a time; ``plugin`` is the source of one to load."""

    def run(*arguments: str, plugin: str = "") -> Outcome:
        (tmp_path / "inputs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in PROMPTS))
        (tmp_path / "planted_faults.py").write_text(plugin)
        command = [
            *(sys.executable, "-m", "pytest", "perf/test_generation.py::test_generation", "--device", "cpu"),
            *("--model", str(tiny.folder), "--prompts", str(tmp_path / "inputs.jsonl")),
            *("--new-tokens", "3", "--batch-size", "2", "--report-dir", str(tmp_path / "report")),
            *("-p", "no:cacheprovider", "-p", "planted_faults", *arguments),
        ]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=finding(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        results = tmp_path / "report/results.json"
        assert results.exists(), output
        records = json.loads(results.read_text())["records"]
        by_row = {(one["case"]["fields"]["scheme"], one["case"]["fields"]["attention"]): one for one in records}
        return Outcome(done.returncode, output, by_row)

    return run


def require_measured(record: dict[str, Any]) -> None:
    """A row that passed has every number of the experiment's table."""
    assert record["status"] == "measured", record["reason"]
    metrics = record["metrics"]
    assert len(metrics["latency_s"]["samples"]) == len(PROMPTS) / 2  # batches
    assert metrics["throughput_tokens_per_s"]["value"] > 0
    assert metrics["ttft_s"]["value"] < metrics["latency_s"]["value"]
    assert metrics["peak_memory_bytes"]["value"] > metrics["weights_bytes"]["value"] > 0
    assert metrics["activation_peak_bytes"]["value"] > 0
    assert metrics["loading_peak_bytes"]["value"] > metrics["weights_bytes"]["value"]
    assert {"tpot_s", "kl_divergence_nats", "top1_agreement", "perplexity", "exact_match_tokens"} <= set(metrics)


@pytest.mark.slow
def test_unharmed_quick_rows_pass_and_the_session_ends_with_0(experiment: Experiment) -> None:
    found = experiment("--quick")
    assert found.exit_code == 0, found.output
    assert set(found.records) == {("fp32", "eager"), ("fp32", "fa2"), ("nf4", "fa2")}
    for record in found.records.values():
        require_measured(record)


@pytest.mark.slow
def test_each_fault_fails_its_own_row_and_no_other(experiment: Experiment) -> None:
    found = experiment(plugin=FAULTS)
    assert found.exit_code == TESTS_FAILED, found.output
    assert {row: record["status"] for row, record in found.records.items()} == {
        **{row: status for row, (status, _) in CAUGHT.items()},
        **dict.fromkeys(UNHARMED, "measured"),
    }
    for row, (_, message) in CAUGHT.items():
        reason = found.records[row]["reason"]
        assert re.search(message, reason, re.DOTALL), f"{row}: {reason}"
        test_id = found.records[row]["case"]["key"].partition("/")[2]
        assert f"FAILED perf/test_generation.py::test_generation[{test_id}]" in found.output
    for row in UNHARMED:
        require_measured(found.records[row])
    assert found.records["fp32", "eager"]["provenance"]["kernel"] == "aten._softmax"
    assert found.records["fp32", "eager"]["metrics"]["exact_match_tokens"]["value"] == 3
    assert re.search(r"\b9 failed, 4 passed\b", found.output)


@pytest.mark.slow
def test_every_row_passes_unharmed(experiment: Experiment) -> None:
    found = experiment()
    assert found.exit_code == 0, found.output
    assert set(found.records) == {*CAUGHT, *UNHARMED}
    for record in found.records.values():
        require_measured(record)


@pytest.mark.slow
@pytest.mark.parametrize("row", [("fp32", "sdpa-flash"), ("nf4-dq", "fa2")], ids="-".join)
def test_a_fault_alone_ends_the_session_with_1(experiment: Experiment, row: tuple[str, str]) -> None:
    scheme, attention = row
    found = experiment("--quantization", scheme, "--attention", attention, plugin=FAULTS)
    status, message = CAUGHT[row]
    assert found.exit_code == TESTS_FAILED
    assert found.records[row]["status"] == status
    assert re.search(message, found.records[row]["reason"], re.DOTALL)
