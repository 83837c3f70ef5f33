"""Linear layers alone, under every scheme, in the shapes of real models; each result against float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from perfgate import ALL_CORES, Case, Measure, Row, Work, cases, device_of, part, versions

from fixtures import devices, linear, quantization
from fixtures.ceilings import Ceilings, add_shares
from fixtures.linear import SHAPES, Problems
from fixtures.options import SETTINGS
from fixtures.quantization import SHORT, Layer, Scheme

BUDGET_S = 0.2
"""Seconds of timed rounds for a case."""

COMMON = (576, 1536)
"""The shape at which every scheme is measured on a CPU, for every number of tokens."""
CPU_SOME: dict[tuple[int, int], tuple[tuple[int, ...], tuple[str, ...]]] = {
    (576, 576): ((1, 256), ("fp32", "int8", "nf4")),
    (576, 49152): ((1,), ("fp32", "bf16")),
    (4096, 4096): ((1, 16), ("fp32", "bf16", "int8", "nf4")),
    (4096, 14336): ((1,), ("fp32", "nf4")),
}
"""Other shapes on a CPU: for how many tokens, and under which schemes."""
ALL_CORES_SHAPE, ALL_CORES_TOKENS, ALL_CORES_SCHEMES = (4096, 4096), 16, ("fp32", "bf16")
"""What is also measured on all cores of a CPU."""
ACCELERATOR_SHAPES = ((4096, 4096), (4096, 14336))
"""The default shapes on an accelerator, where SmolLM2's layers only show launch overhead."""
OUTLIER_SCHEMES = ("fp32", "int8", "int8-nodecomp", "nf4")


@dataclass(frozen=True)
class Set:
    """What is measured on a kind of device: for how many tokens at once, and which shapes, tokens and schemes
    ``--quick`` has."""

    num_tokens: tuple[int, ...]
    quick_shapes: tuple[tuple[int, int], ...]
    quick_tokens: tuple[int, ...]
    quick_schemes: tuple[str, ...]


CPU = Set(num_tokens=(1, 16, 256), quick_shapes=(COMMON,), quick_tokens=(16,), quick_schemes=("fp32", "int8", "nf4"))
ACCELERATOR = Set(
    num_tokens=(1, 16, 256, 2048),
    quick_shapes=ACCELERATOR_SHAPES,
    quick_tokens=(1, 16, 2048),  # a new token of one user and of several, and a prompt
    quick_schemes=("bf16", "int8", "nf4"),
)


@dataclass(frozen=True, kw_only=True)
class LinearCase(Case):
    """One layer, without bias."""

    benchmark: ClassVar[str] = "linear"
    scheme: str = part()
    in_features: int = part("i{}")
    out_features: int = part("o{}")
    num_tokens: int = part("t{}")
    outliers: bool = part(default=False, render=lambda outliers: "outliers" if outliers else "plain")
    device: str = part(default="cpu")
    threads: str = part("{}-cores", default="one")


def in_default_set(case: LinearCase) -> bool:
    """The chosen cases; the rest runs with ``--all-cases``."""
    shape = (case.in_features, case.out_features)
    if case.device != "cpu":
        return shape in ACCELERATOR_SHAPES and (not case.outliers or case.num_tokens == 16)
    if case.outliers:
        return shape == COMMON and case.num_tokens == 16 and case.scheme in OUTLIER_SCHEMES
    num_tokens, schemes = CPU_SOME.get(shape, ((), ()))
    return shape == COMMON or (case.num_tokens in num_tokens and case.scheme in schemes)


def in_quick_set(case: LinearCase, chosen: Set) -> bool:
    """The cases of ``--quick``."""
    return (
        (case.in_features, case.out_features) in chosen.quick_shapes
        and case.num_tokens in chosen.quick_tokens
        and case.scheme in chosen.quick_schemes
        and not case.outliers
    )


def unavailable(scheme: Scheme, in_features: int, out_features: int, device: str, free_bytes: int) -> str | None:
    """Why this machine cannot run a layer, or None."""
    needed = linear.needed_bytes(in_features, out_features)
    if needed > free_bytes:
        return f"a layer of {in_features} x {out_features} needs about {needed:,} bytes, {free_bytes:,} are free"
    layer = Layer(f"a layer of {SHAPES[in_features, out_features]}", (out_features, in_features), quantized=True)
    return scheme.unavailable(device) or scheme.refuses(layer, device)


