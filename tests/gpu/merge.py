"""What was brought back from a GPU, written down: gpu_runs.json, README.md's table, the card's baseline, and the page
docs/gpu-results.md.

The files come from another machine: they are data, checked when they are read, and nothing of them is run.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from tests import evidence
from tests.gpu import EvidenceError, facts, outcomes
from tests.gpu.facts import FACTS
from tests.gpu.figures import OUTCOMES, PROBE
from tests.gpu.runner import SCHEMA

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gpu-results.md"
BASELINES = ROOT / "baselines"
UNPACKED_BYTES = 512 << 20
"""More than any stage writes: an archive that unpacks to more is not one of ours."""
REPORT = "report-"
PROBE_FIELDS = {
    "attention": ("name", "batch_size", "seqlen_q", "seqlen_k", "head_dim", "causal", "us", "tflops", "gbs"),
    "linear": ("scheme", "in_features", "out_features", "num_tokens", "us", "tflops", "error", "within_bounds"),
    "skipped": ("what", "why"),
    "failed": ("what", "error"),
}
"""What the page reads of the probe's lines, by their kind."""
COMMIT = re.compile(r"([0-9a-f]{7,64}(\+changes)?)|unknown")
SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class Brought:
    """One stage as it was brought back: what ran (stageN.json), and the files of stageN.tgz by their path."""

    stage: int
    state: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the results are of."""
        return _object(self.files[FACTS], f"stage{self.stage}.tgz, {FACTS}")

    def report(self, name: str) -> Mapping[str, Any] | None:
        """The results.json of the suite's run ``name``, validated; None where there is none."""
        path = f"{REPORT}{name}/results.json"
        if path not in self.files:
            return None
        found = _object(self.files[path], f"stage{self.stage}.tgz, {path}")
        if not isinstance(found.get("records"), list) or not isinstance(found.get("sections"), dict):
            raise EvidenceError(f"stage{self.stage}.tgz, {path}: no results of this suite; bring them again")
        for record in found["records"]:
            _record(record, path)
        return found

    def probe(self) -> list[dict[str, Any]]:
        """The probe's lines, without a last one that was cut by a kill."""
        text = self.files.get(PROBE, b"").decode("utf-8", "replace")
        found = []
        for line in text.splitlines():
            try:
                one = json.loads(line, parse_constant=_refuse)
            except ValueError:
                break
            if not isinstance(one, dict) or not isinstance(one.get("kind"), str):
                raise EvidenceError(f"stage{self.stage}.tgz, {PROBE}: not a line of the probe: {line[:80]!r}")
            missing = [name for name in PROBE_FIELDS.get(one["kind"], ()) if name not in one]
            if missing:
                raise EvidenceError(
                    f"stage{self.stage}.tgz, {PROBE}: a line of kind {one['kind']} without {', '.join(missing)}; "
                    "results of another checkout? merge them with the one that measured"
                )
            found.append(one)
        return found

    def outcomes(self) -> outcomes.Outcomes:
        """How the tests marked gpu ended."""
        text = self.files.get(OUTCOMES, b"").decode("utf-8", "replace")
        return outcomes.read(text.splitlines(), f"stage{self.stage}.tgz, {OUTCOMES}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as wrong:
        raise EvidenceError(f"{what} is damaged: {wrong}; bring it again") from None
    if not isinstance(found, dict):
        raise EvidenceError(f"{what} is no JSON object: bring back what `make gpu-evidence` wrote")
    return found


def _record(data: Any, what: str) -> None:
    from perfgate.records.record import Record
    from perfgate.records.validate import RecordError

    try:
        Record.from_json(data)
    except (RecordError, KeyError, TypeError) as wrong:
        raise EvidenceError(
            f"{what}: {wrong}; results of another perfgate? merge them with the checkout that measured"
        ) from None


def read(folder: Path) -> list[Brought]:
    """The stages in ``folder`` and below, in order.

    Raises:
        EvidenceError: there are none, one is there twice, or a file is not what a stage writes.
    """
    if not folder.is_dir():
        raise EvidenceError(f"--merge: {folder} is no folder; name the one that holds stage1.json, stage1.tgz, ...")
    found: dict[int, Brought] = {}
    for path in sorted(folder.rglob("stage[123].json")):
        state = _object(path.read_bytes(), str(path))
        number = state.get("stage")
        if state.get("schema") != SCHEMA or number not in (1, 2, 3) or not isinstance(state.get("steps"), list):
            raise EvidenceError(f"{path} is no stage of schema {SCHEMA}: bring back what `make gpu-evidence` wrote")
        for step in state["steps"]:
            _step(step, path)
        if number in found:
            raise EvidenceError(f"{folder} holds stage {number} twice: name a folder with one run")
        archive = path.with_suffix(".tgz")
        if not archive.is_file():
            raise EvidenceError(f"{archive} is missing beside {path.name}: bring both")
        files = members(archive)
        if FACTS not in files:
            raise EvidenceError(
                f"{archive} has no {FACTS}: stage {number} ended before it knew its device; run it again"
            )
        found[number] = Brought(number, state, files)
        _facts(found[number].facts, archive)
    if not found:
        raise EvidenceError(f"no stage1.json, stage2.json or stage3.json in {folder}: name the folder brought back")
    every = [found[number] for number in sorted(found)]
    for name in ("card", "commit", "rehearsal"):
        if len({one.facts[name] for one in every}) > 1:
            stated = ", ".join(f"stage {one.stage}: {one.facts[name]}" for one in every)
            raise EvidenceError(f"the stages are of different runs ({name}: {stated}): merge them one at a time")
    return every


def _facts(found: Mapping[str, Any], archive: Path) -> None:
    for name, kind in (("card", str), ("commit", str), ("date", str), ("rehearsal", bool), ("versions", dict)):
        if not isinstance(found.get(name), kind) or found[name] == "":
            raise EvidenceError(f"{archive}, {FACTS}: {name} is {found.get(name)!r}, expected a {kind.__name__}")
    if not COMMIT.fullmatch(found["commit"]):
        raise EvidenceError(f"{archive}, {FACTS}: commit is {found['commit']!r}, expected git's hexadecimal digits")
    try:
        date.fromisoformat(found["date"])
    except ValueError as wrong:
        raise EvidenceError(f"{archive}, {FACTS}: date: {wrong}") from None


def _step(step: Any, path: Path) -> None:
    expected = {"name": str, "outcome": str, "seconds": (int, float), "limit_s": (int, float), "figures": dict}
    if not isinstance(step, dict) or any(not isinstance(step.get(key), kind) for key, kind in expected.items()):
        raise EvidenceError(f"{path}: not a step: {str(step)[:120]}; bring back what `make gpu-evidence` wrote")


def members(archive: Path) -> dict[str, bytes]:
    """The files of an archive by their path, read into memory: nothing of it is written to disk.

    Raises:
        EvidenceError: it is damaged, too large, or leads out of its folder.
    """
    found = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes()), mode="r:gz") as opened:
            for member in opened:
                path = PurePosixPath(member.name)
                if not member.isfile() or path.is_absolute() or ".." in path.parts:
                    raise EvidenceError(f"{archive} holds {member.name!r}, which no stage writes")
                total += member.size
                if total > UNPACKED_BYTES:
                    raise EvidenceError(f"{archive} unpacks to more than {UNPACKED_BYTES >> 20} MiB: it is no stage's")
                stream = opened.extractfile(member)
                assert stream is not None
                found[member.name] = stream.read()
    except (OSError, EOFError, tarfile.TarError) as wrong:
        raise EvidenceError(f"{archive} is damaged: {wrong}; bring it again") from None
    return found


