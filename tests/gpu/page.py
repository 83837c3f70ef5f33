"""docs/gpu-results.md: what was measured on one card, made from what was brought back and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.gpu.merge import Brought

HEAD = """# What a GPU has shown

Made by `python -m tests.gpu_evidence --merge FOLDER` from what was brought back of one run; nothing on this page was
written by hand. `docs/gpu-runner.md` tells how such a run is made.
"""
REHEARSAL = "**A rehearsal on a CPU: every number below only shows that the code runs.**"
SYNTHETIC = "Weights of `shapes:` models are made from a seed: their speed and memory are real, their quality is not."
NOTHING = "Nothing of this was brought back."


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(_cell(one) for one in row)} |" for row in rows]
    return lines if len(lines) > 2 else [NOTHING]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def render(stages: Sequence[Brought]) -> str:
    """The whole page."""
    told = stages[0].facts
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    lines = [
        HEAD,
        f"{told['card']}, {told['date']}, commit {told['commit']}. Python {told.get('python')}, {versions}.",
        "",
    ]
    if told["rehearsal"]:
        lines += [REHEARSAL, ""]
    probe = [line for stage in stages for line in stage.probe()]
    for title, body in (
        ("What ran", _steps(stages)),
        ("The card", _card(probe)),
        ("Attention", _attention(probe)),
        ("Linear layers", _linear(probe)),
        ("The tests marked gpu", _tests(stages)),
        ("The suite's kernels", _kernels(stages)),
        ("The experiment", _experiments(stages)),
        ("The gate: an injected slowdown", _gate(stages)),
        ("Measurement overhead", _harness(stages)),
        ("What failed", _failures(stages, probe)),
    ):
        lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines).rstrip() + "\n"


def _steps(stages: Sequence[Brought]) -> list[str]:
    return table(
        ("step", "stage", "seconds", "limit s", "outcome"),
        (
            (one["name"], stage.stage, float(one["seconds"]), float(one["limit_s"]), one["outcome"])
            for stage in stages
            for one in stage.state["steps"]
        ),
    )


def _of(probe: Iterable[Mapping[str, Any]], *kinds: str) -> list[Mapping[str, Any]]:
    return [line for line in probe if line["kind"] in kinds]


def _card(probe: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for line in _of(probe, "card", "ceiling", "nvml", "nvml-idle", "nvml-burst", "timer", "flush"):
        fields = {key: value for key, value in line.items() if key not in ("kind", "at_s", "rehearsal", "reading")}
        said = ", ".join(f"{key} {_cell(value)}" for key, value in fields.items() if value is not None)
        lines.append(f"- {line['kind']}: {said}")
    return lines or [NOTHING]


def _attention(probe: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            line["name"],
            f"{line['batch_size']} x {line['seqlen_q']} x {line['seqlen_k']}, head_dim {line['head_dim']}, "
            f"{'causal' if line['causal'] else 'full'}",
            float(line["us"]),
            float(line["tflops"]),
            float(line["gbs"]),
            line.get("error"),
        )
        for line in _of(probe, "attention")
    ]
    head = ("attention", "batch x queries x keys", "us", "TFLOP/s", "GB/s", "relative error")
    skipped = [f"- skipped: {line['what']}: {line['why']}" for line in _of(probe, "skipped")]
    return [*table(head, rows), *(["", *skipped] if skipped else [])]


def _linear(probe: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            line["scheme"],
            f"{line['in_features']} x {line['out_features']}",
            line["num_tokens"],
            float(line["us"]),
            float(line["tflops"]),
            float(line["error"]),
            "yes" if line["within_bounds"] else "no",
        )
        for line in _of(probe, "linear")
    ]
    return table(("scheme", "layer", "tokens", "us", "TFLOP/s", "relative error", "within bounds"), rows)


def _tests(stages: Sequence[Brought]) -> list[str]:
    for stage in stages:
        found = stage.outcomes()
        if found.paths:
            reasons = [f"- {count} skipped: {why}" for why, count in found.skipped.most_common()]
            return [f"{found.counted()}. Proved: {', '.join(found.proved()) or 'nothing'}.", "", *reasons]
    return [NOTHING]


def _records(stages: Sequence[Brought], *names: str) -> list[Mapping[str, Any]]:
    found = []
    for stage in stages:
        for name in names:
            results = stage.report(name)
            found += [] if results is None else results["records"]
    return found


def _value(record: Mapping[str, Any], metric: str, scale: float = 1.0) -> float | None:
    found = record["metrics"].get(metric)
    return None if found is None else scale * float(found["value"])


def _kernels(stages: Sequence[Brought]) -> list[str]:
    rows = [
        (
            f"`{record['case']['key']}`",
            _value(record, "latency_s", 1e6),
            _value(record, "throughput_flop_per_s", 1e-12),
            _value(record, "bandwidth_bytes_per_s", 1e-9),
            _value(record, "peak_memory_bytes", 2.0**-20),
            _value(record, "relative_error"),
            "; ".join(record.get("doubts", ())),
        )
        for record in _records(stages, "attention", "linear")
        if record["status"] == "measured"
    ]
    return table(("case", "us", "TFLOP/s", "GB/s", "peak MiB", "relative error", "doubts"), rows)


def _experiments(stages: Sequence[Brought]) -> list[str]:
    lines = []
    for name in ("default", "shapes"):
        rows = [
            (
                f"{record['case']['fields'].get('scheme')} + {record['case']['fields'].get('attention')}",
                _value(record, "weights_bytes", 2.0**-20),
                _value(record, "peak_memory_bytes", 2.0**-20),
                _value(record, "throughput_tokens_per_s"),
                _value(record, "ttft_s", 1e3),
                _value(record, "tpot_s", 1e3),
                _value(record, "kl_divergence_nats"),
                _value(record, "top1_agreement", 100),
            )
            for record in _records(stages, name)
            if record["status"] == "measured" and record["case"]["name"] == "generation"
        ]
        models = sorted({str(record["case"]["fields"].get("model")) for record in _records(stages, name)})
        title = f"{', '.join(models) or name}:"
        head = ("row", "weights MiB", "peak MiB", "tokens/s", "TTFT ms", "TPOT ms", "KL nats/token", "top-1 %")
        lines += [title, *([SYNTHETIC] if name == "shapes" else []), "", *table(head, rows), ""]
    return lines[:-1]


def _gate(stages: Sequence[Brought]) -> list[str]:
    for stage in stages:
        results = stage.report("compare")
        if results is not None and "gate" in results["sections"]:
            rows = [
                (f"`{row.get('case')}`", row.get("verdict"), row.get("ratio"), row.get("low"), row.get("high"))
                for row in results["sections"]["gate"].get("rows", ())
            ]
            return table(("case", "verdict", "ratio", "from", "to"), rows)
    return [NOTHING]


def _harness(stages: Sequence[Brought]) -> list[str]:
    return [
        f"- `{record['case']['key']}`: throughput through `measure` is {ratio:.3f} of a hand-written loop's"
        for record in _records(stages, "harness")
        if (ratio := _value(record, "throughput_ratio")) is not None
    ] or [NOTHING]


def _failures(stages: Sequence[Brought], probe: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"- probe, {line['what']}: {line['error']}" for line in _of(probe, "failed")]
    for stage in stages:
        lines += [
            f"- stage {stage.stage}, {one['name']}: {one['outcome']}"
            for one in stage.state["steps"]
            if one["outcome"] != "passed"
        ]
        lines += [f"- `{test}`: {why}" for test, why in sorted(stage.outcomes().failures.items())]
    for record in _records(stages, "attention", "linear", "default", "shapes", "baseline", "compare", "harness"):
        if record["status"] in ("failed", "fell_back"):
            lines.append(f"- `{record['case']['key']}`: {record['status']}: {record['reason']}")
    return [line.replace("\n", " ") for line in lines] or ["Nothing."]
