"""Human scoring on the command line: what is refused before anything runs, what a session leaves however it ends, and
scores in its report. Most runs have stand-ins for the model; the slow one is real."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # numpy cannot be loaded again in a process, as pytester's runs would

from fixtures import options
from fixtures.checkpoint import Folder
from fixtures.generation import answer, end_token_ids
from fixtures.scoring_options import NO_SCORING, ScoringSettings
from tests.conftest import CONFTEST, Project

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS_FAILED, INTERRUPTED, USAGE_ERROR = 1, 2, 4

SECTIONS = """
    from fixtures.options import SETTINGS
    from suite_report import scoring_report

    def pytest_perfgate_sections(config, records):
        return scoring_report.sections(config.stash[SETTINGS].scoring.scores, records)
"""

BENCHMARK = """
    from dataclasses import dataclass
    from pathlib import Path
    from types import SimpleNamespace
    from typing import ClassVar

    from perfgate import Case, Row, cases, part
    from fixtures import scoring_export
    from fixtures.checkpoint import Folder
    from fixtures.options import SETTINGS

    HOW = Path("how.txt").read_text() if Path("how.txt").exists() else ""
    END = 0
    TOKENIZER = SimpleNamespace(
        eos_token_id=END, decode=lambda tokens, skip_special_tokens: "".join(map(chr, tokens))
    )

    @dataclass(frozen=True, kw_only=True)
    class RowCase(Case):
        benchmark: ClassVar[str] = "generation"
        scheme: str = part()
        attention: str = part()
        model: str = part()
        prompts: str = part()
        device: str = part(default="cpu")

    def table(config):
        suite = config.stash[SETTINGS]
        for name in ("eager", "fa1", "fa2"):
            yield Row(
                RowCase(scheme="fp32", attention=name, model=suite.model.slug, prompts=suite.prompts.name),
                unavailable="not here" if HOW == f"{name} is not here" else None,
            )

    def generate(batch, loaded, backend, new_tokens, clock):
        if HOW == "interrupted" and backend.name == "fa1" and batch[0] == 2:
            raise KeyboardInterrupt
        if HOW == "taken":
            Path("answers.csv").write_text("mine")
        if HOW == "no folder" and Path("sub").is_dir():
            Path("sub").rmdir()
            Path("sub").write_text("a file now")
        if HOW == "fa2 breaks off" and backend.name == "fa2" and batch[0] == 2:
            raise RuntimeError("too long")
        return SimpleNamespace(tokens=[(65 + one, 66, 67, END, 68)[:new_tokens] for one in batch])

    @cases(table)
    def test_rows(case, measure, suite, scoring, monkeypatch):
        monkeypatch.setattr(scoring_export, "generate", generate)
        measure(sum, range(3))
        assert HOW != f"{case.attention} fails"
        if scoring is not None and not measure.disabled:
            model = SimpleNamespace(config=SimpleNamespace(eos_token_id=[END, 1]))
            pool = SimpleNamespace(checkpoint=Folder(Path()))
            subject = SimpleNamespace(inputs=range(20), suite=suite, clock=None, pool=pool)
            loaded = SimpleNamespace(scheme=SimpleNamespace(name=case.scheme), model=model, tokenizer=TOKENIZER)
            scoring.collect(subject, loaded, SimpleNamespace(name=case.attention), batch_size=2)
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(project: Project, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run three rows of an experiment whose model is a stand-in; ``how`` says what happens to them."""
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_benchmark.plugin,perfgate.plugin,fixtures.plugin")
    project.pytester.makeconftest(CONFTEST + SECTIONS)
    project.benchmark(BENCHMARK)

    def run(*arguments: str, how: str = "") -> pytest.RunResult:
        (project.path / "how.txt").write_text(how)
        given = ("--no-pins", "--device", "cpu", "--no-html", *arguments)
        return project.pytester.runpytest_inprocess(*given, no_reraise_ctrlc=True)

    return run


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def rows(path: Path) -> Counter[str]:
    """How many answers each row has in an export; the sheet and its key name the same."""
    key = json.loads(path.with_suffix(".key.json").read_text())["answers"]
    assert {line[0] for line in lines(path)[1:]} == set(key)
    return Counter(one["row"] for one in key.values())


def fill(path: Path, **score: int) -> None:
    """Give every answer its row's score, as a spreadsheet saves it."""
    key = json.loads(path.with_suffix(".key.json").read_text())["answers"]
    header, *filled = lines(path)
    for line in filled:
        line[3] = str(score[key[line[0]]["attention"]])
    with path.open("w", encoding="cp1252", errors="replace", newline="") as file:
        csv.writer(file, delimiter=";").writerows([header, *filled])


def test_answers_of_every_row_go_out(run: Run, project: Project) -> None:
    found = run("--export-scoring", "answers.csv", "--scoring-tokens", "3")
    found.assert_outcomes(passed=3)
    sheet = project.path / "answers.csv"
    assert rows(sheet) == {"fp32 + eager": 20, "fp32 + fa1": 20, "fp32 + fa2": 20}
    assert {line[2] for line in lines(sheet)[1:]} == {f"{chr(65 + at)}BC" for at in range(20)}
    output = found.stdout.str()
    assert "scoring: every row also answers with 3 tokens, unmeasured" in output
    assert "scoring: 60 answers of 3 rows are in answers.csv, in random order; which row gave which is in" in output
    assert "then `pytest perf --import-scoring answers.csv`" in output
    assert "python -m perfgate report --from perf-report/results.json --import-scoring answers.csv`" in output
    key = json.loads((project.path / "answers.key.json").read_text())
    assert (key["model"], key["prompts"], key["device"], key["new_tokens"]) == ("smollm2-135m", "en", "cpu", 3)


def test_an_answer_ends_where_the_model_ended_it(run: Run, project: Project) -> None:
    run("--export-scoring", "answers.csv")
    assert {line[2] for line in lines(project.path / "answers.csv")[1:]} == {f"{chr(65 + at)}BC" for at in range(20)}


def test_ctrl_c_keeps_the_answers_so_far(run: Run, project: Project) -> None:
    found = run("--export-scoring", "answers.csv", how="interrupted")
    assert found.ret == INTERRUPTED
    assert rows(project.path / "answers.csv") == {"fp32 + eager": 20, "fp32 + fa1": 2}
    assert "scoring: 22 answers of 2 rows are in answers.csv" in found.stdout.str()


@pytest.mark.parametrize("how", ["fa2 fails", "fa2 breaks off"])
def test_a_row_that_failed_is_left_out_and_told(run: Run, project: Project, how: str) -> None:
    found = run("--export-scoring", "answers.csv", how=how)
    found.assert_outcomes(passed=2, failed=1)
    assert rows(project.path / "answers.csv") == {"fp32 + eager": 20, "fp32 + fa1": 20}
    assert "scoring: left out: fp32 + fa2 (failed)" in found.stdout.str()


def test_a_row_that_this_machine_lacks_is_no_news(run: Run, project: Project) -> None:
    found = run("--export-scoring", "answers.csv", how="fa2 is not here")
    assert "40 answers of 2 rows" in found.stdout.str()
    assert "left out" not in found.stdout.str()


@pytest.mark.parametrize("name", ["answers.csv", "answers.key.json"])
def test_a_file_that_is_there_stays(run: Run, project: Project, name: str) -> None:
    (project.path / name).write_text("mine")
    found = run("--export-scoring", "answers.csv")
    assert found.ret == USAGE_ERROR
    assert f"{name} is there already and may hold somebody's scores; move it away" in found.stderr.str()
    assert (project.path / name).read_text() == "mine"
    assert not (project.path / "perf-report").exists(), "refused before anything ran"


def test_a_file_made_while_measuring_stays_too(run: Run, project: Project) -> None:
    found = run("--export-scoring", "answers.csv", how="taken")
    assert (project.path / "answers.csv").read_text() == "mine"
    assert sum(rows(project.path / "answers-2.csv").values()) == 60
    assert "60 answers of 3 rows are in answers-2.csv" in found.stdout.str()


def test_answers_that_cannot_be_written_fail_the_session(run: Run, project: Project) -> None:
    (project.path / "sub").mkdir()
    found = run("--export-scoring", "sub/answers.csv", how="no folder")
    assert found.ret == TESTS_FAILED
    assert "scoring: the answers are lost, " in found.stdout.str()
    found.assert_outcomes(passed=3)


def test_nothing_to_score_is_said(run: Run, project: Project) -> None:
    found = run("--export-scoring", "answers.csv", "-k", "nothing")
    assert "scoring: no row gave an answer: answers.csv was not written" in found.stdout.str()
    assert not (project.path / "answers.csv").exists()
    assert "no row gave" not in run("--export-scoring", "answers.csv", "--collect-only").stdout.str()


def test_only_the_users_own_process_writes(run: Run, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh processes and workers have the same command line; the files may be there already by then."""
    (project.path / "answers.csv").write_text("mine")
    monkeypatch.setenv("PERFGATE_ONLY", '["generation/fp32-eager-smollm2-135m-en"]')
    monkeypatch.setattr("perfgate.lockstep.fresh_process.die_with_parent", lambda: None)
    found = run("--export-scoring", "answers.csv", "--import-scoring", "not there.csv")
    found.assert_outcomes(passed=1, deselected=2)
    assert "scoring" not in found.stdout.str()
    assert (project.path / "answers.csv").read_text() == "mine"


def test_scores_go_into_the_report_of_some_rows(run: Run, project: Project) -> None:
    run("--export-scoring", "answers.csv")
    sheet = project.path / "answers.csv"
    fill(sheet, eager=4, fa1=2, fa2=4)
    found = run("--import-scoring", "answers.csv", "-k", "eager or fa1")
    found.assert_outcomes(passed=2, deselected=1)
    metrics = {key: one["metrics"]["human_score"] for key, one in project.records().items()}
    assert {key: one["value"] for key, one in metrics.items()} == {
        "generation/fp32-eager-smollm2-135m-en": 4.0,
        "generation/fp32-fa1-smollm2-135m-en": 2.0,
    }
    assert all(len(one["samples"]) == 20 and one["interval"] == [one["value"]] * 2 for one in metrics.values())
    sections = project.results()["sections"]
    assert sections["human_scores"]["notes"] == ["scored, but not measured in this run: fp32 + fa2"]
    assert [(one["row"], one["wins"]) for one in sections["human_scores"]["rows"]] == [
        ("fp32 + eager", 20),
        ("fp32 + fa2", 20),
        ("fp32 + fa1", 0),
    ]
    assert [one["p_value"] for one in sections["human_wins"]["rows"]] == [1.0, 3 * 2 / 2**20, 3 * 2 / 2**20]
    assert "Human scores" in project.summary()


def test_a_scored_file_with_problems_ends_the_session_before_it_runs(run: Run, project: Project) -> None:
    run("--export-scoring", "answers.csv")
    sheet = project.path / "answers.csv"
    fill(sheet, eager=4, fa1=2, fa2=6)
    found = run("--import-scoring", "answers.csv", "--report-dir", "second")
    assert found.ret == USAGE_ERROR
    assert "ERROR: --import-scoring: " in found.stderr.str()
    assert "): score '6' is not from 1 to 5" in found.stderr.str() or ": score '6' is not" in found.stderr.str()
    assert not (project.path / "second").exists()


def test_scores_of_another_models_answers_are_refused_at_once(run: Run, project: Project) -> None:
    run("--export-scoring", "answers.csv")
    fill(project.path / "answers.csv", eager=4, fa1=2, fa2=5)
    found = run("--import-scoring", "answers.csv", "--prompts", "ja")
    assert found.ret == USAGE_ERROR
    said = "answers.csv scores answers of model smollm2-135m and prompts en on cpu; this run has model smollm2-135m and"
    assert said in found.stderr.str()


def test_a_report_is_scored_without_measuring(run: Run, project: Project) -> None:
    run("--export-scoring", "answers.csv", "--prompts", "ja")
    fill(project.path / "answers.csv", eager=4, fa1=2, fa2=5)
    found = run("--report-from", "perf-report/results.json", "--import-scoring", "answers.csv", "--report-dir", "new")
    assert found.ret == 0
    records = project.results("new")["records"]
    assert [one["metrics"]["human_score"]["value"] for one in records] == [4.0, 2.0, 5.0]


Parse = Callable[..., ScoringSettings]


@pytest.fixture
def parse(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Make settings from option values, in this process."""

    def parse(**values: object) -> ScoringSettings:
        for name, value in values.items():
            monkeypatch.setattr(pytestconfig.option, name, value)
        return options.from_config(pytestconfig).scoring

    return parse


def test_answers_are_longer_on_an_accelerator(parse: Parse, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    from perfgate.plugin.session import CONTEXT

    here = pytestconfig.stash[CONTEXT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pytestconfig.stash, CONTEXT, replace(here, device="cpu"))
        assert parse(export_scoring=str(tmp_path / "a.csv")) == ScoringSettings(tmp_path / "a.csv", 64)
        patch.setitem(pytestconfig.stash, CONTEXT, replace(here, device="cuda:1"))
        assert parse().new_tokens == 256
        assert parse(scoring_tokens=9).new_tokens == 9
    assert parse(export_scoring=None, scoring_tokens=None) == NO_SCORING or here.device != "cpu"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scoring_tokens": 0}, "--scoring-tokens: got 0, expected a whole number of at least 1"),
        ({"export_scoring": "answers.xlsx"}, "--export-scoring: got "),
        ({"export_scoring": "pyproject.toml/a.csv"}, "--export-scoring: "),
        (
            {"export_scoring": "a.csv", "perfgate_refresh_baseline": True},
            "--export-scoring and --refresh-baseline exclude",
        ),
        ({"export_scoring": "a.csv", "perfgate_versus": "HEAD"}, "--export-scoring and --versus exclude each other"),
        ({"import_scoring": "a.csv", "benchmark_disable": True}, "--import-scoring and --benchmark-disable exclude"),
        ({"import_scoring": "not there.csv"}, "--import-scoring: "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_value_is_refused(parse: Parse, values: dict[str, object], message: str) -> None:
    with pytest.raises(pytest.UsageError) as caught:
        parse(**values)
    assert str(caught.value).startswith(message)


def test_an_answer_is_read_up_to_its_end(tiny: Any) -> None:
    loaded = tiny.loaded()
    ends = end_token_ids(loaded, tiny.checkpoint.generation_settings())
    assert ends == {1}  # the tokenizer's <|end|> and the config's, which are the same
    ids = loaded.tokenizer("Hi <b>")["input_ids"]
    assert answer(loaded.tokenizer, [*ids, 1, *ids], ends) == "Hi <b>"
    assert answer(loaded.tokenizer, [2, *ids], ends) == "Hi <b>", "special tokens are no words"
    assert answer(loaded.tokenizer, [1, *ids], ends) == ""


def test_every_token_that_ends_an_answer_is_known(tmp_path: Path) -> None:
    """Chat models have several; some name them only beside their weights."""
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 8]}')
    loaded: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(eos_token_id=5), model=SimpleNamespace(config=SimpleNamespace(eos_token_id=[5, 6]))
    )
    assert end_token_ids(loaded, Folder(tmp_path).generation_settings()) == {5, 6, 7, 8}
    loaded.tokenizer.eos_token_id = loaded.model.config.eos_token_id = None
    assert end_token_ids(loaded, Folder(tmp_path / "elsewhere").generation_settings()) == frozenset()


@pytest.mark.slow
def test_the_experiment_itself_goes_out_and_comes_back_scored(tiny: Any, tmp_path: Path) -> None:
    prompts = ("=1+1", "<b>Why?</b>\u202e", "Name three birds that cannot fly. 🐧")
    (tmp_path / "inputs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in prompts))
    sheet, report = tmp_path / "answers.csv", tmp_path / "report"

    def run(*arguments: str) -> str:
        command = [
            *(sys.executable, "-m", "pytest", "perf/test_generation.py::test_generation", "--device", "cpu"),
            *("--model", str(tiny.folder), "--prompts", str(tmp_path / "inputs.jsonl"), "--new-tokens", "3"),
            *("--report-dir", str(report), "--no-html", "-p", "no:cacheprovider", "--quantization", "fp32"),
            *arguments,
        ]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ.copy(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def records() -> dict[str, dict[str, Any]]:
        stored = json.loads((report / "results.json").read_text())["records"]
        return {one["case"]["fields"]["attention"]: one["metrics"] for one in stored}

    run("--attention", "eager,fa2", "--batch-size", "2", "--export-scoring", str(sheet), "--scoring-tokens", "7")
    assert rows(sheet) == {"fp32 + eager": 3, "fp32 + fa2": 3}
    assert {line[1] for line in lines(sheet)[1:]} == {"'=1+1", "<b>Why?</b><U+202E>", prompts[2]}
    by_prompt = {line[1]: line[2] for line in lines(sheet)[1:]}
    assert all(len(text) > 3 for text in by_prompt.values()), "longer than what is measured"
    assert "human_score" not in records()["eager"]
    assert records()["eager"]["exact_match_tokens"]["value"] == 3, "what is measured has its own length"
    fill(sheet, eager=4, fa2=3)
    output = run("--attention", "eager", "--batch-size", "2", "--import-scoring", str(sheet))
    assert records()["eager"]["human_score"]["value"] == 4.0
    assert "human score" in output
    assert "scored, but not measured in this run: fp32 + fa2" in output
