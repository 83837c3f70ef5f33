"""What ``--perfgate-versus`` can name: interpreters, overlays of this environment, revisions."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from perfgate.lockstep import environments
from perfgate.lockstep.checkout import Worktree
from perfgate.lockstep.environments import Project
from perfgate.lockstep.overlay import SideError
from perfgate.lockstep.side_check import Asked
from perfgate.records.fingerprint import Fingerprint

from tests.support.subprocesses import finding

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows")


class TestSide:
    def test_pins(self, index: Path, tmp_path: Path) -> None:
        with environments.open_side("toyone==1.0", tmp_path, ["toyone", "pytest", "absent"], lambda line: None) as side:
            assert side.versions == {"toyone": "1.0", "pytest": pytest.__version__}
            assert side.checkout == tmp_path

    def test_interpreter(self, tmp_path: Path) -> None:
        with environments.open_side(sys.executable, tmp_path, ["pytest"], lambda line: None) as side:
            assert (
                side.versions == environments.current(tmp_path, ["pytest"]).versions == {"pytest": pytest.__version__}
            )

    def test_what_is_no_python_is_said(self, tmp_path: Path) -> None:
        for text, message in (
            ("/bin/cat", "does not answer like"),
            (str(tmp_path), "no file that can be run"),
        ):
            with pytest.raises(SideError, match=message), environments.open_side(text, tmp_path, [], lambda line: None):
                pass

    def test_another_python_is_said(self, tmp_path: Path) -> None:
        other = tmp_path / "python"
        other.write_text('#!/bin/sh\necho \'{"python": [3, 4], "versions": {}}\'\n')
        other.chmod(0o755)
        with (
            pytest.raises(SideError, match=r"is Python 3\.4, this is 3\.\d+"),
            environments.open_side(str(other), tmp_path, [], lambda line: None),
        ):
            pass


class TestBootstrap:
    """What a worker's Python finds where, with a pytest that only tells and lies in the current folder."""

    @pytest.fixture(autouse=True)
    def started_as_a_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "argv", ["pytest/__main__.py"])

    def told(self, folder: Path, side: environments.Side, *modules: str, first: Sequence[Path] = ()) -> dict[str, str]:
        telling = f"print({{name: __import__(name).__file__ for name in {modules!r}}})"
        (folder / "pytest.py").write_text(telling)
        command = [str(side.python), *side.bootstrap()]
        done = subprocess.run(command, cwd=folder, env=finding(*first), capture_output=True, text=True, check=True)
        return {name: os.path.realpath(path) for name, path in ast.literal_eval(done.stdout).items()}

    @pytest.fixture
    def beside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder that holds perfgate and a neighbour."""
        folder = tmp_path / "installed"
        (folder / "perfgate").mkdir(parents=True)
        (folder / "perfgate/__init__.py").write_text('"""It."""')
        (folder / "neighbour.py").write_text("")
        monkeypatch.setattr(environments, "PERFGATE", folder)
        return folder.resolve()

    def test_perfgate_comes_first_and_its_neighbours_last(self, beside: Path, tmp_path: Path) -> None:
        own = tmp_path / "own"
        (own / "perfgate").mkdir(parents=True)
        for name in ("perfgate/__init__.py", "neighbour.py"):
            (own / name).write_text("")
        side = environments.Side("it", Path(sys.executable), tmp_path, {}, borrowed=(beside,))
        found = self.told(tmp_path, side, "perfgate", "neighbour", first=[own])
        assert found == {
            "perfgate": str(beside / "perfgate/__init__.py"),
            "neighbour": os.path.realpath(own / "neighbour.py"),
        }
        lent = self.told(tmp_path, side, "neighbour")
        assert lent == {"neighbour": str(beside / "neighbour.py")}

    def test_an_overlay_comes_before_python_path(self, beside: Path, tmp_path: Path) -> None:
        for name in ("overlay", "named"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "neighbour.py").write_text("")
        asked = Asked(overlay=tmp_path / "overlay")
        side = environments.Side("it", Path(sys.executable), tmp_path, {}, asked=asked)
        found = self.told(tmp_path, side, "neighbour", first=[tmp_path / "named"])
        assert found == {"neighbour": os.path.realpath(tmp_path / "overlay/neighbour.py")}

    def test_a_worktree_has_its_own_where_the_path_names_the_checkout(
        self, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("here/src", "here/.venv/site-packages", "worktree/src"):
            (tmp_path / name).mkdir(parents=True)
        for name in ("here/src/toy.py", "worktree/src/toy.py", "here/.venv/site-packages/installed_toy.py"):
            (tmp_path / name).write_text("")
        path = os.pathsep.join(map(str, (tmp_path / "here/src", tmp_path / "here/.venv/site-packages")))
        monkeypatch.setenv("PYTHONPATH", path, prepend=os.pathsep)
        worktree = Worktree(tmp_path / "worktree", tmp_path / "here", tmp_path / "worktree", "0" * 40)
        side = environments.Side("it", Path(sys.executable), tmp_path, {}, worktree=worktree)
        assert self.told(tmp_path, side, "toy", "installed_toy") == {
            "toy": os.path.realpath(tmp_path / "worktree/src/toy.py"),
            "installed_toy": os.path.realpath(tmp_path / "here/.venv/site-packages/installed_toy.py"),
        }


class TestRebuilt:
    """The environment of a baseline whose code and versions are today's."""

    def side(self, folder: Path, then: dict[str, str], now: dict[str, str]) -> environments.Side:
        before, after = (Fingerprint("code", {}, variables=variables) for variables in (then, now))
        with environments.rebuilt(before, after, Project(folder, folder, ("*.py",)), lambda line: None) as side:
            return side

    def test_variables_are_as_they_were(self, tmp_path: Path) -> None:
        side = self.side(tmp_path, {"MKL_CBWR": "AVX2"}, {"KMP_BLOCKTIME": "1"})
        assert side.variables == {"MKL_CBWR": "AVX2", "KMP_BLOCKTIME": None}
        assert self.side(tmp_path, {"MKL_CBWR": "AVX2"}, {"MKL_CBWR": "AVX2"}).variables == {}

    def test_one_that_both_sides_have_the_same_cannot_differ(self, tmp_path: Path) -> None:
        with pytest.raises(SideError, match="OMP_NUM_THREADS differ"):
            self.side(tmp_path, {"OMP_NUM_THREADS": "4"}, {})
