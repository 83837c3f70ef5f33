"""Modules loaded afresh, with a text in one of them replaced or not; and Triton's interpreter for those with kernels.

The interpreter rounds no bf16: its ``tl.dot`` multiplies their bits as integers, silently. Never run bf16 in it. It
models neither warps nor shared memory nor races.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NO_TRITON = "Triton is not installed: it has packages for Linux only"
KERNELS = tuple(f"fixtures.attention.kernels.{name}" for name in ("tiles", "fa1", "fa2", "fa2_decode"))
"""The modules with kernels; each may import from those before it."""


@contextmanager
def replaced(modules: Sequence[str], sources: Mapping[str, Path] | None = None) -> Iterator[None]:
    """New copies of ``modules``, in the order given, stand in ``sys.modules`` in place of those loaded before.

    ``sources``: files to load them from, by module, in place of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in modules:
            found = importlib.util.find_spec(name)
            assert found is not None
            assert found.origin is not None
            path = (sources or {}).get(name, Path(found.origin))
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
        yield


@contextmanager
def interpreted(sources: Mapping[str, Path] | None = None) -> Iterator[None]:
    """The kernels run in Triton's interpreter, even where Triton or they were imported to be compiled; ``sources`` as
    above.

    Triton decides when it is imported whether its own library of device functions is interpreted, and bitsandbytes
    imports it early; and the interpreter leaves some of what it replaces in Triton's modules replaced. So that library
    is exchanged here, and all is put back at the end.
    """
    pytest.importorskip("triton", reason=NO_TRITON)
    import triton.language as tl
    from triton.runtime import interpreter
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    touched: list[Any] = [tl, tl.core, tl.math, tl.standard, tl.tensor, tl.dtype, tl.core.tensor_descriptor_base]
    before = [dict(vars(owner)) for owner in touched]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # read by the decorator of a kernel
        patch.setattr(interpreter, "_patch_lang_tensor", scalars_as_indices(interpreter._patch_lang_tensor))
        library = {
            id(function): InterpretedFunction(function.fn)
            for function in vars(tl.standard).values()
            if isinstance(function, JITFunction)
        }
        for owner in (tl, tl.standard):
            for name, value in list(vars(owner).items()):
                setattr(owner, name, library.get(id(value), value))
        try:
            with replaced(KERNELS, sources):
                for name in KERNELS[1:]:
                    kernel = getattr(sys.modules[name], f"{name.rsplit('.', 1)[1]}_kernel")
                    assert isinstance(kernel, InterpretedFunction), f"{name} was imported to be compiled: {kernel}"
                yield
        finally:
            InterpretedFunction.rewritten_fn.clear()  # they refer to names that are taken away here
            for owner, members in zip(touched, before, strict=True):
                for name in [name for name in vars(owner) if name not in members]:
                    delattr(owner, name)
                for name, value in members.items():
                    if vars(owner)[name] is not value:
                        setattr(owner, name, value)


def scalars_as_indices(patch_tensor: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """The interpreter's own replacement of a tensor's methods, with one more: a loop's bound, held in an array of one
    element, becomes a whole number as newer versions of triton make it. triton 3.6 leaves that to numpy, and numpy 2.4
    and newer refuse."""

    def patched(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    return patched


@contextmanager
def nan_in_fresh_memory() -> Iterator[None]:
    """What ``torch.empty`` returns is full of NaN, so that nothing goes unseen that is read before it is written.

    Source: torch.utils.deterministic.fill_uninitialized_memory.
    """
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def edited(module: str, old: str, new: str, folder: Path) -> dict[str, Path]:
    """A copy of ``module``'s source in ``folder`` in which ``new`` stands for ``old``, by module.

    Raises:
        AssertionError: ``old`` is not there exactly once: the source has changed, and the edit with it.
    """
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    source = Path(found.origin).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"{module} has {source.count(old)} times, not once:\n{old}"
    path = folder / f"{module}.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    return {module: path}
