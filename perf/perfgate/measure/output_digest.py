"""A digest of whatever a benchmark returns, so that "the output after timing equals the output before it" can be
asserted without keeping the output (and even where the call returns the same buffer twice)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def digest(output: Any) -> str:
    """SHA-256 of ``output``: numbers, text, containers, dataclasses, numpy arrays and torch tensors, bit for bit.

    Dataclass fields declared with ``compare=False`` are left out (timestamps, for example).

    Raises:
        TypeError: the output holds something that cannot be compared by content.
    """
    hasher = hashlib.sha256()
    _feed(hasher, output)
    return hasher.hexdigest()


def _feed(hasher: _Hash, value: Any) -> None:
    hasher.update(type(value).__name__.encode() + b"\0")
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        hasher.update(repr(value).encode() + b"\0")
    elif isinstance(value, (bytes, bytearray, memoryview)):
        hasher.update(f"{len(bytes(value))} ".encode() + bytes(value))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _feed(hasher, key)
            _feed(hasher, value[key])
        hasher.update(b"end")
    elif isinstance(value, (set, frozenset)):
        _feed_all(hasher, sorted(value, key=repr))
    elif isinstance(value, (list, tuple)):
        _feed_all(hasher, value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed_all(hasher, [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare])
    elif hasattr(value, "detach") and hasattr(value, "untyped_storage"):  # a torch tensor, without importing torch
        _feed_tensor(hasher, value)
    elif hasattr(value, "tobytes") and hasattr(value, "dtype") and not value.dtype.hasobject:  # numpy array or scalar
        hasher.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    else:
        raise TypeError(
            f"a benchmark returned {type(value).__name__}, which cannot be compared before and after timing; "
            "return numbers, text, arrays, tensors, or containers and dataclasses of them"
        )


def _feed_all(hasher: _Hash, values: Iterable[Any]) -> None:
    for value in values:
        _feed(hasher, value)
    hasher.update(b"end")


def _feed_tensor(hasher: _Hash, tensor: Any) -> None:
    import torch

    plain = tensor.detach().cpu().contiguous()
    hasher.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
    hasher.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
