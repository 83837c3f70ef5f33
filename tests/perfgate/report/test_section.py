"""Sections and their tables as data: written, read, and refused where a field is wrong."""

from __future__ import annotations

import json

import pytest
from perfgate.records.validate import RecordError
from perfgate.report import Column, Section, Table, latency, long_table, mebibytes

from tests.support import report_sections
from tests.support.report_strategies import through_json


class TestTable:
    def test_a_missing_value_is_a_dash_and_a_zero_is_not(self) -> None:
        column = Column("bytes", "MiB", mebibytes)
        assert [column.text({}), column.text({"bytes": None}), column.text({"bytes": 0})] == ["-", "-", "0.0"]

    @pytest.mark.parametrize(("rows", "hidden"), [(10, ()), (11, ("table",))])
    def test_a_long_table_of_verdicts_is_a_detail(self, rows: int, hidden: tuple[str, ...]) -> None:
        assert long_table([{}] * rows) == hidden


class TestJson:
    @pytest.mark.parametrize("name", ["everything", "hostile", "large"])
    def test_whole_sections(self, name: str) -> None:
        for section in getattr(report_sections, name)():
            stored = through_json(section.to_json())
            again = Section.from_json(section.name, stored)
            assert through_json(again.to_json()) == stored
            assert again.folded == section.folded
            if section.table is not None:
                assert again.table is not None
                rows = [[column.text(row) for column in section.table.columns] for row in section.table.rows]
                assert [[column.text(row) for column in again.table.columns] for row in again.table.rows] == rows

    def test_what_stands_beside_the_rows_stays(self) -> None:
        section = Section("s", "S", data={"best": "a", "front": [1, 2.5, None], "deep": {"x": {"y": True}}})
        assert Section.from_json("s", through_json(section.to_json())).data == section.data

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

    def test_json_has_what_the_terminal_needs_and_older_files_have_not(self) -> None:
        columns = [Column("row", "row"), Column("c0", "column 0"), Column("c5", "column 5")]
        section = Section("s", "S", table=Table(columns, [], ("c0", "c5")), detail=["notes"])
        data = json.loads(json.dumps(section.to_json()))
        again = Section.from_json("s", data)
        assert again.table is not None
        assert (list(again.detail), list(again.table.least_important)) == (["notes"], ["c0", "c5"])
        del data["detail"], data["least_important"]
        older = Section.from_json("s", data)
        assert older.table is not None
        assert (list(older.detail), list(older.table.least_important)) == ([], [])


class TestWrong:
    def test_a_value_that_does_not_suit_its_column(self) -> None:
        columns = [Column("ms", "ms", latency).to_json()]
        with pytest.raises(RecordError, match="ms: got 'fast', expected a finite number"):
            Table.from_json(columns, [{"ms": "fast"}])
        with pytest.raises(RecordError, match="columns: got none"):
            Table.from_json([], [])

    @pytest.mark.parametrize("missing", ["title", "folded", "lead", "rows"])
    def test_a_section_without_a_field(self, missing: str) -> None:
        data = report_sections.everything()[0].to_json()
        del data[missing]
        with pytest.raises(RecordError, match=f"section gate: field '{missing}' is missing"):
            Section.from_json("gate", data)
