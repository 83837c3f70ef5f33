"""How the Triton kernels are launched: tiles, splits, the tuner, and what is told about them. Nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures import attention
from tests.triton_compiled import AbsentGpu
from tests.triton_interpreted import NO_TRITON

ROOMY = 1 << 30
"""Bytes of shared memory of a chip on which every tile fits."""


@pytest.fixture(autouse=True, scope="module")
def triton() -> None:
    pytest.importorskip("triton", reason=NO_TRITON)


def multiprocessors(patch: pytest.MonkeyPatch, count: int) -> None:
    """Launch as on a device with ``count`` multiprocessors."""
    from fixtures.attention.kernels import launch

    patch.setattr(launch, "chip_of", lambda device: launch.Chip(count, ROOMY))


def test_tiles_fit_the_problem_and_the_chip() -> None:
    from fixtures.attention.kernels.tuning import SMALL_SHARED_MEMORY, Chip, Tile, choose_tile

    large, small = Chip(108, ROOMY), Chip(82, SMALL_SHARED_MEMORY)
    assert choose_tile(torch.bfloat16, 128, 4096, large) == Tile(128, 64, num_warps=8, num_stages=2)
    assert choose_tile(torch.bfloat16, 128, 4096, small) == Tile(64, 64, num_warps=8, num_stages=2)
    assert choose_tile(torch.bfloat16, 64, 4096, small) == choose_tile(torch.bfloat16, 64, 4096, large)
    assert [choose_tile(torch.float16, 64, seqlen_q, large).block_q for seqlen_q in (1, 17, 64, 65, 9999)] == [
        16,
        32,
        64,
        128,
        128,
    ]


@pytest.mark.parametrize(
    ("batch_size", "multiprocessors", "splits"),
    [
        (1, 0, 1),  # a CPU
        (1, 108, 32),  # 27 would do, but then some have two blocks and most have one
        (4, 108, 8),  # 7 would do, and 8 have equal shares
        (99, 108, 1),
    ],
)
def test_splits_fill_the_device_with_equal_shares(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, multiprocessors: int, splits: int
) -> None:
    from fixtures.attention.kernels import launch

    monkeypatch.setattr(launch, "chip_of", lambda device: launch.Chip(multiprocessors, ROOMY))
    query = torch.empty(batch_size, 8, 4096, 64, dtype=torch.float16, device="meta")  # 32 blocks of queries
    arranged = launch.arrange(query, query, query, scale=1.0, causal=True, key_mask=None, block_q=None, block_k=None)
    assert (arranged.num_q_blocks, arranged.num_splits) == (32, splits)


def arranged(batch_size: int, seqlen_q: int, seqlen_k: int, group: int = 4, **blocks: int) -> Any:
    """A launch of bf16 tensors without memory, 8 key/value heads of head_dim 128."""
    from fixtures.attention.kernels import launch

    query = torch.empty(batch_size, 8 * group, seqlen_q, 128, dtype=torch.bfloat16, device="meta")
    key = torch.empty(batch_size, 8, seqlen_k, 128, dtype=torch.bfloat16, device="meta")
    given: dict[str, Any] = {"block_q": None, "block_k": None} | blocks
    return launch.arrange(query, key, key, scale=1.0, causal=True, key_mask=None, **given)


@pytest.mark.parametrize(
    ("batch_size", "seqlen_k", "split_keys"),
    [
        (1, 16384, 512),  # 264 programs wanted, 32 splits of each of 8 heads are 256
        (1, 16385, 512),
        (1, 300, 256),  # not shorter
        (8, 16384, 4096),
        (64, 16384, 16384),  # the heads alone fill it
    ],
)
def test_decoding_splits_keys_to_fill_the_device(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, seqlen_k: int, split_keys: int
) -> None:
    multiprocessors(monkeypatch, 132)
    assert arranged(batch_size, 1, seqlen_k).split_keys(32) == split_keys


def test_few_queries_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    multiprocessors(monkeypatch, 132)
    assert [arranged(1, seqlen_q, 4096).packs for seqlen_q in (1, 16, 17)] == [True, True, False]
    assert [arranged(1, 5, 4096, block_q=block_q).packs for block_q in (16, 32)] == [False, True]


def test_buckets_of_lengths_are_coarse() -> None:
    from fixtures.attention.kernels.tuning import length_bucket

    numbers = [length_bucket(q, k).number for q, k in ((1, 9999), (511, 511), (512, 512), (512, 100), (2047, 2047))]
    assert numbers == [0, 0, 5, 5, 5]
    assert [length_bucket(k, k).number for k in (2048, 8191, 8192, 32767, 32768)] == [6, 6, 7, 7, 8]
    assert length_bucket(600, 4096).name == "under 8192 keys"


def test_candidates_fit_the_chip() -> None:
    from fixtures.attention.kernels.tuning import CANDIDATES, Chip, Tile, candidates, fa2_tile

    hopper, ampere, small = (Chip(100, kib * 1024) for kib in (227, 163, 99))
    bf16 = torch.bfloat16
    assert candidates(bf16, 128, hopper) == CANDIDATES[128]
    assert candidates(bf16, 128, ampere) == CANDIDATES[128]
    assert candidates(bf16, 128, small) == (Tile(128, 64, 8, 2), Tile(64, 64, 4, 2))
    assert candidates(torch.float32, 128, hopper) == ()
    assert fa2_tile(Tile(128, 64, 8, 2), bf16, 128, ampere).num_stages == 3
    assert fa2_tile(Tile(64, 64, 8, 2), bf16, 128, small).num_stages == 2
    assert fa2_tile(Tile(32, 32, 16, 2), torch.float32, 128, hopper).num_stages == 2


class Tuner:
    """Stands in for Triton's tuner on a device: notes what it is asked, and has chosen its last configuration."""

    def __init__(self, configs: list[Any], **how: Any) -> None:
        self.configs, self.how, self.best_config = configs, how, configs[-1]
        self.launched: list[tuple[Any, ...]] = []

    def __call__(self, kernel: Any) -> Tuner:
        return self

    def __getitem__(self, grid: Callable[[dict[str, int]], tuple[int, ...]]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            self.launched.append((grid(self.best_config.kwargs), arguments[-1], constants))

        return launch


def test_long_queries_are_tuned_and_the_choice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device: one tuner for the process, asked with the bucket; the backend tells what it chose, once."""
    import triton

    from fixtures.attention.kernels import tuning
    from fixtures.attention.kernels.fa2 import fa2_kernel

    multiprocessors(monkeypatch, 132)
    tuners: list[Tuner] = []

    def autotune(configs: list[Any], **how: Any) -> Tuner:
        tuners.append(Tuner(configs, **how))
        return tuners[-1]

    monkeypatch.setattr(triton, "autotune", autotune)
    tuning._tuner.cache_clear()
    backend = attention.backend("fa2-triton")
    backend.choices()
    for seqlen in (600, 700, 5000):
        arranged(2, seqlen, seqlen).run_fa2(fa2_kernel)
    tuning._tuner.cache_clear()
    (tuner,) = tuners
    assert tuner.how == {"key": ["CAUSAL", "HEAD_DIM", "length_bucket"], "cache_results": True}
    assert set(tuner.how["key"]) <= set(fa2_kernel.arg_names)
    constants = {"CAUSAL": True, "HEAD_DIM": 128}
    assert tuner.launched == [((32, 2, blocks), bucket, constants) for blocks, bucket in ((10, 5), (11, 5), (79, 6))]
    assert backend.choices() == {
        "bfloat16 head_dim 128, under 2048 keys": "64x64, 4 warps, 2 stages (autotuned)",
        "bfloat16 head_dim 128, under 8192 keys": "64x64, 4 warps, 2 stages (autotuned)",
    }
    assert backend.choices() == {}


def test_blocks_that_were_asked_for_are_not_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    from fixtures.attention.kernels.fa2 import fa2_kernel

    multiprocessors(monkeypatch, 132)
    launched: list[dict[str, Any]] = []

    class Noted:
        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *arguments, **constants: launched.append(constants)

    arranged(1, 600, 600, block_q=64, block_k=32).run_fa2(Noted())
    arranged(1, 600, 600).run_fa2(Noted())  # interpreted, or compiled only
    tiles = [(one["BLOCK_Q"], one["BLOCK_K"], one["num_warps"], one["num_stages"]) for one in launched]
    assert tiles == [(64, 32, 8, 2), (128, 64, 8, 3)]
    assert fa2_kernel.arg_names[-5] == "length_bucket"


def test_a_second_process_takes_the_choice_of_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Triton's own tuner, with a clock by which each later launch is faster: what it kept on disk decides, and another
    bucket is tuned anew."""
    import triton
    from triton.runtime import driver

    from fixtures.attention.kernels import tuning
    from fixtures.attention.kernels.fa2 import fa2_kernel

    multiprocessors(monkeypatch, 132)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launched: list[dict[str, Any]] = []
    timed: list[int] = []

    def bench(call: Callable[[], None], quantiles: Any) -> list[float]:
        call()
        timed.append(len(timed))
        return [1 / len(timed)] * 3

    autotune = triton.autotune
    monkeypatch.setattr(triton, "autotune", lambda *configs, **how: autotune(*configs, **how, do_bench=bench))
    monkeypatch.setattr(fa2_kernel, "run", lambda *arguments, **how: launched.append(how))
    monkeypatch.setattr(driver, "_active", AbsentGpu(90))
    backend = attention.backend("fa2-triton")
    backend.choices()
    told = []
    for seqlen in (600, 700, 5000):
        tuning._tuner.cache_clear()  # as in a new process
        launched.clear()
        arranged(1, seqlen, seqlen).run_fa2(fa2_kernel)
        told.append((len(launched), *backend.choices().values()))
    tuning._tuner.cache_clear()
    last = "64x64, 4 warps, 2 stages (autotuned)"
    assert told == [(5, last), (1, last), (5, last)]
    assert len(timed) == 8
