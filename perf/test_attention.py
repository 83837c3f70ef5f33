"""Attention alone: prefill, decode, and two backends in turns; each result against float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, ClassVar

import pytest
from perfgate import Case, Measure, Metric, Row, Work, cases, device_of, part, slug, versions

from fixtures import attention, devices
from fixtures.attention import Backend, problems
from fixtures.attention.problems import References, Shape, prepared_call
from fixtures.ceilings import Ceilings, add_shares
from fixtures.options import SETTINGS
from fixtures.quantization import DTYPE_BYTES

Heads = tuple[int, int, int]
"""num_heads, num_kv_heads, head_dim."""

SMOLLM2: Heads = (9, 3, 64)
"""Source: SmolLM2-135M's config.json."""
MHA: Heads = (8, 8, 64)
"""As many key/value heads as query heads, at no more work."""
LLAMA_8B: Heads = (32, 8, 128)
"""Source: Llama-3.1-8B's config.json."""
LLAMA_7B: Heads = (32, 32, 128)
"""Source: Llama-2-7b's config.json."""

BUDGET_S = 0.6
"""Seconds of timed rounds for a case: a hundred calls of a short one, two of the longest."""
RATIO_ROUNDS = 3
"""Turns of two backends: the slower one takes seconds on a CPU."""
LINEAR_GROWTH = 2.2
"""Twice the sequence, at most this much more memory: linear, and a tenth for what does not grow in whole blocks."""
LINEAR_FROM = 2048
"""Sequence length from which a backend of linear memory is held to it: it grows linearly and needs less than a tenth of
eager's memory. On shorter ones kernels choose smaller blocks (torch's CPU flash: below 768 queries)."""


@dataclass(frozen=True)
class Set:
    """What is measured on a kind of device.

    ``lengths``: prefill lengths with the ``gqa`` heads, causal; the other arrangements of heads and mask run at
    ``common``, where every backend is. ``compared``: the backends measured at every length; ``once``: those measured
    only at ``common`` with the ``gqa`` heads, and in decode; ``decode_only``: those measured only there. ``ratios``:
    pairs that take turns, and at which length. ``quick`` and ``quick_decode``: the lengths at which ``--quick`` has the
    compared backends. ``seconds``: for a guess of what a case takes, one of no length, and what a prefill of 1,024
    tokens adds, which grows with the square of the length.
    """

    dtype: str
    gqa: Heads
    mha: Heads
    lengths: tuple[int, ...]
    common: int
    decode: tuple[int, ...]
    compared: tuple[str, ...]
    once: tuple[str, ...]
    decode_only: tuple[str, ...]
    ratios: tuple[tuple[str, str, int], ...]
    quick: tuple[int, ...]
    quick_decode: tuple[int, ...]
    seconds: tuple[float, float]


CPU = Set(
    dtype="fp32",
    gqa=SMOLLM2,
    mha=MHA,
    lengths=(512, 1024, 2048, 4096),
    common=1024,
    decode=(4096,),
    compared=("eager", "sdpa-flash", "fa1", "fa2"),
    once=("sdpa-math",),
    decode_only=("flex",),  # it compiles for each shape, for half a minute with its invariants
    ratios=(("fa2", "eager", 4096), ("fa1", "fa2", 2048)),
    quick=(512,),
    quick_decode=(),
    seconds=(1.0, 0.5),
)
ACCELERATOR = Set(
    dtype="bf16",
    gqa=LLAMA_8B,
    mha=LLAMA_7B,
    lengths=(512, 1024, 2048, 4096, 8192, 16384),
    common=4096,
    decode=(1024, 4096, 16384),
    compared=("eager", "sdpa-flash", "fa1-triton", "fa2-triton", "flash-attn-1", "flash-attn-2"),
    once=("fa1", "fa2"),  # the loop orders in PyTorch, which nobody would serve with
    decode_only=(),
    ratios=(("fa1-triton", "fa2-triton", 2048), ("fa1-triton", "fa2-triton", 16384), ("fa2-triton", "eager", 4096)),
    quick=(4096, 16384),  # shorter ones are over before the device is busy: what they show is launch overhead
    quick_decode=(16384,),
    seconds=(2.5, 0.01),  # on paper: the budget, an invariant's small calls, a reference at an H100's float64 rate
)
QUADRATIC_TO = {"cpu": 2048}
"""The longest default prefill of a backend whose memory grows quadratically, by device; elsewhere 8192, where Llama's
32 heads already have 4 GiB of bf16 scores."""
EAGER_COPIES = 4
"""Copies of the fp32 scores that eager attention may hold at once: scores, masked scores, softmax, its cast."""


