"""The encoder fast path against float64 and the slow path, its work, and its benchmark, which must be able to fail."""

from __future__ import annotations

import copy
import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import encoder_report
import pytest
import torch
from perfgate import Row, counters
from perfgate.clocks import WallClock
from perfgate.measure import FellBackError, Instruments, Measure
from perfgate.options import Settings
from perfgate.record import Record
from perfgate.run import RUN
from torch.nn import functional

from fixtures import encoder
from fixtures.encoder import Encoder, EncoderError
from fixtures.options import SETTINGS
from fixtures.reference import attention_reference
from tests.subprocesses import finding

REPOSITORY = Path(__file__).resolve().parents[1]
IDS = tuple(f"{path}-fp32-b8-s128-w256-l4-{padding}" for padding in ("padded", "full") for path in ("fast", "slow"))
"""The default rows on a CPU: stored baselines are found by these names."""

PADDED = pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
BOTH = pytest.mark.parametrize("path", ["fast", "slow"])

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage:UserWarning")


def small(*, padded: bool, dtype: str = "fp32", device: str = "cpu") -> Encoder:
    return encoder.build(batch_size=4, seqlen=24, width=128, layers=2, padded=padded, dtype=dtype, device=device)


def run(subject: Encoder, path: encoder.Path) -> tuple[torch.Tensor, counters.Counts]:
    with encoder.path(path):
        output, counts = counters.count(subject)
    assert counts is not None
    return output, counts


@pytest.mark.parametrize("dtype", encoder.DTYPES)
@PADDED
@BOTH
def test_either_path_matches_float64(path: encoder.PathName, padded: bool, dtype: str) -> None:
    subject = small(padded=padded, dtype=dtype)
    output, counts = run(subject, path)
    subject.check(output)
    assert counts.operators.get(f"{encoder.FUSED_LAYER}.default", 0) == (2 if path == "fast" else 0), "one a layer"
    assert counts.ran(encoder.NESTED_INPUT) == (path == "fast" and padded)
    if path == "fast":
        subject.require_nested(output, counts.operators)
    assert subject.tokens == (24 + 18 + 12 + 6 if padded else 4 * 24)


def by_hand(subject: Encoder) -> torch.Tensor:
    """The encoder's equations in float64, without a module of torch's.

    Source: Vaswani et al., Attention Is All You Need, arXiv 1706.03762, sections 3.1 to 3.3.
    """
    hidden = subject.inputs.double()
    key_mask = None if subject.padding is None else ~subject.padding
    batch_size, seqlen, width = hidden.shape
    for layer in subject.module.layers:
        weights: dict[str, Any] = {name: value.double() for name, value in layer.named_parameters()}
        qkv = functional.linear(hidden, weights["self_attn.in_proj_weight"], weights["self_attn.in_proj_bias"])
        heads = [one.unflatten(-1, (-1, encoder.HEAD_DIM)).transpose(1, 2) for one in qkv.chunk(3, dim=-1)]
        mixed, _ = attention_reference(*heads, scale=encoder.HEAD_DIM**-0.5, causal=False, key_mask=key_mask)
        mixed = mixed.transpose(1, 2).reshape(batch_size, seqlen, width)
        hidden = hidden + functional.linear(
            mixed, weights["self_attn.out_proj.weight"], weights["self_attn.out_proj.bias"]
        )
        hidden = functional.layer_norm(hidden, (width,), weights["norm1.weight"], weights["norm1.bias"])
        wide = functional.linear(hidden, weights["linear1.weight"], weights["linear1.bias"]).relu()
        hidden = hidden + functional.linear(wide, weights["linear2.weight"], weights["linear2.bias"])
        hidden = functional.layer_norm(hidden, (width,), weights["norm2.weight"], weights["norm2.bias"])
    return hidden


@PADDED
def test_the_reference_is_the_papers_encoder(padded: bool) -> None:
    subject = small(padded=padded)
    assert subject.reference.dtype == torch.float64
    assert subject.relative_error(by_hand(subject)) < 1e-14


def test_nothing_of_the_encoder_can_be_lost_unnoticed() -> None:
    """Without any one bias or scale, or with the mask dropped, no dtype's tolerance is met."""
    subject = small(padded=True)
    loosest = encoder.ROUNDINGS * torch.finfo(torch.bfloat16).eps
    for name, parameter in subject.module.named_parameters():
        if parameter.dim() == 1:
            poorer = copy.deepcopy(subject.module)
            default = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            poorer.get_parameter(name).fill_(default)
            assert subject.relative_error(replace(subject, module=poorer)()) > loosest, name
    assert subject.relative_error(replace(subject, padding=None)()) > loosest
    with pytest.raises(EncoderError, match="is off float64 by nan"):
        subject.check(torch.full_like(subject.inputs, float("nan")))


