"""What is told of a run beside its numbers: how its cases ended, and with what it ran."""

from __future__ import annotations

from typing import Any

import pytest
from perfgate.records.record import Record
from perfgate.report import run_summary


def ended(key: str, status: str) -> Record:
    return Record("sums", 1, {}, key, status=status, reason="because")  # type: ignore[arg-type]  # validated there


def test_what_did_not_measure_is_told_together_only_where_it_was_skipped() -> None:
    records = [ended(f"sums/{number}{status}", status) for number in range(7) for status in ("skipped", "failed")]
    found = run_summary.outcome({"ledger": {}, "interrupted": False}, records)
    failed = [f"sums/{number}failed: failed: because" for number in range(7)]
    skipped = ", ".join(f"sums/{number}skipped" for number in range(5))
    assert list(found.notes) == [*failed, f"skipped: because: 7 cases: {skipped} and 2 more"]


def test_a_doubted_case_is_told_beside_those_that_failed() -> None:
    sound, doubted = Record("sums", 1, {}, "sums/a"), Record("sums", 1, {}, "sums/b", doubts=["heat", "a stranger"])
    found = run_summary.outcome({"ledger": {"measured": ["sums/a", "sums/b"]}, "interrupted": False}, [sound, doubted])
    assert list(found.notes) == ["sums/b: INCONCLUSIVE: heat; a stranger"]


@pytest.mark.parametrize(("interrupted", "leads"), [(False, 1), (True, 2)])
def test_an_interrupted_run_says_so_first(interrupted: bool, leads: int) -> None:
    found = run_summary.outcome({"ledger": {"measured": ["a", "b"], "failed": ["c"]}, "interrupted": interrupted}, [])
    assert len(found.lead) == leads
    assert found.lead[-1] == "Cases: 2 measured, 1 failed."


def session(**changes: Any) -> dict[str, Any]:
    """A session as results.json has it."""
    fingerprint = {"versions": {"python": "3.11.7"}, "commit": "0123456789abcdef", "dirty": False, "driver": None}
    return {
        "fingerprint": fingerprint,
        "health": {"before": {"load_1min": 0.1, "free": 3 * 10**9}, "after": {"load_1min": 0.2}},
        "machine_key": "cpu-2c",
        "machine": {"device": "cpu", "cores": 2, "memory_bytes": 8 * 10**9},
        "started": "today",
        "settings": {"quick": None, "pins": [0, 1], "faults": [], "tolerances": {"time": 0.05}},
    } | changes


def values(found: dict[str, Any]) -> dict[str, Any]:
    """The rows of the section about this session."""
    section = run_summary.about(found)
    assert section.table is not None
    assert section.folded
    return {str(row["what"]): row["value"] for row in section.table.rows}


class TestAbout:
    def test_machine_health_and_settings_are_rows(self) -> None:
        assert values(session()) == {
            "machine: device": "cpu",
            "machine: cores": "2",
            "machine: memory_bytes": "8,000,000,000",
            "health: load_1min": "0.1, after 0.2",
            "health: free": "3,000,000,000, after unknown",
            "setting: quick": "not set",
            "setting: pins": "0, 1",
            "setting: tolerances": "time 0.05",
        }

    @pytest.mark.parametrize("name", run_summary.LEFT_OUT)
    def test_what_is_hardly_ever_set_is_shown_only_where_it_is(self, name: str) -> None:
        assert f"setting: {name}" not in values(session(settings={name: []}))
        assert values(session(settings={name: ["slow=5%"]}))[f"setting: {name}"] == "slow=5%"

    def test_a_driver_has_a_row_where_there_is_one(self) -> None:
        assert "driver" not in values(session())
        driven = session()["fingerprint"] | {"driver": "570.1"}
        assert values(session(fingerprint=driven))["driver"] == "570.1"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({}, "commit 0123456789ab."),
            ({"dirty": True}, "commit 0123456789ab, with changes."),
            ({"commit": None, "dirty": None}, "commit unknown."),
        ],
    )
    def test_the_commit(self, change: dict[str, Any], said: str) -> None:
        found = run_summary.about(session(fingerprint=session()["fingerprint"] | change))
        assert found.paragraphs[1].endswith(said)
