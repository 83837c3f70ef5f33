"""``--merge``: what is made of results that were brought back, and which are refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import evidence, gpu_evidence
from tests.gpu import EvidenceError, merge, page
from tests.gpu.facts import FACTS
from tests.gpu.figures import OUTCOMES, PROBE

CARD = "NVIDIA H100 80GB HBM3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
STORED = next(iter((Path(__file__).parents[2] / "baselines").glob("*/*.json")))
TOLD = {
    "card": CARD,
    "device": "cuda:0",
    "rehearsal": False,
    "commit": COMMIT,
    "date": "2026-12-01",
    "python": "3.12.3",
    "versions": {"torch": "2.11.0"},
}
LINES = (
    {"kind": "ceiling", "what": "matmul 8192 bf16", "us": 1500.0, "tflops": 733.0},
    {
        "kind": "attention",
        "name": "fa2-triton",
        "seqlen_q": 16384,
        "seqlen_k": 16384,
        "head_dim": 128,
        "batch_size": 1,
        "causal": True,
        "us": 6000.0,
        "tflops": 366.0,
        "gbs": 50.0,
        "error": None,
    },
    {"kind": "skipped", "what": "flash-attn-2 sq1024", "why": "flash-attn is not installed"},
    {"kind": "failed", "what": "sdpa-cudnn sq1024", "error": "RuntimeError: no kernel"},
    {
        "kind": "linear",
        "scheme": "nf4",
        "in_features": 4096,
        "out_features": 4096,
        "num_tokens": 16,
        "us": 40.0,
        "tflops": 13.4,
        "error": 0.093,
        "within_bounds": True,
    },
)
TESTED = (
    {"test": "t1", "when": "call", "outcome": "passed", "paths": ["flex", "renamed since"], "seconds": 1.0, "why": ""},
    {"test": "t2", "when": "call", "outcome": "failed", "paths": ["fa1-triton"], "seconds": 1.0, "why": "assert 1"},
    {"test": "t3", "when": "setup", "outcome": "skipped", "paths": ["flash-attn-2"], "seconds": 0.0, "why": "no nvcc"},
)


def record(name: str, status: str = "measured", on: str = "cuda", **fields: Any) -> dict[str, Any]:
    metrics = {
        "latency_s": {"kind": "sampled", "unit": "s", "better": "lower", "value": 0.002},
        "throughput_tokens_per_s": {"kind": "sampled", "unit": "tokens/s", "better": "higher", "value": 123.4},
        "throughput_ratio": {"kind": "sampled", "unit": "1", "better": "higher", "value": 0.991},
    }
    key = f"{name}/{'-'.join(str(one) for one in fields.values())}"
    return {
        "schema": 1,
        "case": {"name": name, "version": 1, "fields": fields, "key": key},
        "status": status,
        "reason": None if status == "measured" else "it broke",
        "provenance": {"executed_on": on},
        "metrics": metrics if status == "measured" else {},
        "operators": {},
        "pins": {},
        "stopped_by": None,
        "clock": None,
        "notes": [],
    }


def results(*records: dict[str, Any], **sections: Any) -> bytes:
    return json.dumps({"session": {}, "records": records, "sections": sections}).encode()


Write = Callable[..., Path]


@pytest.fixture
def brought(tmp_path: Path) -> Write:
    """Writes one stage into a folder as the runner does."""
    folder = tmp_path / "brought"
    folder.mkdir()

    def write(number: int, files: dict[str, bytes] | None = None, told: dict[str, Any] = TOLD, **state: Any) -> Path:
        steps = [{"name": "probe", "outcome": "killed at its limit", "seconds": 99.0, "limit_s": 100.0, "figures": {}}]
        text = json.dumps({"schema": 1, "stage": number, "steps": steps} | state)
        (folder / f"stage{number}.json").write_text(text)
        contents = {FACTS: json.dumps(told).encode()} | (files or {})
        with tarfile.open(folder / f"stage{number}.tgz", "w:gz") as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return folder

    return write


@pytest.fixture
def whole(brought: Write) -> Path:
    """Three stages with something of everything."""
    brought(
        1,
        {
            PROBE: "\n".join(map(json.dumps, LINES)).encode() + b'\n{"kind": "cu',
            OUTCOMES: "\n".join(map(json.dumps, TESTED)).encode(),
            "report-attention/results.json": results(
                record("attention_prefill", attention="fa2-triton"),
                record("attention_prefill", "failed", attention="sdpa-cudnn"),
            ),
            "report-linear/results.json": results(
                record("linear", scheme="nf4"),
                record("encoder", path="fast"),
                record("linear", on="cpu", scheme="int8"),
            ),
            "logs/probe.txt": b"said much",
        },
    )
    generation = record("generation", scheme="bf16", attention="eager", model="smollm2-135m")
    shapes = record("generation", scheme="nf4", attention="fa2-triton", model="shapes-llama-3.1-8b")
    brought(2, {"report-default/results.json": results(generation), "report-shapes/results.json": results(shapes)})
    row = {"case": "linear/nf4-x", "verdict": "REGRESSED", "ratio": 1.1, "low": 1.09, "high": 1.11}
    return brought(
        3,
        {
            "baselines/key/0001_2026-12-01_no-commit.json": STORED.read_bytes(),
            "report-compare/results.json": results(gate={"rows": [row]}),
            "report-harness/results.json": results(record("harness", attention="sdpa-flash")),
        },
    )


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout to write into."""
    root = tmp_path / "checkout"
    (root / "tests").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "tests" / "gpu_runs.json").write_text("[]")
    monkeypatch.setattr(merge, "ROOT", root)
    monkeypatch.setattr(merge, "PAGE", root / "docs" / "gpu-results.md")
    monkeypatch.setattr(merge, "BASELINES", root / "baselines")
    monkeypatch.setattr(evidence, "GPU_RUNS", root / "tests" / "gpu_runs.json")
    return root


