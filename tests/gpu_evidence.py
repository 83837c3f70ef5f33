"""Evidence from a GPU (``make gpu-evidence``): everything that waits for one, in three stages with time limits.

Each stage prints a table and writes ``stageN.json`` and ``stageN.tgz`` after every step, so that a run that is cut
short loses nothing. On a machine with a clone, all stages run and what they prove is written down: gpu_runs.json,
README.md's table, docs/gpu-results.md, the card's baseline. Where a bundle was brought (``--from-bundle``,
docs/gpu-runner.md), one stage at a time runs there, and ``--merge FOLDER`` writes it down here. Where there is no GPU
it says what it would have run, and fails, because nothing was proved; ``--rehearse`` runs all stages on the CPU all the
same, tiny, to see that they would run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.gpu import BundleError, EvidenceError, facts, figures, runner, stages, unpack
from tests.support.subprocesses import finding

ROOT = Path(__file__).parents[1]
OUT = "GPU_EVIDENCE_OUT"
"""Environment variable: where results go, for callers with a folder of their own."""
DEFAULT_OUT = Path("perf-report", "gpu-evidence")
INPUTS = 4
"""The number of prompts a generation of stage 2 gets."""
NEW_TOKENS = 16
FULL = 'make test-gpu runs the tests alone; make gpu-evidence ARGS="--rehearse" rehearses all of this without a GPU'


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m tests.gpu_evidence", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--tests-only", action="store_true", help="run the tests marked gpu, and write nothing")
    made.add_argument("--stage", type=int, choices=(1, 2, 3), help="this stage alone (default: all, then --merge)")
    made.add_argument("--limit", type=float, metavar="SECONDS", help="of a stage (default 270, 270, 180)")
    made.add_argument("--device", default="cuda:0", help="which GPU (default cuda:0)")
    made.add_argument(
        "--from-bundle",
        nargs="?",
        type=Path,
        const=ROOT / ".gpu",
        metavar="FOLDER",
        help="install and use what `make gpu-bundle` packed (default folder: .gpu)",
    )
    made.add_argument("--out", type=Path, help=f"where results go (default ${OUT}, else {DEFAULT_OUT})")
    made.add_argument("--keep", type=Path, help="what stays for later stages (default: in the user's cache)")
    made.add_argument("--model", default="shapes:llama-3.1-8b", help="measured beside the default model")
    made.add_argument("--prompts", type=Path, metavar="FILE", help=f"inputs (default: the first {INPUTS} English ones)")
    made.add_argument("--new-tokens", type=int, default=NEW_TOKENS, help=f"a generation's (default {NEW_TOKENS})")
    made.add_argument("--measure-budget", type=float, metavar="SECONDS", help="a case's timed seconds")
    made.add_argument("--rehearse", action="store_true", help="on the CPU, tiny: it proves nothing")
    made.add_argument("--merge", type=Path, metavar="FOLDER", help="write down what was brought back in FOLDER")
    made.add_argument("--dry-run", action="store_true", help="with --merge: print it, and write nothing")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    options = parser().parse_args(arguments)
    os.chdir(ROOT)
    try:
        if options.merge is not None:
            return _merge(options.merge, dry=options.dry_run)
        if options.from_bundle is None and not options.rehearse:  # a bundle's machine has its own step for this
            if facts.card_of(options.device) is None:
                return say_what_would_run(options)
            if options.tests_only:
                return tests_only()
        return run_stages(options)
    except (BundleError, EvidenceError) as wrong:
        print(f"gpu-evidence: {wrong}", file=sys.stderr)
        return 4


def _merge(folder: Path, *, dry: bool) -> int:
    from tests.gpu import merge

    merge.merge(folder, dry=dry)
    return 0


def run_stages(options: argparse.Namespace) -> int:
    """The stage that is asked for, or all and the merge; returns the worst exit code."""
    out = options.out or Path(os.environ.get(OUT) or DEFAULT_OUT)
    keep = options.keep or _cache() / ("rehearsal" if options.rehearse else "stages")
    keep.mkdir(parents=True, exist_ok=True)
    write_prompts(options.prompts, keep / stages.PROMPTS, 1 if options.rehearse else INPUTS)
    codes = []
    for number in (1, 2, 3) if options.stage is None else (options.stage,):
        print(f"stage {number}{', rehearsed without a device' if options.rehearse else ''}", flush=True)
        codes.append(run_stage(number, options, keep, out))
        if codes[-1] == 2:  # interrupted
            return 2
    if options.stage is None and options.from_bundle is None:
        _merge(out, dry=options.rehearse)
    return max(codes)


def run_stage(number: int, options: argparse.Namespace, keep: Path, out: Path) -> int:
    """One stage, from an empty folder of its own; returns 0, 1 where a step failed, or 2 where it was interrupted."""
    folder = keep / f"stage{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = stages.Plan(
        keep=keep,
        folder=folder,
        device="cpu" if options.rehearse else options.device,
        bundle=options.from_bundle,
        rehearsal=options.rehearse,
        model=options.model,
        new_tokens=2 if options.rehearse else options.new_tokens,
        budget_s=options.measure_budget,
    )
    limit_s = options.limit or stages.LIMITS_S[number] * (stages.SLOWER if options.rehearse else 1)
    told = {"rehearsal": options.rehearse, "began": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    stage = runner.Stage(number, limit_s, folder, out, told)
    return stage.run(stages.steps(number, plan), environment(keep, options.from_bundle))


def environment(keep: Path, bundle: Path | None) -> dict[str, str]:
    """What every step gets: this checkout and the bundle's packages on the path, before what was there."""
    path = [str(ROOT), str(ROOT / "perf")]
    more = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
    if bundle is not None:
        path.insert(0, str(keep / unpack.SITE))
        more["LLM_PERF_CACHE"] = str(keep / "cache")
        commit = unpack.commit_of(bundle, keep)
        if commit is not None:
            more[facts.COMMIT] = commit
    return finding(*path, **more)


