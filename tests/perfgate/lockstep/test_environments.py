"""What ``--perfgate-versus`` can name: interpreters, overlays of this environment, revisions."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from perfgate.lockstep import environments, overlay
from perfgate.lockstep.checkout import Worktree
from perfgate.lockstep.overlay import MARKER, Revision, SideError, parse
from perfgate.lockstep.side_check import Asked

from tests.support.subprocesses import finding
from tests.support.wheels import offline, wheel

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for its only index, and a cache of its own."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "toyone", "1.0")
    wheel(wheels, "toyone", "2.0")
    wheel(wheels, "toytwo", "1.0", needs="toyone==1.0")
    wheel(wheels, "toybroken", "1.0", code="raise ImportError('toybroken is broken')")
    for name in [one for one in os.environ if one.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in offline(wheels).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PERFGATE_CACHE", str(tmp_path / "cache"))
    return wheels


def ask(python: Path, expression: str) -> str:
    done = subprocess.run([str(python), "-c", f"print({expression})"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("text", "pins"),
    [
        ("bitsandbytes==0.48.2", ["bitsandbytes==0.48.2"]),
        ("  b==1  A_x==2.0 ", ["a-x==2.0", "b==1"]),
    ],
)
def test_pins_have_one_spelling_and_order(text: str, pins: list[str]) -> None:
    assert parse(text) == pins


@pytest.mark.parametrize(
    "text", ["a>=1", "a==1,<2", "a==1.*", "a", "a @ https://x/y.whl", "==1", "a==1; python_version>'3'"]
)
def test_what_is_no_exact_pin_is_refused(text: str) -> None:
    with pytest.raises(SideError, match=r"is no (exact )?pin; allowed: name==version"):
        parse(text)


class TestOverlay:
    def test_its_version_wins_the_parents_packages_are_there_and_the_parent_is_untouched(self, index: Path) -> None:
        before = overlay.installed()
        said: list[str] = []
        python = overlay.ensure("toyone==1.0", said.append)
        assert ask(python, "__import__('toyone').VERSION") == "1.0"
        assert ask(python, "__import__('pytest').__version__") == pytest.__version__
        assert overlay.installed() == before
        assert said[0] == "installing toyone==1.0 into an overlay of this environment"
        assert "the overlay is ready" in said[-1]

    def test_is_made_once(self, index: Path) -> None:
        said: list[str] = []
        first = overlay.ensure("toyone==2.0", said.append)
        assert overlay.ensure(" toyone==2.0 ", said.append) == first
        assert len(said) == 2
        assert overlay.ensure("toyone==1.0", said.append) != first

    def test_a_pin_brings_the_dependencies_it_needs(self, index: Path) -> None:
        python = overlay.ensure("toytwo==1.0", lambda line: None)
        assert ask(python, "__import__('toyone').VERSION") == "1.0"

    @pytest.mark.parametrize(
        ("pins", "message"),
        [
            (
                "toyone==9.9",
                r"toyone==9.9 could not be installed: .*No matching distribution.*`pip index versions",
            ),
            ("toytwo==1.0 toyone==2.0", "could not be installed: .*conflict"),
            ("toybroken==1.0", "toybroken==1.0 was installed but does not import: .*toybroken is broken"),
        ],
    )
    def test_what_cannot_be_had_is_said_and_nothing_stays(self, index: Path, pins: str, message: str) -> None:
        with pytest.raises(SideError, match=message):
            overlay.ensure(pins, lambda line: None)
        assert [path for path in (overlay.cache_dir() / "overlays").iterdir() if path.is_dir()] == []

    def test_a_half_made_one_is_made_again(self, index: Path) -> None:
        python = overlay.ensure("toyone==1.0", lambda line: None)
        (python.parents[1] / MARKER).unlink()
        (python.parents[1] / "rubbish").write_text("left by a run that was killed")
        assert overlay.ensure("toyone==1.0", lambda line: None) == python
        assert not (python.parents[1] / "rubbish").exists()

    def test_killed_while_installing_then_repaired(self, index: Path) -> None:
        program = (
            "import sys, time; from perfgate.lockstep import overlay; real = overlay._run\n"
            "def slow(command, failed):\n"
            "    real(command, failed)\n"
            "    print('made', flush=True); time.sleep(60)\n"
            "overlay._run = slow; overlay.ensure('toyone==1.0', lambda line: None)"
        )
        perf = str(Path(overlay.__file__).parents[2])
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=finding(perf),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "made\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        python = overlay.ensure("toyone==1.0", lambda line: None)
        assert ask(python, "__import__('toyone').VERSION") == "1.0"

    def test_two_at_once_make_it_once(self, index: Path) -> None:
        said: list[str] = []
        threads = [threading.Thread(target=overlay.ensure, args=("toyone==2.0", said.append)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum("installing" in line for line in said) == 1

    def test_one_unused_for_a_month_is_removed(self, index: Path) -> None:
        old = overlay.ensure("toyone==1.0", lambda line: None)
        month_ago = time.time() - 31 * 86400
        os.utime(old.parents[1] / MARKER, (month_ago, month_ago))
        overlay.ensure("toyone==2.0", lambda line: None)
        assert not old.exists()

    def test_a_submodule_of_a_revision_is_not_had_and_a_package_that_did_not_exist_is_not_needed(
        self, index: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        submodule = Revision("0" * 40, {"toyone": tmp_path / "empty"})
        with pytest.raises(SideError, match=r"toyone of commit 000000000000 .* git submodule\?; or install"):
            overlay.ensure("", lambda line: None, submodule)
        python = overlay.ensure("", lambda line: None, Revision("0" * 40, {"toyone": tmp_path / "gone"}))
        assert ask(python, "__import__('importlib.util').util.find_spec('toyone')") == "None"

    def test_another_commit_is_another_overlay(self, index: Path, tmp_path: Path) -> None:
        gone = {"toyone": tmp_path / "gone"}
        made = [overlay.ensure("", lambda line: None, Revision(number * 40, gone)) for number in "010"]
        assert made[0] == made[2] != made[1]

    def test_a_cache_that_cannot_be_written_is_said(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (index / "file").write_text("")
        monkeypatch.setenv("PERFGATE_CACHE", str(index / "file" / "below"))
        with pytest.raises(SideError, match=r"could not be made in .*PERFGATE_CACHE names another folder"):
            overlay.ensure("toyone==1.0", lambda line: None)


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
    """What a worker's Python finds where, with a pytest that only tells."""

    def told(self, folder: Path, side: environments.Side, *modules: str, **environment: str) -> dict[str, str]:
        telling = f"print({{name: __import__(name).__file__ for name in {modules!r}}})"
        (folder / "pytest.py").write_text(telling)
        command = [str(side.python), *side.bootstrap()]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True
        )
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
        found = self.told(tmp_path, side, "perfgate", "neighbour", PYTHONPATH=str(own))
        assert found == {
            "perfgate": str(beside / "perfgate/__init__.py"),
            "neighbour": os.path.realpath(own / "neighbour.py"),
        }
        lent = self.told(tmp_path, side, "neighbour", PYTHONPATH="")
        assert lent == {"neighbour": str(beside / "neighbour.py")}

    def test_an_overlay_comes_before_python_path(self, beside: Path, tmp_path: Path) -> None:
        for name in ("overlay", "named"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "neighbour.py").write_text("")
        asked = Asked(overlay=tmp_path / "overlay")
        side = environments.Side("it", Path(sys.executable), tmp_path, {}, asked=asked)
        found = self.told(tmp_path, side, "neighbour", PYTHONPATH=str(tmp_path / "named"))
        assert found == {"neighbour": os.path.realpath(tmp_path / "overlay/neighbour.py")}

    def test_a_worktree_has_its_own_where_the_path_names_the_checkout(
        self, beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("here/src", "here/.venv/site-packages", "worktree/src"):
            (tmp_path / name).mkdir(parents=True)
        for name in ("here/src/toy.py", "worktree/src/toy.py", "here/.venv/site-packages/installed_toy.py"):
            (tmp_path / name).write_text("")
        path = os.pathsep.join(map(str, (tmp_path / "here/src", tmp_path / "here/.venv/site-packages")))
        monkeypatch.setenv("PYTHONPATH", path)
        worktree = Worktree(tmp_path / "worktree", tmp_path / "here", tmp_path / "worktree", "0" * 40)
        side = environments.Side("it", Path(sys.executable), tmp_path, {}, worktree=worktree)
        assert self.told(tmp_path, side, "toy", "installed_toy") == {
            "toy": os.path.realpath(tmp_path / "worktree/src/toy.py"),
            "installed_toy": os.path.realpath(tmp_path / "here/.venv/site-packages/installed_toy.py"),
        }