def test_everything_is_written_down(whole: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(merge.subprocess, "run", lambda command, **_: ran.append(command[1:]))
    merge.merge(whole, dry=False)
    runs = json.loads((target / "tests" / "gpu_runs.json").read_text())
    assert {(one["path"], one["command"].partition("(")[2]) for one in runs} == {
        ("flex", "tests marked gpu)"),
        ("fa2-triton", "attention)"),
        ("nf4", "linear)"),
        ("encoder-fast", "linear)"),
        ("bf16", "default)"),
        ("eager", "default)"),
        ("nf4", "shapes)"),
        ("fa2-triton", "shapes)"),
        ("sdpa-flash", "harness)"),
    }
    assert {(one["gpu"], one["date"], one["commit"]) for one in runs} == {(CARD, "2026-12-01", COMMIT)}
    assert evidence.gpu_runs(json.dumps(runs))["flex"] == [CARD]
    key = STORED.parent.name
    (stored,) = (target / "baselines" / key).iterdir()
    assert stored.name == f"0001_2026-12-01_{COMMIT[:12]}.json"
    assert ran == [["-m", "tests.evidence"]]


def test_the_page_has_every_figure_and_every_failure(whole: Path) -> None:
    text = page.render(merge.read(whole))
    assert f"{CARD}, 2026-12-01, commit {COMMIT}. Python 3.12.3, torch 2.11.0." in text
    assert "matmul 8192 bf16" in text
    assert "| fa2-triton | 1 x 16384 x 16384, head_dim 128, causal | 6000 | 366 | 50 |  |" in text
    assert "- skipped: flash-attn-2 sq1024: flash-attn is not installed" in text
    assert "| nf4 | 4096 x 4096 | 16 | 40 | 13.4 | 0.093 | yes |" in text
    assert "1 passed, 1 failed, 1 skipped. Proved: flex, renamed since." in text
    assert "| bf16 + eager |" in text
    assert "shapes-llama-3.1-8b" in text
    assert page.SYNTHETIC in text
    assert "| `linear/nf4-x` | REGRESSED | 1.1 | 1.09 | 1.11 |" in text
    assert "is 0.991 of a hand-written loop's" in text
    failed = text.partition("## What failed")[2]
    for one in ("sdpa-cudnn sq1024: RuntimeError: no kernel", "killed at its limit", "`t2`: assert 1", "it broke"):
        assert one in failed
    assert page.REHEARSAL not in text


def test_a_later_run_replaces_the_same_one_before() -> None:
    run = {"path": "flex", "gpu": "H200", "date": "2026-01-01", "commit": "a", "command": "x"}
    later = run | {"date": "2026-02-02"}
    assert merge.listed([run, run | {"gpu": "A100"}], [later]) == [run | {"gpu": "A100"}, later]


def test_one_stage_alone_is_merged(brought: Write, target: Path) -> None:
    """What a lease that ended early leaves."""
    folder = brought(2, {"report-default/results.json": results(record("generation", scheme="bf16"))})
    text = page.render(merge.read(folder))
    assert page.NOTHING in text


def test_a_rehearsal_is_merged_dry_alone(brought: Write, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = brought(1, told=TOLD | {"rehearsal": True, "card": "rehearsal without a device"})
    before = sorted(target.rglob("*"))
    with pytest.raises(EvidenceError, match=r"holds a rehearsal, which ran on no GPU and proves nothing: .*--dry-run"):
        merge.merge(folder, dry=False)
    merge.merge(folder, dry=True)
    said = capsys.readouterr().out
    assert page.REHEARSAL in said
    assert "would write tests/gpu_runs.json" in said
    assert sorted(target.rglob("*")) == before
    assert json.loads((target / "tests" / "gpu_runs.json").read_text()) == []


def test_an_unknown_commit_is_refused(brought: Write, target: Path) -> None:
    with pytest.raises(EvidenceError, match=r"commit that was measured is not known; .*GPU_EVIDENCE_COMMIT"):
        merge.merge(brought(1, told=TOLD | {"commit": "unknown"}), dry=False)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"card": ""}, "card is ''"),
        ({"rehearsal": "no"}, "rehearsal is 'no', expected a bool"),
        ({"commit": "../../x"}, "commit is '../../x', expected git's hexadecimal digits"),
        ({"date": "tomorrow"}, "date: "),
        ({"versions": None}, "versions is None"),
    ],
)
def test_facts_that_cannot_be_are_refused(brought: Write, told: dict[str, Any], said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        merge.read(brought(1, told=TOLD | told))


def test_stages_of_two_runs_are_refused(brought: Write) -> None:
    brought(1)
    with pytest.raises(
        EvidenceError, match=r"the stages are of different runs .card: stage 1: .*merge them one at a time"
    ):
        merge.read(brought(2, told=TOLD | {"card": "NVIDIA A100"}))


def test_a_stage_that_is_there_twice_is_refused(whole: Path) -> None:
    shutil.copytree(whole, whole / "again")
    with pytest.raises(EvidenceError, match="holds stage 1 twice"):
        merge.read(whole)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "stage1.tgz").unlink(), r"stage1\.tgz is missing beside stage1\.json"),
        (lambda folder: (folder / "stage1.tgz").write_bytes(b"\x1f\x8bno"), r"stage1\.tgz is damaged"),
        (lambda folder: (folder / "stage1.tgz").write_bytes((folder / "stage1.tgz").read_bytes()[:90]), "is damaged"),
        (lambda folder: (folder / "stage1.json").write_text("{"), r"stage1\.json is damaged"),
        (lambda folder: (folder / "stage1.json").write_text("[]"), "is no JSON object"),
        (lambda folder: (folder / "stage1.json").write_text('{"schema": 7}'), "is no stage of schema 1"),
        (lambda folder: shutil.rmtree(folder), "is no folder"),
    ],
    ids=["none", "gzip", "cut", "json", "list", "schema", "folder"],
)
def test_damaged_files_are_refused_with_a_sentence(whole: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(whole)
    with pytest.raises(EvidenceError, match=said):
        merge.read(whole)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"no stage1\.json, stage2\.json or stage3\.json in"):
        merge.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"../evil": b"x"}, r"holds '\.\./evil', which no stage writes"),
        ({"/etc/evil": b"x"}, "holds '/etc/evil', which no stage writes"),
        ({"report-attention/results.json": b"{}"}, "no results of this suite"),
        ({"report-attention/results.json": b'{"records": [{}], "sections": {}}'}, "schema: got None"),
        ({"report-attention/results.json": b'{"records": NaN}'}, "NaN is no number"),
        ({PROBE: b'{"what": 1}\n{"kind": "done"}'}, "not a line of the probe"),
        ({PROBE: b'{"kind": "linear", "scheme": "nf4"}'}, "a line of kind linear without in_features"),
        ({OUTCOMES: b'{"test": "t"}\n{}'}, "outcomes.jsonl, line 1"),
        ({"baselines/key/0001.json": b"{}"}, "is damaged"),
        (
            {"baselines/key/0001.json": STORED.read_bytes().replace(STORED.parent.name.encode(), b"../../x")},
            "cannot name",
        ),
    ],
)
def test_foreign_content_is_refused(brought: Write, target: Path, files: dict[str, bytes], said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        merge.merge(brought(1, files), dry=False)
    assert (target / "tests" / "gpu_runs.json").read_text() == "[]"


def test_an_archive_that_unpacks_to_too_much_is_refused(brought: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "UNPACKED_BYTES", 1 << 20)
    with pytest.raises(EvidenceError, match="unpacks to more than 1 MiB"):
        merge.read(brought(1, {"zeros": bytes(2 << 20)}))


def test_the_command_refuses_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_evidence.main(["--merge", str(tmp_path)]) == 4
    assert "gpu-evidence: no stage1.json" in capsys.readouterr().err
