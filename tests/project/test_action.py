"""The GitHub Action, its steps run here one after the other as a runner would; only gh and pip are stand-ins."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.library_made_slower import LIBRARY, SLOWER
from tests.support.repository import commit, git
from tests.support.subprocesses import TIMEOUT_S

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github" / "actions" / "perfgate"
STEPS: dict[str, Any] = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
SCRIPTS = Path(sys.executable).parent
EXPRESSION = re.compile(r"\$\{\{ ([a-z_.]+) \}\}")
MARK = "<!-- perfgate -->"
GH = """#!/usr/bin/env bash
# Notes what it was asked for; the issue's comments are one id a line in COMMENTS; a body is kept beside the log.
printf '%s\\n' "$*" >> "$GH_LOG"
[ -n "${FORBIDDEN:-}" ] && exit 1
case "$*" in *--paginate*) cat "$COMMENTS" ;; esac
for one in "$@"; do case "$one" in body=@*) cp "${one#body=@}" "$GH_LOG.body" ;; esac; done
"""
PYTHON = """#!/usr/bin/env bash
# Notes what pip is asked to install; everything else is this environment's interpreter.
if [ "$2" = pip ]; then printf '%s\\n' "$*" >> "$PIP_LOG"; exit 0; fi
exec "$REAL" "$@"
"""
SUITE = """
from library import add


def test_add(benchmark):
    assert benchmark(add, range(3000)) == 4498500


def test_sorted(benchmark):
    assert len(benchmark(sorted, [1.5] * 3000)) == 3000
"""

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


def _filled(text: str, known: dict[str, str]) -> str:
    """``text`` with its expressions as what they are."""
    return EXPRESSION.sub(lambda found: known[found[1]], text)


class Runner:
    """A hosted runner with the checkout of a pull request: its merge with the base, as actions/checkout makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.checkout, self.temp = folder, folder / "checkout", folder / "temp"
        self.gh_log, self.pip_log, self.comments = folder / "gh.log", folder / "pip.log", folder / "comments"
        self.comments.write_text("")
        for one in (self.checkout, self.temp, folder / "bin"):
            one.mkdir()
        for name, text in (("gh", GH), ("python", PYTHON)):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        (self.checkout / "test_library.py").write_text(SUITE)
        (self.checkout / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
        (self.checkout / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n")
        git(self.checkout, "init", "-q", "-b", "main")
        self.base = self.commit(LIBRARY)
        git(self.checkout, "switch", "-q", "-c", "slower")
        self.commit(SLOWER)

    def commit(self, library: str) -> str:
        (self.checkout / "library.py").write_text(library)
        commit(self.checkout)
        return git(self.checkout, "rev-parse", "HEAD")

    def run(self, *, more: dict[str, str] | None = None, **inputs: str) -> list[int]:
        """Every step in turn until one fails, with these inputs; what each ended with."""
        known = {f"inputs.{name}": str(one.get("default", "")) for name, one in STEPS["inputs"].items()}
        known |= {f"inputs.{name}": value for name, value in inputs.items()}
        known |= {
            "github.action_path": str(ACTION),
            "github.event.pull_request.base.sha": self.base,
            "github.event.pull_request.number": "7",
            "github.repository": "somebody/library",
            "github.token": "secret",
            "runner.temp": str(self.temp),
        }
        outputs, ended = self.folder / "outputs", []
        for step in STEPS["runs"]["steps"]:
            assert step["shell"] == "bash"
            outputs.write_text("")
            filled = {name: _filled(str(text), known) for name, text in step.get("env", {}).items()}
            environment = os.environ | filled | (more or {})
            environment |= {
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "REAL": sys.executable,
                "GH_LOG": str(self.gh_log),
                "PIP_LOG": str(self.pip_log),
                "COMMENTS": str(self.comments),
                "GITHUB_OUTPUT": str(outputs),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
            }
            done = subprocess.run(
                ["bash", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.checkout,
                env=environment,
                timeout=TIMEOUT_S,
                check=False,
            )
            ended.append(done.returncode)
            if done.returncode != 0:
                break
            if "id" in step:
                told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
                known |= {f"steps.{step['id']}.outputs.{name}": value for name, value in told.items()}
        return ended

    @property
    def body(self) -> str:
        return Path(f"{self.gh_log}.body").read_text()

    @property
    def summary(self) -> str:
        return (self.folder / "summary").read_text()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        ["zizmor", "--quiet", "--offline", "--persona", "pedantic"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-actions"],
    ],
    ids=lambda command: command[0],
)
def test_the_linter_finds_nothing(command: list[str]) -> None:
    linter, *options = command
    done = subprocess.run(
        [str(SCRIPTS / linter), *options, str(ACTION / "action.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_expression_is_part_of_a_script() -> None:
    """What a stranger writes (a branch's name) would be run: expressions go through environment variables."""
    assert not any("${{" in step["run"] for step in STEPS["runs"]["steps"])


@pytest.mark.slow
def test_a_slower_pull_request_is_commented_on_and_fails(runner: Runner) -> None:
    assert runner.run(budget="120", options="--perfgate-tolerance 15") == [0, 0, 0, 1]
    assert runner.pip_log.read_text().splitlines()[0].endswith(f"{ACTION}/../../..")
    assert runner.body.startswith(f"{MARK}\n# Performance report")
    assert "test_library.py::test_add: REGRESSED" in runner.body.replace("\\", "")
    assert "1 REGRESSED" in runner.summary
    asked, written = runner.gh_log.read_text().splitlines()
    assert "repos/somebody/library/issues/7/comments" in asked
    assert "--method POST repos/somebody/library/issues/7/comments" in written


def test_the_comment_of_an_earlier_run_is_replaced(runner: Runner) -> None:
    runner.comments.write_text("4711\n")
    assert runner.run(options="--no-such-option") == [0, 0, 0, 4]
    assert "--method PATCH repos/somebody/library/issues/comments/4711" in runner.gh_log.read_text()
    assert runner.body == f"{MARK}\nperfgate compared nothing; the log of the run says why.\n"
    assert "pytest ended with 4" in runner.summary


def test_a_token_that_may_not_write_fails_nothing(runner: Runner) -> None:
    assert runner.run(options="--no-such-option", more={"FORBIDDEN": "1"}) == [0, 0, 0, 4]


def test_without_a_base_it_says_what_is_missing(runner: Runner, capfd: pytest.CaptureFixture[str]) -> None:
    runner.base = ""
    assert runner.run() == [0, 1]
    assert 'the input "against"' in capfd.readouterr().err
