"""docs/gpu-runner.md: the messages it explains are messages, its make targets and options exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fixtures.options import PERFGATE

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "gpu-runner.md").read_text(encoding="utf-8")
LONG_ENOUGH = 12
"""A shorter fragment of a message proves nothing."""
NOT_OURS = {"NVIDIA driver on your system is too old"}
"""What torch says; perfgate quotes it."""


def source() -> str:
    """All of our code without what joins the pieces of a string over lines."""
    files = [*ROOT.glob("perf/**/*.py"), *ROOT.glob("fixtures/**/*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*\n\s*f?"', "", text)


def explained() -> list[str]:
    """The fragments of the messages in the table's first column, without what a run fills in."""
    rows = [line.split(" | ")[0] for line in DOC.partition("## What each failure looks like")[2].splitlines()]
    messages = [found[1] for row in rows if (found := re.match(r"\| `(.+?)`", row))]
    fragments = [
        part.strip() for one in messages for part in re.split(r"\.\.\.|INCONCLUSIVE: |[():]|cuda|KEY|\d+", one)
    ]
    return [one for one in fragments if len(one) >= LONG_ENOUGH]


def test_the_messages_it_explains_are_messages() -> None:
    text, fragments = source(), explained()
    assert len(fragments) > 12
    assert [one for one in fragments if one not in text and not any(theirs in one for theirs in NOT_OURS)] == []


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"`make ([a-z-]+)", DOC))
    assert {"doctor", "gpu-evidence", "refresh"} <= targets
    for target in targets:
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--(?:device|accept|versus|judge)[a-z-]*)", DOC))))
def test_its_options_exist(option: str) -> None:
    assert option.removeprefix("--") in PERFGATE or f'"{option}"' in source()


def test_its_workflow_inputs_exist() -> None:
    workflow = (ROOT / ".github" / "workflows" / "gpu-perf.yml").read_text(encoding="utf-8")
    for name in re.findall(r"-f ([a-z_]+)=", DOC):
        assert f"      {name}:\n" in workflow
