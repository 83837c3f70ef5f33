"""Tiny wheels, and the environment in which pip finds them and asks no package index."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path


def offline(wheels: Path) -> dict[str, str]:
    """pip's variables: this folder of wheels is its only index."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}


def wheel(
    folder: Path, name: str, version: str, *, code: str = "", needs: str = "", data: Mapping[str, bytes] | None = None
) -> None:
    """A wheel with one module, ``name``, that knows its version, and files beside it."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in _files(name, version, code, needs, {}, data or {}).items():
            archive.writestr(path, content)


def unpacked(
    folder: Path,
    name: str,
    version: str,
    *,
    code: str = "",
    more: Mapping[str, str] | None = None,
    data: Mapping[str, bytes] | None = None,
) -> None:
    """Such a wheel as pip installs it into a folder of packages, with ``more`` files of metadata."""
    for path, content in _files(name, version, code, "", more or {}, data or {}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)


def _files(
    name: str, version: str, code: str, needs: str, more: Mapping[str, str], data: Mapping[str, bytes]
) -> dict[str, bytes]:
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{code}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/top_level.txt": f"{name}\n",
        **{f"{info}/{file}": text for file, text in more.items()},
    }
    content = {path: text.encode() for path, text in files.items()} | dict(data)
    record = ""
    for path, written in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(written).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(written)}\n"
    return content | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}
