"""Answers on their way to a person and back: hostile texts, spreadsheets' habits, and the numbers made of scores."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import experiment
import pytest
import scoring_report
from hypothesis import given
from hypothesis import strategies as st
from perfgate.record import Metric, Record
from scipy import stats

from fixtures.limits import Limits
from fixtures.scores import Origin, RowName, Scores
from fixtures.scoring import CELL_CHARACTERS, FORMULA_STARTS, Answer, ScoringError, cell, key_path, load, write

ORIGIN = Origin("tiny", "en", "cpu")
EAGER, FLASH, FOUR = RowName("fp32", "eager"), RowName("fp32", "fa2"), RowName("nf4", "fa2")

HOSTILE = {
    "formula": "=cmd|' /C calc'!A0",
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "html": "<script>alert('x')</script>&amp;",
    "controls": "\x00\x07\x1b[31mred\x1b[0m\x08",
    "right to left": "\u202eevil\u202c \u0645\u0631\u062d\u0628\u0627",
    "emoji": "👨‍👩‍👧 🏳️‍🌈 👍🏽",
    "line ends": 'one\r\ntwo\rthree\u2028four\n\n"five", six; seven\teight',
    "quotes": '"""; "", ,;\t""',
    "long word": "a" * 50_000,
    "blank": "",
    "number": "12e34567",
}


def make(path: Path, rows: Sequence[RowName] = (EAGER, FLASH), prompts: Sequence[str] = ("Why?", "How?")) -> Path:
    write(path, [Answer(row, at, text, f"{row}: {text}") for row in rows for at, text in enumerate(prompts)], ORIGIN, 9)
    return path


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def key(path: Path) -> dict[str, dict[str, object]]:
    return json.loads(key_path(path).read_text(encoding="utf-8"))["answers"]


