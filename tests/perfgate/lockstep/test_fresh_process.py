"""Fresh processes: what is read of what one leaves. A script of the test stands for pytest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from perfgate.lockstep import child_process, fresh_process
from perfgate.lockstep.fresh_process import ONLY, ProcessError, Result
from perfgate.measure.fault_injection import ENVIRONMENT as FAULTS
from perfgate.records.record import Record

KEYS = ("sums/a", "sums/b")
RECORDS = [Record("sums", 1, {}, "sums/a"), Record("sums", 1, {}, "sums/b", status="failed", reason="no")]
BENCHMARKS = {
    "version": "5.3",
    "perfgate": {"schema": 1},
    "benchmarks": [
        {"stats": {"mean": 1.0}, "extra_info": {"perfgate": RECORDS[0].to_json()}},
        {"extra_info": {"perfgate": RECORDS[1].to_json()}},  # it failed: pytest-benchmark has no numbers of it
    ],
}
RESULTS = {"records": [record.to_json() for record in RECORDS]}

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a script that has these files to leave, by name; ``last`` is its last line."""

    def fresh(last: str = "", timeout_s: float | None = 20.0, **files: Any) -> Result:
        texts = {name: one if isinstance(one, str) else json.dumps(one) for name, one in files.items()}
        script = (
            "import json, os, pathlib, sys, time\n"
            "given = dict(one.partition('=')[::2] for one in sys.argv)\n"
            f"for name, text in {texts!r}.items():\n"
            "    pathlib.Path(given['--perfgate-report-dir'], name + '.json').write_text(text)\n"
            f"{last}\n"
        )

        def command(start: Sequence[str], arguments: Sequence[str], *more: str) -> list[str]:
            return [sys.executable, "-c", script, *arguments, *more]

        monkeypatch.setattr(child_process, "command", command)
        return fresh_process.fresh(["tests"], tmp_path, KEYS, ["wrong"], timeout_s)

    return fresh


class TestResult:
    def test_records_and_numbers_by_key(self, run: Run) -> None:
        found = run(results=RESULTS, benchmarks=BENCHMARKS)
        assert {key: record.status for key, record in found.records.items()} == {
            "sums/a": "measured",
            "sums/b": "failed",
        }
        assert {key: one["stats"] for key, one in found.benchmarks.items()} == {"sums/a": {"mean": 1.0}}
        assert found.head == {"version": "5.3"}

    def test_where_nothing_was_measured_there_are_no_numbers(self, run: Run) -> None:
        found = run(results=RESULTS)
        assert list(found.records) == [*KEYS]
        assert (found.benchmarks, found.head) == ({}, {})

    def test_a_failed_run_with_results_is_a_result(self, run: Run) -> None:
        assert list(run("sys.exit(1)", results=RESULTS).records) == [*KEYS]


class TestNoResult:
    @pytest.mark.parametrize(
        "files",
        [
            {},
            {"results": "{"},
            {"results": {}},
            {"results": {"records": [{"case": {}}]}},
            {"results": RESULTS, "benchmarks": "{"},
        ],
        ids=["nothing", "half a file", "no records", "no record", "half of the numbers"],
    )
    def test_is_an_error(self, run: Run, files: dict[str, Any]) -> None:
        with pytest.raises(ProcessError):
            run(**files)

    def test_that_quotes_the_last_it_said(self, run: Run) -> None:
        with pytest.raises(ProcessError, match=r"ended with 3 .*: two / three / four$"):
            run("print('one\\n\\ntwo\\nthree', flush=True); print('four', file=sys.stderr); sys.exit(3)")

    def test_in_time_is_an_error_too(self, run: Run) -> None:
        with pytest.raises(ProcessError, match="within 1 s"):
            run("time.sleep(60)", timeout_s=1.0, results=RESULTS)


def test_a_process_knows_its_cases_faults_and_folder(run: Run, tmp_path: Path) -> None:
    run(
        f"pathlib.Path('seen').write_text(json.dumps([os.environ[{ONLY!r}], os.environ[{FAULTS!r}], sys.argv[1]]))",
        results=RESULTS,
    )
    only, faults, first = json.loads((tmp_path / "seen").read_text())
    assert (json.loads(only), faults, first) == ([*KEYS], "wrong", "tests")


@pytest.mark.parametrize(
    ("text", "cases"), [(None, None), ("[]", frozenset()), ('["a/b", "a/c"]', frozenset({"a/b", "a/c"}))]
)
def test_cases_that_this_process_may_run(
    monkeypatch: pytest.MonkeyPatch, text: str | None, cases: frozenset[str] | None
) -> None:
    monkeypatch.delenv(ONLY, raising=False)
    if text is not None:
        monkeypatch.setenv(ONLY, text)
    assert fresh_process.only() == cases