def test_the_path_is_put_back() -> None:
    def allowed() -> bool:
        return torch.backends.mha.get_fastpath_enabled()

    before = allowed()
    with encoder.path("slow"):
        assert not allowed()
        with encoder.path("fast"):
            assert allowed()
        assert not allowed()
    assert allowed() == before


def test_flops_are_the_slow_paths_without_the_padding() -> None:
    full = small(padded=False)
    assert run(full, "fast")[1].flops == run(full, "slow")[1].flops > 0
    padded = small(padded=True)
    assert padded.padding is not None
    lengths = (~padded.padding).sum(dim=1).tolist()
    alone = [Encoder(padded.module, padded.inputs[i : i + 1, :n], None) for i, n in enumerate(lengths)]
    assert run(padded, "fast")[1].flops == sum(run(one, "slow")[1].flops for one in alone)


def test_devices_without_the_fast_path_say_so() -> None:
    assert encoder.unavailable("fast", "mps:0") == "torch's fast path runs on cpu, cuda, xpu, not on mps"
    assert [encoder.unavailable("slow", "mps:0"), encoder.unavailable("fast", "cuda:0")] == [None, None]


@pytest.mark.gpu("encoder-fast")
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@PADDED
def test_the_fast_path_matches_float64_on_an_accelerator(padded: bool, dtype: str) -> None:
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    subject = small(padded=padded, dtype=dtype, device=f"{accelerator.type}:0")
    output, counts = run(subject, "fast")
    subject.check(output)
    assert counts.ran(encoder.FUSED_LAYER)
    assert not counts.ran(encoder.LAYER_NORM)
    subject.require_nested(output, counts.operators)


class NoReplay:
    """Takes the samples that pytest-benchmark would get."""

    disabled = False

    def replay(self, samples: Sequence[float]) -> None: ...


Plant = Callable[[Any, torch.Tensor, torch.Tensor | None], Encoder]
Benchmark = Callable[..., Record]