def save(path: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8", **format: str) -> None:
    sheet = io.StringIO()
    csv.writer(sheet, **format).writerows(rows)  # type: ignore[arg-type]  # a delimiter
    path.write_bytes(sheet.getvalue().encode(encoding, errors="replace"))


def fill(path: Path, score: Callable[[RowName, int], float]) -> list[list[str]]:
    """The sheet as a person fills it in."""
    answers = key(path)
    header, *lines = table(path)
    for line in lines:
        answer = answers[line[0]]
        line[3] = f"{score(RowName(str(answer['scheme']), str(answer['attention'])), int(str(answer['prompt']))):g}"
    return [header, *lines]


def by_place(row: RowName, position: int) -> float:
    return 1.5 + position if row == EAGER else 3.0


SCORED = {EAGER: {0: 1.5, 1: 2.5}, FLASH: {0: 3.0, 1: 3.0}}


def test_a_filled_in_export_comes_back(tmp_path: Path) -> None:
    path = make(tmp_path / "answers.csv")
    save(path, fill(path, by_place))
    found = load(path)
    assert (found.origin, found.new_tokens, found.points) == (ORIGIN, 9, SCORED)


def test_the_sheet_is_blind_and_shuffled(tmp_path: Path) -> None:
    rows, prompts = [RowName("fp32", f"attention{n}") for n in range(6)], [f"prompt {n}" for n in range(6)]
    answers = [Answer(row, at, text, "the same") for row in rows for at, text in enumerate(prompts)]
    orders = []
    for number in range(2):
        path = tmp_path / f"{number}.csv"
        write(path, answers, ORIGIN, 9)
        header, *lines = table(path)
        assert header == ["id", "prompt", "answer", "score"]
        assert "attention" not in path.read_text(encoding="utf-8")
        asked = [line[1] for line in lines]
        assert [asked[at : at + 6] for at in range(0, 36, 6)] == [[one] * 6 for one in asked[::6]], "by prompt"
        places = key(path)
        orders.append([(places[line[0]]["row"], line[1]) for line in lines])
        assert Counter(orders[-1]) == Counter((str(row), text) for row in rows for text in prompts)
    assert orders[0] != orders[1]
    assert [[text for _, text in order][::6] for order in orders] != [prompts, prompts], "the prompts are shuffled too"
    assert [row for row, _ in orders[0][:6]] != [row for row, _ in orders[0][6:12]], (
        "the rows in another order each time"
    )


def test_an_id_is_no_number_and_no_date(tmp_path: Path) -> None:
    """Spreadsheets make 1.2E+34567 of 12e34567 and December of dec2020."""
    path = make(tmp_path / "a.csv", prompts=[f"prompt {n}" for n in range(200)])
    ids = [line[0] for line in table(path)[1:]]
    assert all(one[0] == "x" and len(one) == 9 and int(one[1:], 16) >= 0 for one in ids)
    assert len(set(ids)) == 400


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_neither_run_nor_break_the_sheet(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    write(path, [Answer(EAGER, 0, text, text), Answer(FLASH, 0, text, text)], Origin(text, text, "cpu"), 9)
    _, *lines = table(path)
    assert [len(line) for line in lines] == [4, 4]
    for line in lines:
        for shown in line[1:3]:
            assert not shown.startswith(FORMULA_STARTS)
            assert len(shown) < 32_767, "what Excel holds in a cell"
            assert not any(one in shown for one in "\x00\x07\x08\x1b\r\u2028\u202e")
    save(path, fill(path, lambda row, position: 4.0))
    assert load(path).points == {EAGER: {0: 4.0}, FLASH: {0: 4.0}}


@given(st.lists(st.text(), min_size=1, max_size=4), st.sampled_from(",;\t"), st.sampled_from(["utf-8-sig", "utf-16"]))
def test_any_text_goes_out_and_its_scores_come_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    write(path, [Answer(EAGER, at, text, text[::-1]) for at, text in enumerate(texts)], ORIGIN, 9)
    shown = {line[0]: line[1] for line in table(path)[1:]}
    assert {one["prompt"]: shown[id_] for id_, one in key(path).items()} == dict(enumerate(map(cell, texts)))
    save(path, fill(path, lambda row, position: 1 + position), encoding, delimiter=delimiter)
    assert load(path).points == {EAGER: {at: 1.0 + at for at in range(len(texts))}}


@given(st.text())
def test_a_cell_shows_what_is_there(text: str) -> None:
    shown = cell(text)
    assert not shown.startswith(FORMULA_STARTS)
    if text.isascii() and text.isprintable():
        assert shown in (text, f"'{text}")


def test_what_no_cell_holds_is_cut_and_counted() -> None:
    shown = cell("b" * (CELL_CHARACTERS + 1_234))
    assert shown.endswith("bbb ... (1,234 characters more)")


def test_lines_of_an_answer_stay() -> None:
    assert cell("def f():\r\n\treturn 1\n") == "def f():\n\treturn 1\n"


@pytest.mark.parametrize(
    ("encoding", "delimiter", "comma"),
    [
        ("utf-8-sig", ",", False),  # Google Sheets, LibreOffice
        ("utf-8", ";", True),  # LibreOffice with a German locale
        ("cp1252", ";", True),  # Excel, "CSV (MS-DOS)" and "CSV" in Europe
        ("cp1252", ",", False),
        ("utf-16", "\t", True),  # Excel, "Unicode text"
        ("utf-16", ",", True),  # a decimal comma in quotes
    ],
)
def test_what_spreadsheets_save_is_read(tmp_path: Path, encoding: str, delimiter: str, comma: bool) -> None:
    path = make(tmp_path / "a.csv", prompts=("Übung – “quoted”\nüber zwei Zeilen", "日本語; und, mehr"))
    _, *lines = fill(path, by_place)
    lines = [[one, "", *rest, "a remark"] for one, *rest in reversed(lines)]  # sorted anew, two columns added
    if comma:
        lines = [[one.replace(".", ",") if at == 4 else one for at, one in enumerate(line)] for line in lines]
    blank = [[""] * 6, []]
    sheet = [*blank, [" ID ", "mine", "Prompt", "ANSWER", "Score", "remarks"], *blank, *lines, *blank]
    save(path, sheet, encoding, delimiter=delimiter)
    assert load(path).points == SCORED


def problems(path: Path) -> list[str]:
    with pytest.raises(ScoringError) as caught:
        load(path)
    return str(caught.value).splitlines()


def test_every_problem_is_told_with_its_line(tmp_path: Path) -> None:
    path = make(tmp_path / "a.csv", prompts=[f"prompt {n}\nof two lines" for n in range(4)])
    header, *lines = fill(path, lambda row, position: 3)
    ids = [line[0] for line in lines]
    for line, score in zip(lines, ("", "good", "0.9", "5,5", "nan", "3", "3", "3"), strict=True):
        line[3] = score
    lines[5] = [*lines[4][:3], "3"]  # its own id is gone, another is there twice
    lines[6][0] = "x\x1b[31mwhat"
    lines[7] += ["", "5"]
    save(path, [header, *lines, ["", "prompt", "answer", "3"]])
    found = problems(path)
    assert found[0] == f"{path}: every answer needs one score, a number from 1 to 5; please correct:"
    assert found[1:] == [
        "  line 2: the score is empty",
        "  line 5 (row 3 of the sheet): score 'good' is no number",
        "  line 8 (row 4 of the sheet): score '0.9' is not from 1 to 5",
        "  line 11 (row 5 of the sheet): score '5,5' is not from 1 to 5",
        "  line 14 (row 6 of the sheet): score 'nan' is no number",
        f"  line 17 (row 7 of the sheet): id {ids[4]} for the second time, first on line 14 (row 6 of the sheet)",
        "  line 20 (row 8 of the sheet): unknown id 'x<U+001B>[31mwhat'",
        "  line 23 (row 9 of the sheet): more cells than columns; a decimal comma needs a point instead, or quotes",
        "  line 26 (row 10 of the sheet): no id",
        *(f"  id {one} is missing: its line is gone" for one in key(path) if one in (ids[5], ids[6])),
    ]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    path = make(tmp_path / "a.csv", prompts=[f"prompt {n}" for n in range(15)])
    found = problems(path)
    assert len(found) == 1 + 20 + 1
    assert found[-1] == "  and 10 more"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no header with one column id and one column score"),
        (b"id,score,score\nx1,2,3\n", "no header with one column id and one column score"),
        (b"PK\x03\x04 a spreadsheet of its own\xff", "save the sheet as CSV, with the header"),
        (b"\xff\xfe\x00", "no header"),
        (b"id,score\n" + b"x" * 200_000 + b",3\n", "line 2: field larger than field limit"),
        (b'id,score\n"x1,3\n', "unknown id"),
    ],
    ids=["empty", "two scores", "xlsx", "half a character", "endless cell", "open quote"],
)
def test_what_is_no_sheet_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = make(tmp_path / "a.csv")
    path.write_bytes(content)
    assert said in "\n".join(problems(path))


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.csv")
    path.unlink()
    assert problems(path) == [f"{path}: cannot be read: No such file or directory"]
    renamed = make(tmp_path / "b.csv").rename(tmp_path / "filled.csv")
    assert f"its key, {tmp_path / 'filled.key.json'}, is not there" in problems(renamed)[0]