def measured(results: Mapping[str, Any]) -> list[str]:
    """The paths of which a run measured every row that it had on an accelerator, from its results.json."""
    rows: dict[str, set[str]] = defaultdict(set)
    for record in results["records"]:
        fields = record["case"]["fields"]
        names = [fields.get("scheme"), fields.get("attention")]
        if record["case"]["name"] == "encoder" and fields.get("path") == "fast":
            names.append("encoder-fast")
        if record["provenance"].get("executed_on") != "cpu":
            for name in filter(None, names):
                rows[name].add(record["status"])
    return sorted(name for name, statuses in rows.items() if statuses == {"measured"})


def listed(runs: Iterable[Mapping[str, str]], more: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The runs with ``more`` after them; a run of the same path by the same command on the same card is replaced."""
    by_what = {(run["path"], run["gpu"], run["command"]): dict(run) for run in (*runs, *more)}
    return sorted(by_what.values(), key=lambda run: (run["path"], run["gpu"], run["command"]))


def proved(stages: Sequence[Brought]) -> list[dict[str, str]]:
    """gpu_runs.json's entries: what each stage's tests and suite runs got through. Only paths that exist here."""
    known = {path.name for path in evidence.gpu_paths()}
    found = []
    for stage in stages:
        by_command = {f"make gpu-evidence STAGE={stage.stage} (tests marked gpu)": stage.outcomes().proved()}
        for name in reports(stage):
            results = stage.report(name)
            assert results is not None
            by_command[f"make gpu-evidence STAGE={stage.stage} ({name})"] = measured(results)
        told = stage.facts
        found += [
            {"path": path, "gpu": told["card"], "date": told["date"], "commit": told["commit"], "command": command}
            for command, paths in by_command.items()
            for path in paths
            if path in known
        ]
    return found


def reports(stage: Brought) -> list[str]:
    """The names of the suite's runs of which a stage has results."""
    ends = (f"{REPORT}", "/results.json")
    return sorted(
        path.removeprefix(ends[0]).removesuffix(ends[1])
        for path in stage.files
        if path.startswith(ends[0]) and path.endswith(ends[1])
    )


def prepare(stages: Sequence[Brought]) -> dict[Path, str]:
    """Everything that the stages give, by the file that it belongs into, before any of it is written.

    Raises:
        EvidenceError: a baseline among it cannot be read.
    """
    from tests.gpu import page

    before = json.loads(evidence.GPU_RUNS.read_text(encoding="utf-8"))
    runs = listed(before, proved(stages))
    return {
        evidence.GPU_RUNS: json.dumps(runs, indent=1) + "\n",
        PAGE: page.render(stages),
        **_baselines(stages),
    }


def _baselines(stages: Sequence[Brought]) -> dict[Path, str]:
    """The baselines that were recorded, validated, under the next number of their machine's folder and the commit that
    was measured (the machine may have had no ``.git``)."""
    from perfgate.baselines.store import BaselineError, BaselineStore, load

    found = {}
    for stage in stages:
        for name, content in stage.files.items():
            path = PurePosixPath(name)
            if path.parts[0] != "baselines" or path.suffix != ".json":
                continue
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch, path.name)
                copy.write_bytes(content)
                try:
                    key = load(copy).machine_key
                except BaselineError as wrong:
                    raise EvidenceError(f"stage{stage.stage}.tgz, {name}: {wrong}") from None
            if not SAFE_NAME.fullmatch(key):
                raise EvidenceError(f"stage{stage.stage}.tgz, {name}: its machine key {key!r} cannot name a folder")
            data = json.loads(content)
            commit = str(stage.facts["commit"]).partition("+")[0]
            for refresh in data["perfgate"]["refreshes"]:
                refresh["fingerprint"]["commit"] = refresh["fingerprint"]["commit"] or commit
            store = BaselineStore(BASELINES, key)
            number = max((int(one.name[:4]) for one in store.files()), default=0) + 1
            target = store.folder / f"{number:04}_{stage.facts['date']}_{commit[:12]}.json"
            found[target] = json.dumps(data, indent=1, allow_nan=False) + "\n"
    return found


def merge(folder: Path, *, dry: bool) -> None:
    """Write down what is in ``folder``; with ``dry``, print the page and say what would be written.

    Raises:
        EvidenceError: the files are not a run's, or they are a rehearsal's and not ``dry``.
    """
    from perfgate.records.atomic_write import write_atomic

    stages = read(folder)
    if stages[0].facts["rehearsal"] and not dry:
        raise EvidenceError(
            f"{folder} holds a rehearsal, which ran on no GPU and proves nothing: --merge {folder} --dry-run shows "
            "what would be made of it"
        )
    if stages[0].facts["commit"] == facts.UNKNOWN_COMMIT and not dry:
        raise EvidenceError(
            f"{folder}: the commit that was measured is not known; run again with --from-bundle, or with the "
            f"environment variable {facts.COMMIT}"
        )
    written = prepare(stages)
    if dry:
        print(written[PAGE])
    for path, content in written.items():
        print(f"{'would write' if dry else 'written:'} {path.relative_to(ROOT)}")
        if not dry:
            write_atomic(path, content)
    if not dry:
        subprocess.run([sys.executable, "-m", "tests.evidence"], cwd=ROOT, check=True)
        print("written: README.md's table. Read all of it, and commit it")
