"""What a report says of synthetic models: a label beside their quality, no claim, no recommendation, in every face."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from perfgate.records.record import Record
from perfgate.report import markdown, page, terminal
from suite_report import experiment, recommendation

from fixtures.limits import NO_LIMITS, Limits
from fixtures.synthetic import LABEL, PROVENANCE
from tests.fixtures.test_synthetic import TINY
from tests.suite.test_experiment import row
from tests.support.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[2]
QUALITY = "quality"


def synthetic(record: Record) -> Record:
    record.provenance[PROVENANCE] = LABEL
    record.notes.append(LABEL)
    return record


def made_up() -> list[Record]:
    """Rows on which every claim holds, of a synthetic model."""
    rows = [row("fp32", "eager"), row("fp32", "fa2", speed=12.0), row("fp32", "fa1+fa2", speed=13.0)]
    rows += [row("int8", "eager", peak=220, top1=0.97), row("nf4", "fa2", peak=170, top1=0.9)]
    return [synthetic(one) for one in rows]


def test_no_claim_is_judged_and_each_says_why() -> None:
    assert {(one.outcome, one.because) for one in experiment.claims(made_up())} == {("not judged here", LABEL)}


def test_claims_of_real_rows_use_no_synthetic_one() -> None:
    """Here only the synthetic rows are quantized, and one of them would be the fastest."""
    real = [row("fp32", "eager"), row("fp32", "fa2", speed=12.0), row("fp32", "fa1+fa2", speed=13.0)]
    mixed = [*real, *made_up()[3:], synthetic(row("bf16", "eager", speed=99.0))]
    assert experiment.claims(mixed) == experiment.claims(real)
    assert [one.outcome for one in experiment.claims(mixed)] == [
        *["not judged here"] * 3,
        "held",
        "not judged here",
    ]


def test_nothing_is_recommended() -> None:
    found = recommendation.recommend(made_up(), NO_LIMITS)
    assert (found.fitting, found.ruled_out, found.front) == ((), (), ())
    (section,) = recommendation.sections(found)
    assert section.lead == [f"No row is recommended ({LABEL})."]
    assert (section.table, section.data["best"], section.data["nearest"]) == (None, None, None)
    assert set(section.data["unjudged"].values()) == {LABEL}


def test_a_synthetic_row_is_shown_beside_real_ones_and_not_judged() -> None:
    fast = synthetic(row("bf16", "fa2", peak=100, speed=99.0, top1=1.0))
    found = recommendation.recommend([row("fp32", "fa2", top1=1.0), fast], Limits(quality=0.5))
    (section,) = recommendation.sections(found)
    assert section.lead[0].startswith("Take fp32 + fa2")
    standing = {one["row"]: (one["standing"], one["quality"]) for one in section.table.rows}
    assert standing == {"fp32 + fa2": ("recommended", 1.0), "bf16 + fa2": ("not judged", None)}
    assert section.notes == [f"bf16 + fa2: not judged: {LABEL}"]


def test_the_column_is_there_for_synthetic_rows_only() -> None:
    def titles(records: list[Record]) -> list[str]:
        (table,) = (one.table for one in experiment.sections(records, NO_LIMITS) if one.name == "experiment")
        assert set(table.rows[0]) >= {column.key for column in table.columns}
        return [column.title for column in table.columns]

    assert QUALITY not in titles([row("fp32", "eager")])
    mixed = titles([row("fp32", "eager"), synthetic(row("nf4", "fa2"))])
    assert mixed.index(QUALITY) + 1 == mixed.index("KL nats/token")


FACES: dict[str, Callable[[list[Any]], str]] = {
    "terminal": lambda sections: terminal.render(sections, 1000),
    "markdown": lambda sections: markdown.render("R", sections),
    "html": lambda sections: page.render("R", sections),
    "json": lambda sections: json.dumps({one.name: one.to_json() for one in sections}),
}


@pytest.mark.parametrize("face", FACES)
def test_every_face_says_so(face: str) -> None:
    """Beside each row's quality, for each claim, and first of all where a recommendation would be."""
    records = made_up()
    said = FACES[face](experiment.sections(records, NO_LIMITS))
    assert said.count(LABEL) >= len(records) + len(experiment.claims(records)) + 1
    assert f"No row is recommended ({LABEL})." in said
    unlabelled = FACES[face](experiment.sections([row("fp32", "eager")], NO_LIMITS))
    assert LABEL not in unlabelled


PLUGIN = f"""
from pathlib import Path

from fixtures import model_store, synthetic
from fixtures.synthetic import Shape

synthetic.SHAPES += ({replace(TINY, vocab_size=64)!r},)
model_store.ensure = lambda model, say: Path("FOLDER")
"""


@pytest.fixture
def run(tiny: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run the experiment's quick rows on a tiny shape, whose vocabulary is smaller than its tokenizer's."""
    (tmp_path / "tiny_shape.py").write_text(PLUGIN.replace("FOLDER", str(tiny.folder)))
    prompts = ("Tell me about the sea.", "Why?")
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in prompts))

    def run(*arguments: str) -> dict[str, Any]:
        command = [
            *(sys.executable, "-m", "pytest", "perf/test_generation.py::test_generation", "--device", "cpu", "--quick"),
            *("--model", "shapes:tiny", "--prompts", str(tmp_path / "inputs.jsonl"), "--new-tokens", "3"),
            *("-p", "no:cacheprovider", "-p", "tiny_shape", "--report-dir", str(tmp_path / "report"), *arguments),
        ]
        environment = finding(tmp_path)
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        results: dict[str, Any] = json.loads((tmp_path / "report/results.json").read_text())
        return results

    return run


@pytest.mark.slow
def test_the_experiment_runs_and_its_records_say_so(run: Callable[..., dict[str, Any]]) -> None:
    (record,) = run("-k", "nf4")["records"]
    assert record["status"] == "measured"
    assert record["case"]["key"] == f"generation/nf4-fa2-shapes-tiny-{record['case']['fields']['prompts']}-n3"
    assert record["provenance"][PROVENANCE] == LABEL
    assert LABEL in record["notes"]
    assert "the tokenizer's 101 ids are folded into the model's 64: id modulo 64" in record["notes"]


@pytest.mark.slow
def test_an_ab_comparison_has_the_same_model_on_both_sides(run: Callable[..., dict[str, Any]]) -> None:
    found = run("--versus", sys.executable, "-k", "eager", "--versus-budget", "60")
    assert found["sections"]["versus"]["pairs"] >= 1