ANSWER = {"scheme": "fp32", "attention": "fa2", "prompt": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema: got 2, this version reads 1"),
        ({"scale": [1, 10]}, "scale: got [1, 10], expected [1.0, 5.0]"),
        ({"answers": {}}, "answers: got none"),
        ({"answers": {"x1": {"scheme": "fp32", "attention": "fa2"}}}, "field 'prompt' is missing"),
        ({"answers": {"x1": ANSWER, "x2": ANSWER}}, "answers: one row answers an input twice"),
        ({"model": 7}, "model: got 7, expected text"),
        ({"new_tokens": "9"}, "new_tokens: got '9', expected a finite number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_damaged_key_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = make(tmp_path / "a.csv")
    stored = json.loads(key_path(path).read_text())
    key_path(path).write_text(json.dumps(stored | change))
    assert f"{key_path(path)}: not a key that --export-scoring wrote: {said}" in problems(path)[0]
    key_path(path).write_text("{")
    assert "not a key" in problems(path)[0]


def test_excel_sees_utf_8(tmp_path: Path) -> None:
    assert make(tmp_path / "a.csv").read_bytes().startswith(codecs.BOM_UTF8 + b'"id","prompt"')


def scores(*rows: tuple[RowName, dict[int, float]]) -> Scores:
    return Scores(ORIGIN, 64, "2026-01-01T12:00:00+0000", dict(rows))


def test_a_rows_mean_has_students_interval() -> None:
    [row] = scores((EAGER, {0: 2.0, 1: 3.0, 2: 4.0})).rows()
    assert (row.scores, row.mean) == ((2.0, 3.0, 4.0), 3.0)
    # by hand: 3 -/+ 1 * t(0.975, 2) / sqrt(3), which is 4.3027 / 1.7321 = 2.4841: beyond both ends of the scale
    assert row.interval == pytest.approx((1.0, 5.0))
    [row] = scores((EAGER, {0: 3.0, 1: 3.5, 2: 3.0, 3: 3.5})).rows()
    assert row.interval == pytest.approx((3.25 - 3.1824 * 0.288675 / 2, 3.25 + 3.1824 * 0.288675 / 2), abs=1e-4)
    expected = stats.ttest_1samp(row.scores, 0).confidence_interval(0.95)
    assert row.interval == pytest.approx((expected.low, expected.high))


def test_one_answer_has_no_interval_and_equal_ones_a_point() -> None:
    one, same = scores((EAGER, {4: 2.0}), (FLASH, {0: 5.0, 1: 5.0})).rows()[::-1]
    assert (one.interval, same.interval) == (None, (5.0, 5.0))


def test_equal_rows_are_in_one_order() -> None:
    """The key is shuffled; a report is not."""
    rows = [(FOUR, {0: 3.0}), (FLASH, {0: 3.0}), (EAGER, {0: 3.0})]
    assert [row.name for row in scores(*rows).rows()] == [EAGER, FLASH, FOUR]


def test_wins_are_counted_input_by_input() -> None:
    first = dict.fromkeys(range(8), 4.0)
    second = dict.fromkeys(range(6), 3.0) | {6: 4.0, 7: 5.0, 99: 1.0}  # the first has no answer to 99
    found = scores((FLASH, second), (EAGER, first), (FOUR, {50: 1.0})).pairs()
    assert len(found) == 1, "FOUR has no input in common with the others"
    [pair] = found
    assert (pair.first, pair.second) == (EAGER, FLASH), "the better mean first"
    assert (pair.wins, pair.ties, pair.losses) == (6, 1, 1)
    assert pair.difference == pytest.approx(5 / 8)
    assert pair.p_value == pytest.approx(2 * (1 + 7) / 2**7)  # by hand: at most 1 of 7 coins, on either side


def test_chances_are_corrected_for_the_number_of_pairs() -> None:
    best, middle, worst = (dict.fromkeys(range(6), score) for score in (5.0, 3.0, 3.0))
    found = scores((EAGER, best), (FLASH, middle), (FOUR, worst)).pairs()
    each = 2 / 2**6
    assert [pair.p_value for pair in found] == pytest.approx([3 * each, 3 * each, 1.0])  # Holm: 3p, then max(3p, 2p)
    assert (found[2].wins, found[2].ties, found[2].losses) == (0, 6, 0)


def record(row: RowName, status: str = "measured", **fields: str) -> Record:
    about = {"scheme": row.scheme, "attention": row.attention, "model": "tiny", "prompts": "en", "device": "cpu"}
    about |= {"new_tokens": 8, "batch_size": 1} | fields  # type: ignore[assignment, operator]  # as a case has them
    found = Record("generation", 1, about, f"generation/{row.scheme}-{row.attention}", status=status)  # type: ignore[arg-type]
    found.metrics = {
        "latency_s": Metric("sampled", "s", "lower", 0.75, samples=(0.5, 1.0)),
        "throughput_tokens_per_s": Metric("sampled", "tokens/s", "higher", 10.0),
        "peak_memory_bytes": Metric("exact", "bytes", "lower", 2**20),
        "top1_agreement": Metric("bounded", "fraction", "higher", 1.0),
    }
    return found


GIVEN = scores((EAGER, {0: 4.0, 1: 5.0}), (FLASH, {0: 3.0, 1: 5.0}), (FOUR, {0: 1.0, 1: 2.0}))


def test_scores_go_into_records_table_and_recommendation() -> None:
    records = [record(EAGER), record(FLASH), record(FOUR, "failed"), Record("linear", 1, {}, "linear/x")]
    human, wins = scoring_report.sections(GIVEN, records)
    metric = records[0].metrics["human_score"]
    assert (metric.kind, metric.unit, metric.better, metric.value) == ("bounded", "points", "higher", 4.5)
    assert metric.samples == (4.0, 5.0)
    assert Record.from_json(json.loads(json.dumps(records[0].to_json()))).metrics["human_score"] == metric
    assert ["human_score" in one.metrics for one in records[2:]] == [False, False]
    cells = [(one["row"], one["mean"], one["wins"], one["ties"], one["losses"]) for one in human.table.rows]
    assert cells == [("fp32 + eager", 4.5, 3, 1, 0), ("fp32 + fa2", 4.0, 2, 1, 1), ("nf4 + fa2", 1.5, 0, 0, 4)]
    assert human.notes == ["scored, but not measured in this run: nf4 + fa2"]
    assert wins.table.rows[0] == {
        "first": "fp32 + eager",
        "second": "fp32 + fa2",
        "wins": 1,
        "ties": 1,
        "losses": 0,
        "difference": 0.5,
        "p_value": 1.0,
    }
    assert "64 tokens of model tiny and prompts en on cpu" in human.paragraphs[0]
    recommendation, table, *_ = experiment.sections(records, Limits(quality=0.8))
    assert recommendation.data["quality_metric"] == "human_score"
    assert recommendation.data["best"] == records[0].key
    assert [one["human_score"] for one in table.table.rows] == [4.5, 4.0]


@pytest.mark.parametrize("field", ["model", "prompts", "device"])
def test_scores_of_other_answers_are_not_used(field: str) -> None:
    other = record(EAGER, **{field: "other"})
    human, _ = scoring_report.sections(GIVEN, [other, record(FLASH)])
    assert "human_score" not in other.metrics
    assert human.notes[0].startswith(
        "fp32 + eager: not scored: the scores are for model tiny and prompts en on cpu, this row is of "
    )


def test_an_earlier_import_is_replaced() -> None:
    records = [record(EAGER), record(FLASH)]
    scoring_report.sections(GIVEN, records)
    human, *none = scoring_report.sections(scores((EAGER, {0: 1.0})), records)
    assert records[0].value("human_score") == 1.0
    assert records[1].value("human_score") is None
    assert human.notes == ["fp32 + fa2: not scored: no answer of it is in the file"]
    assert (none, human.table.rows[0]["low"]) == ([], None)


def test_without_an_import_nothing_changes() -> None:
    records = [record(EAGER)]
    assert scoring_report.sections(None, records) == []
    assert "human_score" not in records[0].metrics
