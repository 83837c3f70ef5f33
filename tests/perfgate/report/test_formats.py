"""Numbers as people read them, formats as data, and text in which nothing is hidden."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.records.validate import RecordError
from perfgate.report import Format, decimals, duration, latency, mebibytes, milliseconds, percent, seconds
from perfgate.report.formats import HIDDEN, printable, significant

from tests.support.report_strategies import formats, through_json


class TestFormats:
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
    def test_units_for_people(self, render: Callable[[float], str], value: float, text: str) -> None:
        assert render(value) == text

    @pytest.mark.parametrize(
        ("seconds", "text"), [(1.25, "1.25 s"), (1.0, "1 s"), (0.00342, "3.42 ms"), (9.9e-7, "990 ns"), (1e-6, "1 us")]
    )
    def test_a_latency_is_shown_in_the_unit_that_suits_it(self, seconds: float, text: str) -> None:
        assert latency(seconds) == text

    @pytest.mark.parametrize(
        ("render", "value", "text"),
        [
            (significant(2), 0.012345, "0.012"),
            (percent, 1, "100.0%"),
            (decimals(2, 1e3), 0.0012, "1.20"),
            (latency, 0.0, "0 ns"),
            (Format("fixed", 1.0, 1, " GiB"), 1234.56, "1,234.6 GiB"),
            (Format(), True, "True"),
        ],
    )
    def test_a_number_for_people(self, render: Format, value: float, text: str) -> None:
        assert render(value) == text

    @given(st.text())
    def test_what_is_printed_is_one_line_that_can_be_seen(self, text: str) -> None:
        import unicodedata

        shown = printable(text)
        assert not [one for one in shown if unicodedata.category(one) in HIDDEN and one not in "\u200c\u200d"]
        assert len(shown.splitlines()) <= 1
        assert printable(shown) == shown

    def test_what_is_not_seen_is_named(self) -> None:
        assert printable("a\u202eb\x1b[0m\n\tc") == "a<U+202E>b<U+001B>[0m c"


class TestJson:
    @given(formats)
    def test_any_format(self, made: Format) -> None:
        assert Format.from_json(through_json(made.to_json())) == made

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"kind": "hex"}, "kind: got 'hex', allowed are text, fixed"),
            ({"digits": 16}, "digits: got '16'"),
            ({"digits": 2.5}, "digits: got 2.5, expected a whole number"),
            ({"digits": -1}, "digits: got '-1'"),
            ({"scale": "1"}, "scale: got '1', expected a finite number"),
            ({"suffix": None}, "suffix: got None, expected text"),
        ],
    )
    def test_a_field_of_a_format(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(RecordError, match=re.escape(said)):
            Format.from_json(Format().to_json() | change)
