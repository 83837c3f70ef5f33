"""The scripts behind the workflows' make targets, run for real; only gh, which talks to GitHub, is a stand-in."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.repository import git

ROOT = Path(__file__).parents[2]
GH = """#!/usr/bin/env bash
# Notes what it was asked to do; "run download" brings the files of the folder ARTEFACTS.
printf '%s\\n' "$*" >> "$GH_LOG"
while [ $# -gt 0 ]; do
    [ "$1" = --dir ] && mkdir -p "$2" && cp -R "$ARTEFACTS"/. "$2"/
    [ "$1" = --body-file ] && cp "$2" "$GH_LOG.body"
    shift
done
"""

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


class Checkout:
    """A clone of a small project with the real ``.ci``, and a stand-in for gh first on the path."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.path, self.artefacts = folder / "origin.git", folder / "checkout", folder / "artefacts"
        self.log = folder / "gh.log"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.origin))
        git(folder, "clone", "-q", str(self.origin), str(self.path))
        git(self.path, "switch", "-q", "-c", "main")
        shutil.copytree(ROOT / ".ci", self.path / ".ci")
        (self.path / "perf").mkdir()
        (self.path / "perf" / "test_sums.py").write_text("one = 1\n")
        (self.path / "pyproject.toml").write_text('[tool.perfgate]\npackages = ["Sum.Library", "other"]\n')
        (self.path / "constraints.txt").write_text("# pins\nsum-library==1.0\nother==2.0\nruff==1\n")
        self.commit("first")
        git(self.path, "push", "-q", "origin", "main")
        self.artefacts.mkdir()
        binaries = folder / "bin"
        binaries.mkdir()
        (binaries / "gh").write_text(GH)
        (binaries / "gh").chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "GH_LOG": str(self.log),
            "ARTEFACTS": str(self.artefacts),
            "RUN_ID": "77",
            "PULL_REQUEST": "5",
            "REASON": 'newer "driver" $(touch injected)',
        }

    def commit(self, message: str) -> str:
        git(self.path, "add", "-A")
        git(self.path, "commit", "-q", "-m", message)
        return git(self.path, "rev-parse", "HEAD")

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.path / ".ci" / script), *arguments]
        return subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, check=False)

    def report(self, folder: str, text: str) -> None:
        (self.artefacts / folder).mkdir(parents=True, exist_ok=True)
        (self.artefacts / folder / "summary.md").write_text(f"# Performance report\n\n{text}\n")

    @property
    def body(self) -> str:
        return Path(f"{self.log}.body").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


class TestSummary:
    def test_every_report_under_its_folders_name(self, checkout: Checkout) -> None:
        checkout.report("versus-code", "slower")
        checkout.report("baseline", "the same")
        said = checkout.run("summary", str(checkout.artefacts)).stdout
        assert said == "## baseline\n\n\nthe same\n\n## versus-code\n\n\nslower\n\n"

    def test_none(self, checkout: Checkout) -> None:
        assert checkout.run("summary", "nowhere").stdout == "No report was written: the log says why.\n"


class TestComment:
    def test_one_comment_that_later_runs_replace(self, checkout: Checkout) -> None:
        checkout.report("perf-report-h200/baseline", "the same")
        assert checkout.run("comment").returncode == 0
        download, comment = checkout.log.read_text().splitlines()
        assert download.startswith("run download 77 --pattern perf-report-* --dir ")
        assert comment.startswith("pr comment 5 --edit-last --create-if-none --body-file ")
        assert checkout.body.startswith("# GPU performance\n\n## baseline\n")

    def test_a_long_report_is_cut_and_says_so(self, checkout: Checkout) -> None:
        checkout.report("perf-report-h200/baseline", "x" * 70_000)
        checkout.run("comment")
        assert len(checkout.body) < 65_536
        assert checkout.body.endswith("Cut here; the run keeps the whole report as an artefact.\n")

    @pytest.mark.parametrize("missing", ["RUN_ID", "PULL_REQUEST"])
    def test_what_is_missing_is_named(self, checkout: Checkout, missing: str) -> None:
        del checkout.environment[missing]
        done = checkout.run("comment")
        assert done.returncode != 0
        assert missing in done.stderr


