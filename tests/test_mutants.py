"""The tests of the tests: known mistakes, planted one by one in the attention code, must each be found.

A mutant is a text that stands in for another one in a module's source. That other text must be there exactly once, so
that no rewrite of the source can turn a mutant into nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fixtures import attention
from fixtures.attention import fa1_torch, fa1_triton, fa2_torch, fa2_triton
from fixtures.attention.loops import Forward
from tests.attention_problems import Problem, require_float64
from tests.triton_interpreted import NO_TRITON, edited, interpreted, nan_in_fresh_memory, replaced

PACKAGE = "fixtures.attention"
LOOPS, FA1_TORCH, FA2_TORCH = f"{PACKAGE}.loops", fa1_torch.__name__, fa2_torch.__name__
TILES, FA1_KERNEL, FA2_KERNEL, FA2_DECODE = (
    f"{PACKAGE}.kernels.{name}" for name in ("tiles", "fa1", "fa2", "fa2_decode")
)

CAUSAL = Problem(seqlen_q=40, seqlen_k=40, head_dim=64, causal=True, block_q=16, block_k=16)
SLICES = replace(CAUSAL, batch_size=2, causal=False, padding="scattered", layout="slices")
PROBLEMS = (
    CAUSAL,
    replace(CAUSAL, seqlen_k=41),  # the first key of a block is seen by the last query of a block, and no other of it
    replace(CAUSAL, batch_size=2, num_kv_heads=2, group=3, seqlen_q=20, seqlen_k=20),
    replace(CAUSAL, batch_size=3, padding="left"),
    SLICES,
    replace(CAUSAL, seqlen_k=54),  # all but the last key of a block are seen by the first query of a block
    replace(CAUSAL, seqlen_q=60, seqlen_k=20),  # two blocks of queries see no key at all
)
"""What must find every mutant, and find nothing wrong with the code as it is."""
ENDS = replace(CAUSAL, causal=False, seqlen_k=41, layout="slices")
"""Without a mask, and with NaN behind the last key."""
DECODING = Problem(2, 2, 3, 2, 70, 64, causal=True, block_q=16, block_k=16)
SPLITS = (
    DECODING,
    replace(DECODING, padding="right"),  # splits in which a query sees no key
    replace(DECODING, padding="all", layout="slices"),
    replace(DECODING, seqlen_q=5, seqlen_k=4),  # the first query sees no key
    replace(DECODING, group=16, seqlen_q=1, causal=False),
)
"""Six queries of a key/value head in one block; five splits of the keys, on a device of ten multiprocessors."""
MULTIPROCESSORS = 10


@dataclass(frozen=True)
class Mutant:
    """``old`` in ``module`` becomes ``new``; ``backend`` then computes with it, and one of ``problems`` must tell."""

    backend: str
    mistake: str
    module: str
    old: str
    new: str
    problems: tuple[Problem, ...] = PROBLEMS

    def __str__(self) -> str:
        return f"{self.backend}-{self.mistake.replace(' ', '-')}"


def of_both(mistake: str, module: str, old: str, new: str, backends: tuple[str, str]) -> tuple[Mutant, Mutant]:
    """A mistake in what both backends share."""
    first, second = (Mutant(backend, mistake, module, old, new) for backend in backends)
    return first, second


TORCH, TRITON = ("fa1", "fa2"), ("fa1-triton", "fa2-triton")
MUTANTS = (
    Mutant("fa1", "no rescale", FA1_TORCH, "torch.exp(old_max - anchor)", "torch.ones_like(anchor)"),
    Mutant("fa2", "no rescale", FA2_TORCH, "torch.exp(row_max - anchor)", "torch.ones_like(anchor)"),
    Mutant("fa1", "running max not stored", FA1_TORCH, "row_max[:, :, q_start:q_stop] = new_max", "pass"),
    Mutant("fa2", "running max not stored", FA2_TORCH, "            row_max = new_max\n", ""),
    Mutant("fa1", "no division", FA1_TORCH, ".div_(divisor[..., None])", ""),
    Mutant("fa2", "no division", FA2_TORCH, ".div_(row_sum.masked_fill(row_sum == 0, 1.0)[..., None])", ""),
    Mutant(
        "fa1", "skip off by one", FA1_TORCH, "problem.first_hidden_key(q_stop)", "problem.first_hidden_key(q_stop - 1)"
    ),
    Mutant(
        "fa2", "skip off by one", FA2_TORCH, "problem.first_hidden_key(q_stop)", "problem.first_hidden_key(q_stop - 1)"
    ),
    *of_both("own key hidden", LOOPS, "[None, :] > seen", "[None, :] >= seen", TORCH),
    *of_both(
        "wrong head",
        LOOPS,
        "query=query.reshape(",
        "query=query.unflatten(1, (-1, num_kv_heads)).transpose(1, 2).reshape(",
        TORCH,
    ),
    *of_both("padding ignored", LOOPS, "if self.key_mask is not None:", "if False:", TORCH),
    *of_both("diagonal at the top", LOOPS, "offset = self.seqlen_k - self.seqlen_q", "offset = 0", TORCH),
    *of_both("no rescale", TILES, "tl.exp2(row_max - anchor)", "tl.exp2(anchor * 0.0)", TRITON),
    Mutant(
        "fa1-triton", "running max not stored", FA1_KERNEL, "running_max + row, new_max", "running_max + row, old_max"
    ),
    Mutant("fa2-triton", "running max not kept", TILES, "rescale, row_max, row_sum =", "rescale, _, row_sum ="),
    Mutant("fa1-triton", "no division", FA1_KERNEL, "weighted / divisor[:, None]", "weighted"),
    Mutant("fa2-triton", "no division", FA2_KERNEL, "accumulator / divisor[:, None]", "accumulator"),
    Mutant(
        "fa1-triton",
        "skip off by one",
        FA1_KERNEL,
        "k_start - (seqlen_k - seqlen_q)",
        "k_start + 1 - (seqlen_k - seqlen_q)",
    ),
    Mutant(
        "fa1-triton", "last visit off by one", FA1_KERNEL, "last = k_start + BLOCK_K", "last = k_start + 1 + BLOCK_K"
    ),
    Mutant("fa2-triton", "skip off by one", TILES, "q_stop + seqlen_k - seqlen_q", "q_stop + seqlen_k - seqlen_q - 1"),
    *of_both("own key hidden", TILES, "column[None, :] <= row", "column[None, :] < row", TRITON),
    *(
        Mutant(f"{name}-triton", "wrong head", kernel, "head // group", "head % (tl.num_programs(1) // group)")
        for name, kernel in (("fa1", FA1_KERNEL), ("fa2", FA2_KERNEL))
    ),
    *of_both("padding ignored", TILES, "if key_mask is not None:\n        seen", "if False:\n        seen", TRITON),
    *of_both("diagonal at the top", TILES, "row[:, None] + (seqlen_k - seqlen_q)", "row[:, None]", TRITON),
    *(
        Mutant(name, "rows beyond the end", TILES, "(start + row < stop)", "(start + row < stop + 64)", (SLICES,))
        for name in TRITON
    ),
    *of_both("scale not folded", TILES, "scores * scale_log2 - anchor", "scores - anchor", TRITON),
    *of_both("scale twice", TILES, "scores * scale_log2 - anchor", "scores * scale_log2 * scale_log2 - anchor", TRITON),
    Mutant("fa2-triton", "whole blocks one key too far", TILES, "q_start + 1 + seqlen_k", "q_start + 2 + seqlen_k"),
    Mutant(
        "fa2-triton",
        "whole blocks beyond the end",
        TILES,
        "else seqlen_k\n    return seen",
        "else seqlen_k + BLOCK_K - 1\n    return seen",
        (ENDS,),
    ),
    Mutant(
        "fa2-triton",
        "whole block skipped",
        FA2_KERNEL,
        "            whole,\n            key",
        "            whole - BLOCK_K,\n            key",
    ),
    Mutant(
        "fa2-triton",
        "whole block visited twice",
        FA2_KERNEL,
        "            whole,\n            key",
        "            whole + 1,\n            key",
    ),
    Mutant("fa2-triton", "padded blocks skipped", TILES, "        return 0\n", "        pass\n"),
    Mutant(
        "fa2-triton", "longest first off by one", FA2_KERNEL, "tl.num_programs(2) - 1 - tl", "tl.num_programs(2) - tl"
    ),
    *(
        Mutant("fa2-triton", mistake, FA2_DECODE, old, new, SPLITS)
        for mistake, old, new in (
            ("split not merged", "range(0, num_splits, BLOCK_SPLITS)", "range(0, BLOCK_SPLITS, BLOCK_SPLITS)"),
            ("merge of the first splits only", "split < num_splits", "split < num_splits - 1"),
            ("merge without weights", "weights = tl.exp2(sizes - anchor)", "weights = tl.exp2(sizes * 0.0)"),
            ("merge without rescale", "rescale = tl.exp2(largest - anchor)", "rescale = tl.exp2(anchor * 0.0)"),
            ("empty split is NaN", "tl.where(row_sum == 0, 1.0, row_sum)", "row_sum"),
            ("no split sees a key", "tl.where(total == 0, 1.0, total)", "total"),
            ("empty maximum is NaN", 'tl.where(new_largest == float("-inf"), 0.0, new_largest)', "new_largest"),
            ("packed head wrong", "kv_head * group + packed % group", "kv_head * group + packed // group % group"),
            (
                "packed position wrong",
                "        row,\n        key,",
                "        packed,\n        key,",
            ),
            ("wrong head", "kv_head * group + packed", "kv_head + packed"),
            (
                "split of the next",
                "start = tl.program_id(0) * split_keys",
                "start = tl.program_id(0) * split_keys + BLOCK_K",
            ),
            (
                "splits overlap",
                "tl.minimum(start + split_keys, seqlen_k)",
                "tl.minimum(start + split_keys + 1, seqlen_k)",
            ),
            (
                "whole block skipped",
                "            whole,\n            key",
                "            whole - BLOCK_K,\n            key",
            ),
            ("padding of another row", "key_mask += batch * seqlen_k", "key_mask += 0"),
        )
    ),
    Mutant("fa1-triton", "first visit reads", FA1_KERNEL, "exists & (k_start > 0)", "exists & (k_start >= 0)"),
    Mutant("fa1-triton", "blind queries not written", FA1_KERNEL, "tl.where(k_start > 0, ", "tl.where(k_start >= 0, "),
)


def marks(backend: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow, pytest.mark.interpreted(backend)] if backend in TRITON else []


@contextmanager
def forward_of(backend: str, sources: dict[str, Path]) -> Iterator[Forward]:
    """The forward pass of ``backend``, loaded from ``sources`` where they name its modules."""
    with pytest.MonkeyPatch.context() as patch, nan_in_fresh_memory():
        if backend in TRITON:
            pytest.importorskip("triton", reason=NO_TRITON)
            module = fa1_triton if backend == "fa1-triton" else fa2_triton
            from fixtures.attention.kernels import launch

            patch.setattr(launch, "chip_of", lambda device: launch.Chip(MULTIPROCESSORS, 1 << 30))
            patch.setattr(launch, "BLOCK_SPLITS", 2)  # so that the merge has several rounds
            with interpreted(sources):
                yield getattr(module, f"{module.__name__.rsplit('.', 1)[1]}_forward")
        else:
            patch.setattr(attention, "register", lambda registered: registered)  # they are registered already
            with replaced([LOOPS, FA1_TORCH, FA2_TORCH], sources):
                yield getattr(sys.modules[f"{PACKAGE}.{backend}_torch"], f"{backend}_forward")


def require_all(backend: str, sources: dict[str, Path], problems: tuple[Problem, ...] = PROBLEMS) -> None:
    with forward_of(backend, sources) as forward:
        for problem in problems:
            require_float64(forward, problem)


@pytest.mark.parametrize("backend", [pytest.param(name, marks=marks(name)) for name in (*TORCH, *TRITON)])
def test_code_as_it_is_passes(backend: str) -> None:
    require_all(backend, {}, (*PROBLEMS, *SPLITS))


@pytest.mark.parametrize(
    "mutant", [pytest.param(mutant, marks=marks(mutant.backend), id=str(mutant)) for mutant in MUTANTS]
)
def test_mutant_is_found(mutant: Mutant, tmp_path: Path) -> None:
    sources = edited(mutant.module, mutant.old, mutant.new, tmp_path)
    with pytest.raises(AssertionError, match=r" in\nProblem\("):
        require_all(mutant.backend, sources, mutant.problems)


def test_an_edit_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"loops has 0 times, not once:\nno such text"):
        edited(LOOPS, "no such text", "", tmp_path)
    with pytest.raises(AssertionError, match=r"loops has \d+ times, not once:\nreturn"):
        edited(LOOPS, "return", "", tmp_path)
