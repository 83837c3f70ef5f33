"""The baselines in this repository: every one loads, is in the small format, and is marked as generated."""

import json
import subprocess
from pathlib import Path

import pytest
from perfgate.baselines.file_format import written
from perfgate.baselines.store import load, to_json

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "baselines").glob("*/*.json"))
LARGEST_CASE = 4096
"""Bytes; a case takes 1,500 on average, and would take 20,000 with its samples."""


def test_there_are_some() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_as_a_refresh_would_write_it(path: Path) -> None:
    found = load(path)
    text = path.read_text(encoding="utf-8")
    head = {key: value for key, value in json.loads(text).items() if key not in ("benchmarks", "perfgate")}
    assert text == written(to_json(head, found.machine_key, found.entries))
    assert found.machine_key == path.parent.name
    assert len(text.splitlines()) < len(found.entries) + 500
    assert max(map(len, text.splitlines()[-len(found.entries) - 2 : -2])) < LARGEST_CASE


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout: git's attributes are not known")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_git_takes_it_for_generated_and_merges_no_lines(path: Path) -> None:
    command = ["git", "check-attr", "linguist-generated", "merge", "--", str(path.relative_to(ROOT))]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == ["true", "unset"]
