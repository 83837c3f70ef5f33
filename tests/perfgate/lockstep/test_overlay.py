"""Overlays of this environment: made once, complete or not at all."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from perfgate.lockstep import overlay
from perfgate.lockstep.overlay import MARKER, Revision, SideError, parse

from tests.support.subprocesses import finding
from tests.support.wheels import unpacked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows")


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

    def test_the_version_that_is_installed_here_is_installed_there_too(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For a comparison with itself: the side's files must be its own."""
        here = tmp_path / "here"
        here.mkdir()
        unpacked(here, "toyone", "1.0")
        monkeypatch.setenv("PYTHONPATH", str(here), prepend=os.pathsep)
        python = overlay.ensure("toyone==1.0", lambda text: None)
        assert (overlay.packages_folder(python) / "toyone.py").is_file()

    @pytest.mark.slow
    def test_an_environment_without_pip_lends_pythons_own(self, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """uv's environments have none."""
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else found(name))
        python = overlay.ensure("toyone==1.0", lambda text: None)
        assert (overlay.packages_folder(python) / "pip").is_dir()
        assert ask(python, "__import__('toyone').VERSION") == "1.0"

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
            ("toyone==1.0+cpu", "No matching distribution.*PIP_EXTRA_INDEX_URL.*whl/cpu"),
            ("toytwo==1.0 toyone==2.0", "could not be installed: .*conflict"),
            ("toybroken==1.0", "toybroken==1.0 was installed but does not import: .*toybroken is broken"),
        ],
    )
    def test_what_cannot_be_had_is_said_and_nothing_stays(self, index: Path, pins: str, message: str) -> None:
        with pytest.raises(SideError, match=message):
            overlay.ensure(pins, lambda line: None)
        assert [path for path in (overlay.cache_dir() / "overlays").iterdir() if path.is_dir()] == []

    def test_a_pin_that_was_withdrawn_is_named_with_the_reason(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = tmp_path / "simple/toyone/index.html"
        page.parent.mkdir(parents=True)
        file = "toyone-1.0-py3-none-any.whl"
        page.write_text(f'<a href="{(index / file).as_uri()}" data-yanked="it deletes files">{file}</a>')
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
        said: list[str] = []
        assert ask(overlay.ensure("toyone==1.0", said.append), "__import__('toyone').VERSION") == "1.0"
        (withdrawn,) = [line for line in said if "yanked" in line]
        assert withdrawn.startswith("toyone==1.0 was withdrawn")
        assert withdrawn.endswith("it deletes files")

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

    @pytest.mark.slow
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
