"""docs/any-suite.md: its workflow is sound and short, its options and the action's inputs exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from perfgate.plugin import command_line

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "any-suite.md").read_text(encoding="utf-8")
(WORKFLOW,) = re.findall(r"```yaml\n(.*?)```", DOC, re.DOTALL)
ACTION: dict[str, Any] = yaml.safe_load((ROOT / ".github/actions/perfgate/action.yml").read_text(encoding="utf-8"))
SCRIPTS = Path(sys.executable).parent
PLACE = ("OWNER/perfgate/", "@COMMIT")


def test_the_workflow_takes_twenty_lines() -> None:
    assert len(WORKFLOW.splitlines()) <= 20


@pytest.mark.parametrize(
    "command",
    [
        ["zizmor", "--quiet", "--offline"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows"],
    ],
    ids=lambda command: command[0],
)
def test_the_workflow_is_sound(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / ".github" / "workflows" / "perfgate.yml"
    file.parent.mkdir(parents=True)
    owner, commit = PLACE
    assert owner in WORKFLOW
    assert commit in WORKFLOW
    file.write_text(WORKFLOW.replace(owner, "somebody/perfgate/").replace(commit, f"@{'a' * 40}"), encoding="utf-8")
    linter, *options = command
    done = subprocess.run([str(SCRIPTS / linter), *options, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_names_the_actions_inputs() -> None:
    told = DOC.partition("Inputs: ")[2]
    assert {name for name in ACTION["inputs"] if f"`{name}`" not in told} == set()
    used = yaml.safe_load(WORKFLOW)["jobs"]["compare"]["steps"][-1]
    assert set(used["with"]) <= set(ACTION["inputs"])


def test_its_options_exist() -> None:
    known = {command_line.PREFIX + name for _, _, options in command_line.GROUPS for name in options}
    known |= {name for names in command_line.SHORTER.values() for name in names}
    assert set(re.findall(r"--perfgate-[a-z-]+", DOC)) - known == set()
