"""Human scoring through the suite: options, a real export and import, and what an interrupted run leaves."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recommendation
import scoring_report
from perfgate.record import Metric, Record

from fixtures import scoring
from fixtures.scoring import Score, Scoring
from fixtures.subject import Subject

REPOSITORY = Path(__file__).resolve().parents[1]
USAGE_ERROR = 4


def suite(folder: Path, *arguments: str, plugin: str = "", module: str = "pytest") -> subprocess.CompletedProcess[str]:
    (folder / "planted.py").write_text(plugin)
    command = [sys.executable, "-m", module, *arguments, "--device", "cpu", "--report-dir", str(folder / "report")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY / "perf")])}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def generation(tiny: Any, folder: Path, *arguments: str, plugin: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "inputs.jsonl").write_text('{"text": "Why?"}\n{"text": "Name three birds."}\n')
    return suite(
        folder,
        *("perf/test_generation.py::test_generation", "--model", str(tiny.folder), "--new-tokens", "2", "--no-html"),
        *("--prompts", str(folder / "inputs.jsonl"), "-p", "no:cacheprovider", "-p", "planted", *arguments),
        plugin=plugin,
    )


@pytest.mark.slow
def test_answers_are_exported_scored_and_in_the_report(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    rows = ["--quantization", "fp32,nf4", "--attention", "eager"]
    done = generation(tiny, tmp_path, *rows, "--export-scoring", str(path), "--scoring-tokens", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"wrote 4 answers of 2 rows to {path}" in done.stdout
    key = json.loads(scoring.key_path(path).read_text())
    assert (key["new_tokens"], len(key["answers"])) == (5, 4)
    with path.open(encoding="utf-8-sig", newline="") as file:
        titles, *lines = csv.reader(file)
    points = {"fp32": "5", "nf4": "2"}
    with path.open("w", encoding="utf-8", newline="") as file:
        filled = [[*line[:3], points[key["answers"][line[0]]["scheme"]]] for line in lines]
        csv.writer(file).writerows([titles, *filled])
    results = str(tmp_path / "report/results.json")
    again = suite(tmp_path, "report", "--from", results, "--import-scoring", str(path), module="perfgate")
    assert again.returncode == 0, again.stdout + again.stderr
    stored = json.loads(Path(results).read_text())
    scores = {one["row"]: (one["count"], one["mean"]) for one in stored["sections"]["human_scores"]["rows"]}
    assert scores == {"fp32 + eager": (2, 5.0), "nf4 + eager": (2, 2.0)}
    assert {one["human_score"] for one in stored["sections"]["experiment"]["rows"]} == {5.0, 2.0}
    assert stored["sections"]["human_pairs"]["rows"][0]["wins"] == 2
    assert stored["sections"]["recommendation"]["quality_metric"] == "human_score"


@pytest.mark.slow
def test_an_interrupted_run_keeps_the_answers_it_has(tiny: Any, tmp_path: Path) -> None:
    interrupt = (
        "def pytest_runtest_teardown(item):\n    if 'fp32' in item.name:\n        raise KeyboardInterrupt\n"  # Ctrl-C
    )
    path = tmp_path / "answers.csv"
    rows = ["--quantization", "fp32,nf4", "--attention", "eager", "--export-scoring", str(path)]
    done = generation(tiny, tmp_path, *rows, "--scoring-tokens", "3", plugin=interrupt)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "wrote 2 answers of 1 rows" in done.stdout
    assert {one["scheme"] for one in json.loads(scoring.key_path(path).read_text())["answers"].values()} == {"fp32"}


@pytest.mark.slow
def test_answers_that_cannot_be_written_fail_the_run(tiny: Any, tmp_path: Path) -> None:
    in_the_way = "def pytest_runtest_teardown(item):\n    open({!r}, 'w').close()\n".format(str(tmp_path / "folder"))
    path = tmp_path / "folder/answers.csv"
    rows = ["--quantization", "fp32", "--attention", "eager", "--export-scoring", str(path)]
    done = generation(tiny, tmp_path, *rows, "--scoring-tokens", "3", plugin=in_the_way)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "the answers could not be written" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--export-scoring", "{there}"], "exists and may hold scores; name a new file"),
        (["--scoring-tokens", "0"], "--scoring-tokens: got 0"),
        (["--import-scoring", "{there}"], "answers.csv.key.json cannot be read"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(tmp_path: Path, arguments: list[str], said: str) -> None:
    there = tmp_path / "answers.csv"
    there.write_text("id,prompt,answer,score\n")
    given = [argument.format(there=there) for argument in arguments]
    done = suite(tmp_path, "perf", "--collect-only", "-q", "-p", "no:cacheprovider", *given)
    assert done.returncode == USAGE_ERROR
    assert said in done.stderr


def record(scheme: str, model: str = "tiny") -> Record:
    fields = {"scheme": scheme, "attention": "eager", "model": model, "prompts": "en"}
    return Record("generation", 1, fields, f"generation/{scheme}", metrics={"x": Metric("exact", "x", "lower", 1)})


def scored(**points: float) -> Scoring:
    return Scoring("tiny", "en", 64, tuple(Score(scheme, "eager", "p", value) for scheme, value in points.items()))


class TestScoresInTheRecords:
    def test_each_row_gets_its_own(self) -> None:
        records = [record("fp32"), record("nf4")]
        assert scoring_report.apply(scored(fp32=5.0, nf4=3.0), records) == []
        assert [one.value("human_score") for one in records] == [5.0, 3.0]
        assert [recommendation.quality(one, "human_score") for one in records] == [1.0, 0.5]

    def test_rows_on_one_side_only_are_named(self) -> None:
        records = [record("fp32")]
        assert scoring_report.apply(scored(nf4=3.0), records) == [
            "fp32 + eager: nobody has scored its answers",
            "nf4 + eager: scored, but not measured in this run",
        ]
        assert records[0].value("human_score") is None

    def test_another_models_scores_are_not_used(self) -> None:
        records = [record("fp32", model="other")]
        said = scoring_report.apply(scored(fp32=5.0), records)
        assert "the scores are of tiny with prompt set en, and this run's rows of other with en" in said[0]
        assert records[0].value("human_score") is None

    def test_nothing_imported_makes_no_section(self) -> None:
        assert scoring_report.sections(None, []) == []


def test_the_answer_ends_where_the_model_ends_it(tiny: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
    subject = SimpleNamespace(tokenizer=tokenizer)
    said = tokenizer.encode("yes", add_special_tokens=False)
    for end in (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|user|>")):
        assert Subject.text(subject, [*said, end, *said]) == "yes"
    assert Subject.text(subject, said) == "yes"
