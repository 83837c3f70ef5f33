"""The three stages: which commands each runs, for how long at most, and which figures are read off what they leave.

Stage 1: what the device is and can do, every attention and linear layer, the tests that wait for a device, and the
suite's kernels. Stage 2: the experiment, on the default model and in the shapes of an 8B one. Stage 3: a baseline, a
comparison with a slowdown injected, and the harness's own cost. Limits add up to more than a stage has: what is quick
leaves its time to the rest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from tests.gpu import figures
from tests.gpu.figures import OUTCOMES, PROBE
from tests.gpu.runner import Step

TESTS = Path(__file__).parents[1]
LIMITS_S = {1: 270.0, 2: 270.0, 3: 180.0}
ATTENTION = "eager,sdpa-flash,fa1-triton,fa2-triton,flash-attn-2"
SCHEMES = "bf16,int8,nf4"
PROMPTS = "prompts.jsonl"
"""The inputs of generations, in the folder that is kept."""
BASELINES = "baselines"
INJECTED = "slow=10%@linear/nf4*"
SLOWER = 4
"""How much longer a step may take in a rehearsal, on few and busy cores."""
WORKERS = 8
"""Processes for the tests marked gpu, where pytest-xdist is there: they share one device."""

PREFILL = "(prefill or decode) and (sq1024 or sq4096 or sk4096 or sq16384 or sk16384)"
LINEAR = "encoder or ((bf16-i4096 or int8-i4096 or nf4-i4096) and not outliers)"
JUDGED = "(linear and i4096-o4096-t16 and not outliers) or (prefill and fa2-triton and sq4096 and d128 and causal)"


@dataclass(frozen=True)
class Plan:
    """Where and what. ``keep`` outlives a stage (installed wheels, the model), ``folder`` is this stage's own.
    ``model`` is measured beside the default one; ``new_tokens`` a generation makes; ``budget_s`` replaces the seconds
    that a case is timed for."""

    keep: Path
    folder: Path
    device: str = "cuda:0"
    bundle: Path | None = None
    rehearsal: bool = False
    model: str = "shapes:llama-3.1-8b"
    new_tokens: int = 16
    budget_s: float | None = None

    def pytest(self, name: str, files: tuple[str, ...], budget_s: float | None, *more: str) -> tuple[str, ...]:
        """The suite's benchmarks in ``files``, with a report of their own."""
        budget_s = budget_s if self.budget_s is None else self.budget_s
        budget = () if budget_s is None else ("--measure-budget", f"{budget_s:g}")
        report = ("--report-dir", str(self.folder / f"report-{name}"), "--no-html")
        return (sys.executable, "-m", "pytest", *files, "--device", self.device, "-q", "-rf", *report, *budget, *more)


def steps(number: int, plan: Plan) -> list[Step]:
    """The steps of stage ``number``."""
    first = []
    if plan.bundle is not None:
        unpack = (sys.executable, "-m", "tests.gpu.unpack", str(plan.bundle), str(plan.keep))
        first.append(Step("unpack the bundle", unpack, 60.0, required=True))
    told = (sys.executable, "-m", "tests.gpu.facts", str(plan.folder), "--device", plan.device)
    rehearse = ("--rehearse",) if plan.rehearsal else ()
    first.append(Step("facts", (*told, *rehearse), 40.0, required=True))
    every = first + {1: _stage1, 2: _stage2, 3: _stage3}[number](plan)
    return [replace(one, limit_s=SLOWER * one.limit_s) for one in every] if plan.rehearsal else every