@pytest.fixture
def benchmark_of(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """Run the benchmark's own body on a small encoder, which ``plant`` may break."""
    body = importlib.import_module("test_encoder")  # perf/test_encoder.py; this module is tests.test_encoder

    def measured(path: encoder.PathName, *, padded: bool, plant: Plant = Encoder) -> Record:
        sound = small(padded=padded)
        monkeypatch.setattr(encoder, "build", lambda **shape: plant(sound.module, sound.inputs, sound.padding))
        case = body.EncoderCase(path=path, dtype="fp32", batch_size=4, seqlen=24, width=128, layers=2, padded=padded)
        record = Record("encoder", 1, case.fields, case.key)
        measure = Measure(Settings(budget_s=1e-6), Instruments(WallClock(), None), NoReplay(), record)
        body.test_encoder(case, "cpu", measure, None)
        return record

    return measured


class FastPathOff(Encoder):
    def __call__(self) -> torch.Tensor:
        with encoder.path("slow"):
            return super().__call__()


class FastPathOn(Encoder):
    def __call__(self) -> torch.Tensor:
        with encoder.path("fast"):
            return super().__call__()


class WrongOutput(Encoder):
    def __call__(self) -> torch.Tensor:
        output = super().__call__()
        output[0, 0] *= 1.001  # one position of one sequence
        return output


class PaddingIgnored(Encoder):
    def __call__(self) -> torch.Tensor:
        return Encoder(self.module, self.inputs, None)()


class PaddingFilled(Encoder):
    def __call__(self) -> torch.Tensor:
        output = super().__call__()
        return output if self.padding is None else output.masked_fill(self.padding[..., None], 1.0)


def never_nested(module: Any, inputs: torch.Tensor, padding: torch.Tensor | None) -> Encoder:
    module = copy.deepcopy(module)
    module.use_nested_tensor = False
    return Encoder(module, inputs, padding)


def one_layer_hooked(module: Any, inputs: torch.Tensor, padding: torch.Tensor | None) -> Encoder:
    """A hook is all it takes for torch to leave the fast path in that layer, without a word."""
    module = copy.deepcopy(module)
    module.layers[1].linear1.register_forward_hook(lambda *arguments: None)
    return Encoder(module, inputs, padding)


FAULTS: tuple[tuple[encoder.PathName, bool, Plant, type[Exception], str], ...] = (
    ("fast", True, FastPathOff, FellBackError, r"-padded: FELL_BACK: .*'encoder-fast', .*instead ran .*layer_norm"),
    ("fast", False, FastPathOff, FellBackError, r"-full: FELL_BACK: .*'encoder-fast', .*instead ran .*layer_norm"),
    ("fast", False, one_layer_hooked, FellBackError, r"-full: FELL_BACK: .*instead ran aten.native_layer_norm"),
    ("slow", True, FastPathOn, FellBackError, r"FELL_BACK: .*'encoder-slow', .*instead ran .*encoder_layer_fwd"),
    ("fast", True, never_nested, FellBackError, r"FELL_BACK: the padded input never became a nested tensor"),
    ("fast", True, WrongOutput, EncoderError, r"is off float64 by .*, allowed are 7.2e-07"),
    ("slow", False, WrongOutput, EncoderError, r"is off float64 by .*, allowed are 7.2e-07"),
    ("slow", True, PaddingIgnored, EncoderError, r"is off float64 by 0\."),
    ("fast", True, PaddingIgnored, EncoderError, r"is off float64 by 0\."),
    ("fast", True, PaddingFilled, EncoderError, r"something else than zeros where the input is padding"),
)


@pytest.mark.parametrize(
    ("path", "padded", "plant", "error", "message"),
    FAULTS,
    ids=[f"{path}-{'padded' if padded else 'full'}-{plant.__name__}" for path, padded, plant, *_ in FAULTS],
)
def test_the_benchmark_catches(
    benchmark_of: Benchmark, path: encoder.PathName, padded: bool, plant: Plant, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        benchmark_of(path, padded=padded, plant=plant)


def test_the_benchmark_and_its_report(benchmark_of: Benchmark) -> None:
    records = [benchmark_of(path, padded=padded) for padded in (True, False) for path in ("fast", "slow")]
    for record in records:
        error = record.value("relative_error")
        assert error is not None
        assert 0 < error < 7.2e-7
        assert record.metrics["relative_error"].kind == "bounded"
    for record, latency_s in zip(records, (2.0, 5.0, 4.0, 3.0), strict=True):
        record.metrics["latency_s"] = replace(record.metrics["latency_s"], value=latency_s, interval=None)
    (section,) = encoder_report.sections([*records, Record("encoder", 1, {}, "encoder/x", status="failed")])
    assert section.table is not None
    assert [(row["path"], row["input"]) for row in section.table.rows] == [
        (path, f"fp32, 4 x 24, {padding}") for padding in ("padded", "full") for path in ("fast", "slow")
    ]
    assert section.notes == [
        "fp32, 4 x 24, padded: the fast path is 2.50 times the slow path's speed",
        "fp32, 4 x 24, full: the fast path is 0.75 times the slow path's speed",
    ]
    assert encoder_report.sections(records[:1])[0].notes == [], "one path alone has nothing to compare"
    assert encoder_report.sections([]) == []


def rows(device: str = "cpu", **chosen: tuple[str, ...]) -> list[Row]:
    suite = SimpleNamespace(**{"quantization": None, "attention": None} | chosen)
    config: Any = SimpleNamespace(stash={SETTINGS: suite, RUN: SimpleNamespace(device=device)})
    return list(importlib.import_module("test_encoder").encoder_rows(config))


def test_rows() -> None:
    assert [row.case.id for row in rows() if row.quick] == list(IDS[:2])
    assert [row.case.fields["seqlen"] for row in rows() if row.extra] == [512] * 4
    assert {row.case.fields["dtype"] for row in rows("cuda:0")} == {"fp16", "bf16"}
    assert not any(row.selected for row in (*rows(attention=("fa2",)), *rows(quantization=("int8",))))


def test_default_ids_and_collecting_them_loads_no_torch(tmp_path: Path) -> None:
    (tmp_path / "loaded_libraries.py").write_text(
        "import sys\n"
        "def pytest_collection_finish(session):\n"
        "    print('loaded:', [name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])\n"
    )
    command = [
        *(sys.executable, "-m", "pytest", "perf/test_encoder.py", "--collect-only", "-q", "-s", "--device", "cpu"),
        *("-p", "no:cacheprovider", "-p", "loaded_libraries"),
    ]
    environment = finding(tmp_path)
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert tuple(re.findall(r"test_encoder\[(.*)\]", done.stdout)) == IDS, done.stdout + done.stderr
    assert "loaded: []\n" in done.stdout
