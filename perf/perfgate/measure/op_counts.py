"""Deterministic work: operator calls by name, floating-point operations, and the kernels that really ran.

Counting needs torch's dispatcher; without torch in the process there is nothing to count and the count is None.
Run what is counted under ``no_grad``, not ``inference_mode``: there the dispatcher shows only the composite
``scaled_dot_product_attention`` and not the kernel behind it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_noted: ContextVar[Counter[str] | None] = ContextVar("perfgate_noted_kernels", default=None)
_formulas: dict[str, Callable[..., int]] = {}
_composite: dict[Any, bool] = {}


@dataclass(frozen=True)
class Work:
    """What one call processes. A count of 0 means: not stated, so no throughput is derived from it.

    ``tokens`` and ``bytes`` are per call, on average; ``flops`` overrides the counted floating-point operations.
    """

    tokens: float = 0
    flops: int = 0
    bytes: int = 0


@dataclass
class Counts:
    """What a call did. ``operators``: dispatched calls by name; ``kernels``: names given to :func:`note_kernel`."""

    operators: Counter[str] = field(default_factory=Counter)
    kernels: Counter[str] = field(default_factory=Counter)
    flops: int = 0

    @property
    def calls(self) -> int:
        return sum(self.operators.values())

    def ran(self, name: str) -> bool:
        """Whether a kernel or operator ran; overloads count (``aten.mm`` matches ``aten.mm.default``)."""
        return name in self.kernels or any(op == name or op.rsplit(".", 1)[0] == name for op in self.operators)


def note_kernel(name: str) -> None:
    """Say that the kernel ``name`` runs now. For kernels that are no dispatcher operator of their own; costs a
    context-variable read when nobody counts."""
    noted = _noted.get()
    if noted is not None:
        noted[name] += 1


def register_flops(operator: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Teach the FLOP counter an operator, named like ``"namespace::name"``.

    The decorated formula gets the operator's arguments, tensors as their shapes, and ``out_shape``, as
    ``torch.utils.flop_counter`` calls it; one multiply-add is two operations.
    """

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        _formulas[operator] = formula
        return formula

    return register


@register_flops("aten::_scaled_dot_product_flash_attention_for_cpu")
@register_flops("aten::_scaled_dot_product_flash_attention")
@register_flops("aten::_scaled_dot_product_efficient_attention")
@register_flops("aten::_scaled_dot_product_cudnn_attention")
def _attention_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Two batched matrix products of tensors (batch, heads, seqlen, head_dim); key and value may have fewer heads.
    torch 2.11's own counter raises for fewer heads, and torch knows no formula for the CPU's kernel.

    Source: torch.utils.flop_counter.sdpa_flop_count, which (like this) counts causal attention as full.
    """
    batch, heads, seqlen_q, head_dim = query
    seqlen_k, head_dim_v = key[-2], value[-1]
    return int(2 * batch * heads * seqlen_q * seqlen_k * (head_dim + head_dim_v))


@register_flops("aten::_efficient_attention_forward")
def _efficient_flops(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """The same for the inner efficient kernel, whose tensors are (batch, seqlen, heads, head_dim): torch's counter
    takes the lengths for heads there, and raises where they differ, as for a chunk.

    Source: torch 2.13, torch/nn/attention/bias.py (CausalBias._dispatch), torch/utils/flop_counter.py.
    """
    batch, seqlen_q, heads, head_dim = query
    seqlen_k, head_dim_v = key[1], value[-1]
    return int(2 * batch * heads * seqlen_q * seqlen_k * (head_dim + head_dim_v))


def count(call: Callable[[], T]) -> tuple[T, Counts | None]:
    """Run ``call`` once and count its work; the counts are None where torch is not loaded."""
    noted: Counter[str] = Counter()
    token = _noted.set(noted)
    try:
        if "torch" not in sys.modules:
            return call(), None
        result, counts = _count_dispatched(call)
        counts.kernels = noted
        return result, counts
    finally:
        _noted.reset(token)


def _count_dispatched(call: Callable[[], T]) -> tuple[T, Counts]:
    """One dispatch mode for calls and FLOPs: torch's own ``FlopCounterMode`` beside a second mode makes the counted
    call three to four times slower, mostly with the module hooks that we do not need."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    counts = Counts()
    formulas = flop_registry | _known_formulas(torch)

    class _Work(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            formula = formulas.get(func._overloadpacket)
            if formula is None and _is_composite(torch, func):  # under inference_mode; its parts are what is counted
                with self:
                    return func.decompose(*args, **kwargs)
            result = func(*args, **kwargs)
            counts.operators[str(func)] += 1
            if formula is not None:
                counts.flops += int(formula(*args, **kwargs, out_val=result))
            return result

    with _Work():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        result = call()
    return result, counts


def _is_composite(torch: Any, func: Any) -> bool:
    """Whether an operator is defined by other operators alone. Asked once for each: the answer costs more than most
    operators."""
    known = _composite.get(func)
    if known is None:
        key = torch._C.DispatchKey.CompositeImplicitAutograd
        known = _composite[func] = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)
    return known


def _known_formulas(torch: Any) -> dict[Any, Callable[..., int]]:
    from torch.utils.flop_counter import shape_wrapper

    known = {}
    for name, formula in _formulas.items():
        namespace, operator = name.split("::")
        packet = getattr(getattr(torch.ops, namespace), operator, None)
        if packet is not None:  # the library that defines it may not be loaded
            known[packet] = shape_wrapper(formula)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return known
