"""Sections on a terminal: in full, in short, and where it is narrow."""

from __future__ import annotations

import pytest
from perfgate.report import PARTS, Column, Section, Table, terminal

WIDE = Table(
    [Column("row", "row"), *(Column(f"c{n}", f"column {n}") for n in range(8))],
    [{"row": name} | {f"c{n}": f"{name}{n}" * 3 for n in range(8)} for name in ("first", "second")],
)


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
