"""Human scoring: what is exported is blind and harmless, whatever a spreadsheet saved is read, and scores add up."""

from __future__ import annotations

import csv
import io
import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import scores, scoring
from fixtures.scoring import Answer, Score, ScoringError

ROWS = (("fp32", "eager"), ("nf4", "fa2"))
HOSTILE = (
    '=HYPERLINK("http://example.org")',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\uff1d1",
    "<script>alert(1)</script>",
    "a\u202eb\x00\x1b[31m",
    "line one\nline two, with a comma; and more\t.",
    'he said "yes"',
    "\U0001f9d1\u200d\U0001f680" * 3,
    "w" * 5000,
    "",
)


def answers(prompts: int = 3) -> list[Answer]:
    return [
        Answer(scheme, attention, f"p{number}", f"prompt {number}", f"{scheme} says {number}")
        for (scheme, attention), number in product(ROWS, range(prompts))
    ]


def exported(folder: Path, given: list[Answer]) -> Path:
    path = folder / "answers.csv"
    scoring.export(path, given, "tiny", "en", 64)
    return path


def table(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def fill(path: Path, points: list[str]) -> list[list[str]]:
    """The table with these points, one for each line."""
    rows = table(path)
    return [rows[0], *([*row[:3], point] for row, point in zip(rows[1:], points, strict=True))]


def save(path: Path, rows: list[list[str]], *, delimiter: str = ",", encoding: str = "utf-8-sig") -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding, errors="replace"))


class TestExport:
    def test_the_table_says_nothing_of_the_rows(self, tmp_path: Path) -> None:
        given = [Answer(scheme, attention, "p", "the prompt", "the answer") for scheme, attention in ROWS]
        path = exported(tmp_path, given)
        assert not any(name in path.read_text(encoding="utf-8") for row in ROWS for name in row)
        assert [row[3] for row in table(path)[1:]] == ["", ""]

    def test_one_prompts_answers_stand_together_and_the_order_is_drawn(self, tmp_path: Path) -> None:
        path = exported(tmp_path, answers(30))
        prompts = [row[1] for row in table(path)[1:]]
        assert prompts[0::2] == prompts[1::2]
        key = json.loads(scoring.key_path(path).read_text())
        first = [key["answers"][row[0]]["scheme"] for row in table(path)[1::2]]
        assert len(set(first)) == 2, "the first answer to a prompt is not always the same row's"
        assert prompts[0::2] != sorted(prompts[0::2])

    @pytest.mark.parametrize("text", HOSTILE)
    def test_no_text_is_a_formula_or_hides_anything(self, tmp_path: Path, text: str) -> None:
        path = exported(tmp_path, [Answer("fp32", "eager", "p", text, text)])
        _, (_, prompt, answer, _) = table(path)
        assert prompt == answer
        assert not prompt.startswith(scoring.FORMULA)
        assert not set("\u202e\x00\x1b") & set(prompt)
        save(path, fill(path, ["3"]))
        assert scoring.read(path).scores == (Score("fp32", "eager", "p", 3.0),)

    def test_what_is_there_is_never_overwritten(self, tmp_path: Path) -> None:
        path = exported(tmp_path, answers())
        with pytest.raises(ScoringError, match="exists and may hold scores"):
            scoring.export(path, answers(), "tiny", "en", 64)
        path.unlink()
        with pytest.raises(ScoringError, match=r"answers\.csv\.key\.json exists"):
            scoring.export(path, answers(), "tiny", "en", 64)

    def test_a_file_that_appears_meanwhile_moves_the_export(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.csv"
        assert scoring.free(path) == path
        scoring.key_path(path).write_text("{}")
        assert scoring.free(path) == tmp_path / "answers-2.csv"

    @given(texts=st.lists(st.text(), min_size=1, max_size=4))
    def test_any_text_makes_a_round_trip(self, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
        given = [Answer("fp32", "eager", str(number), text, text) for number, text in enumerate(texts)]
        path = exported(tmp_path_factory.mktemp("scoring"), given)
        save(path, fill(path, ["5"] * len(texts)))
        assert {one.prompt_id for one in scoring.read(path).scores} == {str(number) for number in range(len(texts))}


class TestImport:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("point", ["2.5", "2,5", " 2.5 "])
    def test_as_spreadsheets_save_it(self, tmp_path: Path, delimiter: str, encoding: str, point: str) -> None:
        path = exported(tmp_path, [*answers(), Answer("fp32", "eager", "u", "caf\u00e9", "\u201cyes\u201d; no")])
        rows = fill(path, [point] * 7)
        save(path, [rows[0], [], *reversed(rows[1:]), ["", "", "", ""]], delimiter=delimiter, encoding=encoding)
        found = scoring.read(path)
        assert len(found.scores) == 7
        assert {one.points for one in found.scores} == {2.5}
        assert (found.model, found.prompts, found.new_tokens) == ("tiny", "en", 64)

    def test_excels_own_first_line_and_further_columns(self, tmp_path: Path) -> None:
        path = exported(tmp_path, answers(1))
        rows = [["Note", *row[::-1]] for row in fill(path, ["1", "5"])]
        rows[0] = ["Note", "Score ", "answer", "prompt", "ID"]
        save(path, rows, delimiter=";", encoding="utf-8")
        path.write_text("sep=;\r\n" + path.read_text())
        assert sorted(one.points for one in scoring.read(path).scores) == [1.0, 5.0]

    def test_every_problem_is_named_by_its_line(self, tmp_path: Path) -> None:
        path = exported(tmp_path, [Answer("a", "b", str(n), "two\nlines", "x") for n in range(7)])
        rows = fill(path, ["3", "", "6", "good", "3", "nan", "3"])
        rows[5][0] = "unknown"
        rows[7] = rows[1]
        save(path, rows)
        with pytest.raises(ScoringError) as caught:
            scoring.read(path)
        said = str(caught.value).splitlines()
        lost = [row[0] for row in table(path)[1:]]
        for text in (
            "line 4: the score of",  # after a title and an answer of two lines
            "is missing; expected 1 to 5",
            "line 6: the score of",
            "is '6'; expected 1 to 5",
            "line 8: the score of",
            "is 'good'",
            "line 10: unknown id 'unknown'",
            "line 12: the score of",
            f"line 14: duplicate id '{lost[0]}': line 2 has it too",
        ):
            assert any(text in line for line in said), text
        assert sum("is missing from the table" in line for line in said) == 2
        assert len(said) == 1 + 8

    def test_many_problems_are_counted(self, tmp_path: Path) -> None:
        path = exported(tmp_path, answers(50))
        with pytest.raises(ScoringError, match=r"and 80 more$"):
            scoring.read(path)

    @pytest.mark.parametrize("content", ["", "\n\n", "a,b\n1,2\n", "\x00\x01", '"unclosed'])
    def test_what_is_no_table(self, tmp_path: Path, content: str) -> None:
        path = exported(tmp_path, answers())
        path.write_text(content)
        with pytest.raises(ScoringError, match="expected the titles id, prompt, answer, score"):
            scoring.read(path)

    def test_a_missing_file_or_key(self, tmp_path: Path) -> None:
        path = exported(tmp_path, answers())
        path.unlink()
        with pytest.raises(ScoringError, match=r"answers\.csv cannot be read: No such file"):
            scoring.read(path)
        scoring.key_path(path).unlink()
        with pytest.raises(ScoringError, match=r"the key .*answers\.csv\.key\.json cannot be read"):
            scoring.read(path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"schema": 9}, "newer version"),
            ({"scale": [1, 10]}, "scale"),
            ({"answers": {"x": {}}}, "damaged"),
            ({"model": 3}, "model"),
        ],
    )
    def test_a_damaged_key(self, tmp_path: Path, change: dict[str, object], said: str) -> None:
        path = exported(tmp_path, answers())
        key = scoring.key_path(path)
        key.write_text(json.dumps(json.loads(key.read_text()) | change))
        with pytest.raises(ScoringError, match=said):
            scoring.read(path)


