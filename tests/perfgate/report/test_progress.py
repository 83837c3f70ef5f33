"""Sections as terminal text, Markdown and JSON, and the lines of progress."""

import json
from html.parser import HTMLParser

import pytest
from perfgate.plugin import progress
from perfgate.records.record import Metric, Record
from perfgate.report import (
    PARTS,
    Column,
    Section,
    Table,
    decimals,
    duration,
    latency,
    long_table,
    markdown,
    mebibytes,
    milliseconds,
    percent,
    seconds,
    terminal,
)

WIDE = Table(
    [Column("row", "row"), *(Column(f"c{n}", f"column {n}") for n in range(8))],
    [{"row": name} | {f"c{n}": f"{name}{n}" * 3 for n in range(8)} for name in ("first", "second")],
)


class TestTables:
    def test_a_missing_value_is_a_dash_and_a_zero_is_not(self) -> None:
        column = Column("bytes", "MiB", mebibytes)
        assert [column.text({}), column.text({"bytes": None}), column.text({"bytes": 0})] == ["-", "-", "0.0"]

    @pytest.mark.parametrize(
        ("render", "value", "text"),
        [
            (mebibytes, 1.5 * 2**20, "1.5"),
            (milliseconds, 1.2345, "1,234.5"),
            (seconds, 1234.567, "1,234.57"),
            (decimals(3), 0.12345, "0.123"),
            (percent, 0.1234, "12.3%"),
            (duration, 59.4, "59 s"),
            (duration, 59.6, "1 min 0 s"),
            (duration, 200, "3 min 20 s"),
        ],
    )
    def test_units_for_people(self, render, value: float, text: str) -> None:
        assert render(value) == text

    def test_json_keeps_raw_values_and_the_data_beside_them(self) -> None:
        table = Table([Column("bytes", "MiB", mebibytes)], [{"bytes": 2**20}])
        section = Section("name", "Title", ["text"], table, ["note"], {"slope": 2.5}, lead=["first"])
        found = json.loads(json.dumps(section.to_json()))
        columns = found.pop("columns")
        assert found == {
            "title": "Title",
            "lead": ["first"],
            "paragraphs": ["text"],
            "changes": [],
            "notes": ["note"],
            "rows": [{"bytes": 1048576}],
            "folded": False,
            "slope": 2.5,
        }
        assert columns[0]["title"] == "MiB"
        assert columns[0]["format"] == {"kind": "fixed", "scale": 2**-20, "digits": 1, "suffix": ""}


class TestTerminal:
    def test_a_table_that_fits_stays_whole(self) -> None:
        text = terminal.render([Section("wide", "Wide", table=WIDE)], 200)
        assert text.count("column 7") == 1
        assert sum(line.lstrip().startswith("row") for line in text.splitlines()) == 1

    @pytest.mark.parametrize("width", [40, 60, 100])
    def test_a_wider_one_is_cut_into_parts_that_repeat_the_first_column(self, width: int) -> None:
        text = terminal.render([Section("wide", "Wide", table=WIDE)], width)
        lines = text.splitlines()
        parts = sum(line.lstrip().startswith("row") for line in lines)
        assert parts > 1
        assert max(map(len, lines)) <= width
        for name in ("first", "second"):
            assert sum(line.lstrip().startswith(name) for line in lines) == parts
            for n in range(8):
                assert text.count(f"{name}{n}" * 3) == 1

    def test_narrower_terminals_get_more_parts(self) -> None:
        parts = [terminal.render([Section("w", "W", table=WIDE)], width).count("row") for width in (40, 70, 200)]
        assert parts == sorted(parts, reverse=True)
        assert parts[0] > parts[1] > parts[2] == 1

    def test_a_terminal_too_narrow_for_two_columns_still_shows_every_value(self) -> None:
        table = Table([Column("a", "a"), Column("b", "b")], [{"a": "x" * 30, "b": "12345"}])
        assert "12345" in terminal.render([Section("n", "N", table=table)], 20)

    def test_a_table_of_one_column(self) -> None:
        table = Table([Column("a", "only")], [{"a": "value"}])
        text = terminal.render([Section("n", "N", table=table)], 40)
        assert "only" in text
        assert "value" in text

    def test_everything_in_its_order_and_nothing_taken_for_mark_up(self) -> None:
        table = Table([Column("a", "[b]header[/b]")], [{"a": "[red]cell"}])
        section = Section("s", "[u]Title", ["a [bold]paragraph"], table, ["a :smile: note"])
        text = terminal.render([section], 80)
        wanted = ["[u]Title", "a [bold]paragraph", "[b]header[/b]", "[red]cell", "- a :smile: note"]
        places = [text.index(part) for part in wanted]
        assert places == sorted(places)


def short(section: Section, width: int = 200, *, on_terminal: bool = True) -> str:
    return terminal.render([section], width, verbose=False, on_terminal=on_terminal)


