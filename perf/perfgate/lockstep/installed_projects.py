"""Which packages of a checkout are installed in this environment, and which ``.pth`` lines make them importable.

Python reads ``.pth`` files in the interpreter's own site-packages alone, so an overlay, which lists this environment's
as plain folders, repeats their lines, apart from those of packages that it installs itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from perfgate.machine.source_files import SITE_FOLDERS
from perfgate.records.fingerprint import HARNESS

BUILT_BY = ("pyproject.toml", "setup.py")


def canonical(name: str) -> str:
    """A package's name in its one spelling."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def installed_from(top: Path) -> dict[str, Path]:
    """The folders below ``top`` that packages of this environment were installed from, by package: editable ones, and
    copies. What measures is left out."""
    found: dict[str, Path] = {}
    for distribution in importlib.metadata.distributions():
        folder = _folder(distribution)
        name = canonical(distribution.metadata["Name"] or "")
        if folder is not None and folder.is_relative_to(top.resolve()) and name not in HARNESS:
            found.setdefault(name, folder)
    return found


def _folder(distribution: importlib.metadata.Distribution) -> Path | None:
    """The folder that a package was installed from, where it was one.

    Source: PEP 610, "Recording the Direct URL Origin of installed distributions".
    """
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        url = urlsplit(origin.get("url", ""))
        if url.scheme != "file" or "dir_info" not in origin:
            return None
        return Path(url2pathname(url.path)).resolve()
    except (ValueError, AttributeError):
        return None


def can_be_built(folder: Path) -> bool:
    """Whether pip can install the folder."""
    return any((folder / name).is_file() for name in BUILT_BY)


def path_lines(without: Collection[str]) -> list[str]:
    """The lines of a ``.pth`` file by which another environment of this interpreter finds what is installed here, as
    this one does, apart from what makes the packages ``without`` importable."""
    hidden = set(_path_files(without))
    lines = []
    for folder in [Path(path) for path in sys.path if path and Path(path).name in SITE_FOLDERS]:
        if not folder.is_dir():
            continue
        lines.append(str(folder))
        for file in sorted(folder.glob("*.pth")):
            if not file.name.startswith(".") and os.path.realpath(file) not in hidden:
                lines += _lines(file)
    return list(dict.fromkeys(lines))


def _path_files(packages: Collection[str]) -> Iterator[str]:
    """The ``.pth`` files that belong to some packages, as real paths."""
    for distribution in importlib.metadata.distributions():
        if canonical(distribution.metadata["Name"] or "") in packages:
            for path in distribution.files or ():
                if path.suffix == ".pth":
                    yield os.path.realpath(str(path.locate()))


def _lines(file: Path) -> Iterator[str]:
    """A ``.pth`` file's lines, with absolute paths.

    Source: Python 3.11, Lib/site.py, addpackage.
    """
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(("import ", "import\t")):
            yield line.rstrip()
        elif (folder := file.parent / line.rstrip()).exists():
            yield os.path.abspath(folder)
