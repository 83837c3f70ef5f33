"""Work counters: operators, FLOPs worked out by hand, and kernels that name themselves."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import perfgate
import pytest
import torch
from perfgate import note_kernel
from perfgate.measure import op_counts
from perfgate.measure.op_counts import Counts
from torch.nn.functional import scaled_dot_product_attention

CPU_FLASH = "aten._scaled_dot_product_flash_attention_for_cpu"


def counted(call: object) -> Counts:
    with torch.no_grad():
        counts = op_counts.count(call)[1]  # type: ignore[arg-type]
    assert counts is not None
    return counts


def attend(*, seqlen_k: int, causal: bool) -> torch.Tensor:
    query, key, value = torch.ones(2, 3, 5, 8), torch.ones(2, 3, seqlen_k, 8), torch.ones(2, 3, seqlen_k, 8)
    return scaled_dot_product_attention(query, key, value, is_causal=causal)


def test_returns_what_the_call_returned() -> None:
    result, _ = op_counts.count(lambda: 42)
    assert result == 42


def test_the_same_work_counts_the_same_twice() -> None:
    call = partial(attend, seqlen_k=7, causal=False)
    first = counted(call)
    assert first.calls > 0
    assert first == counted(call)


def test_operators_are_counted_by_name_with_their_overload() -> None:
    a = torch.ones(2, 2)
    counts = counted(lambda: (a + a, a + a, a @ a))
    assert counts.operators == {"aten.add.Tensor": 2, "aten.mm.default": 1}
    assert counts.calls == 3


@pytest.mark.parametrize(("m", "n", "k"), [(4, 5, 6), (1, 1, 1), (17, 3, 2)])
def test_a_matrix_product_is_2mnk(m: int, n: int, k: int) -> None:
    assert counted(lambda: torch.ones(m, k) @ torch.ones(k, n)).flops == 2 * m * n * k


@pytest.mark.parametrize(("seqlen_k", "causal"), [(7, False), (5, True)])
def test_cpu_flash_attention_is_two_matrix_products_and_causal_counts_as_full(seqlen_k: int, causal: bool) -> None:
    counts = counted(partial(attend, seqlen_k=seqlen_k, causal=causal))
    assert counts.ran(CPU_FLASH)
    assert counts.flops == 2 * (2 * 3 * 5 * seqlen_k * 8) + 2 * (2 * 3 * 5 * 8 * seqlen_k)


def test_without_its_formula_cpu_flash_attention_would_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_counts, "_formulas", {})
    counts = counted(partial(attend, seqlen_k=7, causal=False))
    assert counts.ran(CPU_FLASH)
    assert counts.flops == 0


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_attention_with_fewer_key_heads_counts_as_many_operations_as_with_all(kernel: str) -> None:
    """torch 2.11's own formulas raise here, as found under the constraints of the GPU image."""
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention")
    formula = op_counts._known_formulas(torch)[operator]
    query, key = torch.empty(2, 4, 5, 8, device="meta"), torch.empty(2, 2, 7, 8, device="meta")
    assert formula(query, key, key, out_val=query) == 2 * 2 * (2 * 4 * 5 * 7 * 8)


def test_a_formula_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_counts, "_formulas", {})
    op_counts.register_flops("aten::sin")(lambda shape, out_shape=None, **kwargs: 100 * shape.numel())
    assert counted(lambda: torch.ones(3).sin()).flops == 300


def test_a_formula_for_an_operator_that_is_not_loaded_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(op_counts, "_formulas", {"no_such_library::operator": lambda **kwargs: 1})
    assert counted(lambda: torch.ones(2, 3) @ torch.ones(3, 4)).flops == 48


def test_a_kernel_may_name_itself() -> None:
    counts = counted(lambda: (note_kernel("fa2"), note_kernel("fa2")))
    assert counts.kernels == {"fa2": 2}


def test_a_kernel_that_names_itself_while_nobody_counts_is_not_remembered() -> None:
    note_kernel("fa1")
    assert counted(lambda: note_kernel("fa2")).kernels == {"fa2": 1}


def test_a_call_that_fails_ends_the_counting() -> None:
    def fail() -> None:
        note_kernel("fa1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        op_counts.count(fail)
    assert op_counts._noted.get() is None


@pytest.mark.parametrize(
    ("name", "ran"),
    [("aten.mm", True), ("aten.mm.default", True), ("fa2", True), ("aten.m", False), ("mm", False), ("aten", False)],
)
def test_ran_matches_whole_names_with_or_without_the_overload(name: str, ran: bool) -> None:
    counts = counted(lambda: (note_kernel("fa2"), torch.ones(2, 2) @ torch.ones(2, 2)))
    assert counts.ran(name) is ran


def test_without_torch_there_is_nothing_to_count_and_torch_is_not_imported() -> None:
    program = (
        "import sys; from perfgate.measure import op_counts; print(op_counts.count(lambda: 42), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(perfgate.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(42, None) False"
