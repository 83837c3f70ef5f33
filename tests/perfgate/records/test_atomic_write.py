"""Atomic writing: a reader finds the old content or the new one, never a part of either."""

import os
from pathlib import Path

import pytest
from perfgate.records.atomic_write import write_atomic


def test_writes_utf8_and_makes_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.md"
    write_atomic(path, "日本\n")
    assert path.read_bytes() == "日本\n".encode()


def test_replaces_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_atomic(path, "old")
    write_atomic(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["report.md"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_others_may_read_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "report.md", "x")
    assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "report.md"
    path.write_text("old")

    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.md"]


def test_an_interruption_leaves_no_temporary_file_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "report.md", "new")
    assert os.listdir(tmp_path) == []


def test_the_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append("replace"), replace(old, new)))
    write_atomic(tmp_path / "report.md", "new")
    assert order == ["fsync", "replace"]


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        write_atomic(tmp_path / "file" / "report.md", "new")
