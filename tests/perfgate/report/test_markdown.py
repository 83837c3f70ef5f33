"""The summary's Markdown: its text, and how GitHub shows it, through GitHub's own Markdown library."""

from __future__ import annotations

from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from perfgate.report import Column, Section, Table, decimals, markdown, milliseconds, printable

from tests.support import report_sections
from tests.support.report_sections import HOSTILE, NUMBERS

GITHUB_BYTES = 1_048_576
"""Source: GitHub Docs, "Workflow commands": a step's summary is restricted to 1 MiB."""
VOID = ("br", "hr", "input", "img")


def to_html(text: str) -> str:
    """As GitHub makes it before its own cleaning takes out what is dangerous: nothing may need that."""
    return cmarkgfm.github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)


class Seen(HTMLParser):
    """The texts inside each kind of element, in order, and which elements stand inside which."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside: set[tuple[str, str]] = set()
        self.unclosed: list[str] = []
        self.attributes: set[str] = set()
        self._pieces: dict[str, list[list[str]]] = {}
        self.feed(to_html(text))
        self.texts = {tag: ["".join(own) for own in found] for tag, found in self._pieces.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {f"{tag}.{name}" for name, _ in attrs}
        self.inside |= {(outer, tag) for outer in self.unclosed}
        self._pieces.setdefault(tag, []).append([])
        if tag not in VOID:
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.unclosed:
            self._pieces[tag][-1].append(data)


def rendered(sections: list[Section]) -> Seen:
    return Seen(markdown.render("Performance report", sections))


class TestText:
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

    def test_a_column_of_words_is_aligned_to_the_left(self) -> None:
        table = Table(
            [Column("a", "a"), Column("b", "b", words=True), Column("c", "c")], [{"a": "x", "b": "y", "c": 1}]
        )
        assert "|---|---|---:|" in markdown.render("t", [Section("s", "s", table=table)])


class TestOrdinary:
    def test_a_table_is_a_table_with_every_cell(self) -> None:
        seen = rendered(report_sections.everything())
        assert len(seen.texts["table"]) == 2
        assert seen.texts["th"] == ["row", "number", "verdict", "what", "value"]
        assert len(seen.texts["td"]) == 3 * len(NUMBERS) + 2
        assert seen.texts["td"][3:6] == ["case 1", "1,000.0", "REGRESSED"]

    def test_the_lead_comes_first_then_what_changed_then_the_tables(self) -> None:
        text = to_html(markdown.render("Performance report", report_sections.everything()))
        wanted = [
            "<h1>Performance report</h1>",
            "<strong>Against the baseline: 4 REGRESSED, 4 SAME.</strong>",
            "<strong>Take int8 + fa2.</strong>",
            "<h2>What changed</h2>",
            "<li>case 1: REGRESSED: 1.2 times</li>",
            "<h2>Against the baseline</h2>",
            "<table>",
            "<li>case 2: INCONCLUSIVE: too noisy</li>",
            "<details>",
        ]
        places = [text.index(part) for part in wanted]
        assert places == sorted(places)

    def test_a_folded_section_holds_its_table(self) -> None:
        seen = rendered(report_sections.everything())
        assert seen.texts["summary"] == ["This run"]
        assert {("details", "summary"), ("details", "table"), ("details", "p")} <= seen.inside
        assert seen.unclosed == []

    @pytest.mark.parametrize(("more", "folded"), [(0, []), (1, [f"{markdown.OPEN_ROWS + 1} rows"])])
    def test_a_long_table_is_folded_and_what_stands_beside_it_is_not(self, more: int, folded: list[str]) -> None:
        rows = [{"case": f"case {n}"} for n in range(markdown.OPEN_ROWS + more)]
        table = Table([Column("case", "case"), Column("s", "seconds")], rows)
        seen = rendered([Section("gate", "Gate", ["How."], table, ["case 1: INCONCLUSIVE: too noisy"])])
        assert seen.texts.get("summary", []) == folded
        assert (("details", "table") in seen.inside) is bool(folded)
        assert not {("details", "p"), ("details", "li")} & seen.inside
        assert len(seen.texts["td"]) == 2 * len(rows)
        assert seen.unclosed == []

    def test_changes_beyond_the_first_are_folded(self) -> None:
        changes = [f"case {n}: REGRESSED" for n in range(markdown.SHOWN_CHANGES + 5)]
        seen = rendered([Section("gate", "Gate", changes=changes)])
        assert seen.texts["summary"] == ["5 more"]
        assert [text.strip() for text in seen.texts["li"]] == changes
        assert "case 30: REGRESSED" in seen.texts["details"][0]


class TestHostile:
    def test_no_text_becomes_an_element(self) -> None:
        seen = rendered(report_sections.hostile())
        allowed = {"h1", "h2", "p", "strong", "ul", "li", "details", "summary"}
        allowed |= {"table", "thead", "tbody", "tr", "th", "td"}
        assert set(seen.texts) <= allowed
        assert seen.attributes <= {"th.align", "td.align"}
        assert len(seen.texts["table"]) == len(HOSTILE)
        assert seen.unclosed == []

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_every_text_reads_as_it_is(self, text: str) -> None:
        table = Table([Column("a", "a"), Column("b", "b")], [{"a": text, "b": text}])
        shown = printable(text)
        if len(text) > markdown.LONGEST:
            shown = f"{text[: markdown.LONGEST]}... ({len(text):,} characters)"
        seen = rendered([Section("s", "S", [text], table, [text], lead=[text])])
        assert seen.texts["td"] == [shown, shown]
        assert [one.strip() for one in seen.texts["li"]] == [shown]
        assert [one for one in seen.texts["p"] if one == shown] == [shown, shown]

    @pytest.mark.parametrize(
        "text",
        [
            "# no title",
            "- no item",
            "+ no item",
            "1. no item",
            "> no quote",
            "    no code",
            "---",
            "===",
            "https://example.org/x",
            "www.example.org",
            "a@example.org",
            "![x](y)",
            "<https://a.b>",
            "```",
            "@someone #1",
        ],
    )
    def test_no_paragraph_becomes_mark_up(self, text: str) -> None:
        seen = rendered([Section("s", "S", [text], notes=[text], lead=[text])])
        assert set(seen.texts) <= {"h1", "h2", "p", "strong", "ul", "li", "a"}
        assert len(seen.texts["h1"]) == len(seen.texts["h2"]) == len(seen.texts["li"]) == 1
        assert text.strip() in "".join(seen.texts["p"])


class TestLarge:
    def sections(self) -> list[Section]:
        columns = [Column("case", "case"), *(Column(f"c{n}", f"metric {n}", decimals(3)) for n in range(8))]
        rows = [{"case": f"benchmark/case-{at}"} | {f"c{n}": at / (n + 1) for n in range(8)} for at in range(20_000)]
        changes = [f"case {n}: REGRESSED: {'x' * 90}" for n in range(20_000)]
        notes = ["w" * 100_000] * 3 + [f"note {n}" for n in range(20_000)]
        return [
            Section(
                "gate", "Gate", ["p" * 100_000], Table(columns, rows), notes, lead=["20000 cases."], changes=changes
            ),
            Section("run", "This run", table=Table(columns, rows), folded=True),
        ]

    def test_it_stays_below_githubs_limit_and_says_what_is_left_out(self) -> None:
        text = markdown.render("Performance report", self.sections())
        assert len(text.encode()) < GITHUB_BYTES
        assert len(text.encode()) > GITHUB_BYTES / 4, "what fits is there"
        assert "more lines do not fit here; results.json and index.html have them" in text
        assert "(100,000 characters)" in text
        seen = Seen(text)
        assert seen.texts["strong"] == ["20000 cases."]
        assert [one.strip() for one in seen.texts["h2"]] == ["What changed", "Gate"]
        assert len(seen.texts["table"]) == 2
        assert seen.unclosed == []

    def test_every_line_is_there_or_counted(self) -> None:
        import re

        rows = [{"a": f"row {n}"} for n in range(20_000)]
        sections = [Section("s", "S", table=Table([Column("a", "a")], rows))]
        text = markdown.render("R", sections, 50_000)
        shown = sum(line.startswith("| row ") for line in text.splitlines())
        counted = sum(int(found.replace(",", "")) for found in re.findall(r"\(([\d,]+) more lines", text))
        assert shown + counted == 20_000

    @pytest.mark.parametrize("limit", [200, 2_000, 20_000, 200_000])
    def test_any_limit_is_kept_as_far_as_titles_allow(self, limit: int) -> None:
        text = markdown.render("R", [*report_sections.large(), *report_sections.everything()], limit)
        assert len(text.encode()) <= max(limit, 1_000)
        assert Seen(text).unclosed == []
