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


def wheel(folder: Path, name: str, version: str, *, code: str = "", needs: str = "") -> None:
    """A wheel with one module, ``name``, that knows its version."""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in _files(name, version, code, needs, {}).items():
            archive.writestr(path, text)


def unpacked(folder: Path, name: str, version: str, *, more: Mapping[str, str] | None = None) -> None:
    """Such a wheel as pip installs it into a folder of packages, with ``more`` files of metadata."""
    for path, text in _files(name, version, "", "", more or {}).items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)


def _files(name: str, version: str, code: str, needs: str, more: Mapping[str, str]) -> dict[str, str]:
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{code}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/top_level.txt": f"{name}\n",
        **{f"{info}/{file}": text for file, text in more.items()},
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    return files | {f"{info}/RECORD": record + f"{info}/RECORD,,\n"}
