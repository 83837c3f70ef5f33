"""Key figures of a step, read off the files that it left, and what is wrong with them where something is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.gpu import outcomes as outcome_lines

PROBE, OUTCOMES = "probe.jsonl", "outcomes.jsonl"
SLOWED = "linear/nf4"
"""Keys of the cases that the comparison of stage 3 slows down begin so."""
UNCHANGED = ("SAME", "INCONCLUSIVE")
"""What an unchanged case may be; a decision may need more pairs than there was time for."""
FIRST_FAILURES = 5


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; a last one that was cut by a kill is left out."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return


def results(folder: Path, name: str) -> Mapping[str, Any] | None:
    """What the suite's run ``name`` reported, or None where it was killed before."""
    path = folder / f"report-{name}" / "results.json"
    found: Mapping[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def probe(folder: Path) -> dict[str, str]:
    """The ceilings, the best attention of the longest prefill, and how many items failed."""
    found = list(lines(folder / PROBE))
    told = {}
    for line in found:
        if line["kind"] == "ceiling":
            rate = f"{line['tflops']:.3g} TFLOP/s" if "tflops" in line else f"{line['gbs']:.4g} GB/s"
            told[line["what"]] = rate
    prefill = [line for line in found if line["kind"] == "attention" and line["causal"] and line["seqlen_q"] > 1]
    if prefill:
        longest = max(line["seqlen_q"] for line in prefill)
        rates = [f"{line['name']} {line['tflops']:.3g}" for line in prefill if line["seqlen_q"] == longest]
        told[f"attention {longest}, TFLOP/s"] = ", ".join(rates)
    failed = [str(line["what"]) for line in found if line["kind"] == "failed"]
    if failed:
        told["failed"] = f"{len(failed)} items: {', '.join(failed[:FIRST_FAILURES])}"
    if not found or found[-1]["kind"] != "done":
        told["incomplete"] = f"ended after {len(found)} lines"
    return told


def outcomes(folder: Path) -> dict[str, str]:
    """How the tests ended, and the paths of which one passed and none failed."""
    path = folder / OUTCOMES
    found = outcome_lines.read(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], OUTCOMES)
    told = {"tests": found.counted(), "proved": ", ".join(found.proved()) or "nothing"}
    if found.failed:
        told["failed"] = "; ".join(sorted(found.failed)[:FIRST_FAILURES])
    return told


def report(name: str) -> Callable[[Path], dict[str, str]]:
    """The numbers of records by status, and what failed."""

    def read(folder: Path) -> dict[str, str]:
        found = results(folder, name)
        if found is None:
            return {"records": "none: it ended before its report"}
        statuses = Counter(record["status"] for record in found["records"])
        told = {"records": ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "none"}
        wrong = [record for record in found["records"] if record["status"] in ("failed", "fell_back")]
        if wrong:
            told["failed"] = ", ".join(record["case"]["key"] for record in wrong[:FIRST_FAILURES])
        speeds = {
            f"{record['case']['fields'].get('scheme')} + {record['case']['fields'].get('attention')}": rate
            for record in found["records"]
            if record["case"]["name"] == "generation"
            and (rate := record["metrics"].get("throughput_tokens_per_s", {}).get("value")) is not None
        }
        if speeds:
            fastest = max(speeds, key=lambda row: speeds[row])
            told["fastest"] = f"{fastest}, {speeds[fastest]:.1f} tokens/s"
        return told

    return read


def _verdicts(folder: Path) -> dict[str, str]:
    """Verdicts by case, of the comparison."""
    found = results(folder, "compare")
    gate = {} if found is None else found["sections"].get("gate", {}).get("verdicts", {})
    return {key: verdict["status"] for key, verdict in gate.items()}


def verdicts(folder: Path) -> dict[str, str]:
    """Each verdict, by case."""
    found = _verdicts(folder)
    return {"verdicts": ", ".join(f"{key} {status}" for key, status in found.items()) or "none"}


def verdicts_wrong(folder: Path) -> str:
    """What contradicts the injected slowdown, or "": each slowed case must be REGRESSED, and no other."""
    found = _verdicts(folder)
    slowed = [key for key in found if key.startswith(SLOWED)]
    if not slowed or len(slowed) == len(found):
        return f"expected verdicts of slowed cases and of others, got {', '.join(found) or 'none'}"
    wrong = [f"{key} was slowed and is {found[key]}" for key in slowed if found[key] != "REGRESSED"]
    wrong += [
        f"{key} was left alone and is {status}"
        for key, status in found.items()
        if key not in slowed and status not in UNCHANGED
    ]
    return "; ".join(wrong)


def harness(folder: Path) -> dict[str, str]:
    """The throughput through ``measure`` as a share of a hand-written loop's."""
    found = results(folder, "harness")
    ratios = [
        record["metrics"]["throughput_ratio"]["value"]
        for record in ([] if found is None else found["records"])
        if "throughput_ratio" in record["metrics"]
    ]
    return {
        "throughput through measure": ", ".join(f"{ratio:.3f} of a hand-written loop's" for ratio in ratios) or "none"
    }