@dataclass(frozen=True, kw_only=True)
class PrefillCase(Case):
    """All queries at once: seqlen_k is seqlen_q."""

    benchmark: ClassVar[str] = "attention_prefill"
    attention: str = part(render=slug)
    dtype: str = part()
    batch_size: int = part("b{}")
    seqlen_q: int = part("sq{}")
    num_heads: int = part("hq{}")
    num_kv_heads: int = part("hkv{}")
    head_dim: int = part("d{}")
    causal: bool = part(render=lambda causal: "causal" if causal else "full")
    device: str = part(default="cpu")

    @property
    def shape(self) -> Shape:
        return Shape(
            self.batch_size,
            self.num_heads,
            self.num_kv_heads,
            self.seqlen_q,
            self.seqlen_q,
            self.head_dim,
            self.causal,
        )


@dataclass(frozen=True, kw_only=True)
class DecodeCase(Case):
    """One query against a long KV cache."""

    benchmark: ClassVar[str] = "attention_decode"
    attention: str = part(render=slug)
    dtype: str = part()
    batch_size: int = part("b{}")
    seqlen_k: int = part("sk{}")
    num_heads: int = part("hq{}")
    num_kv_heads: int = part("hkv{}")
    head_dim: int = part("d{}")
    device: str = part(default="cpu")

    @property
    def shape(self) -> Shape:
        return Shape(self.batch_size, self.num_heads, self.num_kv_heads, 1, self.seqlen_k, self.head_dim, causal=True)


@dataclass(frozen=True, kw_only=True)
class RatioCase(PrefillCase):
    """Two backends in turns, so that drift cancels: how much time one takes of the other's."""

    benchmark: ClassVar[str] = "attention_ratio"
    versus: str = part("vs-{}", default="", render=slug)


def set_of(config: pytest.Config) -> tuple[str, Set]:
    """The device of this run and what is measured there."""
    device = device_of(config)
    return device, CPU if device == "cpu" else ACCELERATOR


def measurable() -> list[Backend]:
    """The backends that have an attention call of their own."""
    return [backend for backend in attention.backends().values() if backend.prepare is not None]


def selected(config: pytest.Config, dtype: str, *names: str) -> bool:
    """Whether ``--attention`` and ``--quantization`` (whose unquantized names are dtypes) leave a case in."""
    suite = config.stash[SETTINGS]
    return (suite.attention is None or set(names) <= set(suite.attention)) and (
        suite.quantization is None or dtype in suite.quantization
    )


def shape_fields(heads: Heads, dtype: str, device: str) -> dict[str, Any]:
    """The fields that all attention cases share."""
    num_heads, num_kv_heads, head_dim = heads
    return {
        "dtype": dtype,
        "batch_size": 1,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": head_dim,
        "device": device.split(":")[0],
    }


def expected_s(chosen: Set, seqlen: int, backend: Backend) -> float:
    """A guess of a prefill's seconds on a first run: backends of linear memory skip half of a causal mask."""
    least, added = chosen.seconds
    return least + added * (seqlen / 1024) ** 2 * (1 if backend.linear_memory else 2)