class TestPropose:
    def test_a_branch_with_the_baselines_and_a_pull_request_with_old_against_new(self, checkout: Checkout) -> None:
        checkout.report("refreshed-h200/perf-report", "old 2.0 ms, new 1.9 ms")
        stored = checkout.artefacts / "refreshed-h200" / "baselines" / "1x-nvidia-h200-139gib"
        stored.mkdir(parents=True)
        (stored / "0001.json").write_text("{}")
        done = checkout.run("propose")
        assert done.returncode == 0, done.stderr
        pushed = git(checkout.origin, "show", "--stat", "--format=%s", "baseline/77")
        assert "baselines/1x-nvidia-h200-139gib/0001.json" in pushed
        assert pushed.startswith('Baseline: newer "driver" $(touch injected)')
        assert checkout.log.read_text().splitlines()[-1].startswith("pr create --head baseline/77 --title Baseline: ")
        assert "measured by run 77" in checkout.body
        assert "perf-report/results.json" in checkout.body
        assert "perf-report" not in pushed
        assert "old 2.0 ms, new 1.9 ms" in checkout.body
        assert not (checkout.path / "injected").exists()

    def test_nothing_new_is_nothing_to_propose(self, checkout: Checkout) -> None:
        (checkout.artefacts / "refreshed-h200" / "baselines").mkdir(parents=True)
        done = checkout.run("propose")
        assert done.returncode == 1
        assert "nothing to propose" in done.stderr
        assert "pr create" not in checkout.log.read_text()


def test_a_reason_reaches_pytest_as_it_was_given(tmp_path: Path) -> None:
    """Through make and a shell, neither of which may read it."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "${@: -1}"\n')
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    reason = 'a "quoted" $(touch injected) `id` $HOME'
    done = subprocess.run(
        [
            "make",
            "--silent",
            "--no-print-directory",  # which a make that runs these tests asks for
            f"VENV={tmp_path}",
            "--assume-old=pyproject.toml",
            "--assume-old=constraints.txt",
            "refresh",
        ],
        cwd=ROOT,
        env=os.environ | {"REASON": reason},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{reason}\n", done.stderr


@pytest.fixture
def versus(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``.ci/versus.py`` of the small checkout."""
    spec = importlib.util.spec_from_file_location("ci_versus", checkout.path / ".ci" / "versus.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestVersus:
    def test_on_main_there_is_nothing_to_compare(self, versus: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
        assert versus.main([""]) == 0
        assert "nothing to compare" in capsys.readouterr().out

    def test_changed_code_is_compared_with_where_the_branch_left_main(
        self, versus: ModuleType, checkout: Checkout
    ) -> None:
        base = git(checkout.path, "rev-parse", "HEAD")
        (checkout.path / "perf" / "test_sums.py").write_text("two = 2\n")
        checkout.commit("second")
        assert versus.comparisons(versus.base_of("")) == [("code", f"git:{base}")]

    def test_changed_pins_of_measured_packages_are_compared_with_their_old_versions(
        self, versus: ModuleType, checkout: Checkout
    ) -> None:
        base = git(checkout.path, "rev-parse", "HEAD")
        (checkout.path / "constraints.txt").write_text("Sum_Library==1.1\nother==2.1\nruff==2\nnew==1\n")
        checkout.commit("an update")
        assert versus.comparisons(base) == [("pins", "other==2.0 sum-library==1.0")]

    def test_each_comparison_has_a_report_of_its_own_and_the_worst_exit_code_counts(
        self, versus: ModuleType, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = git(checkout.path, "rev-parse", "HEAD")
        (checkout.path / "constraints.txt").write_text("sum-library==1.1\n")
        (checkout.path / "perf" / "test_sums.py").write_text("two = 2\n")
        ran: list[list[str]] = []
        real = subprocess.run

        def run(command: list[str], **how: object) -> object:
            if command[0] == "git":
                return real(command, **how)  # type: ignore[call-overload]
            ran.append(command[1:])
            return subprocess.CompletedProcess(command, 1 if "sum-library==1.0" in command else 0)

        monkeypatch.setattr(versus.subprocess, "run", run)
        assert versus.main([base, "--quick", "--report-dir", "out/versus"]) == 1
        given = ["-m", "pytest", "perf", "--quick", "--versus"]
        assert ran == [
            [*given, "sum-library==1.0", "--report-dir", "out/versus-pins"],
            [*given, f"git:{base}", "--report-dir", "out/versus-code"],
        ]

    def test_a_base_that_does_not_exist(self, versus: ModuleType) -> None:
        with pytest.raises(SystemExit, match="versus: git rev-parse"):
            versus.main(["no-such-commit"])
