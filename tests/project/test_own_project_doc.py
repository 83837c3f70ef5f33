"""docs/own-project.md: its example measures, its conftest gives the short names, its make target exists."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

from tests.conftest import Project

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "own-project.md").read_text(encoding="utf-8")


def test_its_examples_work_as_they_are(project: Project) -> None:
    benchmark, hooks, suite = map(textwrap.dedent, re.findall(r"```python\n(.*?)```", DOC, re.DOTALL))
    project.benchmark(benchmark)
    project.pytester.makeconftest(f"{suite}\n\n{hooks}")
    result = project.run("--quick", "--device=cpu")
    result.assert_outcomes(passed=1)
    assert list(project.records()) == ["test_sum/default"]


def test_its_make_target_exists() -> None:
    done = subprocess.run(["make", "--dry-run", "start-up"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-m tests.start_up" in done.stdout
