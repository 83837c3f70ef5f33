"""What a worker reports of the files and versions that it used."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from perfgate.lockstep.used import LIMIT, Used, innermost, top_level

from tests.support.wheels import unpacked


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages on Python's path, whose modules are forgotten at the end."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_innermost_folder_counts() -> None:
    assert innermost("/a/b/c.py", ["/a", "/a/b", "/x"]) == "/a/b"
    assert innermost("/ab/c.py", ["/a", "/"]) == "/"
    assert innermost("/ab/c.py", ["/a"]) is None


def test_a_package_has_files_once_it_is_imported(site: Path) -> None:
    unpacked(site, "toyone", "1.0")
    used = Used(["toyone", "absent"], [])
    assert used.report()["packages"]["toyone"] == {"version": "1.0", "files": []}
    importlib.import_module("toyone")
    assert used.report()["packages"] == {
        "toyone": {"version": "1.0", "files": [os.path.realpath(site / "toyone.py")]},
        "absent": {"version": None, "files": []},
    }


def test_a_package_inside_a_namespace_is_told_by_its_own_modules(site: Path) -> None:
    for name in ("one", "two"):
        (site / f"toyspace/{name}").mkdir(parents=True)
        (site / f"toyspace/{name}/__init__.py").write_text("")
        info = site / f"toyspace_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: toyspace-{name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"toyspace/{name}/__init__.py,,\n{info.name}/METADATA,,\n")
    importlib.import_module("toyspace.one")
    packages = Used(["toyspace-one", "toyspace-two"], []).report()["packages"]
    assert packages["toyspace-one"]["files"] == [os.path.realpath(site / "toyspace/one/__init__.py")]
    assert packages["toyspace-two"]["files"] == []


def test_what_a_package_installs_is_known_by_its_record_and_else_by_its_name() -> None:
    assert top_level("psutil", importlib.metadata.distribution("psutil")) == ["psutil"]
    assert "pytest" in top_level("pytest", importlib.metadata.distribution("pytest"))
    assert top_level("to-be-made", None) == ["to_be_made"]
    assert Used(["psutil"], []).report()["packages"]["psutil"]["version"] == importlib.metadata.version("psutil")
    assert psutil.__file__ in Used(["psutil"], []).report()["packages"]["psutil"]["files"][0]


class TestModules:
    @pytest.fixture
    def checkouts(self, tmp_path: Path) -> list[str]:
        """Two checkouts, the second below the first: a temporary folder may lie in a project's."""
        (tmp_path / "mine/tmp/other").mkdir(parents=True)
        return [os.path.realpath(tmp_path / "mine"), os.path.realpath(tmp_path / "mine/tmp/other")]

    def made(self, folder: str, name: str) -> str:
        path = Path(folder, f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        sys.modules[name] = module = type(sys)(name)
        module.__file__ = str(path)
        return os.path.realpath(path)

    @pytest.fixture(autouse=True)
    def forgotten(self) -> Iterator[None]:
        before = set(sys.modules)
        yield
        for name in set(sys.modules) - before:
            del sys.modules[name]

    def test_those_of_both_checkouts_are_told_and_installed_ones_are_not(self, checkouts: list[str]) -> None:
        mine, other = checkouts
        expected = {"toy_a": self.made(f"{mine}/src", "toy_a"), "toy_b": self.made(f"{other}/src", "toy_b")}
        self.made(f"{mine}/.venv/lib/python3/site-packages/x", "toy_c")
        self.made(f"{mine}-2", "toy_d")
        assert Used([], checkouts).report()["modules"] == expected

    def test_an_environment_inside_the_checkout_is_not_the_project(
        self, checkouts: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "prefix", f"{checkouts[0]}/env")
        self.made(f"{checkouts[0]}/env/lib/python3", "toy_a")
        assert Used([], checkouts).report()["modules"] == {}

    def test_a_link_to_the_other_checkout_is_told_as_what_it_is(self, checkouts: list[str]) -> None:
        mine, other = checkouts
        real = self.made(f"{other}/src", "toy_b")
        Path(mine, "toy_a.py").symlink_to(real)
        sys.modules["toy_a"] = module = type(sys)("toy_a")
        module.__file__ = f"{mine}/toy_a.py"
        assert Used([], checkouts).report()["modules"]["toy_a"] == real

    def test_of_very_many_the_other_checkouts_are_told(self, checkouts: list[str]) -> None:
        for number in range(LIMIT + 5):
            self.made(checkouts[0], f"toy_a{number}")
        self.made(checkouts[1], "toy_z")
        modules = Used([], checkouts).report()["modules"]
        assert len(modules) == LIMIT
        assert next(iter(modules)) == "toy_z"

    def test_what_is_loaded_later_is_told_next_time(self, checkouts: list[str]) -> None:
        used = Used([], checkouts)
        assert used.report()["modules"] == {}
        self.made(checkouts[0], "toy_a")
        assert list(used.report()["modules"]) == ["toy_a"]
