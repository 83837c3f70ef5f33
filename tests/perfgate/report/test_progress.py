"""The lines of progress. They are the plugin's (:mod:`perfgate.plugin.progress`): this file belongs into its room."""

from __future__ import annotations

import pytest
from perfgate.plugin import progress
from perfgate.records.record import Record

from tests.support.report_sections import record


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