class TestTerminalInShort:
    TABLE = Table(WIDE.columns, WIDE.rows, ("c0", "c5"))

    @pytest.mark.parametrize(
        ("part", "text"), [("paragraphs", "a paragraph"), ("table", "column 0"), ("notes", "a note")]
    )
    def test_a_detail_is_left_out_and_everything_else_stays(self, part: str, text: str) -> None:
        found = short(Section("s", "Title", ["a paragraph"], WIDE, ["a note"], lead=["a lead"], detail=(part,)))
        for one in ("Title", "a lead", "a paragraph", "column 0", "a note"):
            assert (one in found) is (one != text)

    def test_a_section_of_details_alone_is_named_at_the_end(self) -> None:
        found = short(Section("s", "Title", ["a paragraph"], WIDE, ["a note"], detail=PARTS))
        assert found.splitlines()[-1].endswith("Title.")
        assert "a paragraph" not in found

    def test_a_lead_and_what_changed_are_never_left_out(self) -> None:
        found = short(Section("s", "Title", table=WIDE, lead=["a lead"], changes=["it failed"], detail=PARTS))
        assert "a lead" in found
        assert "- it failed" in found

    def test_the_first_section_comes_last(self) -> None:
        sections = [Section("a", "First", ["one"]), Section("b", "Second", ["two"])]
        found = terminal.render(sections, 80, verbose=False)
        assert found.index("Second") < found.index("First")

    @pytest.mark.parametrize(
        ("width", "kept"), [(200, "01234567"), (160, "123467"), (140, "12346"), (100, "123"), (40, "1")]
    )
    def test_columns_go_by_importance_and_then_from_the_right(self, width: int, kept: str) -> None:
        lines = short(Section("s", "S", table=self.TABLE), width).splitlines()
        header = [line for line in lines if line.lstrip().startswith("row")]
        assert len(header) == 1
        assert [n for n in "01234567" if f"column {n}" in header[0]] == list(kept)

    def test_where_there_is_no_terminal_every_column_is_there(self) -> None:
        header = short(Section("s", "S", table=self.TABLE), 40, on_terminal=False).splitlines()[2]
        assert all(f"column {n}" in header for n in range(8))

    def test_json_has_what_the_terminal_needs_and_older_files_have_not(self) -> None:
        section = Section("s", "S", table=self.TABLE, detail=["notes"])
        data = json.loads(json.dumps(section.to_json()))
        again = Section.from_json("s", data)
        assert again.table is not None
        assert (list(again.detail), list(again.table.least_important)) == (["notes"], ["c0", "c5"])
        del data["detail"], data["least_important"]
        older = Section.from_json("s", data)
        assert older.table is not None
        assert (list(older.detail), list(older.table.least_important)) == ([], [])


@pytest.mark.parametrize(("rows", "hidden"), [(10, ()), (11, ("table",))])
def test_a_long_table_of_verdicts_is_a_detail(rows: int, hidden: tuple[str, ...]) -> None:
    assert long_table([{}] * rows) == hidden


class Words(HTMLParser):
    """Collects the tags of a text; there must be none."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


class TestMarkdown:
    def test_a_document(self) -> None:
        table = Table([Column("case", "case"), Column("ms", "ms", milliseconds)], [{"case": "a", "ms": 0.5}])
        assert markdown.render("Report", [Section("s", "Sums", ["Text."], table, ["Note."])]).splitlines() == [
            "# Report",
            "",
            "## Sums",
            "",
            "Text.",
            "",
            "| case | ms |",
            "|---|---:|",
            "| a | 500.0 |",
            "",
            "- Note.",
        ]

    @pytest.mark.parametrize(
        ("text", "escaped"),
        [
            ("a|b", r"a\|b"),
            ("a\nb\r\n\tc", "a b c"),
            ("<script>", "&lt;script&gt;"),
            ("*a* _b_ `c`", r"\*a\* \_b\_ \`c\`"),
            ("[x](y)", r"\[x\](y)"),
            ("a\\|b", r"a\\\|b"),
            ("&lt;", "&amp;lt;"),
        ],
    )
    def test_mark_up_in_any_place_is_escaped(self, text: str, escaped: str) -> None:
        table = Table([Column("a", text), Column("b", "b")], [{"a": text, "b": text}])
        lines = markdown.render("R", [Section("s", text, [text], table, [text])]).splitlines()
        assert lines[2:] == [
            f"## {escaped}",
            "",
            escaped,
            "",
            f"| {escaped} | b |",
            "|---|---:|",
            f"| {escaped} | {escaped} |",
            "",
            f"- {escaped}",
        ]

    def test_no_text_becomes_a_tag(self) -> None:
        words = Words()
        words.feed(markdown.render("R", [Section("s", "T", ["<img src=x onerror=alert(1)>"])]))
        assert words.tags == []


def record(**metrics: float) -> Record:
    made = {name: Metric("exact", "x", "lower", value) for name, value in metrics.items()}
    return Record("sums", 1, {}, "sums/loop", metrics=made)


class TestProgress:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (record(throughput_tokens_per_s=14.25, latency_s=1.0, peak_memory_bytes=2**20), "14.2 tokens/s, peak 1.0"),
            (record(latency_s=0.5), "500 ms"),
            (Record("sums", 1, {}, "k", status="failed", reason="wrong sum"), "failed: wrong sum"),
        ],
    )
    def test_headline(self, given: Record, text: str) -> None:
        assert text in progress.headline(given)

    def test_line_with_the_time_left(self) -> None:
        line = progress.line(record(latency_s=0.5), position=3, total=13, took_s=23.2, left_s=200)
        assert line == "[3/13] sums/loop: 500 ms (23 s; about 3 min 20 s left)"

    @pytest.mark.parametrize(("position", "left_s"), [(13, 200), (3, None), (3, 0.0)])
    def test_line_where_nothing_is_left_or_known(self, position: int, left_s: float | None) -> None:
        line = progress.line(record(latency_s=0.5), position=position, total=13, took_s=23.2, left_s=left_s)
        assert line.endswith("500 ms (23 s)")


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.25 s"), (1.0, "1 s"), (0.00342, "3.42 ms"), (9.9e-7, "990 ns"), (1e-6, "1 us")]
)
def test_a_latency_is_shown_in_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert latency(seconds) == text


def test_a_column_of_words_is_aligned_to_the_left() -> None:
    table = Table([Column("a", "a"), Column("b", "b", words=True), Column("c", "c")], [{"a": "x", "b": "y", "c": 1}])
    assert "|---|---|---:|" in markdown.render("t", [Section("s", "s", table=table)])