def prefill_rows(config: pytest.Config) -> Iterator[Row]:
    """Shapes outside, backends inside, so that the backends of a shape share its reference and eager comes first.

    A backend that cannot run here has one row, which says why.
    """
    device, chosen = set_of(config)
    for heads, causal in ((chosen.gqa, True), (chosen.mha, True), (chosen.mha, False), (chosen.gqa, False)):
        for seqlen in chosen.lengths:
            for backend in measurable():
                unavailable = backend.unavailable(device, dtype=chosen.dtype, head_dim=heads[2])
                first = (heads, causal, seqlen) == (chosen.gqa, True, chosen.lengths[0])
                common_heads = (heads, causal) == (chosen.gqa, True)
                if common_heads:
                    longest = chosen.lengths[-1] if backend.linear_memory else QUADRATIC_TO.get(device, 8192)
                    wanted = seqlen == chosen.common or (backend.name in chosen.compared and seqlen <= longest)
                else:
                    wanted = (heads, seqlen) == (chosen.mha, chosen.common) and backend.name not in chosen.once
                wanted = wanted and backend.name not in chosen.decode_only
                quick = wanted and common_heads and seqlen in chosen.quick and backend.name in chosen.compared
                yield Row(
                    PrefillCase(
                        attention=backend.name,
                        seqlen_q=seqlen,
                        causal=causal,
                        **shape_fields(heads, chosen.dtype, device),
                    ),
                    quick=quick and unavailable is None,
                    extra=not (wanted if unavailable is None else first),
                    selected=selected(config, chosen.dtype, backend.name),
                    unavailable=unavailable,
                    expected_s=expected_s(chosen, seqlen, backend),
                )


def decode_rows(config: pytest.Config) -> Iterator[Row]:
    """One query of each head against the cache."""
    device, chosen = set_of(config)
    for seqlen_k in chosen.decode:
        for backend in measurable():
            unavailable = backend.unavailable(device, dtype=chosen.dtype, head_dim=chosen.gqa[2])
            yield Row(
                DecodeCase(attention=backend.name, seqlen_k=seqlen_k, **shape_fields(chosen.gqa, chosen.dtype, device)),
                quick=seqlen_k in chosen.quick_decode and unavailable is None and backend.name in chosen.compared,
                extra=unavailable is not None,  # its prefill row says why
                selected=selected(config, chosen.dtype, backend.name),
                unavailable=unavailable,
                expected_s=chosen.seconds[0],
            )


def ratio_rows(config: pytest.Config) -> Iterator[Row]:
    """The pairs whose ratio is of interest."""
    device, chosen = set_of(config)
    for name, versus, seqlen in chosen.ratios:
        reasons = [attention.backend(one).unavailable(device, dtype=chosen.dtype) for one in (name, versus)]
        yield Row(
            RatioCase(
                attention=name,
                versus=versus,
                seqlen_q=seqlen,
                causal=True,
                **shape_fields(chosen.gqa, chosen.dtype, device),
            ),
            selected=selected(config, chosen.dtype, name, versus),
            unavailable=next(filter(None, reasons), None),
            expected_s=15.0,
        )


@pytest.fixture(scope="module")
def references() -> References:
    """Float64 references, computed once for all backends of a shape."""
    return References()


def checked(
    backend: Backend, case: PrefillCase | DecodeCase, references: References, device: str, measure: Measure
) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """The call to measure, and the check that its output is float64's; both say where the numbers come from."""
    inputs, expected = references.get(case.shape, case.dtype, device)
    measure.record.provenance["implementation"] = backend.label
    measure.record.provenance["package_versions"] = versions(("torch", "transformers", *backend.packages))

    backend.choices()  # those of calls before this case's

    def check(output: Any) -> None:
        chosen = backend.choices()
        if chosen:
            measure.record.provenance["kernel_choices"] = chosen
        error = problems.require_close(output, expected, case.dtype, f"{case.key} ({backend.name})")
        measure.bounded("relative_error", error, "1", "lower")

    return prepared_call(backend, inputs), check


def work_of(case: PrefillCase | DecodeCase) -> Work:
    """FLOPs by the papers' formula and the bytes that cannot be avoided."""
    itemsize = DTYPE_BYTES[problems.TORCH_DTYPES[case.dtype]]
    return Work(flops=case.shape.flops, bytes=case.shape.bytes(itemsize))


