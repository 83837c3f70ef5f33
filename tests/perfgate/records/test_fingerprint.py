"""Fingerprints: what of code, versions and driver changed, in words."""

from dataclasses import replace
from pathlib import Path

import pytest
from perfgate.records.fingerprint import Fingerprint, changed_versions, code_digest, differences
from perfgate.records.validate import RecordError

ONE = Fingerprint(
    code="c", versions={"python": "3.11.7", "torch": "2.13.0", "triton": "3.7.1"}, commit="0123456789abcdef"
)


def test_json_is_read_back() -> None:
    full = replace(ONE, dirty=True, driver="550.1", faults=("wrong",), variables={"OMP_NUM_THREADS": "2"})
    assert Fingerprint.from_json(full.to_json()) == full


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("code", None, "fingerprint: code: got None, expected text"),
        ("dirty", 1, "fingerprint: dirty: got 1, expected true, false or null"),
        ("versions", {"torch": 2}, "fingerprint: torch: got 2, expected text"),
        ("versions", [], "expected an object"),
        ("faults", "wrong", "expected a list"),
        ("variables", {"OMP_NUM_THREADS": 2}, "fingerprint: OMP_NUM_THREADS: got 2, expected text"),
    ],
)
def test_what_is_no_fingerprint(field: str, value: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Fingerprint.from_json(ONE.to_json() | {field: value})


def test_a_missing_field_is_named() -> None:
    data = ONE.to_json()
    del data["driver"]
    with pytest.raises(RecordError, match="field 'driver' is missing"):
        Fingerprint.from_json(data)


def test_one_from_before_variables_were_recorded_says_nothing_of_them() -> None:
    data = ONE.to_json()
    assert "variables" not in data
    then = Fingerprint.from_json(data)
    assert then.variables is None
    assert differences(then, replace(ONE, variables={"OMP_NUM_THREADS": "2"})) == []


def test_variables_that_change_how_libraries_compute_are_told() -> None:
    before = replace(ONE, variables={"OMP_NUM_THREADS": "2", "MKL_CBWR": "AVX2"})
    after = replace(ONE, variables={"MKL_CBWR": "AVX2", "PYTORCH_ALLOC_CONF": "expandable_segments:True"})
    assert differences(before, after) == [
        "OMP_NUM_THREADS '2' -> unset",
        "PYTORCH_ALLOC_CONF unset -> 'expandable_segments:True'",
    ]


def test_nothing_changed() -> None:
    assert differences(ONE, replace(ONE, commit="other", dirty=True)) == []  # the code is what counts


def test_everything_that_changed_is_told() -> None:
    versions = {"python": "3.11.7", "torch": "2.14.0", "numpy": "2.4.6"}
    after = Fingerprint("d", versions, commit="fedcba9876543210", dirty=True, driver="550.1", faults=("slow=5%",))
    assert differences(ONE, after) == [
        "numpy absent -> 2.4.6",
        "torch 2.13.0 -> 2.14.0",
        "triton 3.7.1 -> absent",
        "the benchmarks' code (0123456789ab -> fedcba987654 with changes)",
        "driver none -> 550.1",
        "injected faults: slow=5%",
    ]


def test_a_case_depends_on_its_own_packages_and_on_the_interpreter() -> None:
    after = replace(ONE, versions={"python": "3.12.0", "torch": "2.13.0", "triton": "3.8.0"})
    assert changed_versions(ONE, after, ["torch"]) == {"python": ("3.11.7", "3.12.0")}
    assert set(changed_versions(ONE, after)) == {"python", "triton"}


def test_another_pytest_or_perfgate_makes_nothing_suspect() -> None:
    measuring = {"perfgate": "2", "pytest": "10", "pytest-benchmark": "6"}
    assert differences(ONE, replace(ONE, versions={**ONE.versions, **measuring})) == []


def test_the_code_is_what_the_patterns_match(tmp_path: Path) -> None:
    (tmp_path / "perf").mkdir()
    (tmp_path / "perf/a.py").write_text("1")
    (tmp_path / "README").write_text("1")
    code = tmp_path / "perf"
    before = code_digest(tmp_path, [code / "a.py"])
    (tmp_path / "README").write_text("2")
    assert code_digest(tmp_path, [code / "a.py"]) == before
    (code / "a.py").write_text("2")
    changed = code_digest(tmp_path, [code / "a.py"])
    assert changed != before
    (code / "a.py").rename(code / "b.py")
    assert code_digest(tmp_path, [code / "b.py"]) not in (before, changed)