def scored(row: tuple[str, str], points: list[float]) -> list[Score]:
    return [Score(*row, str(number), one) for number, one in enumerate(points)]


class TestScores:
    def test_means_and_intervals(self) -> None:
        first, second = scores.by_row([*scored(ROWS[0], [2.5, 3.0, 3.5]), *scored(ROWS[1], [4.0, 5.0, 5.0])])
        assert (first.row, first.count, first.mean) == (ROWS[1], 3, pytest.approx(14 / 3))
        assert first.interval is not None
        assert first.interval[1] == 5.0, "no score is above the scale"
        half = 4.30265 * 0.5 / 3**0.5  # t(0.975, 2) * s / sqrt(n)
        assert second.interval == pytest.approx((3 - half, 3 + half), rel=1e-5)

    def test_one_score_has_no_interval_and_equal_ones_a_point(self) -> None:
        assert scores.by_row(scored(ROWS[0], [3.0]))[0].interval is None
        assert scores.by_row(scored(ROWS[0], [3.0, 3.0]))[0].interval == (3.0, 3.0)

    def test_a_duel_counts_the_prompts_that_both_answered(self) -> None:
        (duel,) = scores.duels([*scored(ROWS[0], [5, 5, 5, 3, 2, 5, 5]), *scored(ROWS[1], [1, 1, 1, 3, 4, 1])])
        assert (duel.first, duel.wins, duel.ties, duel.losses) == (ROWS[0], 4, 1, 1)
        assert duel.p_value == pytest.approx(2 * (1 + 5) / 2**5)  # at most one loss in five, both ways

    def test_only_ties_say_nothing(self) -> None:
        (duel,) = scores.duels([*scored(ROWS[0], [3.0]), *scored(ROWS[1], [3.0])])
        assert (duel.ties, duel.p_value) == (1, 1.0)
