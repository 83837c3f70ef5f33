"""The process tree: what a process that perfgate starts is told of the one that started it all."""

import os

import pytest
from perfgate.machine import process_tree


def test_a_process_that_one_starts_is_told_the_eldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(process_tree.FAMILY, raising=False)
    assert process_tree.for_children() == {process_tree.FAMILY: str(os.getpid())}
    monkeypatch.setenv(process_tree.FAMILY, "1234")
    assert process_tree.for_children() == {process_tree.FAMILY: "1234"}