def write_prompts(given: Path | None, target: Path, number: int) -> None:
    """The inputs of generations: those of a file, or the first English ones.

    Raises:
        EvidenceError: the file cannot be read.
    """
    source = given or ROOT / "fixtures" / "prompts" / "en.jsonl"
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, ValueError) as wrong:
        raise EvidenceError(
            f'--prompts: {wrong}; expected a file with a line {{"text": "..."}} for each input'
        ) from None
    every = [line for line in text.splitlines() if line.strip()]
    target.write_text("\n".join(every if given is not None else every[:number]) + "\n", encoding="utf-8")


def _cache() -> Path:
    """A folder for what stages leave to each other. (platformdirs may not be installed yet.)"""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-perf-gpu"


def tests_only() -> int:
    """The tests marked gpu; fails where none ran."""
    keep = _cache() / "tests-only"
    target = keep / figures.OUTCOMES
    command = [sys.executable, "-m", "pytest", "tests", "-m", "gpu", "-p", "tests.gpu.outcomes"]
    done = subprocess.run([*command, "--outcomes", str(target)], env=environment(keep, None), check=False)
    from tests.gpu import outcomes

    return done.returncode if outcomes.read(target.read_text().splitlines(), str(target)).passed else 1


def say_what_would_run(options: argparse.Namespace) -> int:
    """Every step's command, where there is no GPU to run it on."""
    print(f"no GPU: torch finds no accelerator for {options.device}. With one it would run:")
    plan = stages.Plan(Path("KEEP"), Path("KEEP", "stageN"), options.device, model=options.model)
    for number, limit_s in stages.LIMITS_S.items():
        print(f"stage {number}, at most {limit_s:g} s:")
        for step in stages.steps(number, plan):
            command = " ".join(step.command).replace(sys.executable, "python")
            print(f"  {step.name}, at most {step.limit_s:g} s: {command}")
    print(f"and list what got through in tests/gpu_runs.json, README.md, docs/gpu-results.md and baselines/. {FULL}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