def _stage1(plan: Plan) -> list[Step]:
    probe = (sys.executable, "-m", "tests.gpu.probe", str(plan.folder / PROBE), "--device", plan.device)
    tests = (sys.executable, "-m", "pytest", *gpu_test_files(), "-m", "gpu", "-q", "-rfE", "-p", "tests.gpu.outcomes")
    tests += ("--outcomes", str(plan.folder / OUTCOMES), *_in_parallel(plan))
    selected = {"attention": (PREFILL, ATTENTION), "linear": (LINEAR, "")}
    if plan.rehearsal:
        selected = {"attention": ("decode and sdpa-flash", "sdpa-flash"), "linear": ("linear and fp32-i576-o576", "")}
    attention, linear = selected["attention"], selected["linear"]
    return [
        Step("probe", (*probe, *(("--rehearse",) if plan.rehearsal else ())), 100.0, figures.probe),
        Step("tests marked gpu", tests, 90.0, figures.outcomes),
        Step(
            "attention",
            plan.pytest("attention", ("perf/test_attention.py",), 0.2, "--attention", attention[1], "-k", attention[0]),
            75.0,
            figures.report("attention"),
        ),
        Step(
            "linear and encoder",
            plan.pytest("linear", ("perf/test_linear.py", "perf/test_encoder.py"), 0.1, "-k", linear[0]),
            60.0,
            figures.report("linear"),
        ),
    ]


def _stage2(plan: Plan) -> list[Step]:
    schemes, attention = (SCHEMES, ATTENTION) if not plan.rehearsal else ("fp32", "eager,sdpa-flash")
    default = "smollm2-135m"
    made = []
    if plan.rehearsal:
        default = str(plan.keep / "tiny")
        made = [Step("tiny model", (sys.executable, "-m", "tests.gpu.rehearsal", default), 60.0, required=True)]
    elif plan.bundle is not None:
        files, cache = str(plan.keep / "files"), str(plan.keep / "cache")
        made = [Step("default model", (sys.executable, "-m", "tests.gpu.model", files, cache), 60.0)]

    def experiment(name: str, model: str, limit_s: float) -> Step:
        choice = ("--quantization", schemes, "--attention", attention, "--model", model)
        inputs = ("--prompts", str(plan.keep / PROMPTS), "--new-tokens", str(plan.new_tokens))
        command = plan.pytest(name, ("perf/test_generation.py",), None, *choice, *inputs)
        return Step(f"experiment {name}", command, limit_s, figures.report(name))

    if plan.rehearsal:
        return [*made, experiment("default", default, 105.0)]
    return [*made, experiment("default", default, 105.0), experiment("shapes", plan.model, 130.0)]


def _stage3(plan: Plan) -> list[Step]:
    files, selected, injected = ("perf/test_linear.py", "perf/test_attention.py"), JUDGED, INJECTED
    schemes = SCHEMES
    if plan.rehearsal:
        files, selected, schemes = ("perf/test_linear.py",), "i576-o576-t1 and not t16", "fp32,nf4"
        injected = "slow=300%@linear/nf4*"  # on busy cores nothing smaller is sure to be found in time
    chosen = ("--quantization", schemes, "-k", selected)
    where = ("--baselines", str(plan.folder / BASELINES))
    reason = ("--refresh-baseline", "--reason", "first baseline on this card", "--accept-busy")
    compare = ("--benchmark-compare", "--judge-budget", "50", "--inject", injected)
    harness = ("--prompts", str(plan.keep / PROMPTS), "--new-tokens", str(plan.new_tokens))
    if plan.rehearsal:
        harness += ("--model", str(plan.keep / "tiny"))
    return [
        Step(
            "baseline",
            plan.pytest("baseline", files, 0.3, *chosen, *reason, *where),
            85.0,
            figures.report("baseline"),
        ),
        Step(
            "comparison",  # with a slowdown injected
            plan.pytest("compare", files, 0.3, *chosen, *compare, *where),
            75.0,
            figures.verdicts,
            figures.verdicts_wrong,
            expects=(1,),
        ),
        Step("harness", plan.pytest("harness", ("perf/test_harness.py",), None, *harness), 30.0, figures.harness),
    ]


def gpu_test_files() -> tuple[str, ...]:
    """The test files that mark a test ``gpu``: collecting the others would take longer than running these."""
    files = sorted(path for path in TESTS.rglob("test_*.py") if "mark.gpu(" in path.read_text(encoding="utf-8"))
    return tuple(f"tests/{path.relative_to(TESTS).as_posix()}" for path in files)


def _in_parallel(plan: Plan) -> tuple[str, ...]:
    there = find_spec("xdist") is not None or (plan.keep / "site" / "xdist").is_dir()
    return ("-n", str(WORKERS)) if there and not plan.rehearsal else ()