def require_linear_memory(
    backend: Backend, case: PrefillCase, references: References, device: str, measure: Measure
) -> None:
    """A flash kernel's peak grows linearly with the sequence and is a tenth of eager's from ``LINEAR_FROM`` on.

    Raises:
        fixtures.attention.problems.AttentionWrongError: it is not.
    """
    peak = measure.record.value("activation_peak_bytes")
    if peak is None or case.seqlen_q < LINEAR_FROM:  # without a meter the record says so
        return
    half = replace(case.shape, seqlen_q=case.seqlen_q // 2, seqlen_k=case.seqlen_q // 2)
    half_call = prepared_call(backend, problems.make_inputs(half, case.dtype, device))
    half_call()
    half_peak = measure.peak_of(half_call)
    if half_peak is not None and peak > LINEAR_GROWTH * half_peak:
        raise problems.AttentionWrongError(
            f"{case.key}: the call peaks at {peak:,} bytes, at half the length at {half_peak:,}: more than "
            f"{LINEAR_GROWTH:g} times as much, so its memory does not grow linearly"
        )
    scores_bytes = 4 * case.batch_size * case.num_heads * case.seqlen_q**2
    if EAGER_COPIES * scores_bytes > devices.free_bytes(device):
        measure.record.notes.append("eager's scores do not fit here: the tenth of its memory is not asserted")
        return
    inputs, _ = references.get(case.shape, case.dtype, device)
    eager = references.eager_peak(
        case.shape, lambda: measure.peak_of(prepared_call(attention.backend("eager"), inputs))
    )
    if eager is not None and peak > eager / 10:
        raise problems.AttentionWrongError(
            f"{case.key}: the call peaks at {peak:,} bytes, more than a tenth of eager's {eager:,}"
        )


@cases(prefill_rows)
def test_attention_prefill(
    case: PrefillCase, references: References, ceilings: Ceilings, device: str, measure: Measure, one_core: None
) -> None:
    """A whole prompt at once, and the invariants that need no baseline."""
    backend = attention.backend(case.attention)
    references.require_invariants(backend, case.shape, case.dtype, device)
    call, check = checked(backend, case, references, device, measure)
    measure(call, work=work_of(case), check=check, kernel=backend.kernel, budget_s=BUDGET_S)
    add_shares(measure, ceilings, case.dtype)
    if measure.disabled:
        return
    if backend.name == "eager":
        references.eager_peak(case.shape, lambda: measure.record.metrics["activation_peak_bytes"].value)
    if backend.linear_memory:
        require_linear_memory(backend, case, references, device, measure)


@cases(decode_rows)
def test_attention_decode(
    case: DecodeCase, references: References, ceilings: Ceilings, device: str, measure: Measure, one_core: None
) -> None:
    """One new token: bandwidth, not arithmetic, is what it costs."""
    backend = attention.backend(case.attention)
    call, check = checked(backend, case, references, device, measure)
    measure(call, work=work_of(case), check=check, kernel=backend.kernel, budget_s=BUDGET_S)
    add_shares(measure, ceilings, case.dtype)


@cases(ratio_rows)
def test_attention_ratio(
    case: RatioCase, references: References, device: str, measure: Measure, one_core: None
) -> None:
    """Each round is followed by the other backend's call on the same tensors."""
    backend, versus = attention.backend(case.attention), attention.backend(case.versus)
    call, check = checked(backend, case, references, device, measure)
    other, check_other = checked(versus, case, references, device, measure)
    check_other(other())  # its warm-up: the first call of the large temporaries pays for their pages

    def in_turn(result: Any) -> dict[str, float]:
        output, took = measure.time(other)
        check_other(output)
        return {"versus_s": took}

    measure(
        lambda turn: call(),
        inputs=range(RATIO_ROUNDS),
        work=work_of(case),
        check=check,
        kernel=backend.kernel,
        samples=in_turn,
    )
    if not measure.disabled:
        metrics = measure.record.metrics
        ratio = median(metrics["latency_s"].samples) / median(metrics["versus_s"].samples)
        measure.add("time_ratio", Metric("sampled", "1", "lower", ratio))
