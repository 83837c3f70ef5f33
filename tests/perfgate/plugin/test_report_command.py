"""A stored run's report again: which of its sections the suite makes anew. Reading the file: report/test_results.py."""

from __future__ import annotations

import pytest
from perfgate.plugin.report_command import renewed
from perfgate.report import Section


def sections(*names: str, title: str = "stored") -> list[Section]:
    return [Section(name, title) for name in names]


@pytest.mark.parametrize(
    ("stored", "own", "found"),
    [
        ("outcome about", "", "outcome about"),
        ("outcome sums about", "sums", "outcome SUMS about"),
        (
            "outcome sums wins about",
            "wins sums",
            "outcome WINS SUMS about",
        ),  # in its order
        ("outcome sums history wins about", "sums wins", "outcome SUMS WINS history about"),
        ("outcome about", "sums", "outcome SUMS about"),  # a new one stands before what the report ends with
        ("", "sums", "SUMS"),
    ],
)
def test_the_suites_sections_take_the_place_of_the_stored_ones(stored: str, own: str, found: str) -> None:
    made = renewed(sections(*stored.split()), sections(*own.split(), title="anew"))
    assert [one.name.upper() if one.title == "anew" else one.name for one in made] == found.split()
