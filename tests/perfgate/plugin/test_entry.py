"""What perfgate adds to every session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from perfgate import ALL_CORES, Case, Row, part
from perfgate.machine import pinning
from perfgate.plugin import activation, entry, hooks, report_command, session


def test_a_session_knows_its_markers_and_is_not_yet_perfgates(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfigure("-p", "perfgate.plugin")
    known = [line.partition("(")[0] for line in config.getini("markers")]
    assert {"perfgate_cases", "perfgate_row"} <= set(known)
    assert not activation.is_active(config)


@pytest.mark.parametrize(("given", "status"), [(None, None), ("results.json", 7)])
def test_a_stored_report_takes_the_sessions_place(monkeypatch: Any, given: str | None, status: int | None) -> None:
    monkeypatch.setattr(report_command, "main", lambda config: 7)
    config: Any = SimpleNamespace(getoption=lambda name: given)
    assert entry.pytest_cmdline_main(config) == status


@dataclass(frozen=True, kw_only=True)
class SumCase(Case):
    benchmark: ClassVar[str] = "sum"
    threads: str = part(default="one")


def worker(*, pinned: bool) -> dict[object, object]:
    """The stash of a worker whose controller pins it while it is timed, or does not."""
    return {hooks.CHANNEL: SimpleNamespace(core=SimpleNamespace(given=pinned))}


@pytest.mark.parametrize(
    ("device", "threads", "stash", "pinned"),
    [
        ("cpu", None, {}, ["on", "off"]),
        ("cpu", "one", {hooks.CHANNEL: None}, ["on", "off"]),
        ("cpu", ALL_CORES, {}, []),
        ("cuda:0", None, {}, []),
        pytest.param("cpu", "one", worker(pinned=False), ["on", "off"], id="a worker that its controller does not pin"),
        pytest.param("cpu", "one", worker(pinned=True), ["one thread"], id="a side, pinned while it is timed"),
    ],
)
def test_one_core_is_for_cpus_and_for_cases_of_one_core(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: str | None, stash: dict[Any, Any], pinned: list[str]
) -> None:
    done: list[str] = []

    class Pin:
        def __enter__(self) -> None:
            done.append("on")

        def __exit__(self, *_: object) -> None:
            done.append("off")

    @contextmanager
    def one_thread() -> Iterator[None]:
        done.append("one thread")
        yield

    monkeypatch.setattr(pinning, "one_core", Pin)
    monkeypatch.setattr(pinning, "one_thread", one_thread)
    monkeypatch.setattr(session, "of", lambda config: SimpleNamespace(device=device))
    marker = None if threads is None else SimpleNamespace(args=(Row(SumCase(threads=threads)),))
    request: Any = SimpleNamespace(
        config=SimpleNamespace(stash=stash), node=SimpleNamespace(get_closest_marker=lambda name: marker)
    )
    fixture: Any = entry.one_core
    steps: Iterator[None] = fixture.__wrapped__(request)
    next(steps)
    assert done == pinned[:1]
    assert list(steps) == []
    assert done == pinned
