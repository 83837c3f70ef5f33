"""Whom a change of the code concerns, with stored functions and the files of then and now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from perfgate.baselines import code_suspects
from perfgate.baselines.code_suspects import Concern
from perfgate.baselines.store import Entry
from perfgate.lockstep.environments import Project, SideError

from tests.support.baseline_entries import FINGERPRINT, REFRESH, entry

THEN, NOW = (
    "def f():\n    return 1\n\n\ndef g():\n    return 2\n",
    "def f():\n    return 3\n\n\ndef g():\n    return 2\n",
)
TODAY = replace(FINGERPRINT, code="changed")


def ran(key: str, *functions: str) -> Entry:
    return replace(entry(key), functions=frozenset(f"a.py:{name}" for name in functions))


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Concern]:
    """Ask about a project of one file, which is as in NOW; ``before`` are its files then, or why they cannot be had."""
    (tmp_path / "a.py").write_text(NOW)

    def ask(*entries: Entry, before: Any = None, now: Any = TODAY, anyway: int = 0) -> Concern:
        @contextmanager
        def as_recorded(*_: object) -> Iterator[tuple[None, dict[str, bytes]]]:
            if isinstance(before, Exception):
                raise before
            yield None, {"a.py": THEN.encode()} if before is None else before

        monkeypatch.setattr(code_suspects.environments, "as_recorded", as_recorded)
        stored = {one.record.key: one for one in entries}
        return code_suspects.of(stored, now, Project(tmp_path, tmp_path, ("**/*.py",)), anyway, lambda text: None)

    return ask


def test_only_who_ran_what_has_changed(of: Callable[..., Concern]) -> None:
    found = of(ran("x/f", "f", "g"), ran("x/g", "g"), entry("x/unknown"))
    assert set(found.unconcerned) == {"x/g"}
    assert found.told == ("changed functions: a.py:f; 1 of 3 cases run none of them",)
    assert found.judged_anyway == ()


def test_the_same_code_needs_no_look(of: Callable[..., Concern]) -> None:
    assert of(ran("x/g", "g"), now=FINGERPRINT, before=AssertionError("looked")) == Concern()


def test_where_no_functions_are_known_all_are_concerned(of: Callable[..., Concern]) -> None:
    assert of(entry("x/f"), before=AssertionError("looked")) == Concern()


def test_where_the_code_of_then_is_not_to_be_had_all_are_concerned(of: Callable[..., Concern]) -> None:
    assert of(ran("x/g", "g"), before=SideError("no such commit")) == Concern()


def test_what_concerns_all_is_said(of: Callable[..., Concern]) -> None:
    found = of(ran("x/g", "g"), before={"a.py": THEN.encode(), "data.bin": b""})
    assert dict(found.unconcerned) == {}
    assert found.told == ("the code's changes concern every case: data.bin has changed",)


def test_each_refresh_is_held_against_its_own_code(of: Callable[..., Concern]) -> None:
    same = replace(ran("x/f", "f"), refresh=replace(REFRESH, fingerprint=TODAY))
    found = of(same, ran("x/g", "g"))
    assert set(found.unconcerned) == {"x/g"}, "of the other one nothing has changed"


def test_some_are_judged_anyway_and_other_ones_for_another_change(of: Callable[..., Concern]) -> None:
    entries = [ran(f"x/{number}", "g") for number in range(40)]
    chosen = set()
    for number in range(30):
        found = of(*entries, anyway=2, now=replace(FINGERPRINT, code=f"code {number}"))
        assert len(found.judged_anyway) == 2
        assert set(found.unconcerned) == {one.record.key for one in entries} - set(found.judged_anyway)
        chosen |= set(found.judged_anyway)
    assert len(chosen) > 20
    again = of(*entries, anyway=2, now=replace(FINGERPRINT, code="code 29"))
    assert again.judged_anyway == found.judged_anyway, "a run that is repeated judges the same"


def test_no_more_are_judged_anyway_than_there_are(of: Callable[..., Concern]) -> None:
    assert of(ran("x/f", "f"), ran("x/g", "g"), anyway=2).judged_anyway == ("x/g",)