def linear_rows(config: pytest.Config) -> Iterator[Row]:
    """Shapes outside, schemes inside, so that the schemes of a problem share its float64 result."""
    suite, device = config.stash[SETTINGS], device_of(config)
    chosen = CPU if device == "cpu" else ACCELERATOR
    free_bytes = devices.free_bytes(device)
    for in_features, out_features in SHAPES:
        for outliers in (False, True):
            for num_tokens in chosen.num_tokens:
                for scheme in quantization.schemes().values():
                    case = LinearCase(
                        scheme=scheme.name,
                        in_features=in_features,
                        out_features=out_features,
                        num_tokens=num_tokens,
                        outliers=outliers,
                        device=device.split(":")[0],
                    )
                    yield Row(
                        case,
                        quick=in_quick_set(case, chosen),
                        extra=not in_default_set(case),
                        selected=suite.attention is None
                        if suite.quantization is None
                        else scheme.name in suite.quantization,
                        unavailable=unavailable(scheme, in_features, out_features, device, free_bytes),
                        expected_s=expected_s(case),
                    )


def expected_s(case: LinearCase) -> float:
    """A guess of a case's seconds on a first run; an accelerator spends them on its budget and on quantizing."""
    return 0.8 + (4e-8 if case.device == "cpu" else 1e-8) * case.in_features * case.out_features


def all_cores_rows(config: pytest.Config) -> Iterator[Row]:
    """A large layer on all cores of a CPU, which a library may stop using."""
    suite, device = config.stash[SETTINGS], device_of(config)
    (in_features, out_features), num_tokens = ALL_CORES_SHAPE, ALL_CORES_TOKENS
    for name in ALL_CORES_SCHEMES:
        scheme = quantization.scheme(name)
        case = LinearCase(
            scheme=name,
            in_features=in_features,
            out_features=out_features,
            num_tokens=num_tokens,
            device=device.split(":")[0],
            threads=ALL_CORES,
        )
        yield Row(
            case,
            selected=device == "cpu"
            and suite.attention is None
            and (suite.quantization is None or name in suite.quantization),
            unavailable=devices.no_other_core()
            or unavailable(scheme, in_features, out_features, device, devices.free_bytes(device)),
            expected_s=expected_s(case),
        )


def rows(config: pytest.Config) -> Iterator[Row]:
    """One core first, then all."""
    yield from linear_rows(config)
    yield from all_cores_rows(config)


@pytest.fixture(scope="module")
def problems() -> Problems:
    """Weights, inputs and float64 results, made once for all schemes of a shape."""
    return Problems()


@cases(rows)
def test_linear(
    case: LinearCase, problems: Problems, ceilings: Ceilings, device: str, measure: Measure, one_core: None
) -> None:
    """One layer, some tokens."""
    import torch

    scheme = quantization.scheme(case.scheme)
    problem = problems.get(case.in_features, case.out_features, case.num_tokens, outliers=case.outliers)
    layer = scheme.linear.make(problem.weight, device)
    inputs = problem.inputs.to(device=device, dtype=getattr(torch, scheme.dtype(device)))
    measure.record.provenance["implementation"] = scheme.label
    measure.record.provenance["package_versions"] = versions(("torch", *scheme.packages))
    note = scheme.note(device)
    if note is not None:
        measure.record.notes.append(note)

    def call() -> Any:
        with torch.no_grad():
            return layer(inputs)

    def check(output: Any) -> None:
        error = linear.require_error(scheme, output, problem.expected, outliers=case.outliers, what=case.key)
        measure.bounded("relative_error", error, "1", "lower")

    first = call()  # a layer has its final weight only after its first call
    if measure.checked:
        check(first)
    weight_bytes = linear.require_weight(scheme, layer, case.in_features, case.out_features, device, case.key)
    moved = inputs.element_size() * case.num_tokens * (case.in_features + case.out_features)
    measure(
        call,
        work=Work(flops=2 * case.num_tokens * case.in_features * case.out_features, bytes=weight_bytes + moved),
        check=check,
        kernel=scheme.linear.kernel,
        weights_bytes=weight_bytes,
        budget_s=BUDGET_S,
    )
    add_shares(measure, ceilings, SHORT[scheme.products_in(device)])
